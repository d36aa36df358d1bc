//! Dials back: asking peers for them, and making them for peers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use futures::future::join_all;
use libp2p::pnet::PreSharedKey;
use libp2p::request_response::{Event, Message, ResponseChannel};
use libp2p::{Multiaddr, PeerId};

use super::Actor;
use crate::address;
use crate::command::Reply;
use crate::error::MeshError;
use crate::hello::{self, GoodbyeCode, Hello};
use crate::inspection::{ReachAnswer, ReachReport};
use crate::probe;
use crate::reach::{
    self, ADDRESSES_MAX, DIAL_MAX, QUESTIONS_MAX, REASON_BYTES_MAX, ReachOutcome, ReachRequest, ReachResponse,
    ReachedAddress,
};

/// The reason for an address at another IP address than the peer's own.
const NOT_TOLD: &str =
    "no answer of this node there; the node connects from another IP address, so nothing else is told";

type ReachEvent = Event<ReachRequest, ReachResponse>;

impl Actor {
    /// Asks up to `peers_max` admitted peers to dial this node back. The answer is sent when the last of them has answered or
    /// failed, which the protocol's own deadline ensures.
    pub(super) fn ask_for_reach(&mut self, peers_max: usize, reply: Reply<Vec<ReachReport>>, now: Instant) {
        if self.reaches.is_full() {
            let problem = format!("{QUESTIONS_MAX} questions wait for peers: try again when one of them has ended");
            // Sending fails only when the caller no longer waits.
            return drop(reply.send(Err(MeshError::Stream(problem))));
        }
        let known = self
            .peers
            .admitted()
            .map(|peer| (peer.id, peer.reach(), peer.reach_asked));
        let chosen = reach::choose(known.collect(), peers_max, now);
        let mut waiting = BTreeMap::new();
        for id in chosen {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            peer.reach_asked = Some(now);
            let request = self.swarm.behaviour_mut().reach.send_request(&id, ReachRequest {});
            waiting.insert(request, peer.node);
        }
        self.reaches.asked(waiting, reply);
    }

    /// Handles one event of the protocol.
    pub(super) fn on_reach(&mut self, event: ReachEvent, now: Instant) {
        match event {
            ReachEvent::Message {
                peer,
                message: Message::Request { channel, .. },
                ..
            } => self.on_reach_request(peer, channel, now),
            ReachEvent::Message {
                message: Message::Response { request_id, response },
                ..
            } => self.reaches.answered(request_id, &reach::answer(&response)),
            ReachEvent::OutboundFailure { request_id, error, .. } => {
                let why = hello::cut(&error.to_string(), REASON_BYTES_MAX);
                self.reaches.answered(request_id, &ReachAnswer::Failed(why));
            }
            ReachEvent::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "the question of a peer could not be answered");
            }
            ReachEvent::ResponseSent { .. } => {}
        }
    }

    /// Dials a peer back at the addresses that identify has told, or says that this node is busy. Before its hello a peer gets no
    /// answer.
    fn on_reach_request(&mut self, id: PeerId, channel: ResponseChannel<ReachResponse>, now: Instant) {
        let under_way = self.reaches.under_way;
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.is_admitted()) else {
            return;
        };
        if !reach::may_dial(peer.reach_dialled, under_way, now) {
            // Sending fails only when the connection is closed, and then there is no peer to answer.
            drop(self.swarm.behaviour_mut().reach.send_response(channel, reach::busy()));
            return;
        }
        peer.reach_dialled = Some(now);
        let addresses = peer.addresses.iter().take(ADDRESSES_MAX).cloned().collect();
        let comes_from = peer
            .connections
            .iter()
            .filter_map(|c| address::ip(&c.address))
            .collect();
        self.reaches.under_way += 1;
        let (hello, key, ready) = (
            self.visiting_hello(),
            self.config.network_key,
            self.reaches.ready.clone(),
        );
        tokio::spawn(async move {
            let response = dial_back(id, addresses, &comes_from, hello, key).await;
            // The channel has room for each dial that may be under way. Without a receiver the mesh has stopped.
            drop(ready.send((channel, response)).await);
        });
    }

    /// Returns the hello of a visit under a temporary key. The goodbye keeps the other side from taking the visitor for a node.
    fn visiting_hello(&self) -> Hello {
        Hello {
            goodbye: Some(hello::goodbye(
                GoodbyeCode::Shutdown,
                "dials back, as this node was asked to",
            )),
            ..self.hello.clone()
        }
    }

    /// Sends the answer to a peer that was dialled back.
    pub(super) fn on_dialled_back(&mut self, channel: ResponseChannel<ReachResponse>, response: ReachResponse) {
        self.reaches.under_way = self.reaches.under_way.saturating_sub(1);
        // Sending fails only when the connection is closed, and then there is no peer to answer.
        drop(self.swarm.behaviour_mut().reach.send_response(channel, response));
    }
}

/// Dials all addresses at the same time, each for at most [`DIAL_MAX`].
///
/// Of an address at which the peer was not reached, the reason is told only if the peer itself comes from that IP address. For
/// any other address neither the text nor the time of the answer shows what stands there: a peer may claim any address, and would
/// learn through this node which ports of other machines are open.
async fn dial_back(
    peer: PeerId,
    addresses: Vec<Multiaddr>,
    comes_from: &BTreeSet<IpAddr>,
    hello: Hello,
    key: Option<PreSharedKey>,
) -> ReachResponse {
    let end = tokio::time::Instant::now() + DIAL_MAX;
    let dials = addresses.into_iter().map(|address| {
        let hello = hello.clone();
        async move {
            let asked = probe::ask(peer, address.clone(), hello, key);
            let (reached, reason) = match tokio::time::timeout_at(end, asked).await {
                Ok(Ok(_)) => (true, String::new()),
                Ok(Err(unanswered)) if unanswered.connected => (true, String::new()),
                _ if !address::ip(&address).is_some_and(|ip| comes_from.contains(&ip)) => {
                    tokio::time::sleep_until(end).await;
                    (false, NOT_TOLD.to_owned())
                }
                Ok(Err(unanswered)) => (false, unanswered.why),
                Err(_) => (false, format!("no answer within {} s", DIAL_MAX.as_secs())),
            };
            ReachedAddress {
                address: address.to_string(),
                reached,
                reason: hello::cut(&reason, REASON_BYTES_MAX),
            }
        }
    });
    ReachResponse {
        outcome: ReachOutcome::Dialled.into(),
        addresses: join_all(dials).await,
    }
}
