//! vang-view
