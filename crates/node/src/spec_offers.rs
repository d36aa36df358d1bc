//! Announced models whose specs are on their way: bounded in all, and for each node that brings them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::Signature;

/// The most offers whose specs are on their way; above it the oldest is given up, so that no offer blocks the others for ever.
const PENDING_MAX: usize = 256;

/// The most of these offers that one node has brought.
const PENDING_PER_NODE_MAX: usize = 32;

/// The time after which a spec that has not come makes room for another one of the same node.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);

/// The most signatures kept of one offer: wrong ones must not displace the right one.
pub const SIGNATURES_MAX: usize = 16;

/// The most of these signatures that came over one connection.
const SIGNATURES_PER_CARRIER_MAX: usize = 2;

/// Offers that wait for the bytes of their spec.
#[derive(Default)]
pub struct Offers(Mutex<PendingOffers>);

#[derive(Default)]
/// The offers whose specs are on their way, the newest with the highest number.
pub struct PendingOffers {
    /// The offers, by the id of their spec.
    pub offers: BTreeMap<SpecId, Offer>,
    count: u64,
    /// Nodes that had more offers than fitted.
    more: BTreeSet<NodeId>,
}

/// An announced model whose spec is on its way.
pub struct Offer {
    number: u64,
    since: Instant,
    /// The node that brought the offer first.
    pub by: NodeId,
    /// Signatures said to be the creator's. The right one shows when the spec is here.
    pub signatures: Vec<Given>,
}

/// A signature, the node that announced it, and the node over whose connection it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// The node that announced the signature.
    pub author: NodeId,
    /// The node over whose connection it came.
    pub carrier: NodeId,
    /// The signature itself.
    pub signature: Signature,
}

impl Offer {
    /// Keeps one more signature, the newest of each connection. Where all places are taken, a connection with several gives one
    /// up.
    fn add(&mut self, given: Given) {
        let count = |carrier: &NodeId| self.signatures.iter().filter(|g| g.carrier == *carrier).count();
        let crowded = |g: &Given| count(&g.carrier) >= SIGNATURES_PER_CARRIER_MAX;
        let full = self.signatures.len() >= SIGNATURES_MAX;
        let gives_way = match count(&given.carrier) >= SIGNATURES_PER_CARRIER_MAX {
            true => self.signatures.iter().position(|g| g.carrier == given.carrier),
            false if full => self.signatures.iter().position(crowded),
            false => None,
        };
        if let Some(place) = gives_way {
            self.signatures.remove(place);
        } else if full {
            return;
        }
        self.signatures.push(given);
        debug_assert!(self.signatures.len() <= SIGNATURES_MAX);
    }
}

impl PendingOffers {
    /// Takes an offer, and returns the one that had to be given up for it; `Err` when this offer is not taken.
    pub fn take(&mut self, id: SpecId, given: Given, now: Instant) -> Result<Option<SpecId>, ()> {
        let by = given.carrier;
        if let Some(offer) = self.offers.get_mut(&id) {
            offer.add(given);
            return Ok(None);
        }
        let own = || self.offers.iter().filter(|(_, offer)| offer.by == by);
        let crowded = own().count() >= PENDING_PER_NODE_MAX;
        let oldest = match crowded {
            true => own().min_by_key(|(_, offer)| offer.number),
            false => self.offers.iter().min_by_key(|(_, offer)| offer.number),
        };
        if crowded && oldest.is_none_or(|(_, offer)| now.duration_since(offer.since) < ARRIVES_WITHIN) {
            self.more.insert(by);
            return Err(());
        }
        let oldest = oldest.map(|(id, _)| *id);
        let oldest = oldest.filter(|_| crowded || self.offers.len() >= PENDING_MAX);
        if let Some(oldest) = &oldest {
            self.offers.remove(oldest);
        }
        self.count += 1;
        let offer = Offer {
            number: self.count,
            since: now,
            by,
            signatures: vec![given],
        };
        self.offers.insert(id, offer);
        debug_assert!(self.is_bounded(&by), "offers beyond their limits");
        Ok(oldest)
    }

    /// The invariant of the offers: their number is bounded, in all and for the node that has just brought one.
    fn is_bounded(&self, by: &NodeId) -> bool {
        let own = self.offers.values().filter(|offer| offer.by == *by).count();
        self.offers.len() <= PENDING_MAX && own <= PENDING_PER_NODE_MAX
    }
}

impl Offers {
    /// Returns the offers whose specs are on their way.
    pub fn pending(&self) -> MutexGuard<'_, PendingOffers> {
        self.0.lock()
    }

    /// Returns the nodes whose further offers did not fit; they are to be asked again.
    pub fn take_more(&self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.pending().more)
    }

    /// Returns the blobs that must stay until they are looked at.
    pub fn live_blobs(&self) -> Vec<BlobId> {
        self.pending().offers.keys().map(|id| BlobId::from(*id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;

    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    fn spec(n: usize) -> SpecId {
        SpecId::of(&n.to_le_bytes())
    }

    const WRONG: Signature = Signature([7; 64]);

    /// A signature as a peer gives it in a comparison.
    fn given(carrier: u8, signature: Signature) -> Given {
        Given {
            author: node(carrier),
            carrier: node(carrier),
            signature,
        }
    }

    #[test]
    fn one_node_s_offers_and_all_of_them_are_bounded_and_none_is_stuck() {
        let (mut pending, now) = (PendingOffers::default(), clock::now());
        for n in 0..PENDING_PER_NODE_MAX {
            assert_eq!(pending.take(spec(n), given(1, WRONG), now), Ok(None));
        }
        assert_eq!(pending.take(spec(1000), given(1, WRONG), now), Err(()));
        assert_eq!(
            pending.take(spec(0), given(1, WRONG), now),
            Ok(None),
            "one that is pending is no more"
        );
        for n in PENDING_PER_NODE_MAX..PENDING_MAX {
            assert_eq!(
                pending.take(spec(n), given((n / PENDING_PER_NODE_MAX) as u8 + 1, WRONG), now),
                Ok(None)
            );
        }
        assert_eq!(
            pending.take(spec(2000), given(99, WRONG), now),
            Ok(Some(spec(0))),
            "the oldest makes room"
        );
        assert_eq!(pending.offers.len(), PENDING_MAX);
    }

    #[test]
    fn what_does_not_come_makes_room_for_more_of_the_same_node() {
        let (mut pending, now) = (PendingOffers::default(), clock::now());
        pending.take(spec(5000), given(2, WRONG), now).unwrap();
        for n in 0..PENDING_PER_NODE_MAX {
            pending.take(spec(n), given(1, WRONG), now).unwrap();
        }
        let more = |pending: &mut PendingOffers, at| pending.take(spec(1000), given(1, WRONG), at);
        assert_eq!(more(&mut pending, now), Err(()));
        assert_eq!(pending.more, BTreeSet::from([node(1)]), "it is asked again");
        assert_eq!(more(&mut pending, now + ARRIVES_WITHIN), Ok(Some(spec(0))));
    }
}
