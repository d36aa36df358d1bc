//! The handle to the mesh, through which the rest of the node calls it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use libp2p::metrics::Registry;
use libp2p::{Stream, StreamProtocol};
use qres_fed::id::NodeId;
use qres_wire::clock;
use tokio::sync::{mpsc, oneshot, watch};

use super::command::{Command, FaultReport};
use super::counters::MeshCounters;
use super::error::MeshError;
use super::event::{Fault, MessageToken, Topic, Verdict};
use super::incoming::IncomingStreams;
use super::inspection::{Inspection, ReachReport};
use super::limits::ENVELOPE_BYTES_MAX;
use super::peer_view::PeerView;
use super::pulse::Pulse;
use super::snapshot::Snapshot;
use super::streams::{Control, OpenError};
use super::twin::Twin;

/// A handle to the mesh for the rest of the node. It is cheap to clone; the mesh stops when the last clone is dropped.
#[derive(Clone)]
pub struct Mesh {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) faults: mpsc::Sender<FaultReport>,
    pub(super) snapshot: watch::Receiver<Snapshot>,
    pub(super) members: watch::Sender<Arc<BTreeSet<NodeId>>>,
    pub(super) twin: watch::Receiver<Option<Twin>>,
    pub(super) streams: Control,
    pub(super) counters: Arc<MeshCounters>,
    pub(super) library: Arc<Registry>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) open_deadline: Duration,
}

