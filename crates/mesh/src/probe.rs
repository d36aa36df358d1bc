//! Probes: asking with a temporary key who answers at an address. A node asks so which process answers under its own key, this
//! one or another, and it dials peers back that way (actor/reach.rs).
//!
//! libp2p ends a connection whose other end has the own key, so the probe uses a temporary key. Noise shows that the answer
//! comes from a holder of the identity, and its hello says which run that is. An address that leads back to this node
//! (another name of it, a NAT, a stranger that passes the bytes on) answers with this run's own number.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::pnet::PreSharedKey;
use libp2p::request_response::{Event, Message};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{DialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, request_response};
use tokio::sync::mpsc;

use super::behaviour;
use super::dial::words;
use super::hello::{self, Hello};

/// Addresses that may be probed; further ones are ignored.
const ADDRESSES_MAX: usize = 8;

/// Deadline for an answer, dial and handshake included.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The result of a probe: the address, and the hello that answered there, if any.
pub type Answer = (Multiaddr, Option<Hello>);

struct Probe {
    /// The time of the next probe; `None` while one is under way.
    next: Option<Instant>,
}

/// The addresses where this node's own key answered.
pub struct Probes {
    asked: BTreeMap<Multiaddr, Probe>,
    /// The channel for the answers.
    pub(super) answers: mpsc::Sender<Answer>,
}

impl Probes {
    /// Makes an empty set of probes, and the receiver of their [`Answer`]s.
    pub fn new() -> (Self, mpsc::Receiver<Answer>) {
        let (answers, receiver) = mpsc::channel(ADDRESSES_MAX);
        let asked = BTreeMap::new();
        (Self { asked, answers }, receiver)
    }

    /// Notes that the own key answers at an address, so it is probed next.
    pub fn ask(&mut self, address: Multiaddr, now: Instant) {
        if self.asked.len() < ADDRESSES_MAX {
            self.asked.entry(address).or_insert(Probe { next: Some(now) });
        }
    }

    /// Notes that an answer arrived. The address of a twin is probed again at the time `again`, any other address is
    /// forgotten.
    pub fn done(&mut self, address: &Multiaddr, is_twin: bool, again: Instant) {
        if is_twin {
            let next = Some(again);
            self.asked.insert(address.clone(), Probe { next });
        } else {
            self.asked.remove(address);
        }
    }

    /// Returns the addresses to probe now.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Multiaddr> {
        let due = self
            .asked
            .iter_mut()
            .filter(|(_, p)| p.next.is_some_and(|at| at <= now));
        due.map(|(address, probe)| {
            probe.next = None;
            address.clone()
        })
        .collect()
    }
}

/// The end of a probe without a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unanswered {
    /// True if a connection came about: then the peer has proved its identity at that address.
    pub connected: bool,
    /// The reason, for people.
    pub why: String,
}

impl Unanswered {
    fn unconnected(error: &DialError) -> Self {
        let why = words(error);
        // The words of a failed transport begin with the address, which the asker knows.
        let cause = why.strip_prefix('/').and_then(|rest| rest.split_once(": "));
        Self {
            connected: false,
            why: cause.map_or_else(|| why.clone(), |(_, cause)| cause.to_owned()),
        }
    }
}

/// Connects with a fresh key, in the network of `key`, and asks for the [`Hello`] of `peer`.
pub(super) async fn ask(
    peer: PeerId,
    address: Multiaddr,
    hello: Hello,
    key: Option<PreSharedKey>,
) -> Result<Hello, Unanswered> {
    let mut swarm: Swarm<request_response::Behaviour<hello::Codec>> =
        behaviour::probe_swarm(ANSWER_MAX, key).map_err(|error| Unanswered {
            connected: false,
            why: error.to_string(),
        })?;
    let options = DialOpts::peer_id(peer).addresses(vec![address]).allocate_new_port();
    swarm
        .dial(options.build())
        .map_err(|error| Unanswered::unconnected(&error))?;
    // The other side's own hello is kept unanswered. If it were answered or dropped, the other side would close the
    // connection before its answer to this node's hello arrives.
    let mut unanswered = vec![];
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { .. } => {
                swarm.behaviour_mut().send_request(&peer, hello.clone());
            }
            SwarmEvent::Behaviour(Event::Message {
                message: Message::Response { response, .. },
                ..
            }) => return Ok(response),
            SwarmEvent::Behaviour(Event::Message {
                message: Message::Request { channel, .. },
                ..
            }) => unanswered.push(channel),
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(Unanswered::unconnected(&error)),
            SwarmEvent::Behaviour(Event::OutboundFailure { .. }) | SwarmEvent::ConnectionClosed { .. } => {
                return Err(Unanswered {
                    connected: true,
                    why: "it said no hello".to_owned(),
                });
            }
            _ => {}
        }
    }
}
