//! The way of a gossip message in and out.
//!
//! In: gossipsub has verified the author's signature; the mesh checks size, author and rate; the layer above judges the
//! rest. Out: a message that no peer can take yet is kept for a while.

use std::collections::VecDeque;
use std::time::Instant;

use libp2p::PeerId;
use libp2p::gossipsub::{self, MessageAcceptance, MessageId, PublishError, TopicHash};
use qres_fed::id::NodeId;
use qres_wire::identity;

use super::Actor;
use crate::error::MeshError;
use crate::event::{Fault, GossipMessage, MeshEvent, MessageToken, Topic, Verdict};
use crate::gossip::{AuthorClass, Carried, Held, Load, Sent, TOPIC_EPIPHANY, TOPIC_HEARTBEAT, TOPIC_STATE};
use crate::heartbeat;
use crate::limits::ENVELOPE_BYTES_MAX;

/// Limits on messages that wait for their carrier's hello: from one peer, and from all such peers together.
const HELD_PER_PEER_MAX: usize = 32;
const HELD_MAX: usize = 256;

impl Actor {
    /// Handles one [`gossipsub::Event`].
    pub(super) fn on_gossip(&mut self, event: gossipsub::Event, now: Instant) {
        match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => self.on_message(propagation_source, message_id, message, now),
            gossipsub::Event::Subscribed { topic, .. } => self.flush_kept(&topic, now),
            gossipsub::Event::Unsubscribed { .. } => {}
            gossipsub::Event::GossipsubNotSupported { peer_id } => {
                tracing::debug!(peer = %peer_id, "peer does not speak gossipsub");
            }
            gossipsub::Event::SlowPeer {
                peer_id,
                failed_messages,
            } => {
                self.counters.slow_peer.add();
                tracing::debug!(peer = %peer_id, ?failed_messages, "peer takes gossip too slowly: messages dropped");
            }
        }
    }

    fn on_message(&mut self, from: PeerId, id: MessageId, message: gossipsub::Message, now: Instant) {
        if !self.peers.is_admitted(&from) {
            self.hold(from, id, message);
            return;
        }
        self.counters.received.add();
        let Some(source) = message.source.filter(|s| identity::node_id(s).is_some()) else {
            self.counters.rejected.add();
            self.judge(&id, &from, MessageAcceptance::Reject);
            return;
        };
        if source == self.own {
            self.on_own_gossip(&from, &message, now);
            self.judge(&id, &from, MessageAcceptance::Ignore);
            return;
        }
        if message.topic.as_str() == TOPIC_HEARTBEAT {
            let verdict = self.on_heartbeat(source, &from, &message.data, now);
            self.judge(&id, &from, verdict);
            return;
        }
        if let Some(verdict) = self.offer(source, &from, &id, message, now) {
            self.judge(&id, &from, verdict);
        }
    }

    /// Offers a message to the layer above. Returns a verdict if the layer above will not give one: unknown topic,
    /// size, budget or full queue.
    fn offer(
        &mut self,
        source: PeerId,
        from: &PeerId,
        id: &MessageId,
        message: gossipsub::Message,
        now: Instant,
    ) -> Option<MessageAcceptance> {
        let topic = match message.topic.as_str() {
            TOPIC_EPIPHANY => Topic::Epiphany,
            TOPIC_STATE => Topic::State,
            _ => return Some(MessageAcceptance::Ignore),
        };
        let node = identity::node_id(&source)?;
        if message.data.len() > ENVELOPE_BYTES_MAX {
            self.counters.rejected.add();
            return Some(MessageAcceptance::Reject);
        }
        let load = Load::Message(message.data.len());
        if !self.within_budgets(&source, from, load, now) {
            return Some(MessageAcceptance::Ignore);
        }
        let event = MeshEvent::Message(GossipMessage {
            topic,
            source: node,
            carrier: identity::node_id(from)?,
            token: MessageToken {
                id: id.clone(),
                from: *from,
            },
            data: message.data,
        });
        if self.events.try_send(event).is_err() {
            self.counters.ignored_queue_full.add();
            return Some(MessageAcceptance::Ignore);
        }
        None
    }

    /// Holds a message until its carrier has said hello. Dropping the message at once would lose it for good: gossipsub has
    /// noted its id, so a copy from an admitted peer would count as a duplicate.
    fn hold(&mut self, from: PeerId, id: MessageId, message: gossipsub::Message) {
        let of_peer = self.held.iter().filter(|h| h.from == from).count();
        if of_peer < HELD_PER_PEER_MAX && self.held.len() < HELD_MAX {
            self.held.push_back(Held { from, id, message });
        } else {
            self.counters.ignored_not_admitted.add();
            self.judge(&id, &from, MessageAcceptance::Ignore);
        }
    }

    /// Handles the [`Held`] messages of a peer: as newly received ones if the peer was admitted, otherwise they are ignored.
    pub(super) fn release_held(&mut self, peer: &PeerId, admitted: bool, now: Instant) {
        let (its, others): (VecDeque<Held>, _) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|h| h.from == *peer);
        self.held = others;
        for held in its {
            if admitted {
                self.on_message(held.from, held.id, held.message, now);
            } else {
                self.counters.ignored_not_admitted.add();
                self.judge(&held.id, &held.from, MessageAcceptance::Ignore);
            }
        }
    }

    fn judge(&mut self, id: &MessageId, from: &PeerId, verdict: MessageAcceptance) {
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        if !gossip.report_message_validation_result(id, from, verdict) {
            self.counters.verdicts_late.add();
        }
    }

    /// Passes the [`Verdict`] of the layer above on to gossipsub.
    pub(super) fn on_verdict(&mut self, token: &MessageToken, verdict: Verdict) {
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        self.judge(&token.id, &token.from, acceptance);
    }

    /// Publishes a message, or keeps it in [`RetryQueue`](crate::gossip::RetryQueue) if no peer can take it yet.
    pub(super) fn publish(&mut self, topic: Topic, data: Vec<u8>, now: Instant) -> Result<(), MeshError> {
        let hash = TopicHash::from_raw(topic.name());
        match self.send(&hash, data.clone()) {
            Sent::Yes => Ok(()),
            Sent::Later => {
                self.counters.publish_kept.add();
                let lost = self.retry_queue.push(hash, data, now);
                for _ in 0..lost {
                    self.counters.publish_expired.add();
                }
                Ok(())
            }
            Sent::Never(error) => Err(error),
        }
    }

    pub(super) fn send(&mut self, topic: &TopicHash, data: Vec<u8>) -> Sent {
        if self.peers.admitted_count() == 0 {
            // The connected peers have not said hello yet, and may be of another version or network.
            return Sent::Later;
        }
        let bytes = data.len();
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        match gossip.publish(topic.clone(), data) {
            Ok(_) => {
                self.counters.published.add();
                Sent::Yes
            }
            // Message ids cover topic, author and content: the very same message was sent a moment ago, so there is nothing
            // to do.
            Err(PublishError::Duplicate) => Sent::Yes,
            Err(PublishError::NoPeersSubscribedToTopic | PublishError::AllQueuesFull(_)) => Sent::Later,
            Err(PublishError::MessageTooLarge) => Sent::Never(MeshError::TooLarge {
                bytes,
                limit: ENVELOPE_BYTES_MAX,
            }),
            Err(error @ (PublishError::SigningError(_) | PublishError::TransformFailed(_))) => {
                Sent::Never(MeshError::Setup(error.to_string()))
            }
        }
    }

    /// Sends the [`RetryQueue`](crate::gossip::RetryQueue) messages of a topic, oldest first, until no peer can take the next
    /// one.
    pub(super) fn flush_kept(&mut self, topic: &TopicHash, now: Instant) {
        for _ in 0..self.retry_queue.expire(now) {
            self.counters.publish_expired.add();
        }
        while let Some(data) = self.retry_queue.first(topic).map(<[u8]>::to_vec) {
            if matches!(self.send(topic, data), Sent::Later) {
                return;
            }
            self.retry_queue.pop(topic);
        }
    }

    /// Due work: sends kept messages. No event says when a full queue of a peer has room again, so each tick tries.
    pub(super) fn tick_gossip(&mut self, now: Instant) {
        if self.retry_queue.is_empty() {
            return;
        }
        for topic in [Topic::Epiphany, Topic::State] {
            self.flush_kept(&TopicHash::from_raw(topic.name()), now);
        }
    }

    /// Returns the [`AuthorClass`] of an author at this node (see carrier.rs).
    fn author_class(&self, author: &PeerId) -> AuthorClass {
        let vouched = |node: &NodeId| self.members.borrow().contains(node);
        if identity::node_id(author).as_ref().is_some_and(vouched) {
            AuthorClass::Vouched
        } else if self.peers.get(author).is_some_and(|p| p.is_admitted() || p.met) {
            AuthorClass::Known
        } else {
            AuthorClass::Stranger
        }
    }

    /// Takes a message out of the budgets of its carrier ([`Carriers`](crate::gossip::Carriers)) and its author
    /// ([`Authors`](crate::gossip::Authors)). Returns false if one of them is exceeded.
    fn within_budgets(&mut self, source: &PeerId, from: &PeerId, load: Load, now: Instant) -> bool {
        let author_class = self.author_class(source);
        match self.carriers.take(from, author_class, load, now) {
            Carried::Within if self.authors.take(source, author_class, load, now) => return true,
            Carried::Within => self.counters.ignored_author_rate.add(),
            Carried::Beyond => self.counters.ignored_carrier_rate.add(),
            Carried::Abuse => {
                self.counters.ignored_carrier_rate.add();
                if let Some(node) = identity::node_id(from) {
                    self.on_fault(&node, Fault::Protocol, "carries more gossip than any honest node", now);
                }
            }
        }
        false
    }

    /// Handles gossip that arrives under this node's own key: an old message of this node that a peer sends again, or one of
    /// a twin.
    fn on_own_gossip(&mut self, from: &PeerId, message: &gossipsub::Message, now: Instant) {
        let beat = heartbeat::parse(&message.data).ok();
        let beat = beat.filter(|_| message.topic.as_str() == TOPIC_HEARTBEAT);
        if let Some(boot) = beat.and_then(|beat| beat.boot) {
            self.on_own_boot(
                &boot,
                &format!("an unknown address (a heartbeat through peer {from})"),
                now,
            );
        }
    }

    fn on_heartbeat(&mut self, source: PeerId, from: &PeerId, data: &[u8], now: Instant) -> MessageAcceptance {
        match heartbeat::parse(data) {
            Err(problem) => {
                self.counters.rejected.add();
                tracing::debug!(author = %source, %problem, "heartbeat rejected");
                MessageAcceptance::Reject
            }
            Ok(_) if !self.within_budgets(&source, from, Load::Heartbeat, now) => MessageAcceptance::Ignore,
            Ok(mut beat) => {
                let author_class = self.author_class(&source);
                if let Some(boot) = beat.boot.take() {
                    self.on_boot(source, boot, String::new(), now);
                }
                self.take_heartbeat(source, author_class, beat, now);
                MessageAcceptance::Accept
            }
        }
    }
}
