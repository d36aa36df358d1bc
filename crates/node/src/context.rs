//! The engine: it feeds `fed`'s machines with the inputs of the mesh, the store and the callers, and carries out their outputs.

mod alone;
mod supervisor;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use qres_fed::id::SpecId;
use qres_fed::record::{Membership, StateRecord};
use qres_mesh::{HeadClaim, Mesh, Mode};
use qres_store::Store;
use qres_transfer::{Downloads, SyncClient};
use qres_wire::clock::Clock;
use qres_wire::identity::Identity;
use tokio::sync::{Mutex, RwLock, Semaphore, watch as watch_channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::blob_demand::{BlobDemand, Purpose};
use crate::catalog::Catalog;
use crate::catalog::entry::Model;
use crate::config::NodeConfig;
use crate::error::{NodeError, Reason};
use crate::event_log::EventLog;
use crate::headers::Headers;
use crate::metrics::Metrics;
use crate::spec_offers::Offers;
use crate::states::States;
use crate::syncer::Syncer;
use crate::view::{Event, ModelView};

/// The most heads that one heartbeat names.
pub(crate) const HEADS_MAX: usize = 64;

/// The state that all parts of the engine share.
pub(crate) struct NodeContext {
    pub config: NodeConfig,
    pub identity: Identity,
    pub store: Store,
    pub mesh: Mesh,
    pub downloads: Downloads,
    pub blob_demand: BlobDemand,
    pub sync: SyncClient,
    pub syncer: Syncer,
    pub states: States,
    pub events: EventLog,
    pub metrics: Metrics,
    pub catalog: Catalog,
    pub offers: Offers,
    pub clock: Clock,
    /// Ends every task of the node.
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
    pub draining: AtomicBool,
    /// A lock that is held for reading from the `finish` of a new blob until something refers to the blob. The collector holds
    /// it for writing, so that it removes no such blob.
    pub in_flight: Arc<RwLock<()>>,
    /// A lock that is held while a model is joined, created or left: two tasks of one model would sign two contributions on one
    /// parent. Where both locks are needed, [`NodeContext::in_flight`] is taken first.
    pub memberships: Mutex<()>,
    /// Slots for the uploads under way: each upload holds one thread of the blocking pool.
    pub uploads: Arc<Semaphore>,
    /// A semaphore with one permit, so that the specs of announced models are decoded one at a time.
    pub specs: Semaphore,
    /// Reads the headers of callers' files.
    pub headers: Headers,
    /// Slots for jobs on tensors. rayon is parallel within one job, so two jobs keep every core busy.
    pub jobs: Arc<Semaphore>,
    pub heads: watch_channel::Sender<Vec<HeadClaim>>,
    /// The number of times that [`NodeContext::tell_heads`] has updated the heads.
    pub heads_turn: AtomicUsize,
    /// The reason why the node has failed, once it has failed.
    pub failure: watch_channel::Sender<Option<String>>,
    /// Wakes the collector before its period ends.
    pub garbage: tokio::sync::Notify,
}

impl NodeContext {
    /// Runs work that blocks (disk, hashing, aggregating) off the async threads.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Store) -> T + Send + 'static) -> T {
        let store = self.store.clone();
        let span = tracing::Span::current();
        let work = move || span.in_scope(|| work(&store));
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Runs `work` to its end even if the caller goes away: half a change of membership would leave a model that counts as
    /// joined and has no task.
    pub async fn to_the_end<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let span = tracing::Span::current();
        match self.tasks.spawn(tracing::Instrument::instrument(work, span)).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Refuses new work with [`Reason::Draining`] while the node drains.
    pub fn refuse_if_draining(&self) -> Result<(), NodeError> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(NodeError::new(
                Reason::Draining,
                "this node drains: it takes no new work before it stops",
            )
            .retry_after(5000));
        }
        Ok(())
    }

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
        let joined = self.catalog.all().into_iter().filter(|model| model.joined().is_some());
        let lists = joined.flat_map(|model| match &model.spec().membership {
            Membership::List(members) => members.iter().copied().collect(),
            Membership::Open => vec![],
        });
        self.mesh.set_members(lists.collect());
    }

    /// Tells the heartbeats the heads of joined models: the head of `first`, then the others in turn if there are more than
    /// [`HEADS_MAX`].
    pub fn tell_heads(&self, first: Option<SpecId>) {
        let claims = self.catalog.all().into_iter().filter_map(|m| {
            let heads = *m.joined()?.heads.borrow();
            Some(HeadClaim {
                spec: m.id,
                checkpoint: heads.head.id,
                round: heads.head.round,
            })
        });
        let turn = self.heads_turn.fetch_add(1, Ordering::Relaxed);
        self.heads.send_replace(named(claims.collect(), first, turn));
    }

    /// Returns the [`ModelView`] of a model, as this node knows it.
    pub fn model_view(&self, model: &Model) -> ModelView {
        let twin = self.mesh.twin().borrow().clone();
        ModelView::of(model, &self.identity.node(), twin.as_ref())
    }
}

/// Returns the heads that one heartbeat names: all of them, or [`HEADS_MAX`] of them, beginning where the last heartbeat ended.
pub(crate) fn named(mut claims: Vec<HeadClaim>, first: Option<SpecId>, turn: usize) -> Vec<HeadClaim> {
    if claims.len() > HEADS_MAX {
        // The step is one less than the maximum, as `first` may take one place.
        let from = turn.wrapping_mul(HEADS_MAX - 1) % claims.len();
        claims.rotate_left(from);
        if let Some(at) = claims.iter().position(|claim| Some(claim.spec) == first) {
            claims[..=at].rotate_right(1);
        }
        claims.truncate(HEADS_MAX);
    }
    claims
}
