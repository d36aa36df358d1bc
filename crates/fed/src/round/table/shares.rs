//! Limits on unnamed checkpoints: a share for each sealer, and in an open model one for all strangers together.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use crate::id::{CheckpointId, NodeId};
use crate::record::MEMBERS_MAX;

/// Maximum number of unnamed seals held per sealer and parent. An honest node makes
/// one, or two if a crash made it forget the first.
const PER_PARENT_MAX: usize = 2;
/// Maximum number of unnamed seals held per sealer and round, on any parents.
const PER_ROUND_MAX: usize = 8;
/// Maximum number of unnamed seals held per parent, by all sealers together, in an open model, where identities cost nothing:
/// one for each node that may contribute on the parent.
const OPEN_PER_PARENT_MAX: usize = MEMBERS_MAX;
/// Maximum number of unnamed seals held per round in an open model, on any parents: enough for two heads. The longest, with 512
/// fresh and 512 late contributions, take 32 KiB, so 32 MiB.
const OPEN_PER_ROUND_MAX: usize = 2 * MEMBERS_MAX;

/// Order in which the seals of a sealer stay, the greatest first: seals that can be checked, then
/// those with more fresh contributions, then the lower id. A function of the records held, so that
/// nodes that hold the same records keep the same seals.
pub(in crate::round) type KeepingOrder = (bool, usize, Reverse<CheckpointId>);

/// Order over all sealers: the best seal of each sealer in the round stands above the second of any. So no sealer has more than
/// its share while another has less.
type FairOrder = (Reverse<usize>, KeepingOrder);

/// The place at which an unnamed checkpoint counts.
#[derive(Debug, Clone)]
pub(in crate::round) struct Place {
    pub parent: CheckpointId,
    pub round: u64,
    pub sealers: BTreeSet<NodeId>,
    pub order: KeepingOrder,
}

impl Place {
    fn id(&self) -> CheckpointId {
        self.order.2.0
    }
}

/// The unnamed checkpoints off the head's branch, by the shares that they count against.
#[derive(Debug)]
pub(in crate::round) struct Shares {
    is_open: bool,
    /// Each place with the number of better ones by the same sealer in the round; the least number, if it has several sealers.
    filed: BTreeMap<CheckpointId, (Place, usize)>,
    of_sealer: BTreeMap<(u64, NodeId), BTreeSet<KeepingOrder>>,
    on_parent: BTreeMap<CheckpointId, BTreeSet<FairOrder>>,
    of_round: BTreeMap<u64, BTreeSet<FairOrder>>,
    pub incomplete: Incomplete,
    /// Checkpoints that may have lost their names.
    pub doubted: BTreeSet<CheckpointId>,
}

fn put<K: Ord, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: K, value: V) {
    map.entry(key).or_default().insert(value);
}

fn take<K: Ord, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(set) = map.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

impl Shares {
    pub fn new(is_open: bool) -> Self {
        Self {
            is_open,
            filed: BTreeMap::new(),
            of_sealer: BTreeMap::new(),
            on_parent: BTreeMap::new(),
            of_round: BTreeMap::new(),
            incomplete: Incomplete::default(),
            doubted: BTreeSet::new(),
        }
    }

    pub fn has(&self, id: &CheckpointId) -> bool {
        self.filed.contains_key(id)
    }

    pub fn sealers(&self, id: &CheckpointId) -> Option<&BTreeSet<NodeId>> {
        self.filed.get(id).map(|(place, _)| &place.sealers)
    }

    pub fn file(&mut self, place: Place) {
        self.unfile(&place.id());
        let (round, sealers) = (place.round, place.sealers.clone());
        for sealer in &sealers {
            put(&mut self.of_sealer, (round, *sealer), place.order);
        }
        self.add_fair(&place, 0);
        self.filed.insert(place.id(), (place, 0));
        self.review_turns(round, &sealers);
    }

    pub fn unfile(&mut self, id: &CheckpointId) -> Option<Place> {
        let (place, turn) = self.filed.remove(id)?;
        self.remove_fair(&place, turn);
        for sealer in &place.sealers {
            take(&mut self.of_sealer, &(place.round, *sealer), &place.order);
        }
        self.review_turns(place.round, &place.sealers);
        Some(place)
    }

    fn add_fair(&mut self, place: &Place, turn: usize) {
        if self.is_open {
            let fair = (Reverse(turn), place.order);
            put(&mut self.on_parent, place.parent, fair);
            put(&mut self.of_round, place.round, fair);
        }
    }

    fn remove_fair(&mut self, place: &Place, turn: usize) {
        let fair = (Reverse(turn), place.order);
        take(&mut self.on_parent, &place.parent, &fair);
        take(&mut self.of_round, &place.round, &fair);
    }

