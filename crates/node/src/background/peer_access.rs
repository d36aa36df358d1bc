//! The records, blobs and states that this node lets its peers read.

use std::sync::Arc;

use futures::future::BoxFuture;
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::Signature;
use qres_fed::round::{Machine, RecordId};
use qres_transfer::{ContentProvider, Record, SpecOffer};
use tracing::warn;

use crate::archive;
use crate::catalog::joined::Joined;
use crate::catalog::known::Known;
use crate::context::NodeContext;

/// The engine's implementation of [`ContentProvider`].
pub struct PeerAccess {
    /// The engine whose holdings are served.
    pub context: Arc<NodeContext>,
}

impl PeerAccess {
    fn readable(&self, peer: &NodeId, spec: &SpecId) -> Option<Arc<Joined>> {
        let model = self.context.catalog.get(spec)?;
        if model.readable_by(peer) { model.joined() } else { None }
    }
}

impl ContentProvider for PeerAccess {
    fn may_read(&self, peer: &NodeId, spec: &SpecId, blob: &BlobId) -> bool {
        self.context.catalog.may_read(peer, spec, blob)
    }

    fn is_member(&self, peer: &NodeId) -> bool {
        self.context.mesh.is_member(peer)
    }

    fn specs(&self) -> BoxFuture<'_, Vec<SpecOffer>> {
        let offers = self.context.catalog.known().into_iter().map(|model| {
            let (bytes, signature) = match &model {
                Known::Here(model) => (model.spec_bytes, model.signed.signature),
                Known::Heard(heard) => (heard.spec_bytes, heard.signature),
            };
            SpecOffer {
                spec: model.id(),
                bytes,
                name: model.name().to_string(),
                creator: model.creator(),
                signature,
            }
        });
        // A successor that this node computed itself may have no signature: its creator offers it when it is back.
        let offers = offers.filter(|offer| offer.signature != Signature::NONE);
        Box::pin(std::future::ready(offers.collect()))
    }

    fn record_ids(&self, peer: NodeId, spec: SpecId, above: u64) -> BoxFuture<'_, Option<Vec<(u64, RecordId)>>> {
        Box::pin(async move {
            let joined = self.readable(&peer, &spec)?;
            let held = |machine: &Machine| {
                let ids: Vec<_> = machine.records().iter().rev().take(archive::IDS_MAX).copied().collect();
                (ids, machine.root_round())
            };
            let (mut ids, root) = joined.ask_durable(held).await.ok()?;
            if above < root {
                archive::add_ids(&self.context.disk, spec, above, &mut ids).await.ok()?;
            }
            Some(ids)
        })
    }

    fn records(&self, peer: NodeId, spec: SpecId, ids: Vec<RecordId>) -> BoxFuture<'_, Vec<Record>> {
        Box::pin(async move {
            let Some(joined) = self.readable(&peer, &spec) else {
                return vec![];
            };
            let find = move |machine: &Machine| {
                let (mut found, mut others) = (vec![], vec![]);
                for id in ids {
                    match record(machine, &id) {
                        Some(record) => found.push(record),
                        None => others.push(id),
                    }
                }
                (found, others)
            };
            let Ok((mut found, others)) = joined.ask_durable(find).await else {
                return vec![];
            };
            if !others.is_empty() {
                // The archived records go first: they are older than those in memory, which build on them.
                match archive::records(&self.context.disk, spec, others).await {
                    Ok(archived) => drop(found.splice(..0, archived)),
                    Err(error) => warn!(%error, "cannot read old rounds for a peer"),
                }
            }
            found
        })
    }

    fn states(&self, peer: NodeId, spec: SpecId) -> BoxFuture<'_, Vec<Vec<u8>>> {
        Box::pin(async move {
            if self.readable(&peer, &spec).is_none() {
                return vec![];
            }
            let states = self.context.disk.blocking(move |store| store.states(spec)).await;
            states
                .unwrap_or_default()
                .into_iter()
                .map(|state| state.envelope)
                .collect()
        })
    }
}

fn record(machine: &Machine, id: &RecordId) -> Option<Record> {
    match id {
        RecordId::Contribution(id) => machine.contribution(id).cloned().map(Record::Contribution),
        RecordId::Seal(id) => machine.seal(id).cloned().map(Record::Seal),
        RecordId::Proof(id) => machine.proof(id).cloned().map(Record::Proof),
        RecordId::Consent(id) => machine.consent(id).cloned().map(Record::Consent),
    }
}