impl Mesh {
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, MeshError>>) -> Command,
    ) -> Result<T, MeshError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| MeshError::Stopped)?;
        answer.await.map_err(|_| MeshError::Stopped)?
    }

    /// Publishes a message. If no peer can take it yet, the message is kept (for 60 s by default, at most 256 messages) and
    /// sent when a peer of the topic appears. Publishing the very same bytes again within two minutes does nothing: gossipsub
    /// takes them for a duplicate.
    pub async fn publish(&self, topic: Topic, data: Vec<u8>) -> Result<(), MeshError> {
        if data.len() > ENVELOPE_BYTES_MAX {
            return Err(MeshError::TooLarge {
                bytes: data.len(),
                limit: ENVELOPE_BYTES_MAX,
            });
        }
        self.ask(|reply| Command::Publish { topic, data, reply }).await
    }

    /// Gives the [`Verdict`] on a received message. gossipsub remembers a message for about six seconds; a later verdict
    /// changes nothing.
    pub async fn report(&self, token: MessageToken, verdict: Verdict) {
        // Sending fails only when the mesh has stopped, and then no message is left to forward.
        drop(self.commands.send(Command::Report { token, verdict }).await);
    }

    /// Reports a [`Fault`] of a peer. The call never waits: if the actor's queue is full, the fault is dropped and counted.
    pub fn penalize(&self, node: NodeId, fault: Fault, why: String) {
        if self.faults.try_send(FaultReport { node, fault, why }).is_err() {
            self.counters.faults_dropped.add();
        }
    }

    /// Dials an address: IP, host, host:port or multiaddr. Returns the node that answers there as soon as a connection to it
    /// is open or being opened. The peer list shows later whether the peer was admitted.
    pub async fn dial(&self, address: &str) -> Result<NodeId, MeshError> {
        let address = address.to_owned();
        self.ask(|reply| Command::Dial { address, reply }).await
    }

    /// Bans a peer for the duration `for_`: the peer is told the reason and disconnected, and may not connect again before
    /// the ban ends. Bans survive a restart.
    pub async fn ban(&self, node: NodeId, reason: String, for_: Duration) -> Result<(), MeshError> {
        self.ask(|reply| Command::Ban {
            node,
            reason,
            for_,
            reply,
        })
        .await
    }

    /// Lifts the ban on a peer and clears its score of [`Fault`]s.
    pub async fn unban(&self, node: NodeId) -> Result<(), MeshError> {
        self.ask(|reply| Command::Unban { node, reply }).await
    }

    /// Returns a [`PeerView`] of every peer that this node knows.
    pub async fn peers(&self) -> Result<Vec<PeerView>, MeshError> {
        self.ask(|reply| Command::Peers { reply }).await
    }

    /// Returns what the mesh knows about its addresses, its bootstrap nodes and the clocks of its peers.
    pub async fn inspect(&self) -> Result<Inspection, MeshError> {
        self.ask(|reply| Command::Inspect { reply }).await
    }

    /// Asks up to `peers_max` connected peers to dial this node back, and returns their answers within 15 s. A peer answers such
    /// a question once a minute; those that were asked longest ago are asked first.
    pub async fn reach(&self, peers_max: usize) -> Result<Vec<ReachReport>, MeshError> {
        self.ask(|reply| Command::Reach { peers_max, reply }).await
    }

    /// Returns the nodes that are connected and admitted. The answer comes from a snapshot, without a round trip to the
    /// actor.
    pub fn connected(&self) -> Vec<NodeId> {
        self.snapshot.borrow().connected.keys().copied().collect()
    }

    /// Returns the measured round-trip time to a connected peer.
    pub fn rtt(&self, node: &NodeId) -> Option<Duration> {
        self.snapshot.borrow().connected.get(node).copied().flatten()
    }

    /// Returns this node's mesh addresses as others can dial them (with `/p2p/<peer id>` at the end), TCP first.
    pub fn listen_addresses(&self) -> Vec<String> {
        self.snapshot.borrow().listen.clone()
    }

    /// Sets the nodes on the member lists of the joined models. This node vouches for them, even for those that it never met.
    pub fn set_members(&self, members: BTreeSet<NodeId>) {
        self.members.send_if_modified(|old| {
            let new = **old != members;
            if new {
                *old = Arc::new(members);
            }
            new
        });
    }

    /// Returns true if a node is on the member list of a joined model.
    pub fn is_member(&self, node: &NodeId) -> bool {
        self.members.borrow().contains(node)
    }

    /// Watches for a [`Twin`], another process with this node's identity. While there is one, this node may sign nothing.
    pub fn twin(&self) -> watch::Receiver<Option<Twin>> {
        self.twin.clone()
    }

    /// Returns the [`MeshCounters`] of this mesh.
    pub fn counters(&self) -> &MeshCounters {
        &self.counters
    }

    /// Returns libp2p's own figures: connections, dials, pings, Kademlia, gossipsub.
    pub fn library_metrics(&self) -> Arc<Registry> {
        self.library.clone()
    }

    /// Returns the time since the actor's loop ticked last; it ticks every 200 ms by default.
    pub fn silent(&self) -> Duration {
        self.pulse.silent(clock::now())
    }

    /// Opens a stream to a connected peer, within the deadline [`Timings::open`](crate::Timings::open) (default 5 s). Never
    /// dials: if the peer is not admitted, the call fails with [`MeshError::NotConnected`].
    pub async fn open(&self, node: NodeId, protocol: StreamProtocol) -> Result<Stream, MeshError> {
        let admitted = self.snapshot.borrow().connected.contains_key(&node);
        let Some(peer) = qres_wire::identity::peer_id(&node).filter(|_| admitted) else {
            return Err(MeshError::NotConnected(node));
        };
        match self.streams.open(peer, protocol, self.open_deadline).await {
            Ok(stream) => Ok(stream),
            Err(OpenError::Stopped) => Err(MeshError::Stopped),
            Err(error) => Err(MeshError::Stream(error.to_string())),
        }
    }

    /// Accepts a protocol and returns the streams of it that admitted peers open. Call once per protocol: a second call takes
    /// the protocol over from the first.
    pub fn accept(&self, protocol: StreamProtocol) -> IncomingStreams {
        let streams = self.streams.accept(protocol);
        IncomingStreams::new(
            streams,
            self.snapshot.clone(),
            self.counters.clone(),
            self.open_deadline,
        )
    }

    /// Says goodbye to all peers, closes the connections and returns when the actor has ended.
    pub async fn stop(&self) {
        // Sending fails only when the mesh has stopped already.
        drop(self.commands.send(Command::Stop).await);
        self.commands.closed().await;
    }
}
