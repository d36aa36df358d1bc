//! Verdicts: what the aggregation of a checkpoint made of each contribution. They go when their round goes into the archive.

use borsh::{BorshDeserialize, BorshSerialize};
use qres_fed::id::{CheckpointId, SpecId};
use redb::{ReadTransaction, WriteTransaction};

use super::database::Fault;
use super::entry::{Done, get, put};
use super::table::checkpoint_key;
use super::{StoreError, Verdicts, table, value};

#[derive(BorshSerialize, BorshDeserialize)]
enum VerdictsRow {
    V1(Verdicts),
}

fn to_verdicts(bytes: &[u8]) -> Result<Verdicts, StoreError> {
    let VerdictsRow::V1(verdicts) = value::decode("verdicts", bytes)?;
    Ok(verdicts)
}

/// Keeps the verdicts of a checkpoint.
pub(super) fn keep(
    tx: &WriteTransaction,
    spec: SpecId,
    (round, checkpoint): (u64, &CheckpointId),
    verdicts: &Verdicts,
) -> Done {
    let row = value::encode(&VerdictsRow::V1(verdicts.clone()));
    put(tx, table::VERDICTS, &checkpoint_key(spec, round, checkpoint), &row)
}

/// Forgets the verdicts of all checkpoints up to this round.
pub(super) fn forget(tx: &WriteTransaction, spec: SpecId, round: u64) -> Done {
    let ends = [(0, [0; 32]), (round, [u8::MAX; 32])].map(|(round, id)| checkpoint_key(spec, round, &CheckpointId(id)));
    tx.open_table(table::VERDICTS)?
        .retain_in::<&[u8; 72], _>(&ends[0]..=&ends[1], |_, _| false)?;
    Ok(())
}

/// Returns the verdicts of a checkpoint, if this node has computed it.
pub(super) fn read(
    tx: &ReadTransaction,
    spec: SpecId,
    round: u64,
    checkpoint: &CheckpointId,
) -> Result<Option<Verdicts>, Fault> {
    get(
        tx,
        table::VERDICTS,
        &checkpoint_key(spec, round, checkpoint),
        to_verdicts,
    )
}
