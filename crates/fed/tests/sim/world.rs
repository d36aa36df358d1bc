//! The world of a run: its clock, its events, and the figures of the run.

use std::collections::BTreeMap;

use qres_fed::id::{BlobId, CheckpointId, ContributionId, NodeId};
use qres_fed::record::{Consent, Contribution, Proof, Seal, Signed};
use qres_fed::round::{Input, SubmissionState};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::aim::Reached;
use crate::disk::Disk;
use crate::host::Host;
use crate::liar::LIES;
use crate::plan::{END_MS, HEAL_MS, LULL_END_MS, Plan, STOP_MS};
use crate::truth::Truth;

/// A record on its way between two nodes.
#[derive(Debug, Clone)]
pub enum Record {
    Contribution(Signed<Contribution>),
    Seal(Signed<Seal>),
    Proof(Proof),
    Consent(Signed<Consent>),
}

/// An event that will happen at a given time.
#[derive(Debug, Clone)]
pub enum Event {
    Deliver {
        h: usize,
        record: Record,
    },
    Computed {
        h: usize,
        life: u64,
        input: Input,
        blobs: Vec<BlobId>,
    },
    Timer {
        h: usize,
        life: u64,
        timer: u64,
    },
    Fetch {
        h: usize,
        life: u64,
        blob: BlobId,
    },
    Sync {
        h: usize,
        life: u64,
    },
    SyncWith {
        a: usize,
        b: usize,
    },
    Compared {
        h: usize,
        life: u64,
        with: NodeId,
        /// The contributions by this node that the other node held.
        own: Vec<ContributionId>,
    },
    Collect {
        h: usize,
        life: u64,
    },
    Train {
        h: usize,
        trainer: usize,
    },
    Trained {
        h: usize,
        trainer: usize,
        base: CheckpointId,
    },
    Restart {
        h: usize,
    },
    Copy {
        h: usize,
    },
    GoBack {
        h: usize,
        copy: Box<Disk>,
    },
    Partition,
    LullEnds,
    Lie {
        h: usize,
    },
    Operator {
        h: usize,
    },
    /// The operator proposes a change of members, or agrees to one.
    Members {
        h: usize,
        proposes: bool,
    },
    Heal,
}

/// Figures of a run, so that a run without faults is noticed.
#[derive(Debug, Default, Clone)]
#[allow(missing_docs)]
pub struct Figures {
    pub inputs: u64,
    pub rounds: u64,
    pub seals: u64,
    pub submissions: u64,
    pub bases_refused: u64,
    pub crashes: u64,
    pub partitions: u64,
    /// Number of nodes whose disk was replaced by an older copy.
    pub returns: u64,
    /// Number of those nodes that signed in contradiction to a lost signature of which no node in reach could tell them.
    pub forgot: u64,
    /// Number of lies of each kind.
    pub lies: [u64; LIES],
    pub equivocations: u64,
    pub refused: u64,
    pub head_moves: u64,
    pub swings: u64,
    pub sealed: u64,
    pub late_sealed: u64,
    pub rejected: u64,
    pub carried: u64,
    /// Number of runs in which liars outvoted finality.
    pub overruled: u64,
    /// Number of lulls after which the heads were compared.
    pub lulls: u64,
    /// Number of times that the newest final checkpoint advanced.
    pub settled: u64,
    /// Number of changes of members that were proposed, and of nodes that went on with a successor.
    pub changes: u64,
    pub successions: u64,
    /// Number of votes for the last checkpoint of a run, and of runs that were complete at the end.
    pub closing_votes: u64,
    pub completed: u64,
    /// Number of times that a node bound itself anew.
    pub rebound: u64,
    /// The [`Aim`](crate::aim::Aim)s that the lies reached.
    pub reached: Reached,
    /// Number of times that a branch was looked for in the archive.
    pub unarchived: u64,
    pub blobs_max: usize,
    pub records_max: usize,
}

impl Figures {
    pub fn add(&mut self, other: &Self) {
        self.inputs += other.inputs;
        self.rounds += other.rounds;
        self.seals += other.seals;
        self.submissions += other.submissions;
        self.bases_refused += other.bases_refused;
        self.crashes += other.crashes;
        self.partitions += other.partitions;
        self.returns += other.returns;
        self.forgot += other.forgot;
        self.lies.iter_mut().zip(other.lies).for_each(|(sum, n)| *sum += n);
        self.equivocations += other.equivocations;
        self.refused += other.refused;
        self.head_moves += other.head_moves;
        self.swings += other.swings;
        self.sealed += other.sealed;
        self.late_sealed += other.late_sealed;
        self.rejected += other.rejected;
        self.carried += other.carried;
        self.overruled += other.overruled;
        self.settled += other.settled;
        self.lulls += other.lulls;
        self.changes += other.changes;
        self.successions += other.successions;
        self.closing_votes += other.closing_votes;
        self.completed += other.completed;
        self.rebound += other.rebound;
        self.reached.add(&other.reached);
        self.unarchived += other.unarchived;
        self.blobs_max = self.blobs_max.max(other.blobs_max);
        self.records_max = self.records_max.max(other.records_max);
    }