    /// Counts the turns of these sealers' seals of a round anew, because something about them changed.
    fn review_turns(&mut self, round: u64, sealers: &BTreeSet<NodeId>) {
        if !self.is_open {
            return;
        }
        let sets = sealers
            .iter()
            .filter_map(|sealer| self.of_sealer.get(&(round, *sealer)));
        let concerned: BTreeSet<CheckpointId> = sets.flatten().map(|order| order.2.0).collect();
        for id in concerned {
            let Some((place, before)) = self.filed.get(&id).cloned() else {
                continue;
            };
            let now = place.sealers.iter().map(|sealer| self.better(&place, sealer).count());
            let now = now.min().unwrap_or(0);
            if now != before {
                self.remove_fair(&place, before);
                self.add_fair(&place, now);
                self.filed.insert(id, (place, now));
            }
        }
    }

    /// The better checkpoints of this sealer in the round of `place`.
    fn better(&self, place: &Place, sealer: &NodeId) -> impl Iterator<Item = &Place> {
        let set = self.of_sealer.get(&(place.round, *sealer));
        let better = set.map(|set| set.range((Excluded(place.order), Unbounded)));
        let better = better.into_iter().flatten();
        better.filter_map(|order| self.filed.get(&order.2.0).map(|(place, _)| place))
    }

    /// Returns true if a checkpoint is beyond the shares of all its sealers.
    fn is_beyond(&self, id: &CheckpointId) -> bool {
        let Some((place, _)) = self.filed.get(id) else {
            return false;
        };
        place.sealers.iter().all(|sealer| {
            let on_parent = self.better(place, sealer).filter(|other| other.parent == place.parent);
            on_parent.count() >= PER_PARENT_MAX || self.better(place, sealer).count() >= PER_ROUND_MAX
        })
    }

    /// The checkpoint that is too much of a sealer's in the round of `place`: the least on its parent, or the least of all.
    fn excess_of(&self, sealer: &NodeId, place: &Place) -> Option<CheckpointId> {
        let set = self.of_sealer.get(&(place.round, *sealer))?;
        let ids = || set.iter().map(|order| order.2.0);
        let on_parent = |id: &CheckpointId| {
            let filed = self.filed.get(id);
            filed.is_some_and(|(other, _)| other.parent == place.parent)
        };
        if ids().filter(on_parent).count() > PER_PARENT_MAX {
            ids().filter(on_parent).find(|id| self.is_beyond(id))
        } else if set.len() > PER_ROUND_MAX {
            ids().find(|id| self.is_beyond(id))
        } else {
            None
        }
    }

    /// The checkpoint that is too much in the shares of `place`, if there is one.
    pub fn excess(&self, place: &Place) -> Option<CheckpointId> {
        let least = |set: Option<&BTreeSet<FairOrder>>, most: usize| {
            let crowd = set.filter(|set| set.len() > most)?;
            crowd.first().map(|(_, order)| order.2.0)
        };
        let mut sealers = place.sealers.iter();
        sealers
            .find_map(|sealer| self.excess_of(sealer, place))
            .or_else(|| least(self.on_parent.get(&place.parent), OPEN_PER_PARENT_MAX))
            .or_else(|| least(self.of_round.get(&place.round), OPEN_PER_ROUND_MAX))
    }

    /// The checkpoints that a new one at `place` would displace; `None` if the new one would itself be too much.
    pub fn displaced_by(&mut self, place: &Place) -> Option<Vec<CheckpointId>> {
        self.file(place.clone());
        let mut displaced = vec![];
        let mut fits = true;
        while let Some(id) = self.excess(place) {
            if id == place.id() {
                fits = false;
                break;
            }
            displaced.extend(self.unfile(&id));
            if !self.is_open {
                // This holds even if a member has far too many that lost their names: one comes, one goes.
                break;
            }
        }
        self.unfile(&place.id());
        let ids = displaced.iter().map(Place::id).collect();
        displaced.into_iter().for_each(|other| self.file(other));
        fits.then_some(ids)
    }
}

/// Numbers of checkpoints with unknown contributions, by sealer and in all.
#[derive(Debug, Default)]
pub(in crate::round) struct Incomplete {
    by_sealer: BTreeMap<NodeId, usize>,
    pub all: usize,
}

impl Incomplete {
    pub fn add(&mut self, sealer: NodeId) {
        *self.by_sealer.entry(sealer).or_default() += 1;
        self.all += 1;
    }

    pub fn remove(&mut self, sealer: &NodeId) {
        if let Some(count) = self.by_sealer.get_mut(sealer) {
            *count -= 1;
            self.all -= 1;
            if *count == 0 {
                self.by_sealer.remove(sealer);
            }
        }
    }

    pub fn of(&self, sealer: &NodeId) -> usize {
        self.by_sealer.get(sealer).copied().unwrap_or(0)
    }
}
