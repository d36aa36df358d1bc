//! Error of a spec that contradicts itself.

/// Reason why a [`Spec`](super::Spec) contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SpecError {
    /// Name of the wrong field, as in the gRPC contract.
    pub field: &'static str,
    /// Description of the problem, with the limit and the remedy.
    pub problem: String,
}
