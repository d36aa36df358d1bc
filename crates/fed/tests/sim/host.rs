//! One node: a machine, its driver and its disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use qres_fed::id::{BlobId, CheckpointId, ContributionId, Instant, NodeId, SubmissionId};
use qres_fed::record::{BlobRole, Consent, Measured, Membership, Report, Signature, Signed};
use qres_fed::round::{
    BaseError, Config, EncodeJob, Input, Machine, Output, Persist, Refusal, Submission, SubmissionState, Succession,
    Unsigned,
};
use rand::RngExt;

use crate::aim::Aim;
use crate::disk::Disk;
use crate::plan::loss;
use crate::truth::aggregate_job;
use crate::world::{Event, Record, World};

/// A simulated trainer of a node.
#[derive(Debug, Default, Clone)]
pub struct Trainer {
    /// The last head on which the trainer submitted.
    pub done: Option<CheckpointId>,
    /// The trainer's last submission.
    pub last: Option<SubmissionId>,
    pub count: u64,
}

/// A simulated node.
pub struct Host {
    pub node: NodeId,
    pub liar: bool,
    /// Factor by which the node's trainers are slower than the plan's pace.
    pub slowness: u64,
    pub machine: Option<Machine>,
    pub disk: Disk,
    /// Number of the node's current life; a crash begins the next one. Events of an earlier life are void.
    pub life: u64,
    pub wanted: BTreeMap<BlobId, BlobRole>,
    pub trainers: Vec<Trainer>,
    /// The contributions that the node signed and sent or stored, by parent.
    pub signed: BTreeMap<CheckpointId, ContributionId>,
    /// The node's votes: the round of the checkpoint that is voted for, and the source's round.
    pub votes: BTreeMap<ContributionId, (u64, u64)>,
    /// A liar's only kind of lie, if it has one. `lied_on` holds the checkpoints on which it has lied.
    pub script: Option<usize>,
    pub lied_on: BTreeSet<CheckpointId>,
    pub acknowledged: BTreeSet<SubmissionId>,
    /// Nodes that this node has compared with in this life, which began at `started_at`.
    pub compared: BTreeSet<NodeId>,
    pub started_at: u64,
    /// The contributions that the node signed and lost with its disk, and that no node held with which it has compared
    /// since.
    pub forgotten: BTreeSet<ContributionId>,
    /// The submissions that were merged into each update that the node coded.
    pub merged: BTreeMap<BlobId, Vec<SubmissionId>>,
    /// The last consent by which the node bound itself.
    pub bound: Option<Consent>,
    /// The end of the model, as the node was told last.
    pub succession: Option<Succession>,
    pub head: Option<CheckpointId>,
    pub head_moved_at: u64,
    pub timer: u64,
}

pub fn sign<T>(record: T) -> Signed<T> {
    Signed {
        record,
        signature: Signature([0; 64]),
    }
}

impl Host {
    pub fn new(node: NodeId, liar: bool, trainers: u32, slowness: u64) -> Self {
        Self {
            node,
            liar,
            slowness,
            machine: None,
            disk: Disk::default(),
            life: 0,
            wanted: BTreeMap::new(),
            trainers: vec![Trainer::default(); trainers as usize],
            signed: BTreeMap::new(),
            votes: BTreeMap::new(),
            script: None,
            lied_on: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            compared: BTreeSet::new(),
            started_at: 0,
            forgotten: BTreeSet::new(),
            merged: BTreeMap::new(),
            bound: None,
            succession: None,
            head: None,
            head_moved_at: 0,
            timer: 0,
        }
    }
}

impl World {
    /// Returns the time of a node's own clock; each node's clock has its own origin.
    fn clock(&self, h: usize) -> Instant {
        Instant(self.now + 1_000_003 * h as u64)
    }

