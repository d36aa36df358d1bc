//! The protocols of one swarm, and how the swarm is made.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use futures::future::Either;
use futures::io::BufReader;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::transport::dummy::DummyTransport;
use libp2p::core::upgrade::Version;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::metrics::Registry;
use libp2p::pnet::{PnetConfig, PreSharedKey};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{
    PeerId, StreamProtocol, Swarm, Transport, allow_block_list, connection_limits, identify, kad, noise, ping, quic,
    request_response, tcp,
};
use qres_fed::id::NodeId;
use qres_wire::identity::Identity;
use tokio::sync::watch;

use super::config::{MeshConfig, Mode};
use super::counted::counted;
use super::counters::MeshCounters;
use super::error::MeshError;
use super::gossip_observer::Observed;
use super::handshakes::Handshakes;
use super::head_start::{HEAD_START, Later};
use super::yamux::Yamux;
use super::{address, descriptors, gossip, hello, places, reach, streams};

/// Kademlia's protocol name contains the swarm protocol's major, so a node of another major never enters a routing table.
const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new("/qres/kad/10");

/// Connections between the same two peers: one, or two if both dialled at the same moment. If each side refused the second
/// connection, each could refuse the other's, and none would be left.
const CONNECTIONS_PER_PEER_MAX: u32 = 2;

/// Own dials under way: those of bootstrap addresses, of known peers and of Kademlia's lookups together.
const PENDING_OUTGOING_MAX: u32 = 64;

/// Addresses of one peer dialled at the same time: all of them, so that one without an answer delays none of the others.
const DIAL_CONCURRENCY: NonZeroU8 = NonZeroU8::new(address::ADDRESSES_MAX as u8).unwrap();

/// Time after which a connection without a stream closes. Gossip keeps a stream open; a connection on which gossip has died
/// may be idle until the watchdog sees it.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);

/// The error type that the swarm's builder takes.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Largest number of bytes that one read takes from a TCP socket.
const READ_BYTES: usize = 64 * 1024;

/// The protocols of the swarm. Each is asked about a connection in this order, so those that may deny it come first.
#[derive(NetworkBehaviour)]
pub struct Behaviour {
    /// Denies connections to banned peers.
    pub blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    /// Denies inbound TCP connections while file descriptors are scarce.
    pub descriptors: descriptors::Behaviour,
    /// Limits the connections of one peer to [`CONNECTIONS_PER_PEER_MAX`], and the own dials to [`PENDING_OUTGOING_MAX`].
    pub limits: connection_limits::Behaviour,
    /// Limits the number of connections, in all and per host and network.
    pub places: places::Behaviour,
    /// The hello protocol `/qres/hello/0`.
    pub hello: request_response::Behaviour<hello::Codec>,
    /// Dials back on request: `/qres/reach/10`.
    pub reach: request_response::Behaviour<reach::Codec>,
    /// identify: a peer's version, addresses and protocols.
    pub identify: identify::Behaviour,
    /// ping: a peer's round-trip time, and a check that the connection lives.
    pub ping: ping::Behaviour,
    /// Kademlia, for routing only: it stores nothing.
    pub kad: kad::Behaviour<MemoryStore>,
    /// GossipSub, which notes when each peer was last heard ([`Observed`]).
    pub gossip: Observed<gossip::GossipSub>,
    /// Raw streams, which carry the blob and sync protocols.
    pub streams: streams::Behaviour,
}

/// Makes the swarm, and the [`streams::Control`] that opens and accepts its raw streams.
pub fn swarm(
    config: &MeshConfig,
    identity: &Identity,
    counters: Arc<MeshCounters>,
    members: watch::Receiver<Arc<BTreeSet<NodeId>>>,
    library: &mut Registry,
) -> Result<(Swarm<Behaviour>, streams::Control), MeshError> {
    let (streams, control) = streams::Behaviour::new(counters.clone());
    let keypair = identity.keypair();
    let gossip = gossip::behaviour(config, &keypair, library).map_err(MeshError::Setup)?;
    let peer = keypair.public().to_peer_id();
    let behaviour = Behaviour {
        blocked: allow_block_list::Behaviour::default(),
        descriptors: descriptors::Behaviour,
        limits: connection_limits::Behaviour::new(limits()),
        places: places::Behaviour::new(
            config.connections_max,
            config.overrides.loopback_is_free,
            members,
            counters.clone(),
        ),
        hello: hello::behaviour(config.timings.hello),
        reach: reach::behaviour(),
        identify: identify::Behaviour::new(identify_config(config, &keypair)),
        ping: ping::Behaviour::new(
            ping::Config::new()
                .with_interval(config.timings.ping)
                .with_timeout(Duration::from_secs(20)),
        ),
        kad: kademlia(config, peer),
        gossip: Observed::new(gossip),
        streams,
    };
    let setup = |error: &dyn std::fmt::Display| MeshError::Setup(error.to_string());
    let key = config.network_key;
    let (dial_timeout, tcp_drops) = (config.timings.dial, config.overrides.tcp_drops);
    let handshakes = |inner| {
        let (limits, deadline) = (config.overrides.handshakes, config.timings.handshake);
        Handshakes::new(inner, limits, deadline, counters.clone())
    };
    let swarm = libp2p::SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_other_transport(|keypair| {
            let quic = counted(quic(keypair, key), counters.clone(), |counters| &counters.quic);
            Later::new(handshakes(quic).boxed(), HEAD_START)
        })
        .map_err(|e| setup(&e))?
        .with_other_transport(|keypair| {
            let tcp = counted(tcp(keypair, key)?, counters.clone(), |counters| &counters.tcp);
            Ok::<_, BoxError>(handshakes(if tcp_drops { dropped(tcp) } else { tcp }))
        })
        .map_err(|e| setup(&e))?
        .with_dns()
        .map_err(|e| setup(&e))?
        .with_behaviour(|_| behaviour)
        .map_err(|e| setup(&e))?
        .with_swarm_config(|c| {
            c.with_idle_connection_timeout(IDLE_TIMEOUT)
                .with_dial_concurrency_factor(DIAL_CONCURRENCY)
        })
        .with_connection_timeout(dial_timeout)
        .build();
    Ok((swarm, control))
}

