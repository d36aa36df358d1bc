//! A running node: the mesh, the store and the engine that feeds `fed` and carries out its outputs.
//!
//! Architecture invariant: nothing here decides about learning. Every decision is `fed`'s; this crate moves bytes, persists,
//! verifies and signs.

pub mod config;
mod engine;
pub mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod handle;
mod metrics;
mod reason;
pub mod view;

pub use config::{HEADER_BYTES_MAX, NodeConfig};
pub use engine::StartError;
pub use handle::NodeHandle;
pub use qres_files::descriptors;
pub use qres_wire::identity;
pub use {qres_mesh as mesh, qres_store as store, qres_transfer as transfer};

use qres_wire::{clock, pb as wire, trace};
