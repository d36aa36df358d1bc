//! A running node: the mesh, the store and the tasks that feed `fed` and carry out its outputs.
//!
//! Architecture invariant: nothing here decides about learning. Every decision is `fed`'s; this crate moves bytes, persists,
//! verifies and signs.

mod announced;
mod archive;
mod background;
mod blob_demand;
mod catalog;
pub mod config;
mod context;
mod creators;
mod disk;
pub mod error;
mod event_log;
pub mod finding;
mod first_comparison;
mod fixed_tensors;
pub mod handle;
mod headers;
mod heads;
mod lifecycle;
mod metrics;
mod model;
mod page;
mod reason;
mod refusal;
mod releases;
mod request;
mod revisions;
mod scrape;
mod service;
mod slots;
mod spec_offers;
mod startup;
mod states;
mod succession;
mod syncer;
#[cfg(test)]
mod tests;
mod upload;
pub mod view;

pub use config::{HEADER_BYTES_MAX, MembersPolicy, NodeConfig};
pub use handle::NodeHandle;
pub use qres_files::descriptors;
pub use qres_wire::{clock, identity};
pub use startup::{KEY_FILE, StartError};
pub use {qres_mesh as mesh, qres_store as store, qres_transfer as transfer};
