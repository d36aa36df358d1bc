//! The engine: feeds `fed`'s machines with what the mesh, the store and the callers bring, and carries out their answers.

mod admission;
mod alone;
pub(crate) mod announce;
pub(crate) mod announced;
mod archive;
pub(crate) mod auto_join;
mod collector;
mod conditions;
pub(crate) mod create;
pub(crate) mod creators;
mod drain;
mod durable;
mod event_stream;
pub(crate) mod fetch;
mod headers;
mod hub;
mod ingest;
mod intake;
mod job;
mod library;
pub(crate) mod membership;
mod message;
mod model;
mod offer;
pub(crate) mod peers;
pub(crate) mod registry;
pub(crate) mod rounds;
mod seeded;
mod start;
pub(crate) mod state;
pub(crate) mod submission;
pub(crate) mod submit;
mod syncer;
#[cfg(test)]
mod tests;
mod tracer;
pub(crate) mod views;
mod vital;
mod wants;

pub use start::StartError;

pub(crate) use drain::drain;
pub(crate) use event_stream::watch;
pub use intake::Upload;
pub(crate) use start::{start, stop};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use qres_fed::id::SpecId;
use qres_fed::record::Membership;
use tokio::sync::{Mutex, RwLock, Semaphore, watch as watch_channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::NodeConfig;
use crate::error::{NodeError, Reason};
use crate::identity::Identity;
use crate::mesh::{HeadClaim, Mesh, Mode};
use crate::metrics::Metrics;
use crate::store::{Store, StoreError};
use crate::transfer::{Downloads, SyncClient};
use crate::view::{Event, Standing};
use hub::Hub;
use registry::{Model, Registry};

/// Heads a heartbeat names at most.
const HEADS_MAX: usize = 64;

/// What every part of the engine shares.
pub(crate) struct Core {
    pub config: NodeConfig,
    pub identity: Identity,
    pub store: Store,
    pub mesh: Mesh,
    pub downloads: Downloads,
    pub wants: wants::Wants,
    pub sync: SyncClient,
    pub syncer: syncer::Syncer,
    pub states: state::States,
    pub hub: Hub,
    pub metrics: Metrics,
    pub registry: Registry,
    pub offers: offer::Offers,
    pub clock: Clock,
    /// Ends every task.
    pub stop: CancellationToken,
    pub tasks: TaskTracker,
    pub draining: AtomicBool,
    /// Read-held from a new blob's `finish` until something refers to it; the collector holds it for writing.
    pub in_flight: Arc<RwLock<()>>,
    /// Held while a model is joined, made or left: two tasks of one model would sign two contributions on one parent. Taken
    /// after `in_flight` where both are.
    pub memberships: Mutex<()>,
    /// Uploads under way: each holds one thread of the blocking pool.
    pub uploads: Arc<Semaphore>,
    /// Whoever decodes an announced spec: one at a time.
    pub specs: Semaphore,
    /// The headers of callers' files.
    pub headers: headers::Headers,
    /// Encoding and aggregating: rayon is parallel within a job, so two of them keep every core busy.
    pub jobs: Arc<Semaphore>,
    pub heads: watch_channel::Sender<Vec<HeadClaim>>,
    /// Counts what was told of them.
    pub heads_turn: AtomicUsize,
    /// Why the node has failed, once it has.
    pub failure: watch_channel::Sender<Option<String>>,
    /// Wakes the collector.
    pub garbage: tokio::sync::Notify,
}

impl Core {
    /// Runs something that blocks (disk, hashing, aggregating) off the async threads.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Store) -> T + Send + 'static) -> T {
        let store = self.store.clone();
        let span = tracing::Span::current();
        let work = move || span.in_scope(|| work(&store));
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Runs something to its end even if whoever waits for it goes away: half a change of membership would leave a model that
    /// counts as joined and has no task.
    pub async fn to_the_end<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let span = tracing::Span::current();
        match self.tasks.spawn(tracing::Instrument::instrument(work, span)).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Refuses new work while the node drains.
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

    /// Refuses models on a node that only helps others find each other: as a member it would be waited for and never contribute.
    pub fn refuse_if_bootstrap(&self) -> Result<(), NodeError> {
        if self.config.mesh.mode == Mode::Bootstrap {
            return Err(NodeError::new(
                Reason::BootstrapNode,
                "a bootstrap node joins and creates no model: ask a node that runs with --mode node",
            ));
        }
        Ok(())
    }

    /// Tells watchers that something about a model changed, and heartbeats what its head is.
    pub fn model_changed(&self, model: &Model) {
        self.hub.push(Event::Model(views::model(self, model)));
        self.tell_heads(Some(model.id));
        self.tell_members();
    }

    /// Has the mesh vouch for the members of joined lists.
    fn tell_members(&self) {
        let joined = self.registry.all().into_iter().filter(|model| model.joined().is_some());
        let lists = joined.flat_map(|model| match &model.spec().membership {
            Membership::List(members) => members.iter().copied().collect(),
            Membership::Open => vec![],
        });
        self.mesh.set_members(lists.collect());
    }

    /// Has heartbeats name the heads of joined models: `first`, then the others in turn where they are too many for one.
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

    /// How this node stands to a model.
    pub fn standing(&self, model: &Model) -> Standing {
        match model.joined() {
            None => Standing::Available,
            Some(joined) if joined.heads.borrow().head.verified => Standing::Joined,
            Some(_) => Standing::Syncing,
        }
    }
}

/// The heads of one heartbeat: all, or as many as it may name, beginning where the last one ended.
fn named(mut claims: Vec<HeadClaim>, first: Option<SpecId>, turn: usize) -> Vec<HeadClaim> {
    if claims.len() > HEADS_MAX {
        // One less than it names, as `first` may take a place.
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
