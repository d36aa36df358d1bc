//! Admission of peers: hellos in and out, refusals, goodbyes and pruning.

use std::collections::BTreeSet;
use std::time::Instant;

use libp2p::PeerId;
use libp2p::request_response::{self, Message, OutboundFailure, OutboundRequestId, ResponseChannel};
use libp2p::swarm::ConnectionId;
use qres_wire::clock::unix_ms;

use super::Actor;
use crate::backoff::jitter;
use crate::config::Mode;
use crate::discovery::BUSY_WAIT;
use crate::hello::{self, Goodbye, GoodbyeCode, Hello, Mismatch};
use crate::limits::TWIN_ADDRESS_BYTES_MAX;
use crate::peer_table::{Link, MET_AFTER, Peer};
use crate::score;

/// When more than the first part of the connections is in use, peers are let go until the second part remains, so that
/// newcomers always find a way in.
const PRUNE_ABOVE: f64 = 0.9;
const PRUNE_TO: f64 = 0.8;

/// The reason for which a peer is refused that is not in [`MeshConfig::allowed`](crate::MeshConfig::allowed); both sides read it.
const NOT_ALLOWED: &str = "not on the list of allowed peers (allow_peer)";

/// The reason of a ban, a fault or a received goodbye is cut to this many bytes.
pub(super) const REASON_BYTES_MAX: usize = 256;

type HelloEvent = request_response::Event<Hello, Hello>;

impl Actor {
    /// Sends this node's [`Hello`] to a peer on a new connection.
    pub(super) fn greet(&mut self, peer: &PeerId) {
        let hello = self.greeting();
        self.swarm.behaviour_mut().hello.send_request(peer, hello);
    }

