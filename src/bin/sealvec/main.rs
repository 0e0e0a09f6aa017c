//! The sealvec program.
fn main() {}
