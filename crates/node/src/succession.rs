//! A model and its successor: what callers say of the one, in terms of the other.

use qres_fed::id::CheckpointId;

use crate::catalog::entry::Model;
use crate::context::NodeContext;

/// Returns checkpoint 0 of a model for the last checkpoint of the model that it succeeds: the two have the same weights. Any other
/// checkpoint is returned as it is.
pub fn in_successor(context: &NodeContext, model: &Model, checkpoint: CheckpointId) -> CheckpointId {
    let old = model.spec().succeeds.and_then(|old| context.catalog.get(&old));
    let end = old.and_then(|old| old.joined()?.heads.borrow().successor);
    match end {
        Some((successor, last)) if successor == model.id && last == checkpoint => model.spec().zero().0,
        _ => checkpoint,
    }
}
