//! The key of a state: its model, its publisher and its name.

use qres_fed::id::{NodeId, SpecId};
use qres_fed::record::StateRecord;

/// A model, a publisher, and the name of a state.
pub type Key = (SpecId, NodeId, String);

/// Returns the [`Key`] of a state.
pub fn key(record: &StateRecord) -> Key {
    (record.spec, record.publisher, record.name.clone())
}
