//! Serves the contract's services over a node's handle.

mod api;
mod connection;
mod field;
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod incoming;
mod layer;
mod limits;
mod message;
mod metrics;
mod model;
mod node;
mod options;
mod pace;
mod page;
mod peer;
mod place;
mod reflection;
mod round;
mod serve;
mod state;
mod status;
mod stop;
mod submission;
mod upload;
mod watch;
mod weights;

pub use limits::Limits;
pub use metrics::Metrics;
pub use options::Options;
pub use serve::serve;