    pub fn start(&mut self, h: usize) {
        let zero = self.truth.zero;
        let host = &self.hosts[h];
        let config = Config {
            node: host.node,
            trainers: self.plan.trainers,
            merge_margin_ms: 50,
            keep_rounds: self.plan.keep_rounds,
            members: self.plan.members_policy(h),
        };
        let restored = host.disk.restored((zero, self.plan.spec.checkpoint0));
        let (machine, outputs) = Machine::new(self.plan.spec.clone(), config, restored, self.clock(h));
        self.hosts[h].machine = Some(machine);
        self.hosts[h].compared.clear();
        self.hosts[h].started_at = self.now;
        let mut inputs = VecDeque::new();
        if self.plan.spec.membership == Membership::Open && self.plan.keep_rounds.is_some() {
            // In an open model whose nodes forget old rounds, a node catches up on the word of nodes that its operator
            // trusts.
            let honest = self.hosts.iter().filter(|host| !host.liar).map(|host| host.node);
            inputs.push_back(Input::Trust(honest.collect()));
        }
        self.carry_out(h, outputs, &mut inputs);
        self.feed_all(h, inputs);
        let life = self.hosts[h].life;
        self.at(50, Event::Sync { h, life });
        // A node compares with every node that it connects to; later with one at a time.
        for b in 0..self.hosts.len() {
            self.at(20, Event::SyncWith { a: h, b });
        }
        self.at(700, Event::Collect { h, life });
    }

    pub fn crash(&mut self, h: usize) {
        self.figures.crashes += 1;
        self.say(|| format!("node {h} crashes"));
        let host = &mut self.hosts[h];
        host.machine = None;
        host.life += 1;
        host.wanted.clear();
        // Blobs that can be fetched again were not synced to disk. Some of them are lost, if another honest node has them
        // and will keep them.
        let mut lost = vec![];
        let goes_back = self.plan.goes_back;
        for blob in &self.hosts[h].disk.blobs {
            let other =
                |(i, o): (usize, &Host)| i != h && Some(i) != goes_back && !o.liar && o.disk.blobs.contains(blob);
            let own = self.hosts[h].disk.contributions.values();
            let own = own
                .clone()
                .any(|c| c.record.author == self.hosts[h].node && c.record.update == *blob);
            if !own && self.hosts.iter().enumerate().any(other) {
                lost.push(*blob);
            }
        }
        lost.retain(|_| self.rng.random_bool(0.2));
        self.hosts[h].disk.blobs.retain(|blob| !lost.contains(blob));
        let wait = self.rng.random_range(10..1_500);
        self.at(wait, Event::Restart { h });
    }

    /// Replaces a node's disk by an older copy of it.
    pub fn go_back(&mut self, h: usize, copy: Disk) {
        self.crash(h);
        self.figures.returns += 1;
        self.say(|| format!("node {h} goes back to an old copy of its disk"));
        let host = &mut self.hosts[h];
        host.disk = copy;
        let kept = |id: &ContributionId| host.disk.contributions.contains_key(id);
        host.forgotten = host.signed.values().filter(|id| !kept(id)).copied().collect();
        // The outcome of these submissions is in the lost part of the disk.
        host.acknowledged.clear();
        host.trainers
            .iter_mut()
            .for_each(|trainer| (trainer.done, trainer.last) = (None, None));
    }

    /// Gives a machine one input and carries out the outputs that follow.
    pub fn feed(&mut self, h: usize, input: Input) {
        self.feed_all(h, VecDeque::from([input]));
    }

    fn feed_all(&mut self, h: usize, mut inputs: VecDeque<Input>) {
        while let Some(input) = inputs.pop_front() {
            let now = self.clock(h);
            self.say(|| format!("  {h} <- {input:?}"));
            let Some(machine) = self.hosts[h].machine.as_mut() else {
                return;
            };
            let outputs = machine.handle(input, now);
            self.figures.inputs += 1;
            self.carry_out(h, outputs, &mut inputs);
            self.check_step(h);
        }
    }

    fn carry_out(&mut self, h: usize, outputs: Vec<Output>, inputs: &mut VecDeque<Input>) {
        let mut persists = vec![];
        let mut actions = VecDeque::new();
        for output in outputs {
            match output {
                Output::Persist(p) => {
                    assert!(actions.is_empty(), "what must be durable comes first");
                    persists.push(p);
                }
                other => actions.push_back(other),
            }
        }
        if !persists.is_empty() {
            if self.crashes_here(h) {
                return;
            }
            self.persist(h, persists);
        }
        for action in actions {
            if self.crashes_here(h) {
                return;
            }
            self.say(|| format!("  {h} -> {action:?}"));
            self.act(h, action, inputs);
        }
    }

    fn crashes_here(&mut self, h: usize) -> bool {
        let crashes = self.faulty() && self.plan.crash > 0.0 && self.rng.random_bool(self.plan.crash);
        if crashes {
            self.crash(h);
        }
        crashes
    }

