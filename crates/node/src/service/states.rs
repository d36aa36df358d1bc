//! State embeddings: they are published with a measured fidelity, kept (the last few of each name), and synced to late joiners.

mod pending;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pending::Pending;
use prost::Message as _;
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::{Canonical, Membership, Rule, Signature, Signed, StateRecord};
use tracing::debug;

use crate::blob_demand::Purpose;
use crate::context::NodeContext;
use crate::error::{NodeError, Reason};
use crate::handle::PublishState;
use crate::service::submit;
use crate::view::{Event, StateView};
use qres_mesh::{GossipMessage, Topic, Verdict};
use qres_store::{Owner, StoredState, Write};
use qres_transfer::DownloadRequest;
use qres_wire::clock::unix_ms;
use qres_wire::envelope::INLINE_BYTES_MAX;
use qres_wire::{identity, pb as wire};

/// The fidelity that the state of every publisher must exceed, as the protocol promises.
const FIDELITY_MIN: f64 = 0.99;
/// The most bytes of one state's coded tensors.
const STATE_BYTES_MAX: u64 = 16 << 20;
/// The most bytes of one state's tensors once decoded: f32 where int8 was coded.
const DECODED_BYTES_MAX: u64 = 4 * STATE_BYTES_MAX;
/// The most states kept of each publisher and name.
const KEPT_PER_NAME: usize = 4;
/// The most names of one publisher under one model.
const NAMES_PER_PUBLISHER: usize = 64;
/// The most bytes of all states of one model: above it, the publisher that has most gives up its oldest.
const MODEL_BYTES_MAX: u64 = 256 << 20;
/// The least bytes that a state counts for, so that many tiny ones are bounded, too: 16,384 a model.
const STATE_BYTES_MIN: u64 = 16 << 10;

type Key = (SpecId, NodeId, String);

fn key(record: &StateRecord) -> Key {
    (record.spec, record.publisher, record.name.clone())
}

struct HeldState {
    signed: Signed<StateRecord>,
}

/// The states that are kept, and those on their way.
#[derive(Default)]
pub struct States {
    kept: Mutex<BTreeMap<Key, BTreeMap<u64, HeldState>>>,
    pending: Mutex<Pending>,
}

impl States {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<Key, BTreeMap<u64, HeldState>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the states from the store, at the start.
    pub fn restore(&self, stored: Vec<StoredState>) {
        for state in stored {
            if let Some((signed, _)) = read(&state.envelope) {
                self.keep(signed);
            }
        }
    }

    fn newest(&self, key: &Key) -> Option<u64> {
        self.kept()
            .get(key)
            .and_then(|by_sequence| by_sequence.keys().next_back().copied())
    }

    fn names(&self, spec: SpecId, publisher: NodeId) -> usize {
        self.kept()
            .keys()
            .filter(|(s, p, _)| *s == spec && *p == publisher)
            .count()
    }

    fn keep(&self, signed: Signed<StateRecord>) {
        let (key, sequence) = (key(&signed.record), signed.record.sequence);
        self.kept()
            .entry(key)
            .or_default()
            .insert(sequence, HeldState { signed });
    }

    /// Takes out and returns the states beyond the limits [`KEPT_PER_NAME`] and [`MODEL_BYTES_MAX`].
    fn prune(&self, spec: SpecId) -> Vec<StateRecord> {
        let mut kept = self.kept();
        let mut gone = vec![];
        for by_sequence in kept.iter_mut().filter(|((s, ..), _)| *s == spec).map(|(_, v)| v) {
            while by_sequence.len() > KEPT_PER_NAME {
                gone.extend(by_sequence.pop_first().map(|(_, old)| old.signed.record));
            }
        }
        // Not the oldest state of all goes: timestamps are the publishers' own, and one publisher must not push out the others'
        // states.
        while let Some(publisher) = too_large(&kept, spec) {
            let of_publisher = kept.iter_mut().filter(|((s, p, _), _)| (*s, *p) == (spec, publisher));
            let oldest = of_publisher
                .map(|(_, v)| v)
                .min_by_key(|v| v.keys().next().copied().unwrap_or(u64::MAX));
            let Some((_, old)) = oldest.and_then(BTreeMap::pop_first) else {
                break;
            };
            gone.push(old.signed.record);
            kept.retain(|_, by_sequence| !by_sequence.is_empty());
        }
        gone
    }

    /// Returns the blobs that must stay.
    pub fn live_blobs(&self) -> BTreeSet<(Owner, BlobId)> {
        let kept = self.kept();
        let owned = |record: &StateRecord| (Owner::Model(record.spec), record.blob);
        let mut live: BTreeSet<_> = kept
            .values()
            .flat_map(|v| v.values())
            .map(|state| owned(&state.signed.record))
            .collect();
        live.extend(self.pending().states.values().map(|(_, signed)| owned(&signed.record)));
        live
    }

