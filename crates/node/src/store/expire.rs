//! What is forgotten after its time.

use std::collections::BTreeSet;

use qres_fed::id::{BlobId, SubmissionId};
use redb::{ReadableTable, WriteTransaction};

use super::database::Fault;
use super::table::{self, Mark};
use super::write::{forget_key, forget_submission};
use super::{KeyOutcome, value};

/// Forgets the submissions that were final before that time, and the keys of before it whose outcome is gone as well; gives
/// the submissions' blobs that no record names any more.
pub(super) fn expire(tx: &WriteTransaction, before_unix_ms: u64) -> Result<Vec<BlobId>, Fault> {
    let mut blobs = BTreeSet::new();
    for id in ids_before(tx, table::SUBMISSIONS_FINAL, before_unix_ms)? {
        if let Some(submission) = forget_submission(tx, SubmissionId(id))? {
            blobs.insert(submission.blob);
        }
    }
    for name in ids_before(tx, table::KEYS_BY_TIME, before_unix_ms)? {
        if !is_alive(tx, &name)? {
            forget_key(tx, &name)?;
        }
    }
    let named = tx.open_table(table::BLOB_NAMED_BY)?;
    let mut free = Vec::new();
    for blob in blobs {
        let range = table::below::<65>(&blob.0);
        let mut names = named.range::<&[u8; 65]>(range.start()..=range.end())?;
        if names.next().transpose()?.is_none() {
            free.push(blob);
        }
    }
    Ok(free)
}

/// Whether a key's submission is still here: a key lives as long.
fn is_alive(tx: &WriteTransaction, name: &[u8; 32]) -> Result<bool, Fault> {
    let keys = tx.open_table(table::KEYS)?;
    let Some(bytes) = keys.get(name)? else { return Ok(false) };
    match value::to_key(bytes.value())?.outcome {
        KeyOutcome::Submission(id) => Ok(tx.open_table(table::SUBMISSIONS)?.get(&id.0)?.is_some()),
        KeyOutcome::Model(_) => Ok(false),
    }
}

/// The ids in a table by time, of before that time.
fn ids_before(tx: &WriteTransaction, table: Mark<40>, before_unix_ms: u64) -> Result<Vec<[u8; 32]>, Fault> {
    let end: [u8; 40] = table::key(&[&before_unix_ms.to_be_bytes(), &[0; 32]]);
    let table = tx.open_table(table)?;
    let mut ids = Vec::new();
    for entry in table.range::<&[u8; 40]>(..&end)? {
        ids.push(table::last_id(entry?.0.value()));
    }
    Ok(ids)
}