    fn persist(&mut self, h: usize, persists: Vec<Persist>) {
        for persist in &persists {
            self.say(|| format!("  {h} == {persist:?}"));
            if let Persist::Contribution(c) = persist
                && c.record.author == self.hosts[h].node
            {
                self.check_signed_once(h, &c.record);
                self.hosts[h].forgotten.remove(&c.record.id());
            }
            if let Persist::Seal(s) = persist
                && self.honest(h)
                && self.truth.unknowable.contains(&s.record.id())
            {
                self.figures.reached.note(Aim::Unknown);
            }
            if let Persist::Proof(p) = persist {
                self.truth.proofs.insert(p.id(), p.clone());
            }
        }
        let list = matches!(self.plan.spec.membership, Membership::List(_));
        for persist in &persists {
            if let Persist::Submission(
                _,
                SubmissionState::Sealed {
                    checkpoint,
                    settled: true,
                    ..
                },
            ) = persist
                && list
                && !self.hosts[h].liar
            {
                self.check_settled(*checkpoint);
            }
        }
        self.hosts[h].disk.commit(persists);
    }

    fn act(&mut self, h: usize, action: Output, inputs: &mut VecDeque<Input>) {
        match action {
            Output::Persist(_) => unreachable!("taken out before"),
            Output::Sign(Unsigned::Contribution(c)) => {
                self.check_compared(h);
                self.truth.contributions.insert(c.id(), c.clone());
                inputs.push_back(Input::SignedContribution(sign(c)));
            }
            Output::Sign(Unsigned::Seal(s)) => {
                let updates: BTreeSet<_> = s.fresh.iter().map(|id| self.truth.contributions[id].update).collect();
                if self.honest(h) && updates.len() < s.fresh.len() {
                    self.figures.reached.note(Aim::Copied);
                }
                self.check_compared(h);
                self.figures.seals += 1;
                self.truth.seals.insert(s.checkpoint().id(), s.clone());
                inputs.push_back(Input::SignedSeal(sign(s)));
            }
            Output::Sign(Unsigned::Consent(c)) => {
                inputs.push_back(Input::SignedConsent(sign(c)));
            }
            Output::SendConsent(c) => {
                // A signature binds once it leaves the node: one that a crash took first never was.
                self.check_consent(h, &c.record);
                assert_eq!(
                    self.hosts[h].disk.consents.get(&c.record.author),
                    Some(&c),
                    "durable before it is sent"
                );
                self.send(h, &Record::Consent(c));
            }
            Output::Succeeded(succession) => self.succeeded(h, succession, inputs),
            Output::SendContribution(c) => {
                self.check_signed_once(h, &c.record);
                assert!(
                    self.hosts[h].disk.contributions.contains_key(&c.record.id()),
                    "durable before it is sent"
                );
                self.send(h, &Record::Contribution(c));
            }
            Output::SendSeal(s) => {
                assert!(
                    self.hosts[h].disk.seals.contains_key(&s.record.id()),
                    "durable before it is sent"
                );
                self.send(h, &Record::Seal(s));
            }
            Output::SendProof(p) => {
                self.truth.proofs.insert(p.id(), p.clone());
                self.send(h, &Record::Proof(p));
            }
            Output::WantBlob { blob, role, .. } => self.want(h, blob, role, inputs),
            Output::DropBlob(blob) => drop(self.hosts[h].wanted.remove(&blob)),
            Output::WantArchived { from } => {
                let rounds = self.hosts[h].disk.archive.range(from..).map(|(_, round)| round.clone());
                inputs.push_back(Input::Archived(rounds.collect()));
                self.figures.unarchived += 1;
            }
            Output::WantRecords { from } => self.sync_soon(h, &from),
            Output::Encode(job) => self.encode(h, &job),
            Output::Aggregate(job) => {
                let failed = self.faulty() && self.rng.random_bool(0.01);
                let result = aggregate_job(&self.plan.spec, &job);
                let proposal = job.id;
                self.assert_can_aggregate(h, &job);
                let (input, blobs) = if failed {
                    (Input::AggregateFailed { proposal }, vec![])
                } else {
                    (
                        Input::Aggregated { proposal, result },
                        result.blobs().map(|(_, blob)| blob).collect(),
                    )
                };
                self.compute(h, input, blobs);
            }
            Output::WakeAt(at) => self.wake_at(h, at),
            news => self.hear_news(h, news),
        }
    }

