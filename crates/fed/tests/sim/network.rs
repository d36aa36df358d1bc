//! The network between the nodes: gossip, sync and blobs.

use std::collections::VecDeque;

use qres_fed::id::{BlobId, ContributionId, NodeId};
use qres_fed::record::BlobRole;
use qres_fed::round::{Archived, Input, RecordId};
use rand::RngExt;

use crate::aim::Aim;
use crate::host::Host;
use crate::plan::HEAL_MS;
use crate::world::{Event, Record, World};

/// Largest number of records of one sync session in each direction; the others come with the next session.
const SYNC_MAX: usize = 300;

impl Host {
    /// Returns the records that the node `from` holds and this node lacks and wants, ascending by round; `None` if one of
    /// the two is down.
    fn lacks(&self, from: &Self) -> Option<Vec<Record>> {
        let (to, held) = (self.machine.as_ref()?, from.machine.as_ref()?);
        // New seals may name old proofs; all other forgotten records stay forgotten.
        let above = to.sync_above();
        let wanted =
            |(round, id): &&(u64, RecordId)| *round > above || matches!(id, RecordId::Proof(_) | RecordId::Consent(_));
        let ids = held.records().difference(to.records()).filter(wanted).take(SYNC_MAX);
        let records = ids.filter_map(|(_, id)| {
            Some(match id {
                RecordId::Contribution(id) => Record::Contribution(held.contribution(id)?.clone()),
                RecordId::Seal(id) => Record::Seal(held.seal(id)?.clone()),
                RecordId::Proof(id) => Record::Proof(held.proof(id)?.clone()),
                RecordId::Consent(id) => Record::Consent(held.consent(id)?.clone()),
            })
        });
        let mut all = self.lacks_archived(from, above);
        all.extend(records);
        Some(all)
    }

    /// Returns the records of the archive of `from` that this node lacks.
    fn lacks_archived(&self, from: &Self, above: u64) -> Vec<Record> {
        let to = self.machine.as_ref().expect("up");
        let mine = |round: &u64, theirs: &Archived| self.disk.archive.get(round).is_some_and(|own| own == theirs);
        let rounds = from
            .disk
            .archive
            .range(above + 1..)
            .filter(|(round, theirs)| !mine(round, theirs));
        let records = rounds.flat_map(|(_, theirs)| {
            let proofs = theirs.proofs.iter().cloned().map(Record::Proof);
            proofs.chain([Record::Seal(theirs.seal.clone())])
        });
        let held = |record: &Record| match record {
            Record::Contribution(c) => to.contribution(&c.record.id()).is_some(),
            Record::Seal(s) => to.seal(&s.record.id()).is_some(),
            Record::Proof(p) => to.proof(&p.id()).is_some(),
            Record::Consent(c) => to.consent(&c.record.id()).is_some(),
        };
        records.filter(|record| !held(record)).collect()
    }
}

impl World {
    pub fn connected(&self, a: usize, b: usize) -> bool {
        a != b && self.groups[a] == self.groups[b]
    }

    fn delay(&mut self) -> u64 {
        self.rng.random_range(1..=self.plan.delay_ms_max)
    }

    fn lost(&mut self) -> bool {
        self.faulty() && self.plan.loss > 0.0 && self.rng.random_bool(self.plan.loss)
    }

    /// Sends a record as gossip to all nodes in reach.
    pub fn send(&mut self, from: usize, record: &Record) {
        for h in 0..self.hosts.len() {
            if self.connected(from, h) {
                self.send_to(h, record);
            }
        }
    }

    pub fn send_to(&mut self, h: usize, record: &Record) {
        let copies = 1 + usize::from(self.plan.duplicate > 0.0 && self.rng.random_bool(self.plan.duplicate));
        for _ in 0..copies {
            if !self.lost() {
                let wait = self.delay();
                let record = record.clone();
                self.at(wait, Event::Deliver { h, record });
            }
        }
    }

    pub fn deliver(&mut self, h: usize, record: Record) {
        let input = match record {
            Record::Contribution(c) => Input::Contribution(c),
            Record::Seal(s) => Input::Seal(s),
            Record::Proof(p) => Input::Proof(p),
            Record::Consent(c) => Input::Consent(c),
        };
        self.feed(h, input);
    }

    pub fn sync_soon(&mut self, h: usize, from: &[NodeId]) {
        let named: Vec<_> = (0..self.hosts.len())
            .filter(|b| from.contains(&self.hosts[*b].node) && *b != h)
            .collect();
        let b = if named.is_empty() || self.rng.random_bool(0.3) {
            self.rng.random_range(0..self.hosts.len())
        } else {
            named[self.rng.random_range(0..named.len())]
        };
        let wait = self.delay();
        self.at(wait, Event::SyncWith { a: h, b });
    }

    pub fn sync_with_someone(&mut self, h: usize) {
        let up = (0..self.hosts.len()).filter(|b| self.connected(h, *b) && self.hosts[*b].machine.is_some());
        let peers = up.map(|b| self.hosts[b].node).collect();
        self.feed(h, Input::Reachable(peers));
        let b = self.rng.random_range(0..self.hosts.len());
        self.sync(h, b);
    }

