//! Evaluations: what the members of a round measured on the round's parent, and the best checkpoint by each metric. Unlike
//! verdicts they stay when their round goes into the archive: together they are the model's learning curve.

use borsh::{BorshDeserialize, BorshSerialize};
use qres_fed::id::{CheckpointId, SpecId};
use qres_fed::record::{Content, Summary};
use redb::{ReadTransaction, WriteTransaction};

use super::database::Fault;
use super::entry::{Done, get, put};
use super::record::{Best, Evaluation};
use super::table::checkpoint_key;
use super::{StoreError, table, value};

#[derive(BorshSerialize, BorshDeserialize)]
enum EvaluationRow {
    V1(Vec<Option<Summary>>),
}

#[derive(BorshSerialize, BorshDeserialize)]
enum BestRow {
    V1 {
        checkpoint: CheckpointId,
        round: u64,
        parent: Option<CheckpointId>,
        content: Content,
        value: f64,
    },
}

fn to_evaluation(bytes: &[u8]) -> Result<Evaluation, StoreError> {
    let EvaluationRow::V1(evaluation) = value::decode("evaluation", bytes)?;
    Ok(evaluation)
}

fn to_best(bytes: &[u8]) -> Result<Best, StoreError> {
    let BestRow::V1 {
        checkpoint,
        round,
        parent,
        content,
        value,
    } = value::decode("best checkpoint", bytes)?;
    Ok(Best {
        checkpoint,
        round,
        parent,
        content,
        value,
    })
}

/// Keeps the evaluation that the round of a checkpoint made.
pub(super) fn keep(
    tx: &WriteTransaction,
    spec: SpecId,
    (round, checkpoint): (u64, &CheckpointId),
    evaluation: &Evaluation,
) -> Done {
    let row = value::encode(&EvaluationRow::V1(evaluation.clone()));
    put(tx, table::EVALUATIONS, &checkpoint_key(spec, round, checkpoint), &row)
}

/// Keeps the best checkpoint by a metric, which is named by its place in the spec.
pub(super) fn keep_best(tx: &WriteTransaction, spec: SpecId, metric: u8, best: &Best) -> Done {
    let row = value::encode(&BestRow::V1 {
        checkpoint: best.checkpoint,
        round: best.round,
        parent: best.parent,
        content: best.content,
        value: best.value,
    });
    put(tx, table::BEST, &table::key(&[&spec.0, &[metric]]), &row)
}

/// Forgets a model's evaluations and best checkpoints.
pub(super) fn clear(tx: &WriteTransaction, spec: SpecId) -> Done {
    let range = table::below::<72>(&spec.0);
    tx.open_table(table::EVALUATIONS)?
        .retain_in::<&[u8; 72], _>(range.start()..=range.end(), |_, _| false)?;
    let range = table::below::<33>(&spec.0);
    tx.open_table(table::BEST)?
        .retain_in::<&[u8; 33], _>(range.start()..=range.end(), |_, _| false)?;
    Ok(())
}

/// Returns the evaluation that the round of a checkpoint made, if this node has one.
pub(super) fn read(
    tx: &ReadTransaction,
    spec: SpecId,
    round: u64,
    checkpoint: &CheckpointId,
) -> Result<Option<Evaluation>, Fault> {
    get(
        tx,
        table::EVALUATIONS,
        &checkpoint_key(spec, round, checkpoint),
        to_evaluation,
    )
}

/// Returns the best checkpoints of a model, each with the place of its metric in the spec.
pub(super) fn best(tx: &ReadTransaction, spec: SpecId) -> Result<Vec<(u8, Best)>, Fault> {
    let range = table::below::<33>(&spec.0);
    let table = tx.open_table(table::BEST)?;
    let mut all = vec![];
    for entry in table.range::<&[u8; 33]>(range.start()..=range.end())? {
        let (key, row) = entry?;
        let metric = key.value().last().copied().unwrap_or_default();
        all.push((metric, to_best(row.value())?));
    }
    Ok(all)
}
