//! The actor. It owns the swarm, and its loop only dispatches.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::metrics::Recorder;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, ping};
use qres_fed::id::NodeId;
use qres_wire::clock;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

mod admission;
mod ban;
mod dial;
mod discovery;
mod gossip;
mod heartbeat;
mod identify;
mod inspect;
mod listen;
mod operator_dial;
mod probe;
mod reach;
mod saved_peers;
mod seed;
mod seed_name;
mod twin;
mod watchdog;

use super::address;
use super::backoff::{Backoff, jitter};
use super::behaviour::{Behaviour, BehaviourEvent};
use super::command::{Command, FaultReport};
use super::config::MeshConfig;
use super::counters::MeshCounters;
use super::dial::words;
use super::discovery::Discovery;
use super::event::{HeadClaim, MeshEvent};
use super::gossip::{Authors, Carriers, Held, RetryQueue};
use super::heartbeat::HeartbeatTimer;
use super::hello::{self, GoodbyeCode, Hello};
use super::outbox::{Notice, Outbox};
use super::peer_table::{Connection, Link, Peer, PeerTable};
use super::probe::{Answer, Probes};
use super::pulse::Pulse;
use super::reach::{Reaches, Ready};
use super::resolver;
use super::saved_peers::SavedPeers;
use super::snapshot::Snapshot;
use super::twin::Twins;
use super::watchdog::Watchdog;

/// A connection counts as dead, and is closed, after this many failed pings in a row.
const PING_FAILURES_MAX: u32 = 2;

/// A new round-trip time is told to the layer above if it differs from the last one by more than this fraction.
const RTT_NEWS: f64 = 0.25;

/// The actor's state. The methods of each concern are in a file of their own.
pub struct Actor {
    pub(super) config: MeshConfig,
    pub(super) own: PeerId,
    pub(super) hello: Hello,
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) counters: Arc<MeshCounters>,
    /// libp2p's own figures of connections, dials, pings and Kademlia.
    pub(super) library: libp2p::metrics::Metrics,
    pub(super) pulse: Arc<Pulse>,
    pub(super) events: mpsc::Sender<MeshEvent>,
    pub(super) outbox: Outbox,
    pub(super) peers: PeerTable,
    pub(super) discovery: Discovery,
    pub(super) authors: Authors,
    pub(super) carriers: Carriers,
    /// The nodes on the member lists of joined models, as the layer above has set them.
    pub(super) members: watch::Receiver<Arc<BTreeSet<NodeId>>>,
    pub(super) retry_queue: RetryQueue,
    pub(super) held: VecDeque<Held>,
    pub(super) heads: watch::Receiver<Vec<HeadClaim>>,
    pub(super) heartbeat_timer: HeartbeatTimer,
    pub(super) watchdog: Watchdog,
    /// Addresses that the swarm listens on, widest reach first, TCP before QUIC.
    pub(super) listening: Vec<Multiaddr>,
    /// Addresses that others can reach, as the operator stated them.
    pub(super) announced: Vec<Multiaddr>,
    pub(super) twins: Twins,
    pub(super) probes: Probes,
    /// Questions to peers for a dial back, and the dials back that this node makes.
    pub(super) reaches: Reaches,
    pub(super) snapshot_changed: bool,
    pub(super) snapshot: watch::Sender<Snapshot>,
    pub(super) hints_saved: SavedPeers,
    pub(super) hints_checked: Instant,
    pub(super) hints_writer: Option<JoinHandle<()>>,
    /// The end of the time for goodbyes, set when the mesh was asked to stop.
    pub(super) stopping: Option<Instant>,
}

/// Sources of the [`Actor`]'s work, besides the swarm.
pub struct Inputs {
    /// Commands of the handles.
    pub(super) commands: mpsc::Receiver<Command>,
    /// Faults of peers, as the layer above reports them.
    pub(super) faults: mpsc::Receiver<FaultReport>,
    /// The answers to probes.
    pub(super) answers: mpsc::Receiver<Answer>,
    /// Dials back that have ended, with the answers to their askers.
    pub(super) ready: mpsc::Receiver<Ready>,
    /// The answers to questions about bootstrap names, by their index.
    pub(super) resolved: mpsc::Receiver<(usize, resolver::Answer)>,
    /// True once the layer above has stopped, so that `heads` changes no more.
    pub(super) heads_closed: bool,
    /// The heads of this node's models.
    pub(super) heads: watch::Receiver<Vec<HeadClaim>>,
}

