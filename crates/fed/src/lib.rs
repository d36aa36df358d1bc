//! The learning, and nothing else: tensors, codecs, aggregation rules, local learners and the round as a state machine.
//!
//! Architecture invariant: no I/O, no clock, no entropy, no async. Time, bytes and identities come in as arguments, so
//! every result here is a function of its inputs alone and has the same bits on every machine.

pub mod codec;
pub mod id;
pub mod learner;
pub mod record;
pub mod round;
pub mod state;
pub mod strategy;
pub mod tensor;
pub mod update;
