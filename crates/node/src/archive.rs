//! The rounds below a machine's root, which only the store has.

use std::sync::Arc;

use qres_fed::id::SpecId;
use qres_fed::round::{Archived, Input, RecordId, RoundInfo};
use qres_transfer::Record;
use tracing::warn;

use crate::catalog::command::ModelCommand;
use crate::catalog::entry::Model;
use crate::context::NodeContext;
use crate::disk::Disk;
use crate::error::NodeError;

/// The most record ids of one model that one comparison names: 10,000 rounds of 32 members with their seals.
pub const IDS_MAX: usize = 400_000;

/// Returns one archived round, or `None` if the archive does not have it.
pub async fn round(disk: &Disk, spec: SpecId, round: u64) -> Result<Option<RoundInfo>, NodeError> {
    Ok(newest_first(disk, spec, round, 1).await?.pop())
}

/// Returns up to `size` archived rounds, the newest first, from the round `from` downwards.
pub async fn newest_first(disk: &Disk, spec: SpecId, from: u64, size: usize) -> Result<Vec<RoundInfo>, NodeError> {
    // Rounds follow each other without gaps.
    let low = from.saturating_sub(size as u64).saturating_add(1);
    let rounds = disk.blocking(move |store| store.archived(spec, low..=from)).await?;
    Ok(rounds.iter().rev().map(Archived::info).collect())
}

/// Adds the archived record ids of rounds above `above` to those in memory, the newest first, up to [`IDS_MAX`] in all.
pub async fn add_ids(disk: &Disk, spec: SpecId, above: u64, ids: &mut Vec<(u64, RecordId)>) -> Result<(), NodeError> {
    let eviction = IDS_MAX.saturating_sub(ids.len());
    let archived = disk.blocking(move |store| store.archived_ids(spec, above, eviction));
    ids.extend(archived.await?.into_iter().take(eviction));
    Ok(())
}

/// Returns those of the named records that the archive holds.
pub async fn records(disk: &Disk, spec: SpecId, ids: Vec<RecordId>) -> Result<Vec<Record>, NodeError> {
    let find = move |store: &qres_store::Store| {
        let mut found = vec![];
        for id in ids {
            found.extend(
                store
                    .archived_with(spec, &id)?
                    .and_then(|archived| record(archived, &id)),
            );
        }
        Ok::<_, qres_store::StoreError>(found)
    };
    Ok(disk.blocking(find).await?)
}

fn record(archived: Archived, id: &RecordId) -> Option<Record> {
    match id {
        RecordId::Contribution(_) | RecordId::Consent(_) => None,
        RecordId::Seal(_) => Some(Record::Seal(archived.seal)),
        RecordId::Proof(id) => {
            let mut proofs = archived.proofs.into_iter();
            proofs.find(|proof| proof.id() == *id).map(Record::Proof)
        }
    }
}

/// Reads the archived rounds from `from` on for the machine ([`Input::Archived`]). If the store fails, the machine gets none,
/// and asks again with the next such seal.
pub fn read_for_machine(context: &Arc<NodeContext>, model: &Arc<Model>, from: u64) {
    let (context, model) = (Arc::clone(context), Arc::clone(model));
    let tasks = context.lifecycle.tasks.clone();
    tasks.spawn(async move {
        let spec = model.id;
        let rounds = match context
            .disk
            .blocking(move |store| store.archived(spec, from..=u64::MAX))
            .await
        {
            Ok(rounds) => rounds,
            Err(error) => {
                warn!(model = %model.spec().name, %error, "cannot read old rounds");
                vec![]
            }
        };
        if let Some(joined) = model.joined() {
            // Sending fails only when the model was left.
            let _ = joined
                .inbox
                .send(ModelCommand::Inputs(vec![Input::Archived(rounds)]))
                .await;
        }
    });
}
