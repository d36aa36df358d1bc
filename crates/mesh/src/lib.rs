//! The mesh of nodes. One actor owns the libp2p swarm; its loop only dispatches events, and each protocol has a file of its
//! own.
//!
//! ```text
//!  node (crate)                                               transfer (crate)
//!    │ Mesh::publish, report, dial, ban …   ▲ MeshEvent         │ Mesh::open          ▲ Mesh::accept
//!    ▼ bounded queues                       │ bounded queue     ▼                     │ raw streams
//!  ┌─────────── actor: one task ────────────┴─────────────┐   ┌───────── streams: a behaviour of the swarm ────────┐
//!  │ admission  ban  discovery  gossip  heartbeat  twin … │   │ blob and sync protocols, read by their callers     │
//!  └──────────────────────────┬───────────────────────────┘   └─────────────────────────┬──────────────────────────┘
//!                             └──── swarm: TCP and QUIC, encrypted, multiplexed ────────┘
//!                                                   │
//!                                               other nodes
//! ```
//!
//! A connection goes through these steps:
//!
//! ```text
//! dial, or inbound ─► places (is there room?) ─► hello in both directions ─► Connected ─► gossip, streams ─► Disconnected
//!                                                another network, or no common major: goodbye with the reason
//! ```
//!
//! The calls of [`Mesh`], and the events ([`MeshEvent`]) that the layer above gets:
//!
//! | call | task |
//! | --- | --- |
//! | [`Mesh::publish`], [`Mesh::report`] | Sends a gossip message; gives the [`Verdict`] on a received one. |
//! | [`Mesh::open`], [`Mesh::accept`] | Opens a raw stream to a connected peer; takes the streams that peers open. |
//! | [`Mesh::penalize`], [`Mesh::ban`], [`Mesh::unban`] | Lowers a peer's score; refuses a peer for a time; ends that. |
//! | [`Mesh::dial`], [`Mesh::peers`], [`Mesh::stop`] | Dials an address; lists the known peers; says goodbye and ends. |
//! | [`Mesh::inspect`], [`Mesh::reach`] | Shows clocks, addresses and bootstrap nodes; asks peers to dial this node back. |
//! | [`Mesh::set_members`] | Names the members of the joined models, for whom places and budgets are kept. |
//! | [`Mesh::connected`], [`Mesh::rtt`], [`Mesh::twin`] | Read the state that the actor published, without a message to it. |
//!
//! | event | cause |
//! | --- | --- |
//! | `Message` | A gossip message waits for a verdict. |
//! | `Connected`, `Disconnected` | A peer was admitted; it is no longer. |
//! | `Heads` | A heartbeat named the heads of its author. |
//! | `Peer` | An entry of the peer list changed. |
//!
//! ```text
//! let (mesh, mut events) = start(MeshConfig::new(Mode::Node, hints), &identity, heads).await?;
//! while let Some(event) = events.recv().await {
//!     if let MeshEvent::Message(message) = event {
//!         let verdict = judge(&message);                 // only Accept lets the mesh forward the message
//!         mesh.report(message.token, verdict).await;
//!     }
//! }
//! ```
//!
//! Invariants:
//!
//! - The actor never waits for the layer above. Gossip that finds the event queue full is ignored and counted; all other
//!   events wait in an outbox, which has at most one entry of each kind for a node.
//! - Before a peer's hello, its gossip is not judged and its streams are not handed out.
//! - The mesh does not decode records. It judges heartbeats itself, and the size, author and budget of every message; for all
//!   else the verdict of the layer above decides if a message is forwarded.
//! - Every queue, table and budget has a limit, because identities are free.

mod actor;
mod address;
mod attempt;
mod backoff;
mod behaviour;
mod census;
mod clock_offset;
mod command;
mod config;
mod counted;
mod counters;
mod descriptors;
mod dial;
mod discovery;
mod error;
mod event;
mod gossip;
mod gossip_observer;
mod handle;
mod handshakes;
mod head_start;
#[doc(hidden)]
pub mod heartbeat;
#[doc(hidden)]
pub mod hello;
mod incoming;
mod inspection;
mod limits;
mod listen;
mod operator_dial;
mod outbox;
mod peer_table;
mod peer_view;
mod places;
mod probe;
mod pulse;
#[doc(hidden)]
pub mod reach;
mod resolver;
#[doc(hidden)]
pub mod saved_peers;
mod score;
mod seed;
mod seed_name;
mod sighting;
mod snapshot;
mod source;
mod start;
mod streams;
mod twin;
mod watchdog;
mod yamux;

pub use address::{check_address, check_peer, host_and_port};
pub use census::Census;
pub use config::{MeshConfig, Mode, Overrides, Timings};
pub use counters::{Count, LinkBytes, MeshCounters};
pub use error::MeshError;
pub use event::{Fault, GossipMessage, HeadClaim, MeshEvent, MessageToken, Topic, Verdict};
#[doc(hidden)]
pub use gossip::Degree;
pub use handle::Mesh;
#[doc(hidden)]
pub use handshakes::HandshakeLimits;
pub use hello::{MAJOR as PROTOCOL_MAJOR, PROTOCOL as PROTOCOL_VERSION};
pub use incoming::IncomingStreams;
pub use inspection::{AddressReach, Inspection, PeerClock, ReachAnswer, ReachReport, SeedState, SeedView};
pub use libp2p::pnet::PreSharedKey;
pub use limits::ENVELOPE_BYTES_MAX;
pub use listen::{Transport, try_listen};
pub use peer_view::{PeerState, PeerView};
#[doc(hidden)]
pub use resolver::Hosts;
pub use start::start;
pub use twin::Twin;