    /// Handles one event of the hello protocol.
    pub(super) fn on_hello(&mut self, event: HelloEvent, now: Instant) {
        match event {
            HelloEvent::Message {
                peer,
                connection_id,
                message: Message::Request { request, channel, .. },
            } => {
                self.take_boots(&peer, connection_id, &request, now);
                self.on_hello_request(peer, &request, channel, now);
            }
            HelloEvent::Message {
                peer,
                connection_id,
                message: Message::Response { response, request_id },
            } => {
                self.take_boots(&peer, connection_id, &response, now);
                let parted = self.ends_with(&peer, request_id);
                self.take_hello(peer, &response, now);
                if parted {
                    self.disconnect(peer);
                }
            }
            HelloEvent::OutboundFailure {
                peer,
                connection_id,
                request_id,
                error,
            } => self.on_hello_failure(peer, connection_id, request_id, &error, now),
            HelloEvent::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "hello from a peer could not be answered");
            }
            HelloEvent::ResponseSent { .. } => {}
        }
    }

    /// Takes from a hello which run of its process the peer is, and which runs of this node's own identity the peer has met.
    fn take_boots(&mut self, peer: &PeerId, connection: ConnectionId, theirs: &Hello, now: Instant) {
        let connections = self
            .peers
            .get(peer)
            .map(|p| p.connections.as_slice())
            .unwrap_or_default();
        let found = connections.iter().find(|c| c.id == connection);
        let address = found.map(|c| c.address.to_string()).unwrap_or_default();
        for twin in &theirs.twins {
            let met_at = if twin.address.is_empty() {
                format!("an unknown address, says peer {peer} at {address}")
            } else {
                format!("{}, says peer {peer} at {address}", twin.address)
            };
            self.on_own_boot(twin, &met_at, now);
        }
        if let Some(boot) = theirs.boot.clone() {
            self.on_boot(*peer, boot, hello::cut(&address, TWIN_ADDRESS_BYTES_MAX), now);
        }
    }

    /// Returns true if the end of this hello is the end of the link. The answer to an earlier hello is not: the goodbye may still be
    /// on its way then.
    fn ends_with(&self, peer: &PeerId, hello: OutboundRequestId) -> bool {
        match self.peers.get(peer).map(|p| p.link) {
            Some(Link::Parting { goodbye, .. }) => goodbye.is_none_or(|(goodbye, _)| goodbye == hello),
            _ => false,
        }
    }

    fn is_parting(&self, peer: &PeerId) -> bool {
        self.peers
            .get(peer)
            .is_some_and(|p| matches!(p.link, Link::Parting { .. }))
    }

    fn on_hello_request(&mut self, peer: PeerId, theirs: &Hello, channel: ResponseChannel<Hello>, now: Instant) {
        let mut answer = self.greeting();
        answer.goodbye = self.objection(&peer, theirs, now);
        // Sending fails only when the connection is closed, and then there is no peer to answer.
        drop(self.swarm.behaviour_mut().hello.send_response(channel, answer));
        self.take_hello(peer, theirs, now);
    }

    /// Returns the reason why the peer may not stay, as the peer will read it; `None` if it may.
    fn objection(&self, peer: &PeerId, theirs: &Hello, now: Instant) -> Option<Goodbye> {
        if let Err(mismatch) = hello::compare(theirs, &self.hello) {
            // The text is read on the peer's side, so the comparison takes the peer's view.
            return Some(hello::goodbye(mismatch.code, &mismatch.text));
        }
        if !self.allows(peer) {
            return Some(hello::goodbye(GoodbyeCode::Network, NOT_ALLOWED));
        }
        if let Some(ban) = self.peers.ban_of(peer) {
            return Some(hello::goodbye(GoodbyeCode::Banned, &ban.reason));
        }
        let score = self.peers.get(peer).map_or(0.0, |p| p.score.now(now));
        (score <= score::DISCONNECT).then(|| hello::goodbye(GoodbyeCode::Fault, &format!("score {score:.1}")))
    }

    /// Takes in a peer's [`Hello`]: admits the peer, refuses it, or lets it go.
    fn take_hello(&mut self, peer: PeerId, theirs: &Hello, now: Instant) {
        if let Some(entry) = self.peers.get_mut(&peer)
            && (&entry.software, entry.bootstrap) != (&theirs.software, theirs.bootstrap)
        {
            entry.bootstrap = theirs.bootstrap;
            entry.software.clone_from(&theirs.software);
            self.outbox.peer_changed(peer);
        }
        if let Err(mismatch) = hello::compare(&self.hello, theirs) {
            self.refuse(peer, mismatch.code, mismatch.text, false, now);
        } else if let Some(goodbye) = &theirs.goodbye {
            self.on_goodbye(peer, goodbye, now);
        } else if !self.allows(&peer) {
            self.refuse(peer, GoodbyeCode::Network, NOT_ALLOWED.to_owned(), true, now);
        } else if let Some(goodbye) = self.objection(&peer, theirs, now) {
            self.part(peer, Some(goodbye), now);
        } else {
            self.admit(peer, now);
        }
    }

    /// Returns true unless the operator named the peers that are let in and this peer is none of them.
    fn allows(&self, peer: &PeerId) -> bool {
        self.config
            .allowed
            .as_ref()
            .is_none_or(|allowed| allowed.contains(peer))
    }

    fn on_hello_failure(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        hello: OutboundRequestId,
        error: &OutboundFailure,
        now: Instant,
    ) {
        match self.peers.get(&peer).map(|p| p.link) {
            Some(Link::Parting { .. }) if self.ends_with(&peer, hello) => self.disconnect(peer),
            Some(Link::Greeting { .. }) if matches!(error, OutboundFailure::UnsupportedProtocols) => {
                let text = "it does not speak /qres/hello/0, so it is no qres node".to_owned();
                self.refuse(peer, GoodbyeCode::Version, text, false, now);
            }
            Some(Link::Greeting { .. }) => {
                tracing::debug!(%peer, %error, "no hello: closing the connection");
                self.swarm.close_connection(connection);
                // One of two connections may have been turned away together with the hello that was meant for the other.
                let others = |p: &Peer| p.connections.iter().any(|c| c.id != connection);
                if self.peers.get(&peer).is_some_and(others) {
                    self.greet(&peer);
                }
            }
            // Another connection of the peer passed the hello; this one failed.
            Some(Link::Admitted { .. }) if matches!(error, OutboundFailure::Timeout) => {
                self.swarm.close_connection(connection);
            }
            _ => {}
        }
    }

    /// Handles a version that identify names and that contradicts the hello. Before the hello is in, the mismatch is only
    /// noted: the hello's own text says more.
    pub(super) fn on_identify_mismatch(&mut self, id: PeerId, mismatch: Mismatch, now: Instant) {
        match self.peers.get_mut(&id) {
            Some(peer) if matches!(peer.link, Link::Greeting { .. }) => peer.objection = Some(mismatch),
            Some(_) => self.refuse(id, mismatch.code, mismatch.text, true, now),
            None => {}
        }
    }

    fn admit(&mut self, id: PeerId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !matches!(peer.link, Link::Greeting { .. }) {
            return;
        }
        if let Some(mismatch) = peer.objection.take() {
            self.refuse(id, mismatch.code, mismatch.text, true, now);
            return;
        }
        peer.link = Link::Admitted { since: now };
        peer.refused = None;
        peer.wanted = false;
        peer.backoff.reset(self.config.timings.dial_wait_min, jitter(), now);
        peer.admitted_at = Some(now);
        peer.connected_unix_ms = Some(unix_ms());
        peer.last_good_unix_ms = unix_ms();
        let node = peer.node;
        self.swarm.behaviour_mut().places.admitted(&id);
        tracing::debug!(peer = %id, software = %peer.software, "peer admitted");
        let score = peer.score.now(now);
        self.counters.admitted.add();
        self.swarm.behaviour_mut().gossip.set_application_score(&id, score);
        self.outbox.presence(node, true);
        self.outbox.peer_changed(id);
        self.snapshot_changed = true;
        let wait = self.config.timings.lookup_wait_min;
        self.discovery.admitted(&id, self.config.timings.dial_wait_min, now);
        self.discovery.hurry(wait, now);
        self.route(&id);
        self.release_held(&id, true, now);
        self.tick_gossip(now);
    }

    /// Ends a peer's admission, for any reason.
    pub(super) fn unadmit(&mut self, id: &PeerId, now: Instant) {
        self.release_held(id, false, now);
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.connected_unix_ms.take().is_none() {
            return;
        }
        peer.last_good_unix_ms = unix_ms();
        let stayed = peer.admitted_at.take().map(|at| now.saturating_duration_since(at));
        peer.met |= stayed.is_some_and(|stayed| stayed >= MET_AFTER);
        let node = peer.node;
        self.outbox.presence(node, false);
        self.outbox.peer_changed(*id);
        self.snapshot_changed = true;
        self.discovery.hurry(self.config.timings.lookup_wait_min, now);
    }

    /// Refuses a peer of another version or network, or with too many faults, or notes that the peer refuses this node. The
    /// same reason is logged only once.
    pub(super) fn refuse(&mut self, id: PeerId, code: GoodbyeCode, text: String, tell: bool, now: Instant) {
        if self.is_parting(&id) {
            return;
        }
        self.counters.refused.add();
        let at = self.note_refused(&id, now);
        if self.peers.get(&id).is_some_and(|p| p.refused.as_deref() != Some(&text)) {
            tracing::warn!("peer {id} at {at} refused: {text}");
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.refused = Some(text.clone());
        }
        self.part(id, tell.then(|| hello::goodbye(code, &text)), now);
    }

    /// Notes that the peer must not be dialled soon. Returns the address of its first connection, for the log.
    fn note_refused(&mut self, id: &PeerId, now: Instant) -> String {
        let at = now + self.config.timings.refused_wait;
        self.discovery.not_before(id, at);
        self.swarm.behaviour_mut().kad.remove_peer(id);
        let Some(peer) = self.peers.get_mut(id) else {
            return String::new();
        };
        peer.backoff.not_before(at);
        peer.wanted = false;
        peer.connections
            .first()
            .map(|c| c.address.to_string())
            .unwrap_or_default()
    }

    fn on_goodbye(&mut self, id: PeerId, goodbye: &Goodbye, now: Instant) {
        let text = hello::cut(&goodbye.text, REASON_BYTES_MAX);
        match goodbye.code() {
            GoodbyeCode::Shutdown => tracing::debug!(peer = %id, "peer shuts down"),
            GoodbyeCode::Busy => {
                tracing::debug!(peer = %id, "peer has enough connections");
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.backoff.not_before(now + BUSY_WAIT);
                }
                self.discovery.not_before(&id, now + BUSY_WAIT);
            }
            code @ (GoodbyeCode::Version
            | GoodbyeCode::Network
            | GoodbyeCode::Fault
            | GoodbyeCode::Banned
            | GoodbyeCode::Unspecified) => {
                let why = match code {
                    GoodbyeCode::Banned => "it banned this node",
                    GoodbyeCode::Fault => "it holds faults against this node",
                    _ => "it refuses this node",
                };
                self.refuse(id, code, format!("{why}: {text}"), false, now);
                return;
            }
        }
        self.part(id, None, now);
    }

    /// Lets a peer go: sends the [`Goodbye`], if there is one, and closes the connection after `Timings::goodbye` at the latest.
    pub(super) fn part(&mut self, id: PeerId, goodbye: Option<Goodbye>, now: Instant) {
        let until = now + self.config.timings.goodbye;
        let Some(peer) = self.peers.get_mut(&id).filter(|p| !p.connections.is_empty()) else {
            return;
        };
        if !matches!(peer.link, Link::Parting { .. }) {
            peer.link = Link::Parting { until, goodbye: None };
        }
        // One goodbye for a reason is enough, however often the peer says hello meanwhile.
        let said = match peer.link {
            Link::Parting { goodbye, .. } => goodbye.map(|(_, code)| code),
            _ => None,
        };
        self.outbox.peer_changed(id);
        self.unadmit(&id, now);
        if let Some(goodbye) = goodbye.filter(|goodbye| Some(goodbye.code()) != said) {
            let code = goodbye.code();
            let mut hello = self.greeting();
            hello.goodbye = Some(goodbye);
            let sent = self.swarm.behaviour_mut().hello.send_request(&id, hello);
            if let Some(Link::Parting { goodbye, .. }) = self.peers.get_mut(&id).map(|peer| &mut peer.link) {
                *goodbye = Some((sent, code));
            }
        }
    }

    /// Closes all connections of a peer.
    pub(super) fn disconnect(&mut self, id: PeerId) {
        // The call fails only when there is no connection.
        let _ = self.swarm.disconnect_peer_id(id);
        if self.peers.ban_of(&id).is_some() {
            self.swarm.behaviour_mut().blocked.block_peer(id);
        }
    }

    /// Due work: closes connections whose hello is late or whose time for a goodbye is over, lifts bans that have ended,
    /// counts faults of graylisted peers and prunes connections.
    pub(super) fn tick_admission(&mut self, now: Instant) {
        let hello = self.config.timings.hello;
        let late: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|p| match p.link {
                Link::Greeting { since } => now.saturating_duration_since(since) > hello,
                Link::Parting { until, .. } => now >= until,
                Link::Idle | Link::Dialing | Link::Admitted { .. } => false,
            })
            .map(|p| p.id)
            .collect();
        for id in late {
            self.disconnect(id);
        }
        self.lift_ended_bans();
        self.punish_graylisted(now);
        self.prune(now);
    }

    /// Lets peers go before the connection limit shuts newcomers out.
    fn prune(&mut self, now: Instant) {
        let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        let limit = f64::from(self.config.connections_max);
        // Connections without a hello make room for each other: see places.rs.
        let greeted = self.peers.iter().filter(|p| !matches!(p.link, Link::Greeting { .. }));
        let open = count(greeted.map(|p| p.connections.len()).sum());
        if open <= limit * PRUNE_ABOVE {
            return;
        }
        let is_parting = |p: &&Peer| matches!(p.link, Link::Parting { .. });
        let parting = count(self.peers.iter().filter(is_parting).count());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 0 and connections_max
        let excess = (open - parting - limit * PRUNE_TO).max(0.0) as usize;
        for id in self.prunable().into_iter().take(excess) {
            self.counters.pruned.add();
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.backoff.not_before(now + BUSY_WAIT);
            }
            self.part(id, Some(hello::goodbye(GoodbyeCode::Busy, "enough connections")), now);
        }
    }

    /// Returns the peers that may be asked to go, in that order. A bootstrap node serves newcomers, so the peers that came
    /// first go first: they have found others by now. A node keeps its gossip mesh and its oldest neighbours, which are the
    /// hardest for an attacker to replace. Members of joined models go last: their places are kept for them.
    fn prunable(&self) -> Vec<PeerId> {
        let mesh: BTreeSet<PeerId> = self.swarm.behaviour().gossip.all_mesh_peers().copied().collect();
        let mut admitted: Vec<(Instant, PeerId)> = self
            .peers
            .admitted()
            .filter_map(|p| match p.link {
                Link::Admitted { since } => Some((since, p.id)),
                _ => None,
            })
            .collect();
        admitted.sort();
        if self.config.mode == Mode::Node {
            admitted.reverse();
            admitted.sort_by_key(|(_, id)| mesh.contains(id));
        }
        let members = self.members.borrow().clone();
        let is_member = |id: &PeerId| self.peers.get(id).is_some_and(|p| members.contains(&p.node));
        admitted.sort_by_key(|(_, id)| is_member(id));
        admitted.into_iter().map(|(_, id)| id).collect()
    }
}