/// Makes a swarm with a temporary key that speaks only the hello and does not listen (probe.rs).
pub fn probe_swarm(
    timeout: Duration,
    key: Option<PreSharedKey>,
) -> Result<Swarm<request_response::Behaviour<hello::Codec>>, BoxError> {
    let builder = libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(|keypair| quic(keypair, key))?
        .with_other_transport(|keypair| tcp(keypair, key))?
        .with_dns()?;
    let builder = builder.with_behaviour(|_| hello::behaviour(timeout))?;
    Ok(builder
        .with_swarm_config(|c| c.with_idle_connection_timeout(timeout))
        .build())
}

/// Makes the QUIC transport, which brings its own encryption and streams. In a network with a key there is no QUIC: libp2p
/// cannot hide its handshake from those without the key.
fn quic(keypair: &libp2p::identity::Keypair, key: Option<PreSharedKey>) -> Boxed<(PeerId, StreamMuxerBox)> {
    if key.is_some() {
        return DummyTransport::new().boxed();
    }
    quic::tokio::Transport::new(quic::Config::new(keypair))
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed()
}

/// Makes the TCP transport with Noise and Yamux. Noise's frames have up to 64 KiB, but its reader asks for an eighth of that
/// at a time; the buffer takes all that the socket has.
fn tcp(
    keypair: &libp2p::identity::Keypair,
    key: Option<PreSharedKey>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, BoxError> {
    let transport = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .and_then(move |stream, _| async move {
            match key {
                Some(key) => PnetConfig::new(key)
                    .handshake(stream)
                    .await
                    .map(Either::Left)
                    .map_err(io::Error::other),
                None => Ok(Either::Right(stream)),
            }
        })
        .map(|stream, _| BufReader::with_capacity(READ_BYTES, stream))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair)?)
        .multiplex(Yamux)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Ok(transport.boxed())
}

/// Makes TCP act as behind a firewall that drops it: no connection is ever made, and none is refused.
fn dropped(tcp: Boxed<(PeerId, StreamMuxerBox)>) -> Boxed<(PeerId, StreamMuxerBox)> {
    tcp.and_then(|_, _| std::future::pending::<Result<_, std::io::Error>>())
        .boxed()
}

/// Returns the limits per peer and on dials. Inbound handshakes (handshakes.rs) and connections in all (places.rs) have
/// limits of their own.
fn limits() -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX))
        .with_max_pending_outgoing(Some(PENDING_OUTGOING_MAX))
}

fn identify_config(config: &MeshConfig, keypair: &libp2p::identity::Keypair) -> identify::Config {
    // An identify message has at most 4,096 bytes. So it has no signed record (which names every address again), and of the
    // own addresses only those that the actor chose. The cache is off, since it would add addresses to dials that the peer
    // table does not know.
    identify::Config::new(format!("qres/{}", config.overrides.protocol), keypair.public())
        .with_agent_version(config.agent.clone())
        .with_push_listen_addr_updates(true)
        .with_hide_listen_addrs(true)
        .with_cache_size(0)
}

fn kademlia(config: &MeshConfig, peer: libp2p::PeerId) -> kad::Behaviour<MemoryStore> {
    let mut settings = kad::Config::new(KAD_PROTOCOL);
    settings
        // Only peers that passed the hello and identify enter the table.
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        // Nothing is stored for others, since records would be a way to fill this node's memory.
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_query_timeout(config.timings.dial)
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_provider_publication_interval(None)
        // The actor makes its own lookups (actor/discovery.rs); the library's start only once the table has an entry.
        .set_periodic_bootstrap_interval(None);
    let store = MemoryStore::with_config(
        peer,
        MemoryStoreConfig {
            max_records: 0,
            max_provided_keys: 0,
            ..MemoryStoreConfig::default()
        },
    );
    let mut kad = kad::Behaviour::with_config(peer, store, settings);
    let local = config.listen.iter().all(IpAddr::is_loopback);
    let serves = config.mode == Mode::Bootstrap || !config.announce.is_empty() || local;
    kad.set_mode(Some(if serves { kad::Mode::Server } else { kad::Mode::Client }));
    kad
}

/// Returns true if a peer's protocols include this network's Kademlia.
pub fn speaks_kad(protocols: &[StreamProtocol]) -> bool {
    protocols.contains(&KAD_PROTOCOL)
}
