//! Refusals that several calls share, each with its reason, its field and its remedy.

use qres_fed::id::SpecId;
use qres_fed::round::BaseError;
use qres_fed::tensor::TensorError;
use qres_store::{StoreError, StoredSubmission};

use crate::error::{Kind, NodeError, Reason};

/// Returns the error [`Reason::KeyTaken`] for a key that stands for another request.
pub fn key_taken(key: &str) -> NodeError {
    NodeError::new(
        Reason::KeyTaken,
        format!(
            "idempotency key {key:?} stands for another request (other header or bytes): use a new key for a new one"
        ),
    )
    .field("idempotency_key")
}

/// Returns the error for a caller's bad tensors.
pub fn tensors_refused(error: TensorError) -> NodeError {
    match error {
        TensorError::Bad(problem) => NodeError::invalid("data", problem),
        TensorError::Io(error) => StoreError::from_io("blobs", error).into(),
    }
}

/// Returns the error [`Reason::BaseSubmitted`] for a second, different submission for the same trainer and base.
pub fn already(earlier: &StoredSubmission) -> NodeError {
    NodeError::new(
        Reason::BaseSubmitted,
        format!(
            "trainer {:?} has already submitted other work on base {} (submission {}): one submission a trainer and base; fetch \
             the next checkpoint, or give another trainer name",
            earlier.trainer, earlier.base, earlier.id
        ),
    )
    .field("base")
}

/// Returns the error for a base that is not taken, by its [`BaseError`].
pub fn base_refused(error: BaseError) -> NodeError {
    let reason = match &error {
        BaseError::Unknown(_) => Reason::BaseUnknown,
        BaseError::Stale { .. } => Reason::BaseStale,
        BaseError::NotHeld(_) => Reason::BaseNotHeld,
        BaseError::Contributed(_) => Reason::BaseContributed,
        BaseError::Conflicts { .. } => Reason::BaseConflicts,
        BaseError::Complete(_) => Reason::ModelComplete,
        BaseError::NotMember => Reason::NotAMember,
        BaseError::Convicted(_) => Reason::Convicted,
    };
    let field = if reason.kind() == Kind::PermissionDenied {
        "model"
    } else {
        "base"
    };
    NodeError::new(reason, error.to_string()).field(field)
}

/// Returns the error [`Reason::ModelEnded`] for work on a model that its members have ended.
pub fn ended(successor: &SpecId) -> NodeError {
    let message = format!(
        "the members of the model changed, and it goes on as {successor}: this node moves to it in a moment, try again; if this \
         node is no member any more, or its members_change is never, `qres model show` says so"
    );
    NodeError::new(Reason::ModelEnded, message)
        .field("model")
        .retry_after(500)
}

/// Returns the error [`Reason::Stopping`] for a model whose task is gone: the node stops, or the model was left.
pub fn stopped() -> NodeError {
    NodeError::new(
        Reason::Stopping,
        "the model is being left, or the node stops: try again",
    )
    .retry_after(1000)
}

/// Returns the error [`Reason::DiskFull`] for a submission that waited for an earlier one while the disk was full.
pub fn disk_full() -> NodeError {
    let message = "the disk is full, and this submission waited for it: send it again";
    NodeError::new(Reason::DiskFull, message).retry_after(10_000)
}
