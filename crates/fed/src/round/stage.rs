//! A stage for one machine under test: it answers like a driver, and can hold answers back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    Archived, Config, Input, Machine, MembersPolicy, Output, Persist, RecordId, Refusal, Restored, Submission,
    SubmissionState, Unsigned,
};
use crate::id::{BlobId, CheckpointId, ContributionId, Instant, NodeId, SealId, SubmissionId};
use crate::record::{
    BlobRole, Content, Contribution, Dtype, End, Membership, Proof, Proposal, Report, RoundPolicy, Rule, Seal,
    Signature, Signed, Spec, TensorSpec,
};

pub fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

pub fn members(n: u8) -> Membership {
    Membership::List((1..=n).map(node).collect())
}

pub fn signed<T>(record: T) -> Signed<T> {
    Signed {
        record,
        signature: Signature([0; 64]),
    }
}

/// A spec with at least `k` contributions per round, a deadline of one second and four rounds of staleness.
pub fn spec(membership: Membership, k: u32) -> Spec {
    Spec {
        name: "stage".parse().unwrap(),
        tensors: vec![TensorSpec {
            name: "w".into(),
            dtype: Dtype::F32,
            shape: vec![1],
        }]
        .into(),
        strategy: Rule::new("fedavg/1"),
        aggregation: vec![],
        rounds: RoundPolicy {
            min_contributions: k,
            target: (membership == Membership::Open).then_some(k + 1),
            deadline_ms: Some(1_000),
            deadline_ms_max: 10_000,
            max_staleness: 4,
        },
        codec: Rule::new("none/1"),
        privacy: Rule::new("none/1"),
        membership,
        checkpoint0: BlobId::of(b"zero"),
        fixed: None,
        creator: node(1),
        succeeds: None,
        metrics: vec![],
        end: End::default(),
        schedules: Default::default(),
        earlier_rounds: 0,
    }
}

/// The blob that an aggregation of this proposal makes on the stage.
pub fn result_of(proposal: &Proposal) -> Content {
    Content::of_weights(BlobId(proposal.id().0))
}

/// The machine of node 1 (or another), and all outputs that it made.
pub struct Stage {
    pub machine: Machine,
    pub spec: Spec,
    pub config: Config,
    pub now: Instant,
    pub said: Vec<Output>,
    /// Blobs that no peer delivers.
    pub withheld: BTreeSet<BlobId>,
    /// Blobs that are no updates.
    pub bad: BTreeSet<BlobId>,
    /// True if aggregations are not answered.
    pub slow: bool,
    pub disk: Restored,
    pub archive: BTreeMap<u64, Archived>,
    wake: Option<Instant>,
    count: u64,
}

impl Stage {
    pub fn new(spec: Spec) -> Self {
        Self::of(spec, 1, Some(8))
    }

    pub fn of(spec: Spec, me: u8, keep_rounds: Option<u64>) -> Self {
        let config = Config {
            node: node(me),
            trainers: 1,
            merge_margin_ms: 100,
            keep_rounds,
            members: MembersPolicy::Ask,
        };
        Self::with(spec, config, Restored::default(), Instant(1_000))
    }

    /// Makes a stage whose machine has compared its records with all others.
    pub fn with(spec: Spec, config: Config, disk: Restored, now: Instant) -> Self {
        let others: Vec<_> = match &spec.membership {
            Membership::List(members) => members.iter().copied().collect(),
            Membership::Open => (1..=3).map(node).collect(),
        };
        let mut stage = Self::uncompared(spec, config, disk, now);
        others.into_iter().for_each(|other| stage.feed(Input::Compared(other)));
        stage
    }

    /// Makes a stage whose machine has just started.
    pub fn uncompared(spec: Spec, config: Config, disk: Restored, now: Instant) -> Self {
        let (machine, outputs) = Machine::new(spec.clone(), config.clone(), disk.clone(), now);
        let mut stage = Self {
            machine,
            spec,
            config,
            now,
            said: vec![],
            withheld: BTreeSet::new(),
            bad: BTreeSet::new(),
            slow: false,
            disk,
            archive: BTreeMap::new(),
            wake: None,
            count: 0,
        };
        let mut inputs = VecDeque::new();
        stage.carry_out(outputs, &mut inputs);
        stage.feed_all(inputs);
        stage
    }

    /// Restarts the node after a crash: it has only what was persisted.
    pub fn restart(&self) -> Self {
        let mut again = Self::with(self.spec.clone(), self.config.clone(), self.disk.clone(), self.now);
        again.count = self.count + 100;
        let mut archive = self.archive.clone();
        archive.append(&mut again.archive);
        again.archive = archive;
        again
    }

    pub fn feed(&mut self, input: Input) {
        self.feed_all(VecDeque::from([input]));
    }

    fn feed_all(&mut self, mut inputs: VecDeque<Input>) {
        while let Some(input) = inputs.pop_front() {
            let outputs = self.machine.handle(input, self.now);
            self.carry_out(outputs, &mut inputs);
        }
    }

