//! Placeholder until the daemons run.
fn main() {}