    /// Returns the newest state of each publisher and name, for a watcher's snapshot.
    pub fn newest_of(&self, spec: SpecId) -> Vec<StateRecord> {
        let kept = self.kept();
        let of_model = kept.iter().filter(|((s, ..), _)| *s == spec);
        of_model
            .filter_map(|(_, v)| v.values().next_back().map(|state| state.signed.record.clone()))
            .collect()
    }

    /// Forgets the states of a model.
    pub fn leave(&self, context: &NodeContext, spec: SpecId) {
        self.kept().retain(|(s, ..), _| *s != spec);
        for record in self.pending().leave(spec) {
            give_up(context, &record);
        }
    }
}

/// Returns the publisher whose states of a model are to give way, if all together are too large.
fn too_large(kept: &BTreeMap<Key, BTreeMap<u64, HeldState>>, spec: SpecId) -> Option<NodeId> {
    let mut by_publisher = BTreeMap::<NodeId, u64>::new();
    for ((s, publisher, _), states) in kept {
        if *s == spec {
            let bytes = states
                .values()
                .map(|state| state.signed.record.bytes.max(STATE_BYTES_MIN));
            *by_publisher.entry(*publisher).or_default() += bytes.sum::<u64>();
        }
    }
    if by_publisher.values().sum::<u64>() <= MODEL_BYTES_MAX {
        return None;
    }
    by_publisher
        .into_iter()
        .max_by_key(|(_, bytes)| *bytes)
        .map(|(publisher, _)| publisher)
}

fn give_up(context: &NodeContext, record: &StateRecord) {
    let cancel = || context.downloads.cancel(record.spec, record.blob);
    context
        .blob_demand
        .forget(&record.blob, record.spec, Purpose::State, cancel);
}

fn envelope(signed: &Signed<StateRecord>, tensors: Vec<u8>) -> Vec<u8> {
    wire::StateEnvelope {
        body: signed.record.to_canonical(),
        signature: signed.signature.0.to_vec(),
        tensors,
        traceparent: qres_wire::trace::traceparent(&tracing::Span::current()).unwrap_or_default(),
    }
    .encode_to_vec()
}

/// Decodes and verifies an envelope; `None` means that it is bad, independent of what the receiver knows.
pub fn read(data: &[u8]) -> Option<(Signed<StateRecord>, Vec<u8>)> {
    let envelope = wire::StateEnvelope::decode(data).ok()?;
    let record = StateRecord::from_canonical(&envelope.body).ok()?;
    let signed = Signed {
        record,
        signature: Signature(envelope.signature.try_into().ok()?),
    };
    let record = &signed.record;
    let shaped = StateRecord::check_name(&record.name).is_ok()
        && record.bytes <= STATE_BYTES_MAX
        && record.fidelity > FIDELITY_MIN
        && record.fidelity <= 1.0
        && (envelope.tensors.is_empty()
            || (envelope.tensors.len() <= INLINE_BYTES_MAX && BlobId::of(&envelope.tensors) == record.blob));
    (shaped && identity::verify(&signed)).then_some((signed, envelope.tensors))
}

/// Codes, stores and announces a trainer's state.
pub async fn publish(context: &Arc<NodeContext>, publish: PublishState) -> Result<StateView, NodeError> {
    context.refuse_if_draining()?;
    let (model, _) = context.registry.find_joined(&publish.model)?;
    let me = context.identity.node();
    if !model.spec().admits(&me) {
        return Err(submit::base_refused(qres_fed::round::BaseError::NotMember));
    }
    StateRecord::check_name(&publish.name).map_err(|error| NodeError::invalid("name", error.to_string()))?;
    let codec = publish.codec.unwrap_or_else(|| Rule::new("bf16/1"));
    let tensors = publish.tensors.clone();
    let coded = context
        .blocking(move |_| qres_fed::state::encode(&tensors, &codec))
        .await;
    let (coded, fidelity) = coded.map_err(submit::tensors_refused)?;
    if fidelity <= FIDELITY_MIN {
        return Err(NodeError::invalid(
            "codec",
            format!(
                "the fidelity reached is {fidelity:.6}, it must be above {FIDELITY_MIN}: choose a finer codec (bf16/1 or none/1)"
            ),
        ));
    }
    if coded.len() as u64 > STATE_BYTES_MAX {
        return Err(NodeError::invalid(
            "data",
            format!(
                "{} bytes once coded: a state has at most {STATE_BYTES_MAX}",
                coded.len()
            ),
        ));
    }
    let key = (model.id, me, publish.name.clone());
    let newest = context.states.newest(&key);
    if newest.is_none() && context.states.names(model.id, me) >= NAMES_PER_PUBLISHER {
        return Err(NodeError::new(
            Reason::StateNamesFull,
            format!("this node already publishes {NAMES_PER_PUBLISHER} states under this model: reuse a name"),
        )
        .field("name"));
    }
    let record = StateRecord {
        spec: model.id,
        publisher: me,
        name: publish.name,
        // The sequence is above every earlier one, even when this node has forgotten them.
        sequence: newest.map_or(0, |n| n.saturating_add(1)).max(unix_ms()),
        timestamp_unix_ms: publish.timestamp_unix_ms.unwrap_or_else(unix_ms),
        fidelity,
        blob: BlobId::of(&coded),
        bytes: coded.len() as u64,
    };
    let signed = context.identity.sign(record);
    let inline = model.spec().membership == Membership::Open && coded.len() <= INLINE_BYTES_MAX;
    let data = envelope(&signed, if inline { coded.clone() } else { vec![] });
    let guard = context.in_flight.clone().read_owned().await;
    let owner = Owner::Model(model.id);
    context
        .blocking(move |store| store.blobs_of(owner).put(&coded, true))
        .await?;
    let view = accept(context, signed).await?;
    drop(guard);
    if let Err(error) = context.mesh.publish(Topic::State, data).await {
        tracing::warn!(%error, "cannot announce a state; peers will learn of it by sync");
    }
    Ok(view)
}