impl Actor {
    /// Runs until the mesh is stopped.
    pub(super) async fn run(mut self, mut inputs: Inputs) {
        let mut tick = tokio::time::interval(self.config.timings.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let events = self.events.clone();
        while !self.is_done(clock::now()) {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event, clock::now()),
                command = inputs.commands.recv(), if self.stopping.is_none() => self.on_command(command, clock::now()),
                Some(report) = inputs.faults.recv() => {
                    self.on_fault(&report.node, report.fault, &report.why, clock::now());
                }
                Some((address, hello)) = inputs.answers.recv() => {
                    self.on_probed(&address, hello.as_ref(), clock::now());
                }
                Some((channel, response)) = inputs.ready.recv() => self.on_dialled_back(channel, response),
                Some((name, answer)) = inputs.resolved.recv() => self.on_resolved(name, answer, clock::now()),
                permit = events.reserve(), if !self.outbox.is_empty() => self.on_permit(permit.ok()),
                changed = inputs.heads.changed(), if !inputs.heads_closed => match changed {
                    Ok(()) => self.on_heads_moved(clock::now()),
                    Err(_) => inputs.heads_closed = true,
                },
                _ = tick.tick() => self.on_tick(clock::now()),
            }
            if self.snapshot_changed {
                self.publish_snapshot();
            }
        }
        self.finish_saved_peers().await;
        // The sockets close before the receiver of the commands does. `Mesh::stop` waits for the receiver, so all is done
        // when it returns.
        drop(self);
        drop(inputs);
    }

    fn on_tick(&mut self, now: Instant) {
        self.pulse.beat(now);
        self.counters.census.take(&self.peers);
        self.tick_admission(now);
        if self.stopping.is_some() {
            return;
        }
        self.tick_discovery(now);
        self.tick_heartbeat(now);
        self.tick_twins(now);
        self.tick_watchdog(now);
        self.tick_gossip(now);
        self.tick_saved_peers(now);
    }

    fn on_heads_moved(&mut self, now: Instant) {
        self.heartbeat_timer.note_moved();
        self.tick_heartbeat(now);
    }

    fn on_permit(&mut self, permit: Option<mpsc::Permit<'_, MeshEvent>>) {
        let notice = self.outbox.pop();
        // Without a permit the layer above has stopped and reads no more events.
        let Some(permit) = permit else { return };
        match notice {
            Some(Notice::Event(event)) => permit.send(event),
            Some(Notice::Peer(id)) => {
                if let Some(view) = self.peers.view(&id, clock::now()) {
                    permit.send(MeshEvent::Peer(view));
                }
            }
            None => {}
        }
    }

    /// Carries out a [`Command`]. A reply fails only when the caller no longer waits, which is no error.
    fn on_command(&mut self, command: Option<Command>, now: Instant) {
        match command {
            Some(Command::Publish { topic, data, reply }) => drop(reply.send(self.publish(topic, data, now))),
            Some(Command::Report { token, verdict }) => self.on_verdict(&token, verdict),
            Some(Command::Dial { address, reply }) => self.dial_for_operator(&address, reply, now),
            Some(Command::Ban {
                node,
                reason,
                for_,
                reply,
            }) => drop(reply.send(self.ban(&node, &reason, for_, now))),
            Some(Command::Unban { node, reply }) => drop(reply.send(self.unban(&node, now))),
            Some(Command::Inspect { reply }) => drop(reply.send(Ok(self.inspect(now)))),
            Some(Command::Reach { peers_max, reply }) => self.ask_for_reach(peers_max, reply, now),
            Some(Command::Peers { reply }) => drop(reply.send(Ok(self.peers.views(now)))),
            // A caller asked to stop, or the last handle was dropped.
            Some(Command::Stop) | None => self.begin_stop(now),
        }
    }

    fn begin_stop(&mut self, now: Instant) {
        self.stopping = Some(now + self.config.timings.goodbye);
        let connected: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|p| !p.connections.is_empty())
            .map(|p| p.id)
            .collect();
        for id in connected {
            self.part(id, Some(hello::goodbye(GoodbyeCode::Shutdown, "shutting down")), now);
        }
    }

    fn is_done(&self, now: Instant) -> bool {
        let all_gone = || self.peers.iter().all(|p| p.connections.is_empty());
        self.stopping.is_some_and(|until| now >= until || all_gone())
    }

    pub(super) fn publish_snapshot(&mut self) {
        self.snapshot_changed = false;
        let snapshot = Snapshot {
            connected: self.peers.admitted().map(|p| (p.node, p.rtt)).collect(),
            listen: self.listen_addresses(),
        };
        self.snapshot.send_replace(snapshot);
    }

    /// Counts an event in libp2p's own figures. Left out are the addresses that peers claim for this node, and identify:
    /// their labels are what strangers say.
    fn record(&self, event: &SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewExternalAddrCandidate { .. }
            | SwarmEvent::ExternalAddrConfirmed { .. }
            | SwarmEvent::ExternalAddrExpired { .. }
            | SwarmEvent::NewExternalAddrOfPeer { .. } => {}
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.library.record(event),
            SwarmEvent::Behaviour(BehaviourEvent::Kad(event)) => self.library.record(event),
            event => self.library.record(event),
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>, now: Instant) {
        self.record(&event);
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event, now),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => self.on_connected(peer_id, connection_id, &endpoint, now),
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                num_established,
                ..
            } => self.on_closed(peer_id, connection_id, num_established, now),
            SwarmEvent::Dialing {
                peer_id: Some(peer), ..
            } => self.note_dialing(peer, now),
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                peer_id,
                error,
            } => {
                tracing::debug!(peer = ?peer_id, "dial failed: {}", words(&error));
                self.on_dial_error(connection_id, peer_id, &error, now);
            }
            SwarmEvent::IncomingConnectionError { peer_id, error, .. } => {
                self.counters.inbound_failures.add();
                tracing::debug!(peer = ?peer_id, %error, "inbound connection failed");
            }
            SwarmEvent::NewListenAddr { address, .. } => self.on_listen_address(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.on_listen_address_gone(&address),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::warn!(?addresses, ?reason, "no longer listening");
                for address in &addresses {
                    self.on_listen_address_gone(address);
                }
            }
            SwarmEvent::ListenerError { error, .. } => tracing::debug!(%error, "listener"),
            _ => {}
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent, now: Instant) {
        match event {
            BehaviourEvent::Hello(event) => self.on_hello(event, now),
            BehaviourEvent::Reach(event) => self.on_reach(event, now),
            BehaviourEvent::Identify(event) => self.on_identify(event, now),
            BehaviourEvent::Ping(event) => self.on_ping(event),
            BehaviourEvent::Kad(event) => self.on_kad(event, now),
            BehaviourEvent::Gossip(event) => self.on_gossip(event, now),
            BehaviourEvent::Blocked(never)
            | BehaviourEvent::Descriptors(never)
            | BehaviourEvent::Limits(never)
            | BehaviourEvent::Places(never)
            | BehaviourEvent::Streams(never) => match never {},
        }
    }

    fn on_connected(&mut self, id: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint, now: Instant) {
        let stopping = self.stopping.is_some();
        // First of all: a dial that reached no node has ended, too.
        let reached = self.discovery.reached(connection, id);
        let Some(peer) = self.peers.entry(id, now).filter(|_| !stopping) else {
            tracing::debug!(peer = %id, "its id holds no Ed25519 key: not a node");
            // The call fails only when the peer is not connected, and then there is nothing to close.
            let _ = self.swarm.disconnect_peer_id(id);
            return;
        };
        if reached.surplus && !peer.connections.is_empty() {
            self.swarm.close_connection(connection);
            return;
        }
        let remote = endpoint.get_remote_address();
        let address = address::split_peer(remote.clone()).map_or_else(|| remote.clone(), |(_, bare)| bare);
        if endpoint.is_dialer() && !peer.addresses.contains(&address) {
            peer.addresses.insert(0, address.clone());
            peer.addresses.truncate(address::ADDRESSES_MAX);
        }
        peer.connections.push(Connection {
            id: connection,
            address,
            dialled: endpoint.is_dialer(),
            ping_failures: 0,
        });
        if matches!(peer.link, Link::Idle | Link::Dialing) {
            peer.link = Link::Greeting { since: now };
        }
        self.outbox.peer_changed(id);
        if reached.for_operator {
            // An operator's dial overrides an earlier refusal.
            peer.refused = None;
        }
        self.greet(&id);
    }

    fn on_closed(&mut self, id: PeerId, connection: ConnectionId, remaining: u32, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.connections.retain(|c| c.id != connection);
        if remaining > 0 {
            return;
        }
        let (min, max) = (self.config.timings.dial_wait_min, self.config.timings.dial_wait_max);
        if matches!(peer.link, Link::Greeting { .. }) {
            // The peer closed the connection without a hello: this counts as a failed dial.
            peer.backoff.fail(min, max, jitter(), now);
        } else if peer.link != Link::Idle {
            let mut fresh = Backoff::new(now);
            fresh.reset(min, jitter(), now);
            peer.backoff.not_before(fresh.next());
        }
        peer.link = Link::Idle;
        peer.rtt = None;
        self.twins.sightings.forget(&id);
        self.outbox.peer_changed(id);
        self.unadmit(&id, now);
        if self.peers.ban_of(&id).is_some() {
            self.swarm.behaviour_mut().blocked.block_peer(id);
        }
        if self.peers.get(&id).is_some_and(Peer::is_visitor) {
            self.peers.remove(&id);
        }
    }

    fn on_ping(&mut self, event: ping::Event) {
        let Some(peer) = self.peers.get_mut(&event.peer) else {
            return;
        };
        let connection = peer.connections.iter_mut().find(|c| c.id == event.connection);
        match event.result {
            Ok(rtt) => {
                if let Some(connection) = connection {
                    connection.ping_failures = 0;
                }
                let old = peer.rtt.map_or(0.0, |r| r.as_secs_f64());
                let news = (rtt.as_secs_f64() - old).abs() > old * RTT_NEWS;
                peer.rtt = Some(rtt);
                self.snapshot_changed = true;
                if news {
                    self.outbox.peer_changed(event.peer);
                }
            }
            Err(ping::Failure::Unsupported) => {}
            Err(failure) => {
                let Some(connection) = connection else { return };
                connection.ping_failures += 1;
                if connection.ping_failures >= PING_FAILURES_MAX {
                    tracing::debug!(peer = %event.peer, %failure, "pings unanswered: closing the connection");
                    self.swarm.close_connection(event.connection);
                }
            }
        }
    }
}
