//! A running node: the mesh, the store and the engine that feeds `fed` and carries out what it answers.
//!
//! Architecture invariant: nothing here decides about learning. Every decision is `fed`'s; this crate moves bytes,
//! persists, verifies and signs.

pub mod config;
pub mod descriptors;
mod engine;
pub mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod handle;
pub mod mesh;
mod metrics;
mod reason;
pub mod store;
pub mod transfer;
pub mod view;

pub use config::{HEADER_BYTES_MAX, NodeConfig};
pub use engine::StartError;
pub use handle::NodeHandle;
pub use qres_wire::identity;

use qres_files as private_file;
use qres_wire::{clock, pb as wire, trace};
