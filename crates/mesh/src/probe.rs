//! Asks who answers at an address under this node's own key: itself, or another process.
//!
//! libp2p ends a connection at whose other end is the own key, so it is asked under a key of the moment: Noise shows that the
//! answer comes from a holder of the identity, and its hello says which run that is. An address that leads back to this node
//! (another name of it, a NAT, a stranger that passes the bytes on) gives this run's own number.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::request_response::{Event, Message};
use libp2p::swarm::SwarmEvent;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::{Multiaddr, PeerId, Swarm, request_response};
use tokio::sync::mpsc;

use super::actor::Actor;
use super::hello::{self, GoodbyeCode, Hello};
use super::{address, behaviour};

/// Addresses that are asked; further ones are not.
const ADDRESSES_MAX: usize = 8;

/// An answer, dial and handshake included.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What came of a probe.
pub type Answer = (Multiaddr, Option<Hello>);

struct Probe {
    /// `None`: under way.
    next: Option<Instant>,
}

/// Addresses where the own key answered.
pub struct Probes {
    asked: BTreeMap<Multiaddr, Probe>,
    answers: mpsc::Sender<Answer>,
}

impl Probes {
    /// None yet; answers come out at the other end.
    pub fn new() -> (Self, mpsc::Receiver<Answer>) {
        let (answers, receiver) = mpsc::channel(ADDRESSES_MAX);
        let asked = BTreeMap::new();
        (Self { asked, answers }, receiver)
    }

    /// The own key answers there.
    pub fn ask(&mut self, address: Multiaddr, now: Instant) {
        if self.asked.len() < ADDRESSES_MAX {
            self.asked.entry(address).or_insert(Probe { next: Some(now) });
        }
    }

    /// An answer is in: a twin's address is asked again while it is one.
    pub fn done(&mut self, address: &Multiaddr, is_twin: bool, again: Instant) {
        if is_twin {
            let next = Some(again);
            self.asked.insert(address.clone(), Probe { next });
        } else {
            self.asked.remove(address);
        }
    }

    fn due(&mut self, now: Instant) -> Vec<Multiaddr> {
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

impl Actor {
    /// A dial ended at the own key. What this node listens on is surely its own; other addresses are asked.
    pub(super) fn on_own_answer(&mut self, address: &Multiaddr, now: Instant) {
        let bare = address::split_peer(address.clone()).map(|(_, bare)| bare);
        if let Some(bare) = bare.filter(|bare| !self.listening.contains(bare)) {
            self.probes.ask(bare, now);
        }
    }

    /// Due work: asks.
    pub(super) fn tick_probes(&mut self, now: Instant) {
        for address in self.probes.due(now) {
            let mut hello = self.greeting();
            // Not to be taken for a node; and the other side hears which run asks.
            hello.goodbye = Some(hello::goodbye(
                GoodbyeCode::Shutdown,
                "asks whether two processes have one identity",
            ));
            let mut own = self.twins.boot.sign(qres_wire::clock::unix_ms());
            own.address = self.listen_addresses().first().cloned().unwrap_or_default();
            own.address.truncate(super::twin::ADDRESS_BYTES_MAX);
            hello.twins = vec![own];
            let (peer, answers) = (self.own, self.probes.answers.clone());
            tokio::spawn(async move {
                let asked = tokio::time::timeout(ANSWER_MAX, ask(peer, address.clone(), hello));
                let answer = asked.await.ok().flatten();
                // Room for one answer an address; without a receiver the mesh has stopped.
                drop(answers.send((address, answer)).await);
            });
        }
    }
}

/// Connects under a fresh key and asks for the hello of `peer`.
async fn ask(peer: PeerId, address: Multiaddr, hello: Hello) -> Option<Hello> {
    let mut swarm: Swarm<request_response::Behaviour<hello::Codec>> = behaviour::probe_swarm(ANSWER_MAX).ok()?;
    let options = DialOpts::peer_id(peer).addresses(vec![address]).allocate_new_port();
    swarm.dial(options.build()).ok()?;
    // Answered, or dropped, the other side's own hello would have it close the connection before its answer to ours is here.
    let mut unanswered = vec![];
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { .. } => {
                swarm.behaviour_mut().send_request(&peer, hello.clone());
            }
            SwarmEvent::Behaviour(Event::Message {
                message: Message::Response { response, .. },
                ..
            }) => return Some(response),
            SwarmEvent::Behaviour(Event::Message {
                message: Message::Request { channel, .. },
                ..
            }) => unanswered.push(channel),
            SwarmEvent::Behaviour(Event::OutboundFailure { .. })
            | SwarmEvent::OutgoingConnectionError { .. }
            | SwarmEvent::ConnectionClosed { .. } => return None,
            _ => {}
        }
    }
}
