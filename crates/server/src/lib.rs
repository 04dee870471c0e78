//! vang-server
