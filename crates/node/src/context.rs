//! The context: the parts of a node, put together once, and the few verbs that need several of them.

mod alone;

use std::sync::Arc;

use qres_fed::id::SpecId;
use qres_fed::record::{Membership, StateRecord};
use qres_mesh::{HeadClaim, Mesh, Mode};
use qres_transfer::{Downloads, SyncClient};
use qres_wire::clock::Clock;
use qres_wire::identity::Identity;
use tokio::sync::{Mutex, Notify};

use crate::blob_demand::{BlobDemand, Purpose};
use crate::catalog::Catalog;
use crate::catalog::entry::Model;
use crate::config::NodeConfig;
use crate::disk::Disk;
use crate::error::{NodeError, Reason};
use crate::event_log::EventLog;
use crate::headers::Headers;
use crate::heads::NamedHeads;
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::slots::Slots;
use crate::spec_offers::Offers;
use crate::states::States;
use crate::syncer::Syncer;
use crate::view::{Event, ModelView};

/// The parts of a node, which its services and its background work share.
pub(crate) struct NodeContext {
    pub config: NodeConfig,
    pub identity: Identity,
    pub clock: Clock,
    pub lifecycle: Arc<Lifecycle>,
    pub disk: Disk,
    pub slots: Slots,
    pub headers: Headers,
    pub mesh: Mesh,
    pub heads: NamedHeads,
    pub downloads: Downloads,
    pub blob_demand: BlobDemand,
    pub sync: SyncClient,
    pub syncer: Syncer,
    pub catalog: Catalog,
    pub offers: Offers,
    pub states: States,
    pub events: EventLog,
    pub metrics: Metrics,
    /// Notified when a model ends because its members changed, and when a model was announced that may succeed one.
    pub ended: Notify,
    /// A lock that is held while a model is joined, created or left: two tasks of one model would sign two contributions on one
    /// parent. Where both locks are needed, [`Disk::in_flight`] is taken first.
    pub memberships: Mutex<()>,
    /// A lock that is held while the mesh is told what follows from the catalog: an older answer must not replace a newer one.
    pub telling: parking_lot::Mutex<()>,
}

impl NodeContext {
    /// Refuses models with [`Reason::BootstrapNode`] on a node that only helps other nodes find each other. As a member such a
    /// node would be waited for, and would never contribute.
    pub fn refuse_if_bootstrap(&self) -> Result<(), NodeError> {
        if self.config.mesh.mode == Mode::Bootstrap {
            return Err(NodeError::new(
                Reason::BootstrapNode,
                "a bootstrap node joins and creates no model: ask a node that runs with --mode node",
            ));
        }
        Ok(())
    }

    /// Gives up the tensors of a state that are on their way, and wanted by no other part.
    pub fn give_up_state(&self, record: &StateRecord) {
        let cancel = || self.downloads.cancel(record.spec, record.blob);
        self.blob_demand
            .forget(&record.blob, record.spec, Purpose::State, cancel);
    }

    /// Tells watchers that a model changed ([`Event::Model`]), and the mesh which heads its heartbeats name and for which
    /// members it vouches.
    pub fn model_changed(&self, model: &Model) {
        self.events.push(Event::Model(self.model_view(model)));
        self.tell_heads(Some(model.id));
        self.tell_members();
    }

    /// Tells the mesh the members of all joined list models: the mesh vouches for these members.
    fn tell_members(&self) {
        let _turn = self.telling.lock();
        let joined = self.catalog.all().into_iter().filter(|model| model.joined().is_some());
        let lists = joined.flat_map(|model| match &model.spec().membership {
            Membership::List(members) => members.iter().copied().collect(),
            Membership::Open => vec![],
        });
        self.mesh.set_members(lists.collect());
    }

    /// Tells the heartbeats the heads of joined models, the head of `first` before the others ([`NamedHeads::tell`]).
    pub fn tell_heads(&self, first: Option<SpecId>) {
        let _turn = self.telling.lock();
        let claims = self.catalog.all().into_iter().filter_map(|m| {
            let heads = *m.joined()?.heads.borrow();
            Some(HeadClaim {
                spec: m.id,
                checkpoint: heads.head.id,
                round: heads.head.round,
            })
        });
        self.heads.tell(claims.collect(), first);
    }

    /// Returns the [`ModelView`] of a model, as this node knows it.
    pub fn model_view(&self, model: &Model) -> ModelView {
        let twin = self.mesh.twin().borrow().clone();
        ModelView::of(model, &self.identity.node(), twin.as_ref())
    }
}
