//! Arguments, then hand over.
fn main() {}
