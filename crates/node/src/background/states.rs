//! States on their way in: from gossip, from sync, and from downloads.

use std::sync::Arc;

use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::{Signed, StateRecord};
use qres_mesh::Verdict;
use qres_store::Owner;
use qres_transfer::DownloadRequest;
use qres_wire::state_envelope::{self, STATE_BYTES_MAX};
use tracing::debug;

use crate::blob_demand::Purpose;
use crate::context::NodeContext;
use crate::service::states::accept;
use crate::states::NAMES_PER_PUBLISHER;

/// Takes a state from sync.
pub async fn consider(context: &Arc<NodeContext>, holder: NodeId, data: Vec<u8>) {
    if let Some((signed, inline)) = state_envelope::read(&data) {
        take(context, signed, inline, holder).await;
    }
}

/// Takes a state that `holder` has, or has sent with its tensors; returns the verdict on its message.
pub async fn take(context: &Arc<NodeContext>, signed: Signed<StateRecord>, inline: Vec<u8>, holder: NodeId) -> Verdict {
    let record = signed.record.clone();
    let Some(model) = context.catalog.get(&record.spec) else {
        return Verdict::Accept;
    };
    if !model.spec().admits(&record.publisher) {
        return Verdict::Reject;
    }
    if model.joined().is_none() {
        return Verdict::Accept;
    }
    let key = (record.spec, record.publisher, record.name.clone());
    let newest = context.states.newest(&key);
    let full = newest.is_none() && context.states.names(record.spec, record.publisher) >= NAMES_PER_PUBLISHER;
    if full || newest.is_some_and(|newest| newest >= record.sequence) {
        return Verdict::Ignore;
    }
    let Ok(given_up) = context.states.pending().take(signed) else {
        return Verdict::Ignore;
    };
    for old in given_up {
        context.give_up_state(&old);
    }
    if inline.is_empty() {
        fetch(context, &record, holder);
        return Verdict::Accept;
    }
    // The state is pending, so the collector leaves its blob.
    let owner = Owner::Model(record.spec);
    match context
        .disk
        .blocking(move |store| store.blobs_of(owner).put(&inline, false))
        .await
    {
        Ok(_) => arrived(context, record.spec, record.blob).await,
        Err(error) => {
            debug!(%error, "inline tensors not kept: they are fetched instead");
            fetch(context, &record, holder);
        }
    }
    Verdict::Accept
}

fn fetch(context: &Arc<NodeContext>, record: &StateRecord, holder: NodeId) {
    let want = DownloadRequest {
        spec: record.spec,
        blob: record.blob,
        bytes: Some(record.bytes),
        bytes_max: STATE_BYTES_MAX,
        holders: vec![record.publisher, holder],
        owed_by: None,
        traceparent: None,
    };
    let ask = || context.downloads.want(want);
    context.blob_demand.want(record.blob, record.spec, Purpose::State, ask);
}

/// Keeps the pending states whose tensors are in the blob that came.
pub async fn arrived(context: &Arc<NodeContext>, spec: SpecId, blob: BlobId) {
    if !context.states.pending().names(spec, &blob) {
        return;
    }
    // Between pending and kept, a state is in neither for a moment.
    let guard = context.disk.keep_new_blobs().await;
    let here = context.states.pending().arrived(spec, &blob);
    for signed in here {
        let model = context.catalog.get(&spec);
        if model.is_none_or(|model| model.joined().is_none()) {
            continue;
        }
        if let Err(error) = accept(context, signed).await {
            debug!(%spec, %blob, %error, "a state is not usable: ignored");
        }
    }
    drop(guard);
}
