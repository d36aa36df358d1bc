//! Limits how much one peer, and all peers together, may have under way at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use qres_fed::id::NodeId;

/// Counts the operations under way, of each peer and in all. Cheap to clone; holds one entry for each peer that has an
/// operation under way.
#[derive(Clone)]
pub(crate) struct Quota {
    in_all: usize,
    per_peer: usize,
    held: Arc<Mutex<BTreeMap<NodeId, usize>>>,
}

/// Permission for one operation; dropping it makes room for another.
pub(crate) struct Permit {
    peer: NodeId,
    held: Arc<Mutex<BTreeMap<NodeId, usize>>>,
}

impl Quota {
    pub(crate) fn new(in_all: usize, per_peer: usize) -> Self {
        Self {
            in_all,
            per_peer,
            held: Arc::default(),
        }
    }

    /// Takes a [`Permit`] for one more operation of this peer; `None` if the peer, or all peers together, have no room
    /// for it.
    pub(crate) fn take(&self, peer: NodeId) -> Option<Permit> {
        let mut held = self.held.lock();
        let all: usize = held.values().sum();
        let own = held.get(&peer).copied().unwrap_or(0);
        if all >= self.in_all || own >= self.per_peer {
            return None;
        }
        held.insert(peer, own + 1);
        Some(Permit {
            peer,
            held: self.held.clone(),
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        if let Some(own) = held.get_mut(&self.peer) {
            *own -= 1;
            if *own == 0 {
                held.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_cannot_take_everyones_room_and_what_ends_makes_room() {
        let (a, b) = (NodeId([1; 32]), NodeId([2; 32]));
        let quota = Quota::new(3, 2);
        let first = quota.take(a).unwrap();
        let _second = quota.take(a).unwrap();
        assert!(quota.take(a).is_none(), "per peer");
        let _third = quota.take(b).unwrap();
        assert!(quota.take(b).is_none(), "in all");
        drop(first);
        assert!(quota.take(b).is_some());
    }
}
