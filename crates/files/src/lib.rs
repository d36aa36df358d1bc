//! What a process has of files: small ones that only their owner reads, and descriptors.

pub mod descriptors;
pub mod private;
