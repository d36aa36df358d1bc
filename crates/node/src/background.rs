//! The work that goes on without a caller: gossip, downloads, comparisons, announced models, collection.

pub mod arrivals;
pub mod auto_join;
pub mod collector;
pub mod gossip;
pub mod peer_access;
pub mod spec_offers;
pub mod states;
pub mod succession;
pub mod sync;