    fn hear_news(&mut self, h: usize, news: Output) {
        match news {
            Output::Head {
                checkpoint, weights, ..
            } => self.check_head(h, checkpoint, weights),
            Output::Confirmed(id) => self.check_confirmed(h, &id),
            Output::RoundChanged => {}
            Output::Equivocation { author, .. } => {
                self.figures.equivocations += 1;
                self.assert_liar(&author, "an equivocation");
            }
            Output::Refused {
                author,
                refusal,
                reason,
                ..
            } => {
                self.figures.refused += 1;
                if self.honest(h) {
                    self.figures.reached.refused(&reason);
                }
                if refusal == Refusal::Fault {
                    self.assert_liar(&author, &reason);
                }
            }
            other => unreachable!("handled before: {other:?}"),
        }
    }

    fn wake_at(&mut self, h: usize, at: Option<Instant>) {
        let host = &mut self.hosts[h];
        host.timer += 1;
        let (timer, life) = (host.timer, host.life);
        if let Some(at) = at {
            let wait = at.since_ms(self.clock(h));
            self.at(wait, Event::Timer { h, life, timer });
        }
    }

    fn compute(&mut self, h: usize, input: Input, blobs: Vec<BlobId>) {
        let life = self.hosts[h].life;
        let wait = self.rng.random_range(1..=self.plan.compute_ms_max);
        self.at(wait, Event::Computed { h, life, input, blobs });
    }

    fn encode(&mut self, h: usize, job: &EncodeJob) {
        let mut bytes = job.parent.0.to_vec();
        bytes.extend(self.hosts[h].node.0);
        let mut samples = 0;
        for item in &job.submissions {
            bytes.extend(item.id.0);
            samples += item.samples;
        }
        self.figures.closing_votes += u64::from(job.submissions.is_empty());
        if self.faulty() && self.rng.random_bool(0.02) {
            let at_fault = self.rng.random_bool(0.5).then(|| job.submissions.first()).flatten();
            let submissions = at_fault.map(|item| item.id).into_iter().collect();
            let reason = "the simulation says so".to_owned();
            let parent = job.parent;
            let input = Input::EncodeFailed {
                parent,
                submissions,
                reason,
            };
            return self.compute(h, input, vec![]);
        }
        let update = BlobId::of(&bytes);
        let submissions = job.submissions.iter().map(|item| item.id).collect();
        self.hosts[h].merged.insert(update, submissions);
        let input = Input::Encoded {
            parent: job.parent,
            update,
            update_bytes: 4,
            samples,
            fidelity: 1.0,
            releases: 0,
        };
        self.compute(h, input, vec![update]);
    }

    /// What a trainer of a node says of its work on `base`. Now and then it measures nothing.
    fn report(&self, h: usize, base: &CheckpointId) -> Report {
        let round = self.truth.seals.get(base).map_or(0, |seal| seal.round);
        let measured = Measured {
            value: loss(round, h),
            samples: 1 + h as u64,
        };
        Report {
            steps: None,
            metrics: vec![(round % 7 != 3).then_some(measured)],
        }
    }

    /// Submits the work of a trainer on `base`. Returns true if the trainer is done with that base.
    pub fn submit(&mut self, h: usize, trainer: usize, base: CheckpointId) -> bool {
        let Some(machine) = self.hosts[h].machine.as_ref() else {
            return false;
        };
        if let Err(error) = machine.check_base(&base) {
            self.figures.bases_refused += 1;
            return matches!(
                error,
                BaseError::Contributed(_)
                    | BaseError::Stale { .. }
                    | BaseError::Conflicts { .. }
                    | BaseError::NotMember
                    | BaseError::Complete(_)
            );
        }
        let report = self.report(h, &base);
        let host = &mut self.hosts[h];
        host.trainers[trainer].count += 1;
        let name = format!("trainer-{trainer}");
        let id = SubmissionId::of(format!("{h} {name} {} {base}", host.trainers[trainer].count).as_bytes());
        let submission = Submission {
            id,
            trainer: name,
            base,
            samples: 1 + h as u64,
            report,
        };
        host.disk
            .submissions
            .insert(id, (submission.clone(), SubmissionState::Pending));
        host.acknowledged.insert(id);
        host.trainers[trainer].last = Some(id);
        self.figures.submissions += 1;
        if !self.crashes_here(h) {
            self.feed(h, Input::Submission(submission));
        }
        true
    }
}
