//! vang-client
