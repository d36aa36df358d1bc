//! The protocols of one swarm, and how the swarm is made.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use futures::io::BufReader;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::swarm::NetworkBehaviour;
use libp2p::{
    PeerId, StreamProtocol, Swarm, Transport, allow_block_list, connection_limits, identify, kad, noise, ping, quic,
    request_response, tcp,
};
use qres_fed::id::NodeId;
use tokio::sync::watch;

use super::config::{MeshConfig, Mode};
use super::counters::MeshCounters;
use super::handshakes::Handshakes;
use super::head_start::{HEAD_START, Later};
use super::muxer::Yamux;
use super::observed::Observed;
use super::{MeshError, address, descriptors, gossip, hello, places, streams};
use qres_wire::identity::Identity;

/// Kademlia's protocol name holds the swarm protocol's major: another major is never in a routing table.
const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new("/qres/kad/10");

/// Connections between the same two peers: one, or two when both dialled at the same moment. Refusing the second
/// would let each side refuse the other's and end with none.
const CONNECTIONS_PER_PEER_MAX: u32 = 2;

/// Our own dials under way: bootstrap, redials and Kademlia's lookups together.
const PENDING_OUTGOING_MAX: u32 = 64;

/// Addresses of one peer dialled at the same time: all. One that nobody answers holds up none of the others.
const DIAL_CONCURRENCY: NonZeroU8 = NonZeroU8::new(address::ADDRESSES_MAX as u8).unwrap();

/// A connection without a stream closes after this. Gossip keeps one open; one on which gossip has died may idle until
/// the watchdog sees it.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);

/// What the swarm's builder takes for an error.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What one read takes from a TCP socket at most.
const READ_BYTES: usize = 64 * 1024;

/// The protocols, vetoing ones first: they are asked in this order.
#[derive(NetworkBehaviour)]
pub struct Behaviour {
    /// Bans.
    pub blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    /// Sockets leave descriptors to the store.
    pub descriptors: descriptors::Behaviour,
    /// How many connections of one peer, and dials.
    pub limits: connection_limits::Behaviour,
    /// How many connections, and whose.
    pub places: places::Behaviour,
    /// `/qres/hello/0`.
    pub hello: request_response::Behaviour<hello::Codec>,
    /// identify.
    pub identify: identify::Behaviour,
    /// ping.
    pub ping: ping::Behaviour,
    /// Kademlia.
    pub kad: kad::Behaviour<MemoryStore>,
    /// GossipSub.
    pub gossip: Observed<gossip::GossipSub>,
    /// Blob, sync.
    pub streams: streams::Behaviour,
}

/// Makes the swarm, and what opens and accepts its streams.
pub fn swarm(
    config: &MeshConfig,
    identity: &Identity,
    counters: Arc<MeshCounters>,
    members: watch::Receiver<Arc<BTreeSet<NodeId>>>,
) -> Result<(Swarm<Behaviour>, streams::Control), MeshError> {
    let (streams, control) = streams::Behaviour::new(counters.clone());
    let keypair = identity.keypair();
    let gossip = gossip::behaviour(config, &keypair).map_err(MeshError::Setup)?;
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
    let (dial_timeout, tcp_drops) = (config.timings.dial, config.overrides.tcp_drops);
    let handshakes = |inner| {
        let (limits, deadline) = (config.overrides.handshakes, config.timings.handshake);
        Handshakes::new(inner, limits, deadline, counters.clone())
    };
    let swarm = libp2p::SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_other_transport(|keypair| Later::new(handshakes(quic(keypair)).boxed(), HEAD_START))
        .map_err(|e| setup(&e))?
        .with_other_transport(|keypair| {
            let tcp = tcp(keypair)?;
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

/// A swarm under a key of the moment that speaks the hello alone, and listens to nobody (probe.rs).
pub fn probe_swarm(timeout: Duration) -> Result<Swarm<request_response::Behaviour<hello::Codec>>, BoxError> {
    let builder = libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_other_transport(quic)?
        .with_other_transport(tcp)?
        .with_dns()?;
    let builder = builder.with_behaviour(|_| hello::behaviour(timeout))?;
    Ok(builder
        .with_swarm_config(|c| c.with_idle_connection_timeout(timeout))
        .build())
}

/// QUIC, which brings its own encryption and streams.
fn quic(keypair: &libp2p::identity::Keypair) -> Boxed<(PeerId, StreamMuxerBox)> {
    quic::tokio::Transport::new(quic::Config::new(keypair))
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed()
}

/// TCP with Noise and Yamux. A read takes in what the socket has: Noise's frames have up to 64 KiB, and its reader asks for an
/// eighth at a time.
fn tcp(keypair: &libp2p::identity::Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, BoxError> {
    let transport = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .map(|stream, _| BufReader::with_capacity(READ_BYTES, stream))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair)?)
        .multiplex(Yamux)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Ok(transport.boxed())
}

/// TCP as it is behind a firewall that drops it: no connection is ever made, and none is refused.
fn dropped(tcp: Boxed<(PeerId, StreamMuxerBox)>) -> Boxed<(PeerId, StreamMuxerBox)> {
    tcp.and_then(|_, _| std::future::pending::<Result<_, std::io::Error>>())
        .boxed()
}

/// Inbound handshakes have bounds of their own (handshakes.rs), and connections in all (places.rs).
fn limits() -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX))
        .with_max_pending_outgoing(Some(PENDING_OUTGOING_MAX))
}

fn identify_config(config: &MeshConfig, keypair: &libp2p::identity::Keypair) -> identify::Config {
    // An identify message has at most 4,096 bytes, so no signed record (it names every address again), and of our addresses
    // only those that the actor chose. The cache would add addresses to dials behind the peer book's back.
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
        // Nothing is stored for others: records are a way to fill our memory.
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_query_timeout(config.timings.dial)
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_provider_publication_interval(None)
        // The lookups are ours (discovery.rs): theirs start only once the table holds someone.
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

/// Whether a peer's protocols include this network's Kademlia.
pub fn speaks_kad(protocols: &[StreamProtocol]) -> bool {
    protocols.contains(&KAD_PROTOCOL)
}
