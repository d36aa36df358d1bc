//! Blobs that downloads bring: each goes to the parts that wanted it, by the purpose for which they wanted it.

use std::collections::BTreeSet;
use std::sync::Arc;

use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_transfer::DownloadEvent;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::background::{spec_offers, states};
use crate::blob_demand::Purpose;
use crate::catalog::command::ModelCommand;
use crate::context::NodeContext;
use crate::fixed_tensors;

/// The most blobs that wait for the disk: as many as states may be on their way, and more than specs may be.
const KEEPING_MAX: usize = 1024;

/// A blob that is not for a round: what it belongs to is read, checked and stored.
struct Arrival {
    spec: SpecId,
    blob: BlobId,
    from: NodeId,
    purposes: BTreeSet<Purpose>,
}

/// Hands arrived blobs on until the node stops. It waits for no disk: the blobs of rounds go to their models at once, and all
/// others to a task of their own.
pub async fn run(context: Arc<NodeContext>, mut events: mpsc::Receiver<DownloadEvent>) {
    let (keeping, arrived) = mpsc::channel(KEEPING_MAX);
    context
        .lifecycle
        .spawn_critical("keeping specs and states", keep(context.clone(), arrived));
    while let Some(Some(event)) = context.lifecycle.stop.run_until_cancelled(events.recv()).await {
        let DownloadEvent::Here { spec, blob, from } = event;
        let purposes = context.blob_demand.arrived(&blob, spec);
        if purposes.contains(&Purpose::Round) {
            to_round(&context, spec, blob);
        }
        if purposes.contains(&Purpose::Fixed) {
            fixed_tensors::arrived(&context, spec);
        }
        if purposes.contains(&Purpose::Offer) || purposes.contains(&Purpose::State) {
            let arrival = Arrival {
                spec,
                blob,
                from,
                purposes,
            };
            // Sending fails only when the node stops.
            let _ = keeping.send(arrival).await;
        }
    }
    if !context.lifecycle.stop.is_cancelled() {
        context.lifecycle.fail("the downloads have ended".into());
    }
}

/// Tells a model's task that a blob is here that was wanted for a round, without a wait. The task checks the blob: only the task
/// knows whether the blob is an update or weights.
pub fn to_round(context: &NodeContext, spec: SpecId, blob: BlobId) {
    let Some(joined) = context.catalog.get(&spec).and_then(|model| model.joined()) else {
        return;
    };
    if let Err(TrySendError::Full(command)) = joined.inbox.try_send(ModelCommand::Arrived(blob)) {
        // A busy model must not keep the others' blobs waiting. The tasks are as few as the blobs that its machine wants.
        let inbox = joined.inbox.clone();
        context.lifecycle.tasks.spawn(async move { inbox.send(command).await });
    }
}

async fn keep(context: Arc<NodeContext>, mut arrived: mpsc::Receiver<Arrival>) {
    while let Some(Some(arrival)) = context.lifecycle.stop.run_until_cancelled(arrived.recv()).await {
        let Arrival {
            spec,
            blob,
            from,
            purposes,
        } = arrival;
        if purposes.contains(&Purpose::Offer) {
            spec_offers::arrived(&context, spec, blob, from).await;
        }
        if purposes.contains(&Purpose::State) {
            states::arrived(&context, spec, blob).await;
        }
    }
}
