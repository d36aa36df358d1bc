//! The task of the downloads: takes each [`Step`] from the [`DownloadScheduler`], runs it, and reports its result.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use parking_lot::Mutex;
use qres_fed::id::NodeId;
use qres_mesh::{Fault, Mesh, MeshError};
use qres_wire::clock;
use qres_wire::trace;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::event::DownloadEvent;
use super::key::Key;
use super::pool::Pool;
use super::protocol::PROTOCOL;
use super::scheduler::{DownloadScheduler, Outcome, Step, Then};
use super::session::{DownloadContext, Goal, Got};
use crate::counters::{FetchResult, StreamKind};
use crate::fault::TransferError;
use crate::link::{Link, Pace};

/// Pause before this task looks again while a blob waits for a peer: the task is not told when peers come and go.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The functions of the mesh that the downloads need.
pub(crate) trait Holders: Clone + Send + Sync + 'static {
    /// A stream to a peer.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Returns the peers that can be asked.
    fn connected(&self) -> Vec<NodeId>;
    /// Opens a stream to this peer.
    fn open(&self, node: NodeId) -> impl Future<Output = Result<Self::Stream, MeshError>> + Send;
    /// Penalizes a peer for a fault.
    fn penalize(&self, node: NodeId, fault: Fault, why: String);
}

impl Holders for Mesh {
    type Stream = libp2p::Stream;

    fn connected(&self) -> Vec<NodeId> {
        Mesh::connected(self)
    }
    async fn open(&self, node: NodeId) -> Result<libp2p::Stream, MeshError> {
        Mesh::open(self, node, PROTOCOL).await
    }
    fn penalize(&self, node: NodeId, fault: Fault, why: String) {
        Mesh::penalize(self, node, fault, why);
    }
}

/// State that the handle and the task share: the board is never full, so no want is lost, and no caller waits to add one.
#[derive(Default)]
pub(crate) struct Shared {
    scheduler: Mutex<DownloadScheduler>,
    pub(crate) changed: Arc<Notify>,
}

impl Shared {
    /// Changes the board, and wakes the task to look at it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut DownloadScheduler)) {
        change(&mut self.scheduler.lock());
        self.changed.notify_one();
    }
}

/// The task of the downloads. It ends when the receiver of the events is gone.
pub(crate) struct Manager<H: Holders> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) holders: H,
    pub(crate) context: DownloadContext,
    pub(crate) pace: Pace,
    pub(crate) events: mpsc::Sender<DownloadEvent>,
    pub(crate) pool: Pool<H::Stream>,
}

/// Result of a finished [`Step`].
enum Done {
    Looked(bool),
    Fetched(NodeId, Result<Got, TransferError>, bool),
}

/// A [`Step`] that is under way.
struct Task {
    key: Key,
    peer: Option<NodeId>,
    abort: AbortHandle,
    watch: Watch,
}

/// Counter of the bytes that came over a session, and the token that ends the session.
#[derive(Clone, Default)]
struct Watch {
    received: Arc<AtomicU64>,
    given_up: CancellationToken,
}

/// All steps that are under way.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<Done>,
    /// The step of each tokio task; never iterated in an order that matters.
    keys: HashMap<Id, Task>,
}

impl UnderWay {
    fn session(&self, session: (Key, NodeId)) -> Option<&Watch> {
        let of = |task: &&Task| (task.key, task.peer) == (session.0, Some(session.1));
        self.keys.values().find(of).map(|task| &task.watch)
    }
}

