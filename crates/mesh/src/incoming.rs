//! Streams that peers open to this node.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use libp2p::{PeerId, Stream};
use qres_fed::id::NodeId;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::counters::MeshCounters;
use super::snapshot::Snapshot;

/// Streams that may wait for the admission of their peer. The other side may have admitted this node a moment before this
/// node admits it, and may open a stream at once; dropping that stream would look like a fault.
const EARLY_MAX: usize = 64;

struct Early {
    until: Instant,
    node: NodeId,
    stream: Stream,
}

/// The streams of one protocol that admitted peers open to this node.
pub struct IncomingStreams {
    streams: mpsc::Receiver<(PeerId, Stream)>,
    snapshot: watch::Receiver<Snapshot>,
    counters: Arc<MeshCounters>,
    early: VecDeque<Early>,
    patience: Duration,
}

impl IncomingStreams {
    pub(super) fn new(
        streams: mpsc::Receiver<(PeerId, Stream)>,
        snapshot: watch::Receiver<Snapshot>,
        counters: Arc<MeshCounters>,
        patience: Duration,
    ) -> Self {
        Self {
            streams,
            snapshot,
            counters,
            early: VecDeque::new(),
            patience,
        }
    }

    /// Returns the next stream, and the node that opened it; `None` once the mesh has stopped.
    pub async fn next(&mut self) -> Option<(NodeId, Stream)> {
        loop {
            if let Some(ready) = self.admitted_early() {
                return Some(ready);
            }
            let deadline = self.early.front().map(|e| e.until);
            tokio::select! {
                incoming = self.streams.recv() => {
                    let (peer, stream) = incoming?;
                    if let Some(ready) = self.sort(peer, stream) {
                        return Some(ready);
                    }
                }
                // A peer may have been admitted. The snapshot closes with the mesh; `streams` does not, since handles keep
                // its sender.
                changed = self.snapshot.changed() => changed.ok()?,
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// Returns the stream if its peer is admitted. Otherwise the stream waits if there is room, or else it is dropped.
    fn sort(&mut self, peer: PeerId, stream: Stream) -> Option<(NodeId, Stream)> {
        let room = self.early.len() < EARLY_MAX;
        match qres_wire::identity::node_id(&peer) {
            Some(node) if self.snapshot.borrow().connected.contains_key(&node) => return Some((node, stream)),
            Some(node) if room => self.early.push_back(Early {
                until: Instant::now() + self.patience,
                node,
                stream,
            }),
            _ => self.counters.streams_dropped.add(),
        }
        None
    }

    /// Takes the first waiting stream whose peer is admitted by now, and drops those that waited too long.
    fn admitted_early(&mut self) -> Option<(NodeId, Stream)> {
        let now = Instant::now();
        let snapshot = self.snapshot.borrow_and_update();
        let admitted = |e: &Early| snapshot.connected.contains_key(&e.node);
        if let Some(at) = self.early.iter().position(admitted) {
            return self.early.remove(at).map(|e| (e.node, e.stream));
        }
        while self.early.front().is_some_and(|e| e.until <= now) {
            self.early.pop_front();
            self.counters.streams_dropped.add();
        }
        None
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
