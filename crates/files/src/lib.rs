//! The files of a process: small ones that only their owner reads, and file descriptors.

pub mod descriptors;
pub mod private;
