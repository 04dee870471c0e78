//! vang
fn main() {}
