//! The collector keeps the disk bounded: it removes blobs that nothing refers to, and forgets what has expired.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use qres_fed::id::BlobId;
use qres_fed::round::SubmissionState;
use qres_store::{Owner, ReusableFiles, Store};
use qres_wire::clock::unix_ms;
use tokio::time::{MissedTickBehavior, timeout};
use tracing::{debug, warn};

use crate::context::NodeContext;
use crate::error::NodeError;
use crate::revisions;

/// The least time between two collections: a fast model moves its head many times a second.
const PAUSE: Duration = Duration::from_secs(2);
/// The longest time between two collections while no head moves: partial uploads and expired submissions must go, too.
const PERIOD: Duration = Duration::from_secs(60);
/// The longest wait for work in flight to end, and for a model's answer: while the collector waits, uploads and jobs wait
/// behind it, and a busy model may not answer for long.
const EXCLUSIVE_MAX: Duration = Duration::from_secs(5);
/// The time for which an interrupted upload can be resumed.
const UPLOAD_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// The time for which a file to write over is kept: a round that has not needed it by then will not come soon.
const SPARE_KEPT: Duration = Duration::from_secs(10 * 60);
/// The time for which a final submission can still be asked for, in ms: 7 days.
const SUBMISSION_KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// Collects until the node stops, at most once in [`PAUSE`].
pub async fn run(context: Arc<NodeContext>) {
    // An interval, not a sleep: heads that move more often than the period must not delay it for ever.
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = context.lifecycle.stop.cancelled() => return,
            _ = period.tick() => expire(&context).await,
            () = context.disk.garbage.notified() => {}
        }
        if let Err(error) = collect(&context).await {
            warn!(%error, "blobs were not collected: tried again later");
        }
        tokio::select! {
            () = context.lifecycle.stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn expire(context: &Arc<NodeContext>) {
    let before = unix_ms().saturating_sub(SUBMISSION_KEPT_MS);
    let revision = context.events.revision();
    let expired = context
        .disk
        .blocking(move |store| {
            revisions::reserve_above(store, revision)?;
            store.blobs().collect_uploads(UPLOAD_KEPT)?;
            store.blobs().collect_partials(UPLOAD_KEPT)?;
            store.blobs().collect_spares(SPARE_KEPT);
            store.expire(before)
        })
        .await;
    if let Err(error) = expired {
        warn!(%error, "expired submissions were not removed: tried again later");
    }
}

/// Removes the blobs that nothing refers to. While it holds [`Disk::in_flight`](crate::disk::Disk::in_flight), no blob can be
/// finished and unreferenced: a writer of a new blob holds the lock for reading until something refers to the blob.
async fn collect(context: &Arc<NodeContext>) -> Result<(), NodeError> {
    // The long flush comes first, without the lock, so that no caller waits for it.
    flush(context, heads(context)).await?;
    let Ok(exclusive) = timeout(EXCLUSIVE_MAX, context.disk.in_flight.clone().write_owned()).await else {
        debug!("work is in flight: collected later");
        return Ok(());
    };
    let mut live = context.states.live_blobs();
    let specs = |blobs: Vec<BlobId>| blobs.into_iter().map(|blob| (Owner::Specs, blob));
    live.extend(specs(context.offers.live_blobs()));
    live.extend(specs(
        context
            .catalog
            .heard()
            .all()
            .map(|heard| BlobId::from(heard.id))
            .collect(),
    ));
    let mut joined_ids = vec![];
    for model in context.catalog.all() {
        live.extend(specs(vec![BlobId::from(model.id)]));
        if let Some(joined) = model.joined() {
            let own = Owner::Model(model.id);
            live.insert((own, model.spec().checkpoint0));
            live.extend(model.spec().fixed.map(|blob| (own, blob)));
            // A model whose members change may end before merged work is in a checkpoint; its successor then needs the work.
            let changes = !joined.changes.lock().is_empty();
            joined_ids.push((model.id, changes));
            let Ok(held) = timeout(EXCLUSIVE_MAX, joined.ask(|machine| machine.live_blobs())).await else {
                debug!(model = %model.spec().name, "the model is busy: collected later");
                return Ok(());
            };
            let Ok(held) = held else {
                debug!(model = %model.spec().name, "the model is being left, or the node stops: collected later");
                return Ok(());
            };
            live.extend(held.into_iter().map(|blob| (own, blob)));
            // Read before the stored submissions: a submission that is stored meanwhile is in one of the two.
            let unstored = joined.unstored.lock();
            live.extend(unstored.iter().map(|blob| (Owner::Node, *blob)));
        }
    }
    let relied_on = heads(context);
    let retired = context
        .disk
        .blocking(move |store| {
            // The lock is held until the last dead file is retired.
            let _exclusive = exclusive;
            for (spec, changes) in joined_ids {
                let best = store.best(spec)?;
                let best = best.iter().flat_map(|(_, best)| best.content.blobs());
                live.extend(best.map(|(_, blob)| (Owner::Model(spec), blob)));
                let personal = store.all_personal(spec)?;
                live.extend(personal.into_iter().map(|blob| (Owner::Node, blob)));
                let open = store.open_submissions(spec)?;
                live.extend(
                    open.into_iter()
                        .filter(|s| changes || s.state == SubmissionState::Pending)
                        .map(|s| (Owner::Node, s.blob)),
                );
            }
            sync_all(store, &relied_on)?;
            retire_dead(store, &live)
        })
        .await?;
    let removed = retired.blobs();
    context.metrics.collected(removed);
    let tidy = move |store: &Store| {
        store.blobs().keep_spare(retired)?;
        store.blobs().remove_empty();
        Ok::<_, NodeError>(())
    };
    context.disk.blocking(tidy).await?;
    if removed > 0 {
        debug!(blobs = removed, "collected");
    }
    Ok(())
}

/// Returns the heads' blobs, which a node relies on: an author's own update may go once the checkpoint that holds it is on the disk
/// for good.
fn heads(context: &NodeContext) -> BTreeSet<(Owner, BlobId)> {
    let joined = context
        .catalog
        .all()
        .into_iter()
        .filter_map(|model| Some((model.id, model.joined()?)));
    joined
        .flat_map(|(id, joined)| {
            let heads = *joined.heads.borrow();
            let contents = [heads.head.content, heads.confirmed.content];
            contents.into_iter().flat_map(move |content| {
                content
                    .blobs()
                    .map(move |(_, blob)| (Owner::Model(id), blob))
                    .collect::<Vec<_>>()
            })
        })
        .collect()
}

async fn flush(context: &Arc<NodeContext>, blobs: BTreeSet<(Owner, BlobId)>) -> Result<(), NodeError> {
    context.disk.blocking(move |store| sync_all(store, &blobs)).await
}

fn sync_all(store: &Store, blobs: &BTreeSet<(Owner, BlobId)>) -> Result<(), NodeError> {
    for (owner, blob) in blobs {
        let blobs = store.blobs_of(*owner);
        if blobs.contains(blob) {
            blobs.sync(blob)?;
        }
    }
    Ok(())
}

fn retire_dead(store: &Store, live: &BTreeSet<(Owner, BlobId)>) -> Result<ReusableFiles, NodeError> {
    let held = store.blobs().list()?.into_iter().map(|(owner, blob, _)| (owner, blob));
    let dead: Vec<_> = held.filter(|held| !live.contains(held)).collect();
    Ok(store.blobs().retire(&dead)?)
}
