//! The archive: rounds of a model that its round machine holds no more in memory. Keeps their seals and proofs by round,
//! and the checkpoint at which the machine begins.

use std::ops::RangeInclusive;

use borsh::{BorshDeserialize, BorshSerialize};
use qres_fed::id::{CheckpointId, NodeId, SpecId};
use qres_fed::record::{Canonical, Content};
use qres_fed::round::{Archived, RecordId, Root};
use redb::{ReadTransaction, WriteTransaction};

use super::database::Fault;
use super::entry::{Done, put, remove};
use super::{StoreError, entry, table, value};

#[derive(BorshSerialize, BorshDeserialize)]
enum RoundRow {
    V1 {
        /// The signed seal, encoded as in [`table::SEALS`].
        seal: Vec<u8>,
        /// The proofs, encoded as in [`table::PROOFS`].
        proofs: Vec<Vec<u8>>,
    },
}

#[derive(BorshSerialize, BorshDeserialize)]
enum RootRow {
    V1 {
        id: CheckpointId,
        round: u64,
        parent: Option<CheckpointId>,
        content: Content,
        convicted: Vec<NodeId>,
    },
}

fn from_round(archived: &Archived) -> Vec<u8> {
    value::encode(&RoundRow::V1 {
        seal: value::from_signed(&archived.seal),
        proofs: archived.proofs.iter().map(Canonical::to_canonical).collect(),
    })
}

fn to_round(bytes: &[u8]) -> Result<Archived, StoreError> {
    let RoundRow::V1 { seal, proofs } = value::decode("archived round", bytes)?;
    let proofs = proofs.iter().map(|proof| value::to_canonical(proof));
    Ok(Archived {
        seal: value::to_signed(&seal)?,
        proofs: proofs.collect::<Result<_, _>>()?,
    })
}

fn from_root(root: &Root) -> Vec<u8> {
    value::encode(&RootRow::V1 {
        id: root.id,
        round: root.round,
        parent: root.parent,
        content: root.content,
        convicted: root.convicted.iter().copied().collect(),
    })
}

fn to_root(bytes: &[u8]) -> Result<Root, StoreError> {
    let RootRow::V1 {
        id,
        round,
        parent,
        content,
        convicted,
    } = value::decode("root of a model", bytes)?;
    Ok(Root {
        id,
        round,
        parent,
        content,
        convicted: convicted.into_iter().collect(),
    })
}

/// Returns the ids of a round's records: its proofs, then its seal.
fn ids(archived: &Archived) -> impl Iterator<Item = RecordId> {
    let proofs = archived.proofs.iter().map(|proof| RecordId::Proof(proof.id()));
    proofs.chain([RecordId::Seal(archived.seal.record.id())])
}

fn bytes_of(id: &RecordId) -> &[u8; 32] {
    match id {
        RecordId::Contribution(id) => &id.0,
        RecordId::Seal(id) => &id.0,
        RecordId::Proof(id) => &id.0,
        RecordId::Consent(id) => &id.0,
    }
}

/// Adds rounds to the archive; from now on the machine begins at `root`.
pub(super) fn add(tx: &WriteTransaction, spec: SpecId, root: &Root, rounds: &[Archived]) -> Done {
    for archived in rounds {
        let round = archived.seal.record.round.to_be_bytes();
        put(
            tx,
            table::ARCHIVE,
            &table::key(&[&spec.0, &round]),
            &from_round(archived),
        )?;
        for id in ids(archived) {
            put(
                tx,
                table::ARCHIVE_ROUNDS,
                &table::key(&[&spec.0, bytes_of(&id)]),
                &round,
            )?;
        }
    }
    put(tx, table::ROOTS, &spec.0, &from_root(root))
}

/// Removes the root's round and all later rounds from the archive; from now on the machine begins at `root`.
pub(super) fn cut(tx: &WriteTransaction, spec: SpecId, root: &Root) -> Done {
    remove_from(tx, spec, root.round)?;
    put(tx, table::ROOTS, &spec.0, &from_root(root))
}

/// Removes all archived rounds of a model, and its root.
pub(super) fn clear(tx: &WriteTransaction, spec: SpecId) -> Done {
    remove_from(tx, spec, 0)?;
    remove(tx, table::ROOTS, &spec.0)
}

fn remove_from(tx: &WriteTransaction, spec: SpecId, round: u64) -> Done {
    let keys = keys(spec, &(round..=u64::MAX));
    let mut rows = vec![];
    tx.open_table(table::ARCHIVE)?
        .retain_in::<&[u8; 40], _>(keys.start()..=keys.end(), |_, bytes| {
            rows.push(bytes.to_vec());
            false
        })?;
    for row in rows {
        for id in ids(&to_round(&row)?) {
            remove(tx, table::ARCHIVE_ROUNDS, &table::key(&[&spec.0, bytes_of(&id)]))?;
        }
    }
    Ok(())
}

/// Returns the range of keys of these rounds in [`table::ARCHIVE`].
fn keys(spec: SpecId, rounds: &RangeInclusive<u64>) -> RangeInclusive<[u8; 40]> {
    let key = |round: &u64| table::key(&[&spec.0, &round.to_be_bytes()]);
    key(rounds.start())..=key(rounds.end())
}

/// Returns the checkpoint at which a model's machine begins; `None` = checkpoint 0.
pub(super) fn root(tx: &ReadTransaction, spec: SpecId) -> Result<Option<Root>, Fault> {
    entry::get(tx, table::ROOTS, &spec.0, to_root)
}

/// Returns those of the rounds that the archive has, ascending.
pub(super) fn rounds(tx: &ReadTransaction, spec: SpecId, rounds: &RangeInclusive<u64>) -> Result<Vec<Archived>, Fault> {
    if rounds.is_empty() {
        return Ok(vec![]);
    }
    let keys = keys(spec, rounds);
    let table = tx.open_table(table::ARCHIVE)?;
    let mut out = vec![];
    for entry in table.range::<&[u8; 40]>(keys.start()..=keys.end())? {
        out.push(to_round(entry?.1.value())?);
    }
    Ok(out)
}

/// Returns round and id of the records of rounds later than `above`, the newest first. Whole rounds are added until there
/// are `enough` ids.
pub(super) fn ids_above(
    tx: &ReadTransaction,
    spec: SpecId,
    above: u64,
    enough: usize,
) -> Result<Vec<(u64, RecordId)>, Fault> {
    let keys = keys(spec, &(above.saturating_add(1)..=u64::MAX));
    let table = tx.open_table(table::ARCHIVE)?;
    let mut out = vec![];
    for entry in table.range::<&[u8; 40]>(keys.start()..=keys.end())?.rev() {
        if out.len() >= enough {
            break;
        }
        let archived = to_round(entry?.1.value())?;
        let round = archived.seal.record.round;
        out.extend(ids(&archived).map(|id| (round, id)));
    }
    Ok(out)
}

/// Returns the archived round that holds a record; `None` when there is none.
pub(super) fn round_of(tx: &ReadTransaction, spec: SpecId, id: &RecordId) -> Result<Option<Archived>, Fault> {
    let key = table::key(&[&spec.0, bytes_of(id)]);
    let round = entry::get(tx, table::ARCHIVE_ROUNDS, &key, |bytes| {
        let round: [u8; 8] = bytes
            .try_into()
            .map_err(|_| StoreError::Damaged("the round of an archived record is no number".into()))?;
        Ok(round)
    })?;
    match round {
        Some(round) => entry::get(tx, table::ARCHIVE, &table::key(&[&spec.0, &round]), to_round),
        None => Ok(None),
    }
}
