//! Gossip on its way in: it is decoded, verified, judged, and handed to the model that it is about.

use std::sync::Arc;

use qres_fed::id::{CheckpointId, NodeId, SpecId};
use qres_fed::round::Input;
use tokio::sync::mpsc;
use tracing::debug;

use crate::background::spec_offers as offer;
use crate::background::spec_offers::Announced;
use crate::catalog::command::Message;
use crate::context::NodeContext;
use crate::service::states as state;
use crate::view::Event;
use qres_mesh::{GossipMessage, MeshEvent, Topic, Verdict};
use qres_store::{Owner, Store};
use qres_transfer::DownloadEvent;
use qres_wire::envelope as announce;
use qres_wire::envelope::Announcement;
use qres_wire::identity;

/// Handles the events of the mesh until the node stops.
pub async fn mesh_events(context: Arc<NodeContext>, mut events: mpsc::Receiver<MeshEvent>) {
    loop {
        let event = tokio::select! {
            () = context.stop.cancelled() => return,
            event = events.recv() => match event { Some(event) => event, None => return },
        };
        match event {
            MeshEvent::Message(message) => match message.topic {
                Topic::Epiphany => epiphany(&context, message).await,
                Topic::State => state::received(&context, message).await,
            },
            MeshEvent::Connected(node) => {
                context.downloads.nudge(node);
                context.syncer.connected(node);
            }
            MeshEvent::Disconnected(node) => debug!(%node, "disconnected"),
            MeshEvent::Heads(node, claims) => context.syncer.heads(node, claims),
            MeshEvent::Peer(view) => {
                context.events.push(Event::Peer(view));
            }
        }
    }
}

/// Handles blobs that have arrived until the node stops.
pub async fn downloads(context: Arc<NodeContext>, mut events: mpsc::Receiver<DownloadEvent>) {
    loop {
        let event = tokio::select! {
            () = context.stop.cancelled() => return,
            event = events.recv() => match event { Some(event) => event, None => return },
        };
        let DownloadEvent::Here { spec, blob, from } = event;
        context.blob_demand.arrived(&blob, spec);
        // Every part that may want the blob is told: a state that names a round's blob must not keep it from the round.
        offer::arrived(&context, spec, blob, from).await;
        state::arrived(&context, spec, blob).await;
        let Some(joined) = context.registry.get(&spec).and_then(|model| model.joined()) else {
            continue;
        };
        // The task checks the blob: only the task knows whether it is an update or weights.
        let _ = joined.inbox.send(Message::Arrived(blob)).await;
    }
}

async fn epiphany(context: &Arc<NodeContext>, message: GossipMessage) {
    let GossipMessage {
        source,
        carrier,
        token,
        data,
        ..
    } = message;
    let (announcement, traceparent) = match announce::decode(&data) {
        Ok(Some(decoded)) => decoded,
        Ok(None) => return context.mesh.report(token, Verdict::Ignore).await,
        Err(problem) => {
            debug!(%source, problem, "gossip rejected");
            return context.mesh.report(token, Verdict::Reject).await;
        }
    };
    match announcement {
        Announcement::Spec {
            id,
            bytes,
            creator,
            signature,
        } => {
            if source != creator {
                return context.mesh.report(token, Verdict::Reject).await;
            }
            // The signature covers bytes that are not here yet, so the announcement is forwarded within the author's budget,
            // unjudged.
            context.mesh.report(token, Verdict::Accept).await;
            let announced = Announced {
                id,
                bytes,
                signature,
                author: source,
                carrier,
                holders: vec![source],
                compared: false,
            };
            offer::consider(context, announced);
        }
        Announcement::Contribution(signed, inline) => {
            let (spec, parent) = (signed.record.spec, signed.record.parent);
            let valid = signed.record.author == source && identity::verify(&signed);
            if !admit(context, valid, &spec, &source, &token).await {
                return;
            }
            let update = signed.record.update;
            let kept = match inline {
                Some(bytes) => keep_inline(context, spec, bytes).await,
                None => false,
            };
            hand_on(context, spec, parent, Input::Contribution(signed), token, traceparent).await;
            if kept && let Some(joined) = context.registry.get(&spec).and_then(|model| model.joined()) {
                // The task may have wanted the update before, from peers that do not have it.
                let _ = joined.inbox.try_send(Message::Arrived(update));
            }
        }
        Announcement::Seal(signed) => {
            let (spec, parent) = (signed.record.spec, signed.record.parent);
            let valid = signed.record.sealer == source && identity::verify(&signed);
            if admit(context, valid, &spec, &source, &token).await {
                hand_on(context, spec, parent, Input::Seal(signed), token, traceparent).await;
            }
        }
        Announcement::Proof(proof) => {
            let (spec, parent) = (proof.first.record.spec, proof.parent());
            let valid = identity::verify(&proof.first) && identity::verify(&proof.second);
            let author = proof.author();
            if admit(context, valid, &spec, &author, &token).await {
                hand_on(context, spec, parent, Input::Proof(proof), token, traceparent).await;
            }
        }
    }
}

/// Rejects a record that is bad independent of what the receiver knows, and forwards one of a model that is not joined here.
/// Returns true if the model's task is to judge the record.
async fn admit(
    context: &Arc<NodeContext>,
    valid: bool,
    spec: &SpecId,
    author: &NodeId,
    token: &qres_mesh::MessageToken,
) -> bool {
    let model = context.registry.get(spec);
    let member = model.as_ref().is_none_or(|model| model.spec().admits(author));
    let verdict = if !valid || !member {
        Verdict::Reject
    } else if model.is_none_or(|model| model.joined().is_none()) {
        Verdict::Accept
    } else {
        return true;
    };
    context.mesh.report(token.clone(), verdict).await;
    false
}

/// Stores an inline update; returns true if it is in the store.
async fn keep_inline(context: &Arc<NodeContext>, spec: SpecId, bytes: Vec<u8>) -> bool {
    // The blob is not flushed: it can be fetched again from its author.
    let keep = move |store: &Store| store.blobs_of(Owner::Model(spec)).put(&bytes, false);
    let kept = context.blocking(keep).await;
    if let Err(error) = &kept {
        debug!(%error, "inline weights not kept: they are fetched instead");
    }
    kept.is_ok()
}

async fn hand_on(
    context: &Arc<NodeContext>,
    spec: SpecId,
    parent: CheckpointId,
    input: Input,
    token: qres_mesh::MessageToken,
    traceparent: Option<String>,
) {
    let Some(joined) = context.registry.get(&spec).and_then(|model| model.joined()) else {
        return;
    };
    let message = Message::Gossip {
        input,
        parent,
        token,
        traceparent,
    };
    // A busy model (for example one whose disk is full) must not keep the others' gossip waiting; it gets the missed records by
    // sync.
    if let Err(error) = joined.inbox.try_send(message)
        && let Message::Gossip { token, .. } = error.into_inner()
    {
        context.mesh.report(token, Verdict::Ignore).await;
    }
}