    fn carry_out(&mut self, outputs: Vec<Output>, inputs: &mut VecDeque<Input>) {
        for output in outputs {
            match &output {
                Output::Persist(persist) => self.persist(persist),
                Output::Sign(Unsigned::Contribution(c)) => {
                    inputs.push_back(Input::SignedContribution(signed(c.clone())))
                }
                Output::Sign(Unsigned::Seal(s)) => inputs.push_back(Input::SignedSeal(signed(s.clone()))),
                Output::Sign(Unsigned::Consent(c)) => inputs.push_back(Input::SignedConsent(signed(c.clone()))),
                Output::WantBlob { blob, role, .. } if *role == BlobRole::Update && self.bad.contains(blob) => {
                    let (blob, role) = (*blob, *role);
                    inputs.push_back(Input::BlobBad { blob, role })
                }
                Output::WantBlob { blob, role, .. } if !self.withheld.contains(blob) => {
                    let (blob, role) = (*blob, *role);
                    inputs.push_back(Input::BlobHere { blob, role })
                }
                Output::Encode(job) => {
                    self.count += 1;
                    inputs.push_back(Input::Encoded {
                        parent: job.parent,
                        update: BlobId::of(&self.count.to_le_bytes()),
                        update_bytes: 4,
                        samples: job.submissions.iter().map(|item| item.samples).sum(),
                        fidelity: 1.0,
                        releases: 0,
                    });
                }
                Output::Aggregate(job) if !self.slow => inputs.push_back(Input::Aggregated {
                    proposal: job.id,
                    result: result_of(&job.proposal),
                }),
                Output::WantArchived { from } => {
                    let rounds = self.archive.range(from..).map(|(_, round)| round.clone());
                    inputs.push_back(Input::Archived(rounds.collect()));
                }
                Output::WakeAt(at) => self.wake = *at,
                _ => {}
            }
            self.said.push(output);
        }
    }

    fn persist(&mut self, persist: &Persist) {
        let disk = &mut self.disk;
        match persist {
            Persist::Contribution(c) => disk.contributions.push(c.clone()),
            Persist::Seal(s) => disk.seals.push(s.clone()),
            Persist::Proof(p) => disk.proofs.push(p.clone()),
            Persist::Consent(c) => {
                disk.consents.retain(|old| old.record.author != c.record.author);
                disk.consents.push(c.clone());
            }
            Persist::Verified(id) => drop(disk.verified.insert(*id)),
            Persist::Submission(id, state) => {
                disk.submissions
                    .iter_mut()
                    .filter(|(s, _)| s.id == *id)
                    .for_each(|(_, old)| *old = state.clone());
            }
            Persist::Forget(gone) => {
                disk.contributions
                    .retain(|c| !gone.contributions.contains(&c.record.id()));
                disk.seals.retain(|s| !gone.seals.contains(&s.record.id()));
                disk.proofs.retain(|p| !gone.proofs.contains(&p.id()));
                disk.verified.retain(|id| !gone.verified.contains(id));
            }
            Persist::Archive { root, rounds } => {
                disk.root = Some(root.clone());
                self.archive
                    .extend(rounds.iter().map(|r| (r.seal.record.round, r.clone())));
            }
            Persist::Unarchive { root } => {
                disk.root = Some(root.clone());
                self.archive.split_off(&root.round);
            }
        }
    }

