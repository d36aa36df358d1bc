//! State embeddings: they are published with a measured fidelity, kept (the last few of each name), and synced to late joiners.

use std::sync::Arc;

use bytes::Bytes;
use qres_fed::id::BlobId;
use qres_fed::record::{Membership, Rule, Signed, StateRecord};
use qres_fed::round::BaseError;
use qres_mesh::Topic;
use qres_store::{Owner, StoredState, Write};
use qres_wire::clock::unix_ms;
use qres_wire::envelope::INLINE_BYTES_MAX;
use qres_wire::state_envelope::{FIDELITY_MIN, STATE_BYTES_MAX, envelope};

use crate::context::NodeContext;
use crate::error::{NodeError, Reason};
use crate::refusal::{base_refused, tensors_refused};
use crate::request::PublishState;
use crate::states::NAMES_PER_PUBLISHER;
use crate::view::{Event, StateView};

/// The most bytes of one state's tensors once decoded: f32 where int8 was coded.
const DECODED_BYTES_MAX: u64 = 4 * STATE_BYTES_MAX;

/// Codes, stores and announces a trainer's state.
pub async fn publish(context: &Arc<NodeContext>, publish: PublishState) -> Result<StateView, NodeError> {
    context.lifecycle.refuse_if_draining()?;
    let (model, _) = context.catalog.find_joined(&publish.model)?;
    let me = context.identity.node();
    if !model.spec().admits(&me) {
        return Err(base_refused(BaseError::NotMember));
    }
    StateRecord::check_name(&publish.name).map_err(|error| NodeError::invalid("name", error.to_string()))?;
    let codec = publish.codec.unwrap_or_else(|| Rule::new("bf16/1"));
    let tensors = publish.tensors.clone();
    let coded = context
        .disk
        .blocking(move |_| qres_fed::state::encode(&tensors, &codec))
        .await;
    let (coded, fidelity) = coded.map_err(tensors_refused)?;
    if fidelity <= FIDELITY_MIN {
        return Err(NodeError::invalid(
            "codec",
            format!(
                "the fidelity reached is {fidelity:.6}, it must be above {FIDELITY_MIN}: choose a finer codec (bf16/1, f16/1 or none/1)"
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
    let guard = context.disk.keep_new_blobs().await;
    let owner = Owner::Model(model.id);
    context
        .disk
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
pub async fn accept(context: &Arc<NodeContext>, signed: Signed<StateRecord>) -> Result<StateView, NodeError> {
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
    context.disk.blocking(move |store| store.commit(writes)).await?;
    context.events.push(Event::State(view.clone()));
    Ok(view)
}

/// Returns the [`StateView`] of a kept state, with its tensors decoded.
pub async fn view(context: &Arc<NodeContext>, record: &StateRecord) -> Result<StateView, NodeError> {
    let (blob, bytes, owner) = (record.blob, record.bytes, Owner::Model(record.spec));
    let decoded = context
        .disk
        .blocking(move |store| {
            // The limits count the length in the record, so a blob of another length is not used.
            let coded = store
                .blobs_of(owner)
                .read(&blob)
                .filter(|coded| coded.len() as u64 == bytes)?;
            qres_fed::state::decode(&coded, DECODED_BYTES_MAX).ok()
        })
        .await;
    let tensors = decoded.ok_or_else(|| NodeError::new(Reason::State, "the state's tensors cannot be read"))?;
    let model = context.catalog.get(&record.spec);
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
