//! The harness as a program.
fn main() {}