/// Keeps a state whose tensors are here, and tells watchers ([`Event::State`]).
async fn accept(context: &Arc<NodeContext>, signed: Signed<StateRecord>) -> Result<StateView, NodeError> {
    let view = view(context, &signed.record).await?;
    let record = &signed.record;
    let stored = StoredState {
        spec: record.spec,
        publisher: record.publisher,
        name: record.name.clone(),
        sequence: record.sequence,
        // Tensors live in the blob store, so the kept envelope is small.
        envelope: envelope(&signed, vec![]),
    };
    let spec = record.spec;
    context.states.keep(signed);
    let mut writes = vec![Write::State(stored)];
    for old in context.states.prune(spec) {
        writes.push(Write::ForgetState {
            spec,
            publisher: old.publisher,
            name: old.name,
            sequence: old.sequence,
        });
    }
    context.blocking(move |store| store.commit(writes)).await?;
    context.events.push(Event::State(view.clone()));
    Ok(view)
}

/// Returns the [`StateView`] of a kept state, with its tensors decoded.
pub async fn view(context: &Arc<NodeContext>, record: &StateRecord) -> Result<StateView, NodeError> {
    let (blob, bytes, owner) = (record.blob, record.bytes, Owner::Model(record.spec));
    let decoded = context
        .blocking(move |store| {
            // The limits count the length in the record, so a blob of another length is not used.
            let coded = crate::model::task::read_whole(&store.blobs_of(owner), &blob)
                .filter(|coded| coded.len() as u64 == bytes)?;
            qres_fed::state::decode(&coded, DECODED_BYTES_MAX).ok()
        })
        .await;
    let tensors = decoded.ok_or_else(|| NodeError::new(Reason::State, "the state's tensors cannot be read"))?;
    let model = context.registry.get(&record.spec);
    let model = model.ok_or_else(|| NodeError::new(Reason::ModelUnknown, "the state's model is gone"))?;
    Ok(StateView {
        spec: record.spec,
        model: model.spec().name.clone(),
        publisher: record.publisher,
        name: record.name.clone(),
        sequence: record.sequence,
        timestamp_unix_ms: record.timestamp_unix_ms,
        fidelity: record.fidelity,
        tensors: Bytes::from(tensors),
    })
}

/// Takes a state from gossip.
pub async fn received(context: &Arc<NodeContext>, message: GossipMessage) {
    let verdict = match read(&message.data) {
        Some((signed, inline)) if signed.record.publisher == message.source => {
            take(context, signed, inline, message.source).await
        }
        _ => Verdict::Reject,
    };
    context.mesh.report(message.token, verdict).await;
}

/// Takes a state from sync.
pub async fn consider(context: &Arc<NodeContext>, holder: NodeId, data: Vec<u8>) {
    if let Some((signed, inline)) = read(&data) {
        take(context, signed, inline, holder).await;
    }
}

async fn take(context: &Arc<NodeContext>, signed: Signed<StateRecord>, inline: Vec<u8>, holder: NodeId) -> Verdict {
    let record = signed.record.clone();
    let Some(model) = context.registry.get(&record.spec) else {
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
        give_up(context, &old);
    }
    if inline.is_empty() {
        fetch(context, &record, holder);
        return Verdict::Accept;
    }
    // The state is pending, so the collector leaves its blob.
    let owner = Owner::Model(record.spec);
    match context
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
    let guard = context.in_flight.clone().read_owned().await;
    let here = context.states.pending().arrived(spec, &blob);
    for signed in here {
        let model = context.registry.get(&spec);
        if model.is_none_or(|model| model.joined().is_none()) {
            continue;
        }
        if let Err(error) = accept(context, signed).await {
            debug!(%spec, %blob, %error, "a state is not usable: ignored");
        }
    }
    drop(guard);
}
