//! Removal of old submissions and idempotency keys.

use qres_fed::id::SubmissionId;
use redb::{ReadableTable, WriteTransaction};

use super::database::Fault;
use super::table::{self, Mark};
use super::write::{forget_key, forget_submission};
use super::{KeyOutcome, value};

/// Forgets the submissions that became final before that time. Also forgets the keys from before that time whose
/// submission is gone, too, or whose outcome is a model.
pub(super) fn expire(tx: &WriteTransaction, before_unix_ms: u64) -> Result<(), Fault> {
    for id in ids_before(tx, table::SUBMISSIONS_FINAL, before_unix_ms)? {
        forget_submission(tx, SubmissionId(id))?;
    }
    for name in ids_before(tx, table::KEYS_BY_TIME, before_unix_ms)? {
        if !is_alive(tx, &name)? {
            forget_key(tx, &name)?;
        }
    }
    Ok(())
}

/// Returns true if a key's submission is still here: a key stays at least as long as its submission. A key whose outcome
/// is a model gives `false`.
fn is_alive(tx: &WriteTransaction, name: &[u8; 32]) -> Result<bool, Fault> {
    let keys = tx.open_table(table::KEYS)?;
    let Some(bytes) = keys.get(name)? else { return Ok(false) };
    match value::to_key(bytes.value())?.outcome {
        KeyOutcome::Submission(id) => Ok(tx.open_table(table::SUBMISSIONS)?.get(&id.0)?.is_some()),
        KeyOutcome::Model(_) => Ok(false),
    }
}

/// Returns the ids in a table sorted by time, of entries before that time.
fn ids_before(tx: &WriteTransaction, table: Mark<40>, before_unix_ms: u64) -> Result<Vec<[u8; 32]>, Fault> {
    let end: [u8; 40] = table::key(&[&before_unix_ms.to_be_bytes(), &[0; 32]]);
    let table = tx.open_table(table)?;
    let mut ids = Vec::new();
    for entry in table.range::<&[u8; 40]>(..&end)? {
        ids.push(table::last_id(entry?.0.value()));
    }
    Ok(ids)
}
