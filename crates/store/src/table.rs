//! The tables, and the layout of their keys.
//!
//! Keys have a fixed width: ids as they are, names as their BLAKE3, numbers big-endian so that they sort by value. The
//! parts by which ranges are read come first.

use std::ops::RangeInclusive;

use qres_fed::id::{CheckpointId, SpecId};
use redb::{ReadTransaction, TableDefinition, TableError, WriteTransaction};

/// A table without values: the key says all.
pub(super) type Mark<const N: usize> = TableDefinition<'static, &'static [u8; N], ()>;
/// A table of byte strings, which the module `value` encodes and decodes.
pub(super) type Values<const N: usize> = TableDefinition<'static, &'static [u8; N], &'static [u8]>;

/// Key: a name. Value: a small value of any kind.
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// Key: spec. Value: the signed spec.
pub(super) const SPECS: Values<32> = TableDefinition::new("specs");
/// Key: spec. Value: an announced model that is not joined.
pub(super) const HEARD: Values<32> = TableDefinition::new("heard");
/// Key: spec of a joined model. No value.
pub(super) const JOINED: Mark<32> = TableDefinition::new("joined");
/// Key: spec, contribution. Value: the signed contribution.
pub(super) const CONTRIBUTIONS: Values<64> = TableDefinition::new("contributions");
/// Key: spec, seal. Value: the signed seal.
pub(super) const SEALS: Values<64> = TableDefinition::new("seals");
/// Key: spec, round. Value: seal and proofs of a round that is no longer in memory.
pub(super) const ARCHIVE: Values<40> = TableDefinition::new("archive");
/// Key: spec, seal or proof. Value: the archived round that holds this record.
pub(super) const ARCHIVE_ROUNDS: Values<64> = TableDefinition::new("archive_rounds");
/// Key: spec. Value: the oldest checkpoint in memory.
pub(super) const ROOTS: Values<32> = TableDefinition::new("roots");
/// Key: spec, proof. Value: the proof.
pub(super) const PROOFS: Values<64> = TableDefinition::new("proofs");
/// Key: an announced spec. Value: the spec that it succeeds.
pub(super) const HEARD_SUCCEEDS: Values<32> = TableDefinition::new("heard_succeeds");
/// Key: spec, author. Value: the consent and its signature.
pub(super) const CONSENTS: Values<64> = TableDefinition::new("consents");
/// Key: spec, round, checkpoint that this node has computed. Value: the verdicts on its contributions.
pub(super) const VERDICTS: Values<72> = TableDefinition::new("verdicts");
/// Key: spec, round, checkpoint. Value: what the members of the round measured on the checkpoint's parent.
pub(super) const EVALUATIONS: Values<72> = TableDefinition::new("evaluations");
/// Key: spec, place of a metric in the spec. Value: the best checkpoint by this metric.
pub(super) const BEST: Values<33> = TableDefinition::new("best");
/// Key: spec. Value: the noisy updates of this node's data, which stay when the model is left.
pub(super) const RELEASES: Values<32> = TableDefinition::new("releases");
/// Key: spec, trainer. Value: the blob with the trainer's personal tensors.
pub(super) const PERSONAL: Values<64> = TableDefinition::new("personal");
/// Key: spec, checkpoint whose weights are here and verified. No value.
pub(super) const VERIFIED: Mark<64> = TableDefinition::new("verified");
/// Key: submission. Value: the whole submission.
pub(super) const SUBMISSIONS: Values<32> = TableDefinition::new("submissions");
/// Key: spec, base, trainer. Value: the submission that holds this place; a rejected one holds none.
pub(super) const SUBMISSION_BY_BASE: Values<96> = TableDefinition::new("submission_by_base");
/// Key: time, submission. No value.
pub(super) const SUBMISSIONS_BY_TIME: Mark<40> = TableDefinition::new("submissions_by_time");
/// Key: spec, time, submission. No value.
pub(super) const SUBMISSIONS_BY_SPEC: Mark<72> = TableDefinition::new("submissions_by_spec");
/// Key: spec, submission that is not final. No value.
pub(super) const SUBMISSIONS_OPEN: Mark<64> = TableDefinition::new("submissions_open");
/// Key: time at which the submission became final, submission. No value.
pub(super) const SUBMISSIONS_FINAL: Mark<40> = TableDefinition::new("submissions_final");
/// Key: idempotency key. Value: that key with its outcome.
pub(super) const KEYS: Values<32> = TableDefinition::new("keys");
/// Key: time, idempotency key. No value.
pub(super) const KEYS_BY_TIME: Mark<40> = TableDefinition::new("keys_by_time");
/// Key: spec, publisher, name, sequence. Value: the state.
pub(super) const STATES: Values<104> = TableDefinition::new("states");

/// Turns a name of any length into a part of a key: its BLAKE3.
pub(super) fn hashed(name: &str) -> [u8; 32] {
    *blake3::hash(name.as_bytes()).as_bytes()
}

/// Joins the parts to a key; together they must be `N` bytes.
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

/// Returns the key of what a round made with its checkpoint: the spec, the round, the checkpoint.
pub(super) fn checkpoint_key(spec: SpecId, round: u64, checkpoint: &CheckpointId) -> [u8; 72] {
    key(&[&spec.0, &round.to_be_bytes(), &checkpoint.0])
}

/// Returns the range of all keys that begin with `prefix`.
pub(super) fn below<const N: usize>(prefix: &[u8]) -> RangeInclusive<[u8; N]> {
    let (mut low, mut high) = ([0; N], [u8::MAX; N]);
    low[..prefix.len()].copy_from_slice(prefix);
    high[..prefix.len()].copy_from_slice(prefix);
    low..=high
}

/// Returns the id that is the last 32 bytes of a key.
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
            CONSENTS,
            HEARD_SUCCEEDS,
            VERDICTS,
            EVALUATIONS,
            BEST,
            RELEASES,
            PERSONAL,
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

/// Makes the tables that are missing, so that reads find every table.
pub(super) fn make_all(transaction: &WriteTransaction) -> Result<(), TableError> {
    all_tables!(transaction)
}

/// Returns true if no table is missing.
pub(super) fn all_there(transaction: &ReadTransaction) -> Result<bool, TableError> {
    let look = |transaction: &ReadTransaction| all_tables!(transaction);
    match look(transaction) {
        Ok(()) => Ok(true),
        Err(TableError::TableDoesNotExist(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
