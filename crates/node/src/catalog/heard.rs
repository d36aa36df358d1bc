//! Models that were announced, and that were not joined here.
//!
//! Of each a node keeps a [`HeardModel`], below 600 bytes, and its spec as a blob on the disk, which is read when a caller asks
//! for it. Both are bounded: in all, and for each node that brings them (the carrier). A carrier that brings too much displaces
//! what it brought before (what it forwarded goes before what it made). Among many carriers, the one that brought most makes
//! room. A model of a known creator never makes room for a stranger's model.

use std::collections::BTreeMap;
use std::sync::Arc;

use qres_fed::id::{NodeId, SpecId};
use qres_store::HeardModel;

/// The largest spec, in bytes, that a node takes in without having joined its model: 65,536 tensors with names of 90 bytes.
pub const SPEC_BYTES_MAX: u64 = 8 << 20;
/// The most announced models that are kept.
pub const HEARD_MAX: usize = 1024;
/// The most of these models that one node has brought.
pub const HEARD_PER_CARRIER_MAX: usize = 64;
/// The most bytes of all their specs on the disk.
pub const HEARD_BYTES_MAX: u64 = 64 << 20;
/// The most of these bytes that one node has brought.
pub const HEARD_BYTES_PER_CARRIER_MAX: u64 = 16 << 20;

/// The announced models that are kept.
#[derive(Default)]
pub struct Heard {
    models: BTreeMap<SpecId, Entry>,
    count: u64,
}

struct Entry {
    model: Arc<HeardModel>,
    /// A number that ascends with the time at which the model was heard of.
    number: u64,
}

/// The models that are kept and their bytes, of one carrier or of all.
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
    /// Keeps a model, and returns those that made room for it; `None` when it does not fit, or is there already. `is_known`
    /// returns true if this node knows a creator.
    pub fn keep(&mut self, new: HeardModel, is_known: impl Fn(&NodeId) -> bool) -> Option<Vec<Arc<HeardModel>>> {
        if self.models.contains_key(&new.id) {
            return None;
        }
        let mut gone = vec![];
        if !self.room_for(&new, &is_known, &mut gone) {
            // The models that made room in vain come back.
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
        debug_assert!(self.is_bounded(), "announced models beyond their limits");
        Some(gone.into_iter().map(|entry| entry.model).collect())
    }

    /// Makes room for a model, and moves the displaced entries to `gone`. Returns false when there is no room.
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
            // Strangers' models go first, then those of the carrier that brought most: what it forwarded before what it made
            // itself, and the oldest first.
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

    /// The invariant of the announced models: their number and bytes are bounded, in all and for each carrier.
    fn is_bounded(&self) -> bool {
        let each = |load: &Load| load.within(HEARD_PER_CARRIER_MAX, HEARD_BYTES_PER_CARRIER_MAX);
        Load::of(self.models.values()).within(HEARD_MAX, HEARD_BYTES_MAX) && self.loads().values().all(each)
    }

    fn loads(&self) -> BTreeMap<NodeId, Load> {
        let mut loads = BTreeMap::<NodeId, Load>::new();
        for entry in self.models.values() {
            let load = loads.entry(entry.model.carrier).or_default();
            *load = load.with(&entry.model);
        }
        loads
    }

    /// Returns true if a spec of so many bytes, brought by that node, would displace another one that it brought.
    pub fn is_full(&self, carrier: &NodeId, bytes: u64) -> bool {
        let own = self.models.values().filter(|entry| entry.model.carrier == *carrier);
        let load = Load::of(own);
        let bytes = load.bytes.saturating_add(bytes);
        load.models >= HEARD_PER_CARRIER_MAX || bytes > HEARD_BYTES_PER_CARRIER_MAX
    }

    /// Returns the announced model of an id.
    pub fn get(&self, id: &SpecId) -> Option<Arc<HeardModel>> {
        self.models.get(id).map(|entry| entry.model.clone())
    }

    /// Returns all announced models, ordered by id.
    pub fn all(&self) -> impl Iterator<Item = Arc<HeardModel>> + '_ {
        self.models.values().map(|entry| entry.model.clone())
    }

    /// Forgets a model that is joined now, or whose spec is gone.
    pub fn forget(&mut self, id: &SpecId) {
        self.models.remove(id);
    }

    /// Returns the number of announced models.
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
            succeeds: None,
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
        // The limit of bytes counts, too: at the limit, and one byte above it.
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
