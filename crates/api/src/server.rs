//! Serves the contract's services over a node's handle.

mod api;
mod audit;
mod caller;
mod connection;
mod evaluation;
mod field;
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod incoming;
mod judge;
mod layer;
mod limits;
mod message;
mod metrics;
mod model;
mod node;
mod options;
mod origin;
mod pace;
mod page;
mod peer;
mod place;
mod rate;
mod reflection;
mod round;
mod round_message;
mod schedule;
mod security;
mod serve;
mod socket;
mod state;
mod status;
mod stop;
mod submission;
mod surroundings;
mod upload;
mod watch;
mod weights;

pub use audit::AUDIT_TARGET;
pub use limits::Limits;
pub use metrics::Metrics;
pub use options::Options;
pub use security::{Security, SecurityNow, fixed};
pub use serve::{Listeners, serve};
pub use surroundings::Surroundings;
