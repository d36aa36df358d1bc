//! The engine: it feeds `fed`'s machines with the inputs of the mesh, the store and the callers, and carries out their outputs.

mod alone;
mod supervisor;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use qres_fed::id::SpecId;
use qres_fed::record::Membership;
use tokio::sync::{Mutex, RwLock, Semaphore, watch as watch_channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalog::{Model, Registry};
use crate::config::NodeConfig;
use crate::error::{NodeError, Reason};
use crate::event_log::EventLog;
use crate::metrics::Metrics;
use crate::view::build as views;
use crate::view::{Event, JoinStatus};
use crate::{background, blob_demand, headers, service};
use qres_mesh::{HeadClaim, Mesh, Mode};
use qres_store::{Store, StoreError};
use qres_transfer::{Downloads, SyncClient};
use qres_wire::clock::Clock;
use qres_wire::identity::Identity;

/// The most heads that one heartbeat names.
pub(crate) const HEADS_MAX: usize = 64;

/// The state that all parts of the engine share.
pub(crate) struct NodeContext {
    pub config: NodeConfig,
    pub identity: Identity,
    pub store: Store,
    pub mesh: Mesh,
    pub downloads: Downloads,
    pub blob_demand: blob_demand::BlobDemand,
    pub sync: SyncClient,
    pub syncer: background::sync::Syncer,
    pub states: service::states::States,
    pub events: EventLog,
    pub metrics: Metrics,
    pub registry: Registry,
    pub offers: background::spec_offers::Offers,
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
    pub headers: headers::Headers,
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

    /// Tells watchers that a model changed ([`Event::Model`]), and the mesh which heads its heartbeats name and for which
    /// members it vouches.
    pub fn model_changed(&self, model: &Model) {
        self.events.push(Event::Model(views::model(self, model)));
        self.tell_heads(Some(model.id));
        self.tell_members();
    }

    /// Tells the mesh the members of all joined list models: the mesh vouches for these members.
    fn tell_members(&self) {
        let joined = self.registry.all().into_iter().filter(|model| model.joined().is_some());
        let lists = joined.flat_map(|model| match &model.spec().membership {
            Membership::List(members) => members.iter().copied().collect(),
            Membership::Open => vec![],
        });
        self.mesh.set_members(lists.collect());
    }

    /// Tells the heartbeats the heads of joined models: the head of `first`, then the others in turn if there are more than
    /// [`HEADS_MAX`].
    pub fn tell_heads(&self, first: Option<SpecId>) {
        let claims = self.registry.all().into_iter().filter_map(|m| {
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

    /// Returns the [`JoinStatus`] of this node to a model.
    pub fn standing(&self, model: &Model) -> JoinStatus {
        match model.joined() {
            None => JoinStatus::Available,
            Some(joined) if joined.heads.borrow().head.verified => JoinStatus::Joined,
            Some(_) => JoinStatus::Syncing,
        }
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

impl From<StoreError> for NodeError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Full(_) => Self::new(Reason::DiskFull, message).retry_after(10_000),
            StoreError::UploadQuota { .. } => Self::new(Reason::UploadQuota, message).field("idempotency_key"),
            StoreError::UploadsKept(_) => Self::new(Reason::UploadsKept, message)
                .field("idempotency_key")
                .retry_after(10_000),
            StoreError::Offset { .. } => Self::new(Reason::OffsetPastKept, message).field("offset"),
            StoreError::Overtaken => Self::new(Reason::UploadOvertaken, message).field("idempotency_key"),
            _ => Self::new(Reason::Store, message),
        }
    }
}
