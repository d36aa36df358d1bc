//! Lies of members: all that a member can sign with its own key.

use std::collections::BTreeSet;

use qres_fed::id::{BlobId, CheckpointId, ContributionId, ProofId};
use qres_fed::record::{Content, Contribution, Measured, Report, SAMPLES_MAX, Seal};
use qres_fed::strategy;
use rand::RngExt;
use rand::seq::{IndexedRandom, IteratorRandom};

use crate::host::sign;
use crate::world::{Event, Record, World};

/// Number of kinds of lies.
pub const LIES: usize = 11;
/// The kind of lie that proves itself: two contributions on one parent.
const EQUIVOCATION: usize = 0;

impl World {
    pub fn lie(&mut self, h: usize) {
        let kind = self.hosts[h].script.unwrap_or_else(|| self.rng.random_range(0..LIES));
        self.figures.lies[kind] += 1;
        match kind {
            EQUIVOCATION => self.equivocate(h),
            1 | 2 => self.seal_something(h, false),
            3 => self.seal_something(h, true),
            4 => self.withhold(h),
            5 => self.contribute_nonsense(h),
            6 => self.back_date(h),
            7 => self.seal_the_unknown(h),
            8 => self.name_weights(h),
            9 => self.copy(h),
            _ => self.contribute_badly(h),
        }
    }

    /// Returns a checkpoint that some node stands on, or now and then any checkpoint that was ever sealed, and its round.
    fn some_checkpoint(&mut self) -> (CheckpointId, u64) {
        let heads = self.hosts.iter().filter_map(|host| Some(host.machine.as_ref()?.head()));
        let mut known: Vec<_> = heads.map(|head| (head.id, head.round)).collect();
        if self.rng.random_bool(0.3) {
            known.extend(self.truth.seals.iter().map(|(id, seal)| (*id, seal.round)));
        }
        known.choose(&mut self.rng).copied().unwrap_or((self.truth.zero, 0))
    }

    fn contribution(&mut self, h: usize, parent: CheckpointId, round: u64) -> Contribution {
        let number: u64 = self.rng.random();
        Contribution {
            spec: self.plan.spec.id(),
            parent,
            round,
            author: self.hosts[h].node,
            samples: self.rng.random_range(1..100),
            update: BlobId::of(&number.to_le_bytes()),
            update_bytes: 4,
            fidelity: 1.0,
            source: self
                .rng
                .random_bool(0.8)
                .then(|| self.rng.random_range(0..=round.saturating_sub(2))),
            report: Report {
                steps: None,
                metrics: vec![Some(Measured {
                    value: [-1e30, 0.0, 1e30][usize::from(number as u8 % 3)],
                    samples: SAMPLES_MAX,
                })],
            },
            releases: 0,
        }
    }

    fn publish(&mut self, h: usize, c: Contribution, blob: bool) {
        let host = &mut self.hosts[h];
        let first = host.lied_on.insert(c.parent);
        if !first && host.script.is_some_and(|kind| kind != EQUIVOCATION) {
            return;
        }
        self.truth.contributions.insert(c.id(), c.clone());
        if blob {
            self.hosts[h].disk.blobs.insert(c.update);
        }
        self.tell_some(h, &Record::Contribution(sign(c)));
    }

    /// Sends a record to all connected nodes, or only to a part of them.
    fn tell_some(&mut self, from: usize, record: &Record) {
        let all = self.rng.random_bool(0.5);
        for h in 0..self.hosts.len() {
            if self.connected(from, h) && (all || self.rng.random_bool(0.5)) {
                self.send_to(h, record);
            }
        }
    }

    fn equivocate(&mut self, h: usize) {
        let (parent, round) = self.some_checkpoint();
        for _ in 0..self.rng.random_range(2..5) {
            let c = self.contribution(h, parent, round + 1);
            self.publish(h, c, true);
        }
    }

    fn withhold(&mut self, h: usize) {
        let (parent, round) = self.some_checkpoint();
        let c = self.contribution(h, parent, round + 1);
        self.truth.withheld.insert(c.update);
        self.publish(h, c, false);
    }

    fn contribute_badly(&mut self, h: usize) {
        let (parent, round) = self.some_checkpoint();
        let c = self.contribution(h, parent, round + 1);
        self.truth.bad.insert(c.update);
        self.publish(h, c, true);
    }

    /// Publishes a contribution that names the weights of some checkpoint as its update. The weights may exist already or
    /// not yet.
    fn name_weights(&mut self, h: usize) {
        let (parent, round) = self.some_checkpoint();
        let (named, _) = self.some_checkpoint();
        let mut c = self.contribution(h, parent, round + 1);
        c.update = self.truth.content_of(&named).weights;
        self.truth.bad.insert(c.update);
        self.publish(h, c, false);
    }

    /// Publishes a contribution that names another contribution's update as its own, of the same parent if there is one.
    fn copy(&mut self, h: usize) {
        let (parent, round) = self.some_checkpoint();
        let all = self.truth.contributions.values();
        let mut others: Vec<_> = all.clone().filter(|c| c.parent == parent).map(|c| c.update).collect();
        if others.is_empty() {
            others = all.map(|c| c.update).collect();
        }
        let mut c = self.contribution(h, parent, round + 1);
        c.update = others.choose(&mut self.rng).copied().unwrap_or(c.update);
        self.publish(h, c, false);
    }

    fn back_date(&mut self, h: usize) {
        let (parent, round) = self.some_checkpoint();
        let shift = self.rng.random_range(0..4);
        let c = self.contribution(h, parent, (round + 2).saturating_sub(shift).max(1));
        self.publish(h, c, true);
    }