    pub fn all_met(&self) -> bool {
        let met = [
            self.crashes,
            self.partitions,
            self.returns,
            self.equivocations,
            self.refused,
            self.swings,
            self.late_sealed,
            self.rejected,
            self.carried,
            self.lulls,
            self.unarchived,
            self.settled,
            self.changes,
            self.successions,
            self.closing_votes,
            self.completed,
        ];
        met.iter().chain(&self.lies).all(|n| *n > 0) && self.reached.missed().is_empty()
    }
}

pub struct World {
    pub plan: Plan,
    pub rng: ChaCha8Rng,
    pub now: u64,
    pub hosts: Vec<Host>,
    pub truth: Truth,
    /// Group of each node. Nodes of one group can reach each other.
    pub groups: Vec<u8>,
    pub figures: Figures,
    /// The newest checkpoint that some honest node called final, in a list model.
    pub settled: CheckpointId,
    /// True once liars voted on both sides: two quorums then share no honest member, so the protocol promises nothing.
    pub overruled: bool,
    queue: BTreeMap<(u64, u64), Event>,
    count: u64,
    loud: bool,
}

impl World {
    pub fn new(plan: Plan, loud: bool) -> Self {
        let n = plan.nodes.len();
        let hosts = plan.nodes.iter().enumerate().map(|(i, node)| {
            let liar = i >= n - plan.liars;
            let script = i.checked_sub(n - plan.liars).and_then(|i| plan.scripts[i]);
            // A scripted liar has no trainers: it signs only the lies of its script.
            let works = i >= plan.silent && script.is_none();
            let slow = i.checked_sub(plan.silent).and_then(|i| plan.slow.get(i));
            let mut host = Host::new(
                *node,
                liar,
                if works { plan.trainers } else { 0 },
                slow.copied().unwrap_or(1),
            );
            host.script = script;
            host
        });
        Self {
            settled: plan.spec.zero().0,
            overruled: false,
            rng: ChaCha8Rng::seed_from_u64(plan.seed ^ 0x5EED),
            now: 0,
            hosts: hosts.collect(),
            truth: Truth::new(&plan.spec),
            groups: vec![0; n],
            figures: Figures::default(),
            queue: BTreeMap::new(),
            count: 0,
            plan,
            loud,
        }
    }

    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.loud {
            println!("{:>6} {}", self.now, what());
        }
    }

    /// Returns true if faults may happen now.
    pub fn faulty(&self) -> bool {
        self.now < HEAL_MS
    }

    pub fn at(&mut self, wait: u64, event: Event) {
        self.count += 1;
        self.queue.insert((self.now + wait, self.count), event);
    }

    pub fn run(&mut self) {
        // The creator has checkpoint 0; the other nodes fetch it.
        self.hosts[0].disk.blobs.insert(self.plan.spec.checkpoint0);
        for h in 0..self.hosts.len() {
            self.start(h);
            let trainers = self.hosts[h].trainers.len();
            for trainer in 0..trainers {
                let wait = self.rng.random_range(0..300);
                self.at(wait, Event::Train { h, trainer });
            }
            self.at(self.now + 300, Event::Operator { h });
            if self.hosts[h].liar {
                self.at(100, Event::Lie { h });
            }
        }
        if let Some(h) = self.plan.goes_back {
            let wait = self.rng.random_range(0..2_000);
            self.at(wait, Event::Copy { h });
        }
        if self.plan.partitions {
            self.at(500, Event::Partition);
        }
        self.plan_changes();
        self.at(HEAL_MS, Event::Heal);
        if self.plan.lull {
            self.at(LULL_END_MS - 1, Event::LullEnds);
        }
        let mut healed_at = None;
        let mut stopped = false;
        while let Some(((time, _), event)) = self.queue.pop_first() {
            if time > END_MS {
                break;
            }
            self.now = time;
            if time >= HEAL_MS + 2_000 && healed_at.is_none() {
                healed_at = Some(self.best_round());
            }
            if time >= STOP_MS && !stopped {
                stopped = true;
                self.check_live(healed_at.unwrap_or(0));
                self.end_lies();
            }
            self.happen(event);
        }
        self.check_rest();
    }

    pub fn best_round(&self) -> u64 {
        let machines = self.hosts.iter().filter(|h| !h.liar).filter_map(|h| h.machine.as_ref());
        machines.map(|m| m.head().round).max().unwrap_or(0)
    }

    fn is(&self, h: usize, life: u64) -> bool {
        self.hosts[h].life == life && self.hosts[h].machine.is_some()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver { h, record } => self.deliver(h, record),
            Event::Computed { h, life, input, blobs } => {
                if self.is(h, life) {
                    self.hosts[h].disk.blobs.extend(blobs);
                    self.feed(h, input);
                }
            }
            Event::Timer { h, life, timer } => {
                if self.is(h, life) && self.hosts[h].timer == timer {
                    self.feed(h, Input::Tick);
                }
            }
            Event::Fetch { h, life, blob } => {
                if self.is(h, life) {
                    self.fetch(h, blob);
                }
            }
            Event::Sync { h, life } => {
                if self.is(h, life) {
                    self.sync_with_someone(h);
                    let wait = self.rng.random_range(200..800);
                    self.at(wait, Event::Sync { h, life });
                }
            }
            Event::SyncWith { a, b } => self.sync(a, b),
            Event::Compared { h, life, with, own } => {
                if self.is(h, life) {
                    self.hosts[h].forgotten.retain(|id| !own.contains(id));
                    self.hosts[h].compared.insert(with);
                    self.feed(h, Input::Compared(with));
                }
            }
            Event::Collect { h, life } => {
                if self.is(h, life) {
                    self.collect(h);
                    let wait = self.rng.random_range(200..2_000);
                    self.at(wait, Event::Collect { h, life });
                }
            }
            Event::Train { h, trainer } => self.train(h, trainer),
            Event::Trained { h, trainer, base } => self.trained(h, trainer, base),
            Event::Restart { h } => {
                let lives = self.faulty() || self.plan.stubborn || !self.hosts[h].liar;
                if lives && self.hosts[h].machine.is_none() {
                    self.start(h);
                }
            }
            Event::Copy { h } => {
                let copy = Box::new(self.hosts[h].disk.clone());
                let wait = self.rng.random_range(200..3_500);
                self.at(wait, Event::GoBack { h, copy });
            }
            Event::GoBack { h, copy } => self.go_back(h, *copy),
            Event::Partition => self.partition(),
            Event::Lie { h } => {
                if self.faulty() || (self.plan.stubborn && self.now < STOP_MS) {
                    if !self.plan.lulled(self.now) {
                        self.lie(h);
                    }
                    let wait = self.rng.random_range(20..400);
                    self.at(wait, Event::Lie { h });
                }
            }
            Event::Operator { h } => self.operate(h),
            Event::Members { h, proposes } => self.change_members(h, proposes),
            Event::LullEnds => self.check_lull(),
            Event::Heal => self.heal(),
        }
    }

    fn heal(&mut self) {
        self.say(|| "faults end".into());
        self.groups.iter_mut().for_each(|g| *g = 0);
        // The liars go on in half of the runs.
        if !self.plan.stubborn {
            self.end_lies();
        }
    }

    fn end_lies(&mut self) {
        for host in self.hosts.iter_mut().filter(|h| h.liar) {
            host.machine = None;
            host.life += 1;
        }
    }

    fn operate(&mut self, h: usize) {
        if self.faulty() {
            let input = if self.rng.random_bool(0.3) {
                Input::SealNow
            } else {
                Input::DelayMs(self.rng.random_range(1..=self.plan.delay_ms_max))
            };
            self.feed(h, input);
            let wait = self.rng.random_range(300..4_000);
            self.at(wait, Event::Operator { h });
        } else {
            self.feed(h, Input::DelayMs(self.plan.delay_ms_max));
        }
    }

    fn train(&mut self, h: usize, trainer: usize) {
        // Once a model has a successor, the trainers work for that.
        if self.now >= STOP_MS || self.hosts[h].succession.is_some() {
            return;
        }
        if self.plan.lulled(self.now) {
            return self.at(100, Event::Train { h, trainer });
        }
        let head = self.hosts[h].machine.as_ref().map(qres_fed::round::Machine::head);
        let host = &self.hosts[h];
        // A trainer whose work was refused trains again; the others wait for a new head.
        let last = host.trainers[trainer]
            .last
            .and_then(|id| host.disk.submissions.get(&id));
        let refused = last.is_some_and(|(_, state)| matches!(state, SubmissionState::Rejected { .. }));
        let done = host.trainers[trainer].done.filter(|_| !refused);
        match head.filter(|head| head.verified && done != Some(head.id)) {
            Some(head) => {
                let slow = if self.faulty() && self.rng.random_bool(0.03) {
                    10
                } else {
                    1
                };
                let pace = self.plan.pace_ms * slow * self.hosts[h].slowness;
                let wait = self.rng.random_range(pace..3 * pace);
                let base = head.id;
                self.at(wait, Event::Trained { h, trainer, base });
            }
            None => self.at(20, Event::Train { h, trainer }),
        }
    }

    fn trained(&mut self, h: usize, trainer: usize, base: CheckpointId) {
        if self.now >= STOP_MS || self.hosts[h].succession.is_some() {
            return;
        }
        if self.hosts[h].machine.is_none() || self.plan.lulled(self.now) {
            return self.at(50, Event::Trained { h, trainer, base });
        }
        let done = self.submit(h, trainer, base);
        // Now and then a trainer submits again later on the same base, which is then old.
        if self.faulty() && self.rng.random_bool(0.03) {
            self.at(500, Event::Trained { h, trainer, base });
        }
        if done {
            self.hosts[h].trainers[trainer].done = Some(base);
        }
        self.at(1, Event::Train { h, trainer });
    }

    pub fn figures(&self) -> Figures {
        let mut figures = self.figures.clone();
        figures.rounds = self.best_round();
        figures.overruled = u64::from(self.overruled);
        figures
    }
}
