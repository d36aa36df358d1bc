//! Federated learning without any I/O: tensors, codecs, aggregation rules, local learners and the round as a state machine.
//!
//! Architecture invariant: this crate does no I/O, reads no clock, draws no entropy and has no async code. Time, bytes and
//! identities come in as arguments, so every result is a function of its inputs alone. It has the same bits on every
//! machine, except for the training of the built-in [`learner`]s, which use the platform's `exp` and `tanh`.
//!
//! # One round by hand
//!
//! Two members train on the same weights; their updates are coded, and become the next weights by federated averaging:
//!
//! ```
//! use ndarray::array;
//! use qres_fed::id::{BlobId, NodeId};
//! use qres_fed::record::{End, Figures, Membership, RoundPolicy, Rule, Spec};
//! use qres_fed::tensor::{read_safetensors, read_schema, to_safetensors};
//! use qres_fed::update::{self, Outputs, Parent, Part, Weighted};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = |a: f32, b: f32| to_safetensors([("w", array![a, b].view())]);
//! let base = file(1.0, 1.0);
//! let members = [NodeId([1; 32]), NodeId([2; 32])];
//! let spec = Spec {
//!     name: "example".parse()?,
//!     tensors: read_schema(&base)?.into(),
//!     strategy: Rule::new("fedavg/1"),
//!     aggregation: vec![],
//!     rounds: RoundPolicy::default(),
//!     codec: Rule::new("none/1"),
//!     privacy: Rule::new("none/1"),
//!     membership: Membership::List(members.into()),
//!     checkpoint0: BlobId::of(&base),
//!     fixed: None,
//!     creator: members[0],
//!     succeeds: None,
//!     metrics: vec![],
//!     end: End::default(),
//!     schedules: Default::default(),
//!     earlier_rounds: 0,
//! };
//! spec.check()?;
//!
//! // Each node codes the difference of its trainer's weights to the base.
//! let code = |weights: Vec<u8>, samples| {
//!     let part = Part { file: &weights, samples, steps: None, delta: false };
//!     let mut update = vec![];
//!     update::merge_and_encode(&spec, &base, &[part], &mut update).map(|_| update)
//! };
//! let (first, second) = (code(file(2.0, 1.0), 100)?, code(file(2.0, 5.0), 300)?);
//!
//! // Every node aggregates the same updates, and gets the same bits.
//! let fresh = [(&first, members[0], 100), (&second, members[1], 300)]
//!     .map(|(update, author, samples)| {
//!         let figures = Figures::default();
//!         Weighted { update, author, samples, staleness: 0, figures }
//!     });
//! let parent = Parent { id: spec.zero().0, weights: &base, optimiser: None };
//! let mut next = vec![];
//! update::aggregate(&spec, parent, &fresh, &[], Outputs::of_weights(&mut next))?;
//! assert_eq!(read_safetensors(&next)?["w"].array::<f32>()?, array![2.0, 4.0].into_dyn());
//! # Ok(())
//! # }
//! ```

/// Half-precision numbers, which tensors may have as elements.
pub use half;
/// The arrays of which tensors in memory are made.
pub use ndarray;

pub mod aggregation;
pub mod codec;
pub mod id;
pub mod learner;
pub mod optimiser;
mod param;
pub mod privacy;
pub mod record;
pub mod round;
pub mod state;
pub mod strategy;
pub mod tensor;
pub mod update;
