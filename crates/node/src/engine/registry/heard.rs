//! Models that were announced and that nobody here joined.
//!
//! Of each a node keeps what [`HeardModel`] says, below 600 bytes, and its spec as a blob on the disk, which is read when
//! somebody asks for it. Both are bounded: in all, and for each node that brings them. Whoever brings too much displaces what it
//! brought before (what it forwarded goes before what it made), and among those that bring many it is whoever brought most. A known creator's model gives way to no stranger's.

use std::collections::BTreeMap;
use std::sync::Arc;

use qres_fed::id::{NodeId, SpecId};

use crate::store::HeardModel;

/// The largest spec that a node takes an interest in without having joined: 65,536 tensors with names of 90 bytes.
pub const SPEC_BYTES_MAX: u64 = 8 << 20;
/// Announced models that are kept.
pub const HEARD_MAX: usize = 1024;
/// Of these, brought by one node.
pub const HEARD_PER_CARRIER_MAX: usize = 64;
/// Bytes of all their specs on the disk.
pub const HEARD_BYTES_MAX: u64 = 64 << 20;
/// Of these, brought by one node.
pub const HEARD_BYTES_PER_CARRIER_MAX: u64 = 16 << 20;

/// The announced models.
#[derive(Default)]
pub struct Heard {
    models: BTreeMap<SpecId, Entry>,
    count: u64,
}

struct Entry {
    model: Arc<HeardModel>,
    /// Ascends with the time it was heard of.
    number: u64,
}

/// What is kept, of one node or of all.
#[derive(Default, Clone, Copy)]
struct Load {
    models: usize,
    bytes: u64,
}

impl Load {
    fn of<'a>(models: impl Iterator<Item = &'a Entry>) -> Self {
        models.fold(Self::default(), |load, entry| load.with(&entry.model))
    }

    fn with(self, model: &HeardModel) -> Self {
        Self {
            models: self.models + 1,
            bytes: self.bytes.saturating_add(model.spec_bytes),
        }
    }

    fn within(self, models_max: usize, bytes_max: u64) -> bool {
        self.models <= models_max && self.bytes <= bytes_max
    }
}

impl Heard {
    /// Keeps a model, and answers with those that made room for it; `None` when it does not fit, or is there.
    /// `is_known` says whether this node knows a creator.
    pub fn keep(&mut self, new: HeardModel, is_known: impl Fn(&NodeId) -> bool) -> Option<Vec<Arc<HeardModel>>> {
        if self.models.contains_key(&new.id) {
            return None;
        }
        let mut gone = vec![];
        if !self.room_for(&new, &is_known, &mut gone) {
            // What made room in vain comes back.
            self.models
                .extend(gone.into_iter().map(|entry| (entry.model.id, entry)));
            return None;
        }
        self.count += 1;
        let entry = Entry {
            number: self.count,
            model: Arc::new(new),
        };
        self.models.insert(entry.model.id, entry);
        Some(gone.into_iter().map(|entry| entry.model).collect())
    }

    /// Makes room; `false` when there is none.
    fn room_for(&mut self, new: &HeardModel, is_known: &impl Fn(&NodeId) -> bool, gone: &mut Vec<Entry>) -> bool {
        let may_go = |entry: &Entry| is_known(&new.creator) || !is_known(&entry.model.creator);
        loop {
            let own = |entry: &&Entry| entry.model.carrier == new.carrier;
            let own_load = Load::of(self.models.values().filter(own)).with(new);
            let within = own_load.within(HEARD_PER_CARRIER_MAX, HEARD_BYTES_PER_CARRIER_MAX);
            let all_within = Load::of(self.models.values())
                .with(new)
                .within(HEARD_MAX, HEARD_BYTES_MAX);
            if within && all_within {
                return true;
            }
            let loads = self.loads();
            let candidates = self
                .models
                .values()
                .filter(|entry| may_go(entry) && (within || own(entry)));
            // The oldest of whoever brought most; strangers' first, and what a node forwarded before what it made itself.
            let next = candidates.min_by_key(|entry| {
                let load = loads.get(&entry.model.carrier).copied().unwrap_or_default();
                let most = std::cmp::Reverse((load.bytes, load.models));
                let own = entry.model.creator == entry.model.carrier;
                (is_known(&entry.model.creator), most, own, entry.number)
            });
            let Some(next) = next.map(|entry| entry.model.id) else {
                return false;
            };
            gone.extend(self.models.remove(&next));
        }
    }

    fn loads(&self) -> BTreeMap<NodeId, Load> {
        let mut loads = BTreeMap::<NodeId, Load>::new();
        for entry in self.models.values() {
            let load = loads.entry(entry.model.carrier).or_default();
            *load = load.with(&entry.model);
        }
        loads
    }

    /// Whether a spec of so many bytes, brought by that node, would displace another one that it brought.
    pub fn is_full(&self, carrier: &NodeId, bytes: u64) -> bool {
        let own = self.models.values().filter(|entry| entry.model.carrier == *carrier);
        let load = Load::of(own);
        let bytes = load.bytes.saturating_add(bytes);
        load.models >= HEARD_PER_CARRIER_MAX || bytes > HEARD_BYTES_PER_CARRIER_MAX
    }

