//! Federated learning without any I/O: tensors, codecs, aggregation rules, local learners and the round as a state machine.
//!
//! Architecture invariant: this crate does no I/O, reads no clock, draws no entropy and has no async code. Time, bytes and
//! identities come in as arguments, so every result is a function of its inputs alone. It has the same bits on every
//! machine, except for the training of the built-in [`learner`]s, which use the platform's `exp` and `tanh`.

pub mod codec;
pub mod id;
pub mod learner;
pub mod record;
pub mod round;
pub mod state;
pub mod strategy;
pub mod tensor;
pub mod update;
