//! Gossip on its way in: it is decoded, verified, judged, and handed to the model that it is about.
//!
//! The loop waits for no disk. Two tasks beside it store what messages carry: one the updates, the other the states. Each has a
//! bounded queue. When the queue is full, an update is handed on without its bytes, which are fetched then, and a state is
//! passed over: a comparison brings it.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use qres_fed::id::{BlobId, CheckpointId, NodeId, SpecId};
use qres_fed::record::{Signed, StateRecord};
use qres_fed::round::Input;
use qres_mesh::{GossipMessage, MeshEvent, MessageToken, Topic, Verdict};
use qres_store::{Owner, Store};
use qres_wire::envelope::{self, Announcement};
use qres_wire::{identity, state_envelope};
use tokio::sync::mpsc;
use tracing::debug;

use crate::background::spec_offers::{self, Announced};
use crate::background::{arrivals, states};
use crate::blob_demand::Purpose;
use crate::catalog::command::ModelCommand;
use crate::context::NodeContext;
use crate::metrics::rounds;
use crate::view::Event;

/// The most updates, and the most states, that wait for the disk: at most 32 KiB each, so 2 MiB a queue.
const STORING_MAX: usize = 64;

/// The queues of the tasks that store what messages carry.
struct Storing {
    updates: mpsc::Sender<UpdateMessage>,
    states: mpsc::Sender<StateMessage>,
    under_way: Arc<UnderWay>,
}

/// The number of records of each model that wait for an update to be stored, or wait behind one.
#[derive(Default)]
struct UnderWay(Mutex<BTreeMap<SpecId, usize>>);

impl UnderWay {
    fn begin(&self, spec: SpecId) {
        *self.0.lock().entry(spec).or_default() += 1;
    }

    fn end(&self, spec: &SpecId) {
        let mut counts = self.0.lock();
        match counts.get_mut(spec) {
            Some(count) if *count > 1 => *count -= 1,
            _ => _ = counts.remove(spec),
        }
    }

    fn has(&self, spec: &SpecId) -> bool {
        self.0.lock().contains_key(spec)
    }
}

/// A contribution whose update came in the message, or a record of the same model that came while one was stored.
struct UpdateMessage {
    spec: SpecId,
    update: Option<(BlobId, Vec<u8>)>,
    record: RecordMessage,
}

/// A state from gossip.
struct StateMessage {
    signed: Signed<StateRecord>,
    tensors: Vec<u8>,
    token: MessageToken,
}

