//! Shares of the connections: no host and no network gets all of them, and members always find a place.
//!
//! | connections | share |
//! | --- | --- |
//! | inbound, of one host (an IPv4 address, an IPv6 /64) | a quarter |
//! | inbound, of one network (an IPv4 /24, an IPv6 /48) | a half |
//! | inbound, without a hello yet | a quarter, at least 8; a newcomer takes a place of the host that has most of these |
//! | of all peers that are on no joined list | all but one for each member, at least a half |
//!
//! Members of joined lists are bound by none of these shares, only by the total. Connections within this machine are not
//! bound by the first two, since dozens of daemons on one host are a test setup that has to work.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint, Multiaddr};
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use qres_fed::id::NodeId;
use qres_wire::clock;
use qres_wire::identity;
use tokio::sync::watch;

use super::counters::MeshCounters;
use super::source;

/// Newcomers that may greet at the same time, even if a quarter of the connections is less.
const NEWCOMERS_MIN: usize = 8;

/// Time that a newcomer has for its hello before another newcomer of its own host may take its place. A hello needs a few
/// round trips, and the nodes of one host that start together must not push each other out for ever.
const GRACE: Duration = Duration::from_secs(1);

/// The reason why a connection was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// All connections are taken.
    #[error("all {0} connections are taken")]
    All(usize),
    /// All places for connections without a hello are taken.
    #[error("{0} connections have not said hello yet, as many as may")]
    Newcomers(usize),
    /// All places that are not kept for members are taken.
    #[error("all {0} connections for nodes that are on no joined list are taken")]
    Strangers(usize),
    /// The host has its whole share.
    #[error("its address has {0} connections, as many as one address may")]
    Host(usize),
    /// The network has its whole share.
    #[error("its network has {0} connections, as many as one network may")]
    Network(usize),
}

struct Connection {
    peer: PeerId,
    node: Option<NodeId>,
    /// The IP address that an inbound connection comes from; `None` if this node dialled, or for a connection within this
    /// machine.
    from: Option<IpAddr>,
    inbound: bool,
    /// True while no hello of the peer has been accepted.
    greeting: bool,
    since: Instant,
}

impl Connection {
    fn is_of(&self, members: &BTreeSet<NodeId>) -> bool {
        self.node.is_some_and(|node| members.contains(&node))
    }

    fn is_newcomer(&self, members: &BTreeSet<NodeId>) -> bool {
        self.greeting && self.inbound && !self.is_of(members)
    }
}

/// The behaviour that denies connections beyond their share, and closes those that make room for newcomers.
pub struct Behaviour {
    max: usize,
    /// True if connections within this machine are exempt from the shares of a host and a network.
    loopback_is_free: bool,
    grace: Duration,
    members: watch::Receiver<Arc<BTreeSet<NodeId>>>,
    counters: Arc<MeshCounters>,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Connections that the swarm shall close next.
    closing: VecDeque<(PeerId, ConnectionId)>,
}

impl Behaviour {
    /// Makes a behaviour that allows at most `max` connections.
    pub fn new(
        max: u32,
        loopback_is_free: bool,
        members: watch::Receiver<Arc<BTreeSet<NodeId>>>,
        counters: Arc<MeshCounters>,
    ) -> Self {
        Self {
            max: max as usize,
            loopback_is_free,
            grace: GRACE,
            counters,
            members,
            connections: BTreeMap::new(),
            closing: VecDeque::new(),
        }
    }

    /// Notes that the peer has said hello, so its connections are no newcomers any more.
    pub fn admitted(&mut self, peer: &PeerId) {
        for connection in self.connections.values_mut().filter(|c| c.peer == *peer) {
            connection.greeting = false;
        }
    }

    fn count(&self, which: impl Fn(&Connection) -> bool) -> usize {
        self.connections.values().filter(|c| which(c)).count()
    }

    fn from(&self, remote: &Multiaddr) -> Option<IpAddr> {
        source::ip(remote).filter(|ip| !(self.loopback_is_free && ip.is_loopback()))
    }

