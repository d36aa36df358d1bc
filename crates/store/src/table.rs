//! The tables, and how their keys are put together.
//!
//! Keys have a fixed width: ids as they are, names as their BLAKE3, numbers big-endian so that they sort by value. What a range
//! is read by comes first.

use std::ops::RangeInclusive;

use redb::{ReadTransaction, TableDefinition, TableError, WriteTransaction};

/// Nothing: the key says it all.
pub(super) type Mark<const N: usize> = TableDefinition<'static, &'static [u8; N], ()>;
/// Bytes that `value` reads and writes.
pub(super) type Values<const N: usize> = TableDefinition<'static, &'static [u8; N], &'static [u8]>;

/// Small named values.
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// Spec: the signed spec.
pub(super) const SPECS: Values<32> = TableDefinition::new("specs");
/// Spec: what is kept of one that was announced and is not joined.
pub(super) const HEARD: Values<32> = TableDefinition::new("heard");
/// Spec: it is joined.
pub(super) const JOINED: Mark<32> = TableDefinition::new("joined");
/// Spec, contribution: the signed contribution.
pub(super) const CONTRIBUTIONS: Values<64> = TableDefinition::new("contributions");
/// Spec, seal: the signed seal.
pub(super) const SEALS: Values<64> = TableDefinition::new("seals");
/// Spec, round: what is kept of a round that is no longer in memory.
pub(super) const ARCHIVE: Values<40> = TableDefinition::new("archive");
/// Spec, seal or proof: the archived round that has it.
pub(super) const ARCHIVE_ROUNDS: Values<64> = TableDefinition::new("archive_rounds");
/// Spec: the oldest checkpoint in memory.
pub(super) const ROOTS: Values<32> = TableDefinition::new("roots");
/// Spec, proof: the proof.
pub(super) const PROOFS: Values<64> = TableDefinition::new("proofs");
/// Spec, checkpoint: its weights are here and right.
pub(super) const VERIFIED: Mark<64> = TableDefinition::new("verified");
/// Submission: all of it.
pub(super) const SUBMISSIONS: Values<32> = TableDefinition::new("submissions");
/// Spec, base, trainer: the submission that is not rejected.
pub(super) const SUBMISSION_BY_BASE: Values<96> = TableDefinition::new("submission_by_base");
/// Time, submission.
pub(super) const SUBMISSIONS_BY_TIME: Mark<40> = TableDefinition::new("submissions_by_time");
/// Spec, time, submission.
pub(super) const SUBMISSIONS_BY_SPEC: Mark<72> = TableDefinition::new("submissions_by_spec");
/// Spec, submission: not final.
pub(super) const SUBMISSIONS_OPEN: Mark<64> = TableDefinition::new("submissions_open");
/// Time since which it is final, submission.
pub(super) const SUBMISSIONS_FINAL: Mark<40> = TableDefinition::new("submissions_final");
/// Key: the key's outcome.
pub(super) const KEYS: Values<32> = TableDefinition::new("keys");
/// Time, key.
pub(super) const KEYS_BY_TIME: Mark<40> = TableDefinition::new("keys_by_time");
/// Spec, publisher, name, sequence: the state.
pub(super) const STATES: Values<104> = TableDefinition::new("states");

/// A name of any length as a part of a key.
pub(super) fn hashed(name: &str) -> [u8; 32] {
    *blake3::hash(name.as_bytes()).as_bytes()
}

/// A key of these parts; together they are `N` bytes.
pub(super) fn key<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    let mut rest = out.as_mut_slice();
    for part in parts {
        let (here, after) = rest.split_at_mut(part.len());
        here.copy_from_slice(part);
        rest = after;
    }
    debug_assert!(rest.is_empty(), "{} bytes of a key are missing", rest.len());
    out
}

/// All keys that begin with `prefix`.
pub(super) fn below<const N: usize>(prefix: &[u8]) -> RangeInclusive<[u8; N]> {
    let (mut low, mut high) = ([0; N], [u8::MAX; N]);
    low[..prefix.len()].copy_from_slice(prefix);
    high[..prefix.len()].copy_from_slice(prefix);
    low..=high
}

/// The last 32 bytes of a key: an id.
pub(super) fn last_id(key: &[u8]) -> [u8; 32] {
    key.last_chunk().copied().unwrap_or_default()
}

macro_rules! each_table {
    ($transaction:expr, $($table:expr),* $(,)?) => {{
        $($transaction.open_table($table)?;)*
        Ok(())
    }};
}

macro_rules! all_tables {
    ($transaction:expr) => {
        each_table!(
            $transaction,
            META,
            SPECS,
            HEARD,
            JOINED,
            CONTRIBUTIONS,
            SEALS,
            ARCHIVE,
            ARCHIVE_ROUNDS,
            ROOTS,
            PROOFS,
            VERIFIED,
            SUBMISSIONS,
            SUBMISSION_BY_BASE,
            SUBMISSIONS_BY_TIME,
            SUBMISSIONS_BY_SPEC,
            SUBMISSIONS_OPEN,
            SUBMISSIONS_FINAL,
            KEYS,
            KEYS_BY_TIME,
            STATES,
        )
    };
}

/// Makes those that are not there: reads then find every table.
pub(super) fn make_all(transaction: &WriteTransaction) -> Result<(), TableError> {
    all_tables!(transaction)
}

/// Whether there is nothing to make.
pub(super) fn all_there(transaction: &ReadTransaction) -> Result<bool, TableError> {
    let look = |transaction: &ReadTransaction| all_tables!(transaction);
    match look(transaction) {
        Ok(()) => Ok(true),
        Err(TableError::TableDoesNotExist(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