    /// Lets `ms` milliseconds pass, and the timers go off.
    pub fn pass(&mut self, ms: u64) {
        let until = self.now.after_ms(ms);
        while let Some(at) = self.wake.filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.wake = None;
            self.feed(Input::Tick);
        }
        self.now = until;
    }

    /// Lets time pass until the head is of this round, and panics if `ms` milliseconds are not enough. When a round ends
    /// depends on who may seal first, which is a hash of the spec's id.
    pub fn pass_to_round(&mut self, round: u64, ms: u64) {
        let until = self.now.after_ms(ms);
        while self.round() < round && self.now < until {
            self.pass(10);
        }
        assert_eq!(self.round(), round);
    }

    pub fn wake(&self) -> Option<Instant> {
        self.wake
    }

    pub fn head(&self) -> CheckpointId {
        self.machine.head().id
    }

    pub fn round(&self) -> u64 {
        self.machine.head().round
    }

    /// Hands in the work of a trainer of this node, as an [`Input::Submission`].
    pub fn submit_on(&mut self, base: CheckpointId, trainer: &str) -> SubmissionId {
        self.count += 1;
        let submission = Submission {
            id: SubmissionId::of(&self.count.to_le_bytes()),
            trainer: trainer.into(),
            base,
            samples: 10,
            report: Report::default(),
        };
        let id = submission.id;
        self.disk
            .submissions
            .push((submission.clone(), SubmissionState::Pending));
        self.feed(Input::Submission(submission));
        id
    }

    pub fn submit(&mut self) -> SubmissionId {
        self.submit_on(self.head(), "trainer")
    }

    pub fn state(&self, id: SubmissionId) -> SubmissionState {
        self.machine.submissions()[&id].clone()
    }

    /// Makes a contribution of another member; `variant` makes several different ones.
    pub fn contribution(&self, by: u8, parent: CheckpointId, round: u64, variant: u8) -> Signed<Contribution> {
        let mut bytes = parent.0.to_vec();
        bytes.extend([by, variant]);
        signed(Contribution {
            spec: self.spec.id(),
            parent,
            round,
            author: node(by),
            samples: 10,
            update: BlobId::of(&bytes),
            update_bytes: 4,
            fidelity: 1.0,
            source: round.checked_sub(2),
            report: Report::default(),
            releases: 0,
        })
    }

    /// Feeds a contribution of another member on the head.
    pub fn hear(&mut self, by: u8) -> ContributionId {
        let c = self.contribution(by, self.head(), self.round() + 1, 0);
        let id = c.record.id();
        self.feed(Input::Contribution(c));
        id
    }

    /// Makes a correct seal by another member.
    pub fn seal(
        &self,
        by: u8,
        parent: CheckpointId,
        round: u64,
        fresh: &[ContributionId],
        late: &[ContributionId],
    ) -> Signed<Seal> {
        self.seal_with(by, parent, round, fresh, late, &[])
    }

    pub fn seal_with(
        &self,
        by: u8,
        parent: CheckpointId,
        round: u64,
        fresh: &[ContributionId],
        late: &[ContributionId],
        proofs: &[Proof],
    ) -> Signed<Seal> {
        let sorted = |ids: &[ContributionId]| {
            ids.iter()
                .copied()
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
        };
        let proofs: BTreeSet<_> = proofs.iter().map(Proof::id).collect();
        let proposal = Proposal {
            spec: self.spec.id(),
            round,
            parent,
            fresh: sorted(fresh),
            late: sorted(late),
            proofs: proofs.into_iter().collect(),
        };
        let result = result_of(&proposal);
        signed(Seal {
            spec: proposal.spec,
            round,
            parent,
            fresh: proposal.fresh,
            late: proposal.late,
            proofs: proposal.proofs,
            result,
            sealer: node(by),
        })
    }

    /// Feeds a seal on the head by another member, with these contributions, so that the head follows. Returns its checkpoint.
    pub fn sealed_by(&mut self, by: u8, fresh: &[ContributionId]) -> CheckpointId {
        let seal = self.seal(by, self.head(), self.round() + 1, fresh, &[]);
        let id = seal.record.checkpoint().id();
        self.feed(Input::Seal(seal));
        id
    }

    pub fn signed_seals(&self) -> Vec<Seal> {
        let seals = self.said.iter().filter_map(|o| match o {
            Output::Sign(Unsigned::Seal(s)) => Some(s.clone()),
            _ => None,
        });
        seals.collect()
    }

    pub fn signed_contributions(&self) -> Vec<Contribution> {
        let contributions = self.said.iter().filter_map(|o| match o {
            Output::Sign(Unsigned::Contribution(c)) => Some(c.clone()),
            _ => None,
        });
        contributions.collect()
    }

    pub fn refused(&self) -> Vec<(NodeId, String)> {
        let refused = self.said.iter().filter_map(|o| match o {
            Output::Refused { author, reason, .. } => Some((*author, reason.clone())),
            _ => None,
        });
        refused.collect()
    }

    /// Authors of refused records, each with the [`Refusal`] that says if it was their fault.
    pub fn refusals(&self) -> Vec<(NodeId, Refusal)> {
        let refused = self.said.iter().filter_map(|o| match o {
            Output::Refused { author, refusal, .. } => Some((*author, *refusal)),
            _ => None,
        });
        refused.collect()
    }

    pub fn aggregations(&self) -> usize {
        self.said.iter().filter(|o| matches!(o, Output::Aggregate(_))).count()
    }

    pub fn holds(&self, seal: SealId, round: u64) -> bool {
        self.machine.records().contains(&(round, RecordId::Seal(seal)))
    }
}

/// Feeds each record once, in the given order, so that several machines can get one history.
pub fn deliver(stage: &mut Stage, records: impl IntoIterator<Item = Input>) {
    for record in records {
        stage.feed(record);
    }
}

/// The records that a node holds, as an [`Input`] each for another node, in the order of sync.
pub fn records_of(stage: &Stage) -> Vec<Input> {
    let machine = &stage.machine;
    let archived = stage.archive.values().flat_map(|round| {
        let proofs = round.proofs.iter().cloned().map(Input::Proof);
        proofs.chain([Input::Seal(round.seal.clone())])
    });
    let mut all = BTreeMap::new();
    for (round, id) in machine.records() {
        let input = match id {
            RecordId::Contribution(id) => machine.contribution(id).cloned().map(Input::Contribution),
            RecordId::Seal(id) => machine.seal(id).cloned().map(Input::Seal),
            RecordId::Proof(id) => machine.proof(id).cloned().map(Input::Proof),
            RecordId::Consent(id) => machine.consent(id).cloned().map(Input::Consent),
        };
        all.insert((*round, *id), input.unwrap());
    }
    archived.chain(all.into_values()).collect()
}
