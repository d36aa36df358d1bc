//! Keeps the disk bounded: removes blobs that nothing refers to, forgets what has expired.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use qres_fed::id::BlobId;
use qres_fed::round::SubmissionState;
use tracing::{debug, warn};

use super::Core;
use crate::clock::unix_ms;
use crate::error::NodeError;
use crate::store::Store;

/// At least this long between two collections: a fast model moves its head many times a second.
const PAUSE: Duration = Duration::from_secs(2);
/// Even when no head moves: partial uploads and expired submissions go too.
const PERIOD: Duration = Duration::from_secs(60);
/// A cut upload can be resumed that long.
const UPLOAD_KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// What became of a submission is answered that long after it is final.
const SUBMISSION_KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// Collects until the node stops.
pub async fn run(core: Arc<Core>) {
    loop {
        tokio::select! {
            () = core.stop.cancelled() => return,
            () = core.garbage.notified() => {}
            () = tokio::time::sleep(PERIOD) => expire(&core).await,
        }
        if let Err(error) = collect(&core).await {
            warn!(%error, "blobs were not collected: tried again later");
        }
        tokio::select! {
            () = core.stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn expire(core: &Arc<Core>) {
    let before = unix_ms().saturating_sub(SUBMISSION_KEPT_MS);
    let expired = core
        .blocking(move |store| {
            store.blobs().collect_uploads(UPLOAD_KEPT)?;
            store.blobs().collect_partials(UPLOAD_KEPT)?;
            store.expire(before)
        })
        .await;
    if let Err(error) = expired {
        warn!(%error, "expired submissions were not removed: tried again later");
    }
}

/// Nothing can be finished and unreferenced while this runs: whoever finishes a blob holds `in_flight` for reading until
/// something refers to it.
async fn collect(core: &Arc<Core>) -> Result<(), NodeError> {
    let exclusive = core.in_flight.clone().write_owned().await;
    let mut live = core.states.live_blobs();
    let mut relied_on = BTreeSet::new();
    let mut joined_ids = vec![];
    for model in core.registry.all() {
        live.insert(BlobId::from(model.id));
        if let Some(joined) = model.joined() {
            live.insert(model.spec().checkpoint0);
            joined_ids.push(model.id);
            let heads = *joined.heads.borrow();
            relied_on.extend([heads.head.weights, heads.confirmed.weights]);
            live.extend(joined.ask(|machine| machine.live_blobs()).await?);
        }
    }
    let removed = core
        .blocking(move |store| {
            // Held until the last file is gone.
            let _exclusive = exclusive;
            for spec in joined_ids {
                let open = store.open_submissions(spec)?;
                live.extend(
                    open.into_iter()
                        .filter(|s| s.state == SubmissionState::Pending)
                        .map(|s| s.blob),
                );
            }
            // An author's own update may go once the checkpoint that holds it is on the disk for good.
            for blob in relied_on.iter().filter(|blob| store.blobs().contains(blob)) {
                store.blobs().sync(blob)?;
            }
            remove_dead(store, &live)
        })
        .await?;
    for blob in &removed {
        core.registry.disown(blob);
    }
    if !removed.is_empty() {
        debug!(blobs = removed.len(), "collected");
    }
    Ok(())
}

fn remove_dead(store: &Store, live: &BTreeSet<BlobId>) -> Result<Vec<BlobId>, NodeError> {
    let mut removed = vec![];
    for (blob, _) in store.blobs().list()? {
        if !live.contains(&blob) {
            store.blobs().remove(&blob)?;
            removed.push(blob);
        }
    }
    Ok(removed)
}