    /// One by id.
    pub fn get(&self, id: &SpecId) -> Option<Arc<HeardModel>> {
        self.models.get(id).map(|entry| entry.model.clone())
    }

    /// All, by id.
    pub fn all(&self) -> impl Iterator<Item = Arc<HeardModel>> + '_ {
        self.models.values().map(|entry| entry.model.clone())
    }

    /// It is joined now, or its spec is gone.
    pub fn forget(&mut self, id: &SpecId) {
        self.models.remove(id);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.models.len()
    }
}

#[cfg(test)]
mod tests {
    use qres_fed::record::Signature;

    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    fn model(number: usize, creator: u8, carrier: u8, spec_bytes: u64) -> HeardModel {
        HeardModel {
            id: SpecId::of(&number.to_le_bytes()),
            name: format!("m{number}").parse().unwrap(),
            creator: node(creator),
            spec_bytes,
            signature: Signature([0; 64]),
            carrier: node(carrier),
        }
    }

    fn nobody(_: &NodeId) -> bool {
        false
    }

    fn ids(gone: Option<Vec<Arc<HeardModel>>>) -> Option<Vec<String>> {
        gone.map(|gone| gone.iter().map(|model| model.name.to_string()).collect())
    }

    #[test]
    fn a_carrier_displaces_its_own_whoever_it_names_as_creators() {
        let mut heard = Heard::default();
        assert_eq!(ids(heard.keep(model(5000, 1, 1, 1), nobody)), Some(vec![]));
        for n in 0..HEARD_PER_CARRIER_MAX {
            assert_eq!(ids(heard.keep(model(n, n as u8, 2, 1), nobody)), Some(vec![]), "{n}");
        }
        assert!(heard.is_full(&node(2), 1) && !heard.is_full(&node(1), 1));
        assert_eq!(ids(heard.keep(model(1000, 9, 2, 1), nobody)), Some(vec!["m0".into()]));
        assert_eq!(ids(heard.keep(model(1000, 9, 2, 1), nobody)), None, "it is there");
        assert_eq!(heard.len(), 1 + HEARD_PER_CARRIER_MAX);
        // By bytes, too: at the limit, and one byte above it.
        let most = HEARD_BYTES_PER_CARRIER_MAX;
        assert_eq!(ids(heard.keep(model(2000, 1, 3, most - 1), nobody)), Some(vec![]));
        assert_eq!(ids(heard.keep(model(2001, 1, 3, 1), nobody)), Some(vec![]));
        assert_eq!(
            ids(heard.keep(model(2002, 1, 3, 1), nobody)),
            Some(vec!["m2000".into()])
        );
        assert_eq!(ids(heard.keep(model(2003, 1, 3, most + 1), nobody)), None);
        assert!(heard.get(&model(2002, 1, 3, 1).id).is_some(), "nothing went in vain");
    }

    #[test]
    fn what_a_node_made_itself_stays_longer_than_what_it_forwarded() {
        let mut heard = Heard::default();
        heard.keep(model(0, 2, 2, 1), nobody).unwrap();
        for n in 1..HEARD_PER_CARRIER_MAX {
            heard.keep(model(n, 9, 2, 1), nobody).unwrap();
        }
        assert_eq!(ids(heard.keep(model(1000, 9, 2, 1), nobody)), Some(vec!["m1".into()]));
    }

    #[test]
    fn whoever_brought_most_makes_room_for_the_others() {
        let mut heard = Heard::default();
        heard.keep(model(9999, 1, 200, 1), nobody).unwrap();
        let mut number = 0;
        while heard.len() < HEARD_MAX {
            let carrier = (number / HEARD_PER_CARRIER_MAX) as u8;
            heard.keep(model(number, 1, carrier, 1), nobody).unwrap();
            number += 1;
        }
        let gone = ids(heard.keep(model(8888, 1, 201, 1), nobody)).unwrap();
        assert_eq!(
            gone,
            ["m0"],
            "the oldest of a full carrier, not the one that came first"
        );
        assert_eq!(heard.len(), HEARD_MAX);
    }

    #[test]
    fn a_known_creator_s_model_gives_way_to_no_stranger_s() {
        let mut heard = Heard::default();
        let known = |creator: &NodeId| *creator == node(7);
        for n in 0..HEARD_PER_CARRIER_MAX {
            heard.keep(model(n, 7, 2, 1), known).unwrap();
        }
        assert_eq!(ids(heard.keep(model(1000, 9, 2, 1), known)), None);
        assert_eq!(ids(heard.keep(model(1001, 7, 2, 1), known)), Some(vec!["m0".into()]));
        let mut heard = Heard::default();
        heard.keep(model(0, 7, 2, 1), known).unwrap();
        for n in 1..HEARD_PER_CARRIER_MAX {
            heard.keep(model(n, 9, 2, 1), known).unwrap();
        }
        assert_eq!(ids(heard.keep(model(1000, 9, 2, 1), known)), Some(vec!["m1".into()]));
    }
}