impl<H: Holders> Manager<H> {
    /// Runs until the receiver of the events is gone.
    pub(crate) async fn run(self) {
        let mut under_way = UnderWay::default();
        loop {
            let wait = self.start(&mut under_way);
            tokio::select! {
                () = self.shared.changed.notified() => {}
                Some(done) = under_way.tasks.join_next_with_id() => {
                    if self.finish(&mut under_way, done).await.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(wait) => {}
                () = self.events.closed() => return,
            }
        }
    }

    /// Starts every step that can be taken now; returns how long to wait for the next step if nothing happens.
    fn start(&self, under_way: &mut UnderWay) -> Duration {
        let resting = self.pool.collect();
        let connected = self.holders.connected();
        let mut scheduler = self.shared.scheduler.lock();
        for task in under_way.keys.values() {
            if !scheduler.wanted(task.key) {
                task.abort.abort();
            }
        }
        let now = clock::now();
        let assembly = |key: Key| self.context.assemblies.get(key.owner(), &key.blob);
        let missing = |key| assembly(key).map_or(0, |assembly| assembly.missing());
        while let Some(step) = scheduler.next(&connected, now, missing) {
            let watch = Watch::default();
            let (key, peer, abort) = match step {
                Step::Look(key) => {
                    let blobs = self.context.store.of(key.owner());
                    let look = move || Done::Looked(blobs.contains(&key.blob));
                    (key, None, under_way.tasks.spawn_blocking(look))
                }
                Step::Fetch(key, peer, goal) => {
                    let fetch = self.fetch(peer, goal, watch.clone());
                    (key, Some(peer), under_way.tasks.spawn(fetch))
                }
            };
            let task = Task {
                key,
                peer,
                abort,
                watch,
            };
            under_way.keys.insert(task.abort.id(), task);
        }
        let received = |session| {
            let watch = under_way.session(session);
            watch.map_or(0, |watch| watch.received.load(Ordering::Relaxed))
        };
        if let Some(session) = scheduler.makes_room(&connected, now, missing, received)
            && let Some(watch) = under_way.session(session)
        {
            // The session is not aborted: it ends by itself, because it must first write what has arrived.
            watch.given_up.cancel();
        }
        let until_wake = scheduler.wake(now).map(|at| at.saturating_duration_since(now));
        let again = (scheduler.waiting() || resting).then_some(LOOK_AGAIN);
        let hour = Duration::from_secs(3600);
        until_wake.into_iter().chain(again).min().unwrap_or(hour)
    }

    /// Runs one session. A stream that rested may have been closed in the meantime; then a fresh stream is used.
    fn fetch(&self, peer: NodeId, mut goal: Goal, watch: Watch) -> impl Future<Output = Done> + Send + use<H> {
        let (holders, context, pool, pace) = (self.holders.clone(), self.context.clone(), self.pool.clone(), self.pace);
        let span = tracing::info_span!("fetch blob", qres.blob.id = %goal.blob, qres.peer = %peer.short());
        if let Some(parent) = goal.traceparent.take() {
            trace::adopt(&span, Some(&parent));
            goal.traceparent = Some(trace::traceparent(&span).unwrap_or(parent));
        }
        let session = async move {
            let mut progress = false;
            if let Some(mut link) = pool.take(&peer) {
                link.watch(watch.received.clone(), watch.given_up.clone());
                match context.fetch(&mut link, &goal, &mut progress).await {
                    Err(TransferError::Broken(_) | TransferError::Closed("an answer")) => {}
                    outcome => {
                        if outcome.is_ok() {
                            pool.put(peer, link);
                        }
                        return Done::Fetched(peer, outcome, progress);
                    }
                }
            }
            let mut link = match holders.open(peer).await {
                Ok(stream) => Link::new(stream, pace).tally(context.counters.clone(), StreamKind::Blobs),
                Err(error) => return Done::Fetched(peer, Err(error.into()), progress),
            };
            link.watch(watch.received, watch.given_up);
            let outcome = context.fetch(&mut link, &goal, &mut progress).await;
            if outcome.is_ok() {
                pool.put(peer, link);
            }
            Done::Fetched(peer, outcome, progress)
        };
        session.instrument(span)
    }

    /// Takes in the result of a step. Returns an error if the receiver of the events is gone.
    async fn finish(&self, under_way: &mut UnderWay, done: Result<(Id, Done), JoinError>) -> Result<(), ()> {
        let id = match &done {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(Task { key, peer, .. }) = under_way.keys.remove(&id) else {
            return Ok(());
        };
        let here = match (done, peer) {
            (Ok((_, Done::Looked(here))), _) => self.shared.scheduler.lock().looked(key, here),
            (Ok((_, Done::Fetched(peer, outcome, progress))), _) => self.judge(key, peer, &outcome, progress),
            // The task was cancelled, or a bug made it panic: neither is a fault of the peer.
            (Err(_), Some(peer)) => {
                self.shared
                    .scheduler
                    .lock()
                    .ended(key, peer, Outcome::Gone, clock::now());
                false
            }
            (Err(_), None) => self.shared.scheduler.lock().looked(key, false),
        };
        if here {
            let event = DownloadEvent::Here {
                spec: key.spec,
                blob: key.blob,
                from: peer.unwrap_or(NodeId([0; 32])),
            };
            self.events.send(event).await.map_err(|_| ())?;
        }
        Ok(())
    }

    fn judge(&self, key: Key, peer: NodeId, outcome: &Result<Got, TransferError>, progress: bool) -> bool {
        let ended = match outcome {
            Ok(got) => Outcome::Got(*got),
            Err(TransferError::Forged(_)) => Outcome::Forged,
            Err(TransferError::Store(_)) => Outcome::Store,
            Err(
                TransferError::Mesh(_)
                | TransferError::Length { .. }
                | TransferError::Revoked
                | TransferError::Stopping,
            ) => Outcome::Gone,
            Err(_) => Outcome::Broken { progress },
        };
        self.context.counters.add_fetch(result(&ended));
        let then = self.shared.scheduler.lock().ended(key, peer, ended, clock::now());
        if let Err(error) = outcome {
            match error {
                TransferError::Store(_) => tracing::warn!(blob = %key.blob, %error, "a blob cannot be stored"),
                _ => tracing::debug!(blob = %key.blob, peer = %peer.short(), %error, "a download broke off"),
            }
            // A peer that has left, or lost its link, withholds nothing.
            let gone = || !self.holders.connected().contains(&peer);
            if let Some(fault) = error.fault().filter(|fault| *fault != Fault::Withheld || !gone()) {
                self.holders
                    .penalize(peer, fault, format!("blob {}: {error}", key.blob));
            } else if then == Then::Exhausted {
                let why = format!("blob {}: {error}, time and again", key.blob);
                self.holders.penalize(peer, Fault::Withheld, why);
            }
        }
        if outcome.is_ok() && then == Then::Exhausted {
            let why = format!("blob {}: it announced it and says that it has not got it", key.blob);
            self.holders.penalize(peer, Fault::Withheld, why);
        }
        then == Then::Here
    }
}

/// Returns the word for an [`Outcome`] that metrics use.
fn result(outcome: &Outcome) -> FetchResult {
    match outcome {
        Outcome::Got(Got::Here | Got::Shared) => FetchResult::Complete,
        Outcome::Got(Got::Absent | Got::Denied) => FetchResult::Refused,
        Outcome::Got(Got::Busy(_)) => FetchResult::Busy,
        Outcome::Forged => FetchResult::Forged,
        Outcome::Broken { .. } | Outcome::Gone => FetchResult::Broken,
        Outcome::Store => FetchResult::Store,
    }
}
