//! Parts that every piece of a node needs to speak to others: the messages between nodes, their identities, the trace
//! context that travels with a message, and the clocks.

pub mod clock;
pub mod envelope;
pub mod identity;
pub mod pb;
pub mod state_envelope;
pub mod trace;