/// Handles the events of the mesh until the node stops.
pub async fn run(context: Arc<NodeContext>, mut events: mpsc::Receiver<MeshEvent>) {
    let (updates, updates_in) = mpsc::channel(STORING_MAX);
    let (states, states_in) = mpsc::channel(STORING_MAX);
    let storing = Storing {
        updates,
        states,
        under_way: Arc::default(),
    };
    context.lifecycle.spawn_critical(
        "storing updates",
        store_updates(context.clone(), updates_in, storing.under_way.clone()),
    );
    context
        .lifecycle
        .spawn_critical("storing states", store_states(context.clone(), states_in));
    while let Some(Some(event)) = context.lifecycle.stop.run_until_cancelled(events.recv()).await {
        match event {
            MeshEvent::Message(message) => match message.topic {
                Topic::Epiphany => epiphany(&context, &storing, message).await,
                Topic::State => state(&context, &storing, message).await,
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
    // The mesh tells of its end by closing the channel.
    if !context.lifecycle.stop.is_cancelled() {
        context.lifecycle.fail("the mesh has ended".into());
    }
}

/// A record for a model's task, with what the task needs to answer for the message.
struct RecordMessage {
    input: Input,
    parent: CheckpointId,
    token: MessageToken,
    traceparent: Option<String>,
}

async fn epiphany(context: &Arc<NodeContext>, storing: &Storing, message: GossipMessage) {
    let GossipMessage {
        source,
        carrier,
        token,
        data,
        ..
    } = message;
    let (announcement, traceparent) = match envelope::decode(&data) {
        Ok(Some(decoded)) => decoded,
        Ok(None) => return context.mesh.report(token, Verdict::Ignore).await,
        Err(problem) => {
            debug!(%source, problem, "gossip rejected");
            return context.mesh.report(token, Verdict::Reject).await;
        }
    };
    let record = |input, parent, token| RecordMessage {
        input,
        parent,
        token,
        traceparent,
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
            spec_offers::consider(context, announced);
        }
        Announcement::Contribution(signed, inline) => {
            let (spec, parent) = (signed.record.spec, signed.record.parent);
            let valid = signed.record.author == source && identity::verify(&signed);
            count_refused(context, valid, &spec, &source);
            if admit(context, valid, &spec, &source, &token).await {
                let update = inline.map(|bytes| (signed.record.update, bytes));
                let record = record(Input::Contribution(signed), parent, token);
                take_in(context, storing, spec, update, record).await;
            }
        }
        Announcement::Seal(signed) => {
            let (spec, parent) = (signed.record.spec, signed.record.parent);
            let valid = signed.record.sealer == source && identity::verify(&signed);
            if admit(context, valid, &spec, &source, &token).await {
                take_in(context, storing, spec, None, record(Input::Seal(signed), parent, token)).await;
            }
        }
        Announcement::Consent(signed) => {
            let spec = signed.record.spec;
            let valid = signed.record.author == source && identity::verify(&signed);
            if admit(context, valid, &spec, &source, &token).await {
                // A consent builds on no checkpoint: checkpoint 0 is always known.
                let zero = context.catalog.get(&spec).map(|model| model.spec().zero().0);
                let parent = zero.unwrap_or(CheckpointId([0; 32]));
                take_in(
                    context,
                    storing,
                    spec,
                    None,
                    record(Input::Consent(signed), parent, token),
                )
                .await;
            }
        }
        Announcement::Proof(proof) => {
            let (spec, parent) = (proof.first.record.spec, proof.parent());
            let valid = identity::verify(&proof.first) && identity::verify(&proof.second);
            let author = proof.author();
            if admit(context, valid, &spec, &author, &token).await {
                take_in(context, storing, spec, None, record(Input::Proof(proof), parent, token)).await;
            }
        }
    }
}

/// Rejects a record that is bad independent of what the receiver knows, and forwards one of a model that is not joined here.
/// Returns true if the model's task is to judge the record.
async fn admit(context: &Arc<NodeContext>, valid: bool, spec: &SpecId, author: &NodeId, token: &MessageToken) -> bool {
    let model = context.catalog.get(spec);
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

/// Counts a contribution to a joined model that [`admit`] rejects.
fn count_refused(context: &NodeContext, valid: bool, spec: &SpecId, author: &NodeId) {
    let Some(model) = context.catalog.get(spec).filter(|model| model.joined().is_some()) else {
        return;
    };
    let verdict = match (valid, model.spec().admits(author)) {
        (false, _) => rounds::Verdict::Signature,
        (true, false) => rounds::Verdict::Membership,
        (true, true) => return,
    };
    context.metrics.rounds.contribution(&model.spec().name, verdict);
}

/// Hands a record to its model. An update that the message carried is stored first, so that it need not be fetched. The model's
/// other records wait behind it meanwhile: a seal must not overtake the contributions that it lists.
async fn take_in(
    context: &NodeContext,
    storing: &Storing,
    spec: SpecId,
    update: Option<(BlobId, Vec<u8>)>,
    record: RecordMessage,
) {
    if update.is_none() && !storing.under_way.has(&spec) {
        return hand_on(context, spec, record).await;
    }
    storing.under_way.begin(spec);
    let message = UpdateMessage { spec, update, record };
    if let Err(error) = storing.updates.try_send(message) {
        storing.under_way.end(&spec);
        hand_on(context, spec, error.into_inner().record).await;
    }
}

async fn store_updates(
    context: Arc<NodeContext>,
    mut updates: mpsc::Receiver<UpdateMessage>,
    under_way: Arc<UnderWay>,
) {
    while let Some(Some(message)) = context.lifecycle.stop.run_until_cancelled(updates.recv()).await {
        let UpdateMessage { spec, update, record } = message;
        let kept = match update {
            Some((blob, bytes)) => keep(&context, spec, bytes).await.then_some(blob),
            None => None,
        };
        hand_on(&context, spec, record).await;
        under_way.end(&spec);
        // The task may have wanted the update before, from peers that do not have it. One that was not wanted needs no notice:
        // a flood of updates for a busy model would leave a waiting notice for each.
        if let Some(blob) = kept
            && context.blob_demand.take(&blob, spec, Purpose::Round)
        {
            arrivals::to_round(&context, spec, blob);
        }
    }
}

async fn state(context: &NodeContext, storing: &Storing, message: GossipMessage) {
    let GossipMessage {
        source, token, data, ..
    } = message;
    let refused = match state_envelope::read(&data) {
        Some((signed, tensors)) if signed.record.publisher == source => {
            let state = StateMessage { signed, tensors, token };
            match storing.states.try_send(state) {
                Ok(()) => return,
                Err(error) => (error.into_inner().token, Verdict::Ignore),
            }
        }
        _ => (token, Verdict::Reject),
    };
    context.mesh.report(refused.0, refused.1).await;
}

async fn store_states(context: Arc<NodeContext>, mut states: mpsc::Receiver<StateMessage>) {
    while let Some(Some(state)) = context.lifecycle.stop.run_until_cancelled(states.recv()).await {
        let publisher = state.signed.record.publisher;
        let verdict = states::take(&context, state.signed, state.tensors, publisher).await;
        context.mesh.report(state.token, verdict).await;
    }
}

/// Stores the update that a message carried; returns true if it is in the store.
async fn keep(context: &NodeContext, spec: SpecId, bytes: Vec<u8>) -> bool {
    // The blob is not flushed: it can be fetched again from its author.
    let put = move |store: &Store| store.blobs_of(Owner::Model(spec)).put(&bytes, false);
    let kept = context.disk.blocking(put).await;
    if let Err(error) = &kept {
        debug!(%error, "inline weights not kept: they are fetched instead");
    }
    kept.is_ok()
}

async fn hand_on(context: &NodeContext, spec: SpecId, record: RecordMessage) {
    let Some(joined) = context.catalog.get(&spec).and_then(|model| model.joined()) else {
        return;
    };
    let RecordMessage {
        input,
        parent,
        token,
        traceparent,
    } = record;
    let command = ModelCommand::Gossip {
        input,
        parent,
        token,
        traceparent,
    };
    // A busy model (for example one whose disk is full) must not keep the others' gossip waiting; it gets the missed records by
    // sync.
    if let Err(error) = joined.inbox.try_send(command)
        && let ModelCommand::Gossip { token, .. } = error.into_inner()
    {
        context.mesh.report(token, Verdict::Ignore).await;
    }
}
