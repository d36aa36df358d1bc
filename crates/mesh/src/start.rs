//! The start of the mesh.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use libp2p::metrics::Registry;
use qres_fed::id::NodeId;
use qres_wire::clock;
use qres_wire::identity::Identity;
use tokio::sync::{mpsc, watch};

use super::actor::{Actor, Inputs};
use super::command::{COMMANDS_MAX, FAULTS_MAX};
use super::config::{MeshConfig, Mode};
use super::counters::MeshCounters;
use super::discovery::Discovery;
use super::error::MeshError;
use super::event::{HeadClaim, MeshEvent};
use super::gossip::{Authors, Carriers, RetryQueue};
use super::handle::Mesh;
use super::heartbeat::HeartbeatTimer;
use super::hello::{self, Hello};
use super::outbox::Outbox;
use super::peer_table::PeerTable;
use super::probe::Probes;
use super::pulse::Pulse;
use super::reach::Reaches;
use super::saved_peers::SavedPeers;
use super::snapshot::Snapshot;
use super::streams::Control;
use super::twin::Twins;
use super::watchdog::Watchdog;
use super::{behaviour, listen, resolver};

/// Starts the mesh. Once it listens, returns its handle [`Mesh`] and the receiver of its [`MeshEvent`]s. The actor then dials
/// the bootstrap addresses, with backoff, until they answer.
pub async fn start(
    config: MeshConfig,
    identity: &Identity,
    heads: watch::Receiver<Vec<HeadClaim>>,
) -> Result<(Mesh, mpsc::Receiver<MeshEvent>), MeshError> {
    let now = clock::now();
    let members = watch::Sender::new(Arc::default());
    let (events, receiver) = mpsc::channel(config.overrides.events_max);
    let (snapshot, snapshots) = watch::channel(Snapshot::default());
    let (probes, answers) = Probes::new();
    let (reaches, ready) = Reaches::new();
    let ends = Ends {
        members: members.subscribe(),
        heads: heads.clone(),
        events,
        snapshot,
        probes,
        reaches,
    };
    let mut library = Registry::default();
    let (mut actor, streams, resolved) = actor(config, identity, ends, &mut library, now)?;
    let twin = actor.twins.subscribe();
    actor.listen().await?;
    let path = actor.config.hints.clone();
    let hints = tokio::task::spawn_blocking(move || SavedPeers::load(&path)).await;
    actor.take_saved_peers(hints.unwrap_or_default(), now);
    actor.hints_saved = SavedPeers::of(&actor.peers);
    actor.publish_snapshot();
    let (commands, command_receiver) = mpsc::channel(COMMANDS_MAX);
    let (faults, fault_receiver) = mpsc::channel(FAULTS_MAX);
    let mesh = Mesh {
        commands,
        faults,
        snapshot: snapshots,
        members,
        twin,
        streams,
        counters: actor.counters.clone(),
        library: Arc::new(library),
        pulse: actor.pulse.clone(),
        open_deadline: actor.config.timings.open,
    };
    let inputs = Inputs {
        commands: command_receiver,
        faults: fault_receiver,
        answers,
        ready,
        resolved,
        heads_closed: false,
        heads,
    };
    tokio::spawn(actor.run(inputs));
    Ok((mesh, receiver))
}

/// The actor's ends of the channels that it keeps.
struct Ends {
    members: watch::Receiver<Arc<BTreeSet<NodeId>>>,
    heads: watch::Receiver<Vec<HeadClaim>>,
    events: mpsc::Sender<MeshEvent>,
    snapshot: watch::Sender<Snapshot>,
    probes: Probes,
    reaches: Reaches,
}

/// The answers to the actor's questions about bootstrap names.
type Resolved = mpsc::Receiver<(usize, resolver::Answer)>;

/// Makes the [`Actor`], which does not listen yet, the [`Control`] of its raw streams, and the receiver of the answers to its
/// questions.
fn actor(
    config: MeshConfig,
    identity: &Identity,
    ends: Ends,
    library: &mut Registry,
    now: Instant,
) -> Result<(Actor, Control, Resolved), MeshError> {
    let counters = Arc::new(MeshCounters::default());
    let announced = listen::announced(&config.announce)?;
    let (discovery, resolved) = Discovery::new(&config.bootstrap, config.timings.lookup_wait_min, now)?;
    let (swarm, streams) = behaviour::swarm(&config, identity, counters.clone(), ends.members.clone(), library)?;
    let actor = Actor {
        own: *swarm.local_peer_id(),
        hello: hello(&config),
        swarm,
        counters,
        library: libp2p::metrics::Metrics::new(library),
        pulse: Arc::new(Pulse::new(now)),
        events: ends.events,
        outbox: Outbox::default(),
        peers: PeerTable::default(),
        discovery,
        authors: Authors::default(),
        carriers: Carriers::new(now),
        members: ends.members,
        retry_queue: RetryQueue::new(config.timings.publish_keep),
        held: VecDeque::new(),
        heads: ends.heads,
        heartbeat_timer: HeartbeatTimer::new(config.timings.heartbeat_min, config.timings.heartbeat_gap, now),
        watchdog: Watchdog::new(
            config.timings.watchdog_periods,
            config.timings.heartbeat_min,
            clock::now(),
        ),
        listening: Vec::new(),
        announced,
        twins: Twins::new(identity),
        probes: ends.probes,
        reaches: ends.reaches,
        snapshot_changed: true,
        snapshot: ends.snapshot,
        hints_saved: SavedPeers::default(),
        hints_checked: now,
        hints_writer: None,
        stopping: None,
        config,
    };
    Ok((actor, streams, resolved))
}

/// Returns the [`Hello`] of this node, without the signed run.
fn hello(config: &MeshConfig) -> Hello {
    let (major_min, major_max) = config.overrides.majors;
    Hello {
        network: config.network.clone(),
        major_min,
        major_max,
        software: hello::cut(&config.agent, hello::SOFTWARE_BYTES_MAX),
        protocol: config.overrides.protocol.clone(),
        goodbye: None,
        bootstrap: config.mode == Mode::Bootstrap,
        // The run is signed anew for each hello: see `Actor::greeting`.
        boot: None,
        twins: vec![],
    }
}
