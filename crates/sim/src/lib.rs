//! vang-sim