    /// Closes the oldest connection without a hello of the host that has most of them. It closes only if the new connection
    /// comes from another host, or if the old one has had its time ([`GRACE`]). Returns false if none was closed.
    fn displace(&mut self, members: &BTreeSet<NodeId>, for_one_from: Option<IpAddr>) -> bool {
        let host = |c: &Connection| c.from.map(source::host);
        let newcomers: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, c)| c.is_newcomer(members))
            .collect();
        let as_many = |c: &Connection| newcomers.iter().filter(|(_, other)| host(other) == host(c)).count();
        let of_most = newcomers
            .iter()
            .max_by_key(|(id, c)| (as_many(c), std::cmp::Reverse(**id)));
        let may_go = |c: &Connection| host(c) != for_one_from.map(source::host) || clock::now() - c.since >= self.grace;
        let oldest = of_most.filter(|(_, c)| may_go(c)).map(|(id, c)| (**id, c.peer));
        if let Some((id, peer)) = oldest {
            self.connections.remove(&id);
            self.counters.newcomers_displaced.add();
            self.closing.push_back((peer, id));
        }
        oldest.is_some()
    }

    /// Checks that one more connection may come in, and makes room for it where it can. Returns [`Full`] if it may not.
    fn admit(&mut self, peer: &PeerId, from: Option<IpAddr>) -> Result<(), Full> {
        let members = self.members.borrow().clone();
        if !identity::node_id(peer).is_some_and(|node| members.contains(&node)) {
            self.admit_stranger(from, &members)?;
        }
        if self.connections.len() >= self.max && !self.displace(&members, from) {
            return Err(Full::All(self.max));
        }
        Ok(())
    }

    fn admit_stranger(&mut self, from: Option<IpAddr>, members: &BTreeSet<NodeId>) -> Result<(), Full> {
        let stranger = |c: &Connection| !c.is_of(members);
        if let Some(ip) = from {
            let of_host = (self.max / 4).max(1);
            let host = |c: &Connection| stranger(c) && c.from.map(source::host) == Some(source::host(ip));
            if self.count(host) >= of_host {
                return Err(Full::Host(of_host));
            }
            let of_network = (self.max / 2).max(1);
            let network = |c: &Connection| stranger(c) && c.from.map(source::network) == Some(source::network(ip));
            if self.count(network) >= of_network {
                return Err(Full::Network(of_network));
            }
        }
        let newcomers = (self.max / 4).max(NEWCOMERS_MIN);
        if self.count(|c| c.is_newcomer(members)) >= newcomers && !self.displace(members, from) {
            return Err(Full::Newcomers(newcomers));
        }
        let for_strangers = self.max - members.len().min(self.max / 2);
        if self.count(stranger) >= for_strangers && !self.displace(members, from) {
            return Err(Full::Strangers(for_strangers));
        }
        Ok(())
    }

    fn insert(&mut self, id: ConnectionId, peer: PeerId, endpoint: &ConnectedPoint) {
        let inbound = endpoint.is_listener();
        let from = self.from(endpoint.get_remote_address()).filter(|_| inbound);
        let connection = Connection {
            peer,
            node: identity::node_id(&peer),
            from,
            inbound,
            // A second connection of an admitted peer is no newcomer.
            greeting: !self.connections.values().any(|c| c.peer == peer && !c.greeting),
            since: clock::now(),
        };
        self.connections.insert(id, connection);
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let from = self.from(remote);
        self.admit(&peer, from).map_err(ConnectionDenied::new)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let members = self.members.borrow().clone();
        if self.connections.len() >= self.max && !self.displace(&members, None) {
            return Err(ConnectionDenied::new(Full::All(self.max)));
        }
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => self.insert(connection_id, peer_id, endpoint),
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.connections.remove(&connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        match self.closing.pop_front() {
            Some((peer_id, id)) => Poll::Ready(ToSwarm::CloseConnection {
                peer_id,
                connection: CloseConnection::One(id),
            }),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::identity::Identity;

    use super::*;

    struct Scene {
        places: Behaviour,
        members: watch::Sender<Arc<BTreeSet<NodeId>>>,
        next: usize,
    }

    fn scene(max: u32) -> Scene {
        let members = watch::Sender::new(Arc::default());
        Scene {
            places: Behaviour::new(max, true, members.subscribe(), Arc::default()),
            members,
            next: 0,
        }
    }

    fn anyone() -> PeerId {
        Identity::ephemeral().keypair().public().to_peer_id()
    }

    impl Scene {
        /// Lets a connection come in: it is established if it may be.
        fn come(&mut self, peer: PeerId, from: &str) -> Result<ConnectionId, Full> {
            let remote: Multiaddr = format!("{from}/tcp/9").parse().unwrap();
            self.places.admit(&peer, self.places.from(&remote))?;
            let id = ConnectionId::new_unchecked(self.next);
            self.next += 1;
            let endpoint = ConnectedPoint::Listener {
                local_addr: "/ip4/192.0.2.1/tcp/1".parse().unwrap(),
                send_back_addr: remote,
            };
            self.places.insert(id, peer, &endpoint);
            Ok(id)
        }

        /// Lets a connection come in as [`Scene::come`] does, and then lets its peer say hello.
        fn stay(&mut self, peer: PeerId, from: &str) -> Result<(), Full> {
            self.come(peer, from)?;
            self.places.admitted(&peer);
            Ok(())
        }
    }

    #[test]
    fn a_host_gets_a_quarter_and_a_network_a_half() {
        let mut scene = scene(32);
        for _ in 0..8 {
            scene.stay(anyone(), "/ip4/198.51.100.1").unwrap();
        }
        assert_eq!(scene.stay(anyone(), "/ip4/198.51.100.1"), Err(Full::Host(8)));
        for n in 0..8 {
            scene.stay(anyone(), &format!("/ip4/198.51.100.{}", 2 + n)).unwrap();
        }
        assert_eq!(scene.stay(anyone(), "/ip4/198.51.100.200"), Err(Full::Network(16)));
        scene.stay(anyone(), "/ip4/198.51.101.1").unwrap();
        for _ in 0..15 {
            scene.stay(anyone(), "/ip4/127.0.0.1").unwrap();
        }
        assert_eq!(scene.stay(anyone(), "/ip4/127.0.0.1"), Err(Full::Strangers(32)));
    }

    #[test]
    fn members_have_places_that_strangers_do_not_get() {
        let mut scene = scene(32);
        let list: Vec<PeerId> = (0..5).map(|_| anyone()).collect();
        let nodes = list.iter().filter_map(identity::node_id).collect();
        scene.members.send_replace(Arc::new(nodes));
        let mut stayed = 0;
        while scene.stay(anyone(), "/ip4/127.0.0.1").is_ok() {
            stayed += 1;
        }
        assert_eq!(stayed, 27);
        for member in list {
            scene.stay(member, "/ip4/198.51.100.1").unwrap();
        }
        // Half of the places are for anyone, even if the member lists are longer.
        let many: BTreeSet<NodeId> = (0..100).map(|n| NodeId([n; 32])).collect();
        let mut scene = self::scene(32);
        scene.members.send_replace(Arc::new(many));
        assert_eq!(
            (0..40)
                .filter(|_| scene.stay(anyone(), "/ip4/127.0.0.1").is_ok())
                .count(),
            16
        );
    }

    #[test]
    fn who_says_no_hello_makes_room_for_newcomers() {
        let mut scene = scene(64);
        scene.places.grace = Duration::ZERO;
        let silent: Vec<ConnectionId> = (0..16)
            .map(|_| scene.come(anyone(), "/ip4/127.0.0.1").unwrap())
            .collect();
        assert!(scene.places.closing.is_empty());
        scene.come(anyone(), "/ip4/198.51.100.1").unwrap();
        assert_eq!(scene.places.closing.pop_front().unwrap().1, silent[0]);
        assert_eq!(scene.places.connections.len(), 16);
        // 16 connections, a quarter, are without a hello. So the first of these newcomers takes the place of one of them; the
        // others take free places.
        for _ in 0..49 {
            scene.stay(anyone(), "/ip4/127.0.0.1").unwrap();
        }
        assert_eq!(scene.places.closing.pop_front().unwrap().1, silent[1]);
        assert_eq!((scene.places.closing.len(), scene.places.connections.len()), (0, 64));
        scene.come(anyone(), "/ip4/198.51.100.1").unwrap();
        assert_eq!(scene.places.closing.pop_front().unwrap().1, silent[2]);
    }

    #[test]
    fn nodes_of_one_host_that_start_together_leave_each_other_time_for_a_hello() {
        let mut scene = scene(32);
        for _ in 0..8 {
            scene.come(anyone(), "/ip4/127.0.0.1").unwrap();
        }
        assert_eq!(scene.come(anyone(), "/ip4/127.0.0.1"), Err(Full::Newcomers(8)));
        scene.come(anyone(), "/ip4/198.51.100.1").unwrap();
        assert_eq!(
            scene.places.closing.len(),
            1,
            "another host's newcomer waits for nobody"
        );
    }
}
