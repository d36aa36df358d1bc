//! Dials places for operators, and answers them.

use std::time::Instant;

use libp2p::swarm::ConnectionId;
use qres_fed::id::NodeId;

use super::Actor;
use crate::attempt::Attempt;
use crate::command::Reply;
use crate::dial::{self, known_peer, words};
use crate::error::MeshError;
use crate::operator_dial::{OperatorDial, answer};
use crate::peer_table::Link;
use crate::{address, hello};

/// Operators' dials under way; a further one is refused until one of them has ended.
const OPERATOR_DIALS_MAX: usize = 64;

impl Actor {
    /// Dials a place for an operator; the answer is the node that is there.
    pub(super) fn dial_for_operator(&mut self, text: &str, reply: Reply<NodeId>, now: Instant) {
        let target = match address::parse(text) {
            Ok(target) => target,
            Err(error) => return answer(reply, Err(error)),
        };
        if self.discovery.operator_dials.len() >= OPERATOR_DIALS_MAX {
            let many = format!("{OPERATOR_DIALS_MAX} dials are under way: try again when one of them has ended");
            return answer(reply, Err(MeshError::Dial(many)));
        }
        let attempt = match target.peer {
            None => Attempt::new(target.addresses, now),
            Some(peer) => {
                let Some(entry) = self.peers.entry(peer, now).filter(|_| peer != self.own) else {
                    return answer(reply, Err(MeshError::Address(text.to_owned())));
                };
                entry.wanted = true;
                for address in target.addresses {
                    if !entry.addresses.contains(&address) {
                        entry.addresses.insert(0, address);
                        entry.addresses.truncate(address::ADDRESSES_MAX);
                    }
                }
                if entry.link != Link::Idle {
                    return answer(reply, Ok(entry.node));
                }
                let options = known_peer(peer, entry.addresses.clone());
                let id = options.connection_id();
                if let Err(error) = self.swarm.dial(options) {
                    answer(reply, Err(MeshError::Dial(words(&error))));
                    return self.on_dial_error(id, Some(peer), &error, now);
                }
                self.note_dialing(peer, now);
                Attempt::under_way(id, now)
            }
        };
        self.discovery.operator_dials.push(OperatorDial {
            text: text.to_owned(),
            attempt,
            reply,
        });
        self.tick_operator_dials(now);
    }

    /// Due work: dials the next address of each [`OperatorDial`], and ends those that have none left.
    pub(super) fn tick_operator_dials(&mut self, now: Instant) {
        for dial in &mut self.discovery.operator_dials {
            dial.attempt
                .pursue(now, |address| dial::unknown_peer(&mut self.swarm, address));
        }
        let lost = |dial: &mut OperatorDial| dial.attempt.lost().is_some();
        for dial in self.discovery.operator_dials.extract_if(.., lost) {
            let why = dial.attempt.lost().unwrap_or_default().to_owned();
            tracing::warn!("dial of {} failed: {why}", hello::cut(&dial.text, 80));
            answer(dial.reply, Err(MeshError::Dial(why)));
        }
    }

    /// Handles a failed dial, which may be an operator's.
    pub(super) fn on_operator_dial_error(&mut self, id: ConnectionId, why: &str, now: Instant) {
        for dial in &mut self.discovery.operator_dials {
            if dial.owns(id) {
                dial.attempt.failed(id, why.to_owned());
            }
        }
        self.tick_operator_dials(now);
    }
}