    /// Publishes contributions on checkpoints that do not exist, of the wrong spec, or with absurd counts.
    fn contribute_nonsense(&mut self, h: usize) {
        for _ in 0..self.rng.random_range(1..10) {
            let number: u64 = self.rng.random();
            let parent = CheckpointId::of(&number.to_le_bytes());
            let far = self.rng.random_range(1..1_000_000);
            let mut c = self.contribution(h, parent, far);
            match self.rng.random_range(0..4) {
                0 => c.spec.0[0] ^= 1,
                1 => c.samples = 0,
                2 => c.round = u64::MAX,
                _ => {}
            }
            self.publish(h, c, true);
        }
    }

    /// Seals a subset of the known contributions on some checkpoint: a valid seal (one of several tries, as in grinding, or
    /// one with late contributions) or one with a forged result.
    fn seal_something(&mut self, h: usize, forged: bool) {
        let (parent, round) = self.some_checkpoint();
        let k = self.plan.spec.rounds.min_contributions as usize;
        for _ in 0..self.rng.random_range(1..5) {
            let mut authors = BTreeSet::new();
            let mut fresh: Vec<ContributionId> = vec![];
            // Now and then the seal lists two contributions by one author, or one from another parent.
            let (twice, misplaced) = (self.rng.random_bool(0.3), self.rng.random_bool(0.1));
            for (id, c) in &self.truth.contributions {
                let usable = c.parent == parent && c.round == round + 1 && c.spec == self.plan.spec.id();
                if usable && (authors.insert(c.author) || twice) {
                    fresh.push(*id);
                }
            }
            if misplaced {
                let any = self.truth.contributions.keys().choose(&mut self.rng);
                fresh.extend(any.copied());
                fresh.sort_unstable();
                fresh.dedup();
            }
            while fresh.len() > k && self.rng.random_bool(0.5) {
                let i = self.rng.random_range(0..fresh.len());
                fresh.remove(i);
            }
            if fresh.len() < k && self.rng.random_bool(0.9) {
                return;
            }
            let late = self.some_late(parent, round + 1);
            let proves = forged && self.rng.random_bool(0.3);
            let proofs: Vec<ProofId> = self.truth.proofs.keys().filter(|_| proves).take(1).copied().collect();
            let mut seal = Seal {
                spec: self.plan.spec.id(),
                round: round + 1,
                parent,
                fresh,
                late,
                proofs,
                result: Content::of_weights(BlobId([0; 32])),
                sealer: self.hosts[h].node,
            };
            seal.result = self.truth.result_of(&seal);
            if forged {
                let number: u64 = self.rng.random();
                let blob = BlobId::of(&number.to_le_bytes());
                // Every second lie is in the optimiser's state only, if there is one.
                match &mut seal.result.optimiser {
                    Some(state) if number.is_multiple_of(2) => *state = blob,
                    _ => seal.result.weights = blob,
                }
            }
            self.hosts[h]
                .disk
                .blobs
                .extend(seal.result.blobs().map(|(_, blob)| blob));
            self.release(h, seal);
        }
    }

    fn some_late(&mut self, parent: CheckpointId, round: u64) -> Vec<ContributionId> {
        let staleness = u64::from(self.plan.spec.rounds.max_staleness);
        let old = |c: &Contribution| c.parent != parent && c.round < round && round - c.round <= staleness + 1;
        let all = self.truth.contributions.iter().filter(|(_, c)| old(c));
        // Now and then the seal lists several late contributions by one author. They are chosen from the withheld ones,
        // because those are in no seal yet.
        let kept_back = all.clone().filter(|(_, c)| self.truth.withheld.contains(&c.update));
        let one = kept_back.choose(&mut self.rng).map(|(_, c)| c.author);
        let one = one.filter(|_| self.rng.random_bool(0.3));
        let known: Vec<_> = all
            .filter(|(_, c)| one.is_none_or(|author| author == c.author))
            .map(|(id, _)| *id)
            .collect();
        let count = self.rng.random_range(0..4);
        let mut late: Vec<_> = known.sample(&mut self.rng, count).copied().collect();
        late.sort_unstable();
        late
    }

    /// Seals contributions that no node can know, because they do not exist.
    fn seal_the_unknown(&mut self, h: usize) {
        let (parent, round) = self.some_checkpoint();
        let mut fresh: Vec<_> = (0..self.plan.nodes.len())
            .map(|_| ContributionId::of(&self.rng.random::<u64>().to_le_bytes()))
            .collect();
        fresh.sort_unstable();
        let seal = Seal {
            spec: self.plan.spec.id(),
            round: round + 1,
            parent,
            fresh,
            late: vec![],
            proofs: vec![],
            result: Content {
                weights: BlobId([9; 32]),
                optimiser: strategy::optimiser(&self.plan.spec.strategy).map(|_| BlobId([8; 32])),
            },
            sealer: self.hosts[h].node,
        };
        self.truth.unknowable.insert(seal.id());
        self.release(h, seal);
    }

    /// Sends a seal at once, or much later to one node.
    fn release(&mut self, h: usize, seal: Seal) {
        self.truth.seals.insert(seal.checkpoint().id(), seal.clone());
        let record = Record::Seal(sign(seal));
        if self.rng.random_bool(0.6) {
            self.tell_some(h, &record);
        } else {
            let to = self.rng.random_range(0..self.hosts.len());
            let wait = self.rng.random_range(500..3_000);
            self.at(wait, Event::Deliver { h: to, record });
        }
    }
}
