//! vang-hub
