//! The test harness. It starts real daemons ([`Daemon`]) as processes on loopback and drives them ([`Node`]) through the gRPC
//! contract alone.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "a test that cannot go on fails"
)]

pub mod binaries;
pub mod collector;
pub mod daemon;
pub mod http;
pub mod node;
pub mod process;
pub mod scrape;
pub mod small_disk;
pub mod swarm;
pub mod trainer;
pub mod wait;
pub mod weights;

pub use daemon::{Daemon, Options};
pub use node::Node;
pub use swarm::Swarm;
