//! A running node: the mesh, the store and the engine that feeds `fed` and carries out what it answers.
//!
//! Architecture invariant: nothing here decides about learning. Every decision is `fed`'s; this crate moves bytes,
//! persists, verifies and signs.

mod clock;
pub mod config;
pub mod descriptors;
mod engine;
pub mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod handle;
pub mod identity;
pub mod mesh;
mod metrics;
mod private_file;
mod reason;
pub mod store;
mod trace;
pub mod transfer;
pub mod view;
mod wire;

pub use config::{HEADER_BYTES_MAX, NodeConfig};
pub use engine::StartError;
pub use handle::NodeHandle;