    /// Lets two nodes compare their records; each gets the records that it lacks.
    pub fn sync(&mut self, a: usize, b: usize) {
        if !self.connected(a, b) {
            return;
        }
        let (for_a, for_b) = {
            let (one, two) = (&self.hosts[a], &self.hosts[b]);
            let (Some(for_one), Some(for_two)) = (one.lacks(two), two.lacks(one)) else {
                return;
            };
            (for_one, for_two)
        };
        for (h, with, mut records) in [(a, b, for_a), (b, a, for_b)] {
            let mut whole = records.len() < SYNC_MAX;
            // The records are usually in order, sometimes not.
            if self.faulty() && self.rng.random_bool(0.1) {
                records.reverse();
            }
            let wait = 2 * self.delay();
            for record in records {
                if self.lost() {
                    whole = false;
                } else {
                    self.at(wait, Event::Deliver { h, record });
                }
            }
            // The comparison is reported after the last record.
            if whole {
                let own = self.held_by(with, self.hosts[h].node);
                let (life, with) = (self.hosts[h].life, self.hosts[with].node);
                self.at(wait, Event::Compared { h, life, with, own });
            }
        }
    }

    /// Returns the contributions of an author that a node holds.
    fn held_by(&self, h: usize, author: NodeId) -> Vec<ContributionId> {
        let Some(machine) = &self.hosts[h].machine else {
            return vec![];
        };
        let ids = machine.records().iter().filter_map(|(_, id)| match id {
            RecordId::Contribution(id) => Some(*id),
            _ => None,
        });
        ids.filter(|id| machine.contribution(id).is_some_and(|c| c.record.author == author))
            .collect()
    }

    /// Asks for a blob. The machine asks once and the driver keeps trying.
    pub fn want(&mut self, h: usize, blob: BlobId, role: BlobRole, inputs: &mut VecDeque<Input>) {
        assert!(
            self.hosts[h].wanted.insert(blob, role).is_none(),
            "a blob is asked for once"
        );
        if self.hosts[h].disk.blobs.contains(&blob) {
            self.hosts[h].wanted.remove(&blob);
            let bad = role == BlobRole::Update && self.truth.bad.contains(&blob);
            self.note_bad(&blob, bad);
            inputs.push_back(if bad {
                Input::BlobBad { blob, role }
            } else {
                Input::BlobHere { blob, role }
            });
            return;
        }
        if self.truth.withheld.contains(&blob) {
            self.figures.reached.note(Aim::Withheld);
        }
        let life = self.hosts[h].life;
        let wait = self.delay();
        self.at(wait, Event::Fetch { h, life, blob });
    }

    pub fn fetch(&mut self, h: usize, blob: BlobId) {
        if !self.hosts[h].wanted.contains_key(&blob) {
            return;
        }
        let has = |b: usize| self.hosts[b].machine.is_some() && self.hosts[b].disk.blobs.contains(&blob);
        let holders: Vec<_> = (0..self.hosts.len())
            .filter(|b| self.connected(h, *b) && has(*b))
            .collect();
        let served = holders.iter().any(|b| !self.hosts[*b].liar) || (!holders.is_empty() && self.rng.random_bool(0.3));
        if !served || self.lost() {
            let life = self.hosts[h].life;
            let wait = self.rng.random_range(20..150);
            return self.at(wait, Event::Fetch { h, life, blob });
        }
        let Some(role) = self.hosts[h].wanted.remove(&blob) else {
            return;
        };
        if role == BlobRole::Update && self.truth.bad.contains(&blob) {
            self.note_bad(&blob, true);
            return self.feed(h, Input::BlobBad { blob, role });
        }
        self.hosts[h].disk.blobs.insert(blob);
        self.feed(h, Input::BlobHere { blob, role });
    }

    fn note_bad(&mut self, update: &BlobId, bad: bool) {
        if bad && self.truth.is_weights(update) {
            self.figures.reached.note(Aim::WeightsAsUpdate);
        }
    }

    /// Deletes the blobs that the machine no longer needs.
    pub fn collect(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        if let Some(machine) = &host.machine {
            let live = machine.live_blobs();
            host.disk.blobs.retain(|blob| live.contains(blob));
            self.figures.blobs_max = self.figures.blobs_max.max(live.len());
            self.figures.records_max = self.figures.records_max.max(machine.records().len());
            self.check_blobs(h);
        }
    }

    pub fn partition(&mut self) {
        if self.now + 100 >= HEAL_MS {
            return;
        }
        let parted = self.rng.random_bool(0.6);
        self.figures.partitions += u64::from(parted);
        for h in 0..self.groups.len() {
            self.groups[h] = if parted { self.rng.random_range(0..2) } else { 0 };
        }
        let groups = self.groups.clone();
        self.say(|| format!("groups {groups:?}"));
        let wait = self.rng.random_range(200..2_500);
        self.at(wait, Event::Partition);
    }
}
