//! Checks of the protocol's promises, at every step and at the end.

use std::collections::{BTreeMap, BTreeSet};

use qres_fed::id::{BlobId, CheckpointId, NodeId, SubmissionId};
use qres_fed::record::{Contribution, Membership};
use qres_fed::round::{AggregateJob, Machine, SubmissionState};

use crate::plan::{END_MS, HEAL_MS};
use crate::world::World;

/// Rounds that must be made between two seconds after healing and the trainers' stop. These are 13.5 s, of which a lull
/// takes 6.5 s; a deadline is at most 2 s.
const ROUNDS_MIN: u64 = 2;
/// Time before the end, in ms, by which every head must have moved for the last time.
const REST_MS: u64 = 1_500;

/// Most closing rounds of a run: two settle its last checkpoint, and each fork costs some more.
const CLOSING_MAX: u64 = 40;

impl World {
    pub fn assert_liar(&self, node: &NodeId, what: &str) {
        let liar = self.hosts.iter().any(|h| h.node == *node && h.liar);
        assert!(liar, "an honest node is blamed: {what}");
    }

    /// Returns true if the node is honest: the actions of liars are not held against the machine.
    pub fn honest(&self, h: usize) -> bool {
        !self.hosts[h].liar
    }

    pub fn check_signed_once(&mut self, h: usize, c: &Contribution) {
        if !self.honest(h) {
            return;
        }
        let before = *self.hosts[h].signed.entry(c.parent).or_insert(c.id());
        if before != c.id() && self.hosts[h].forgotten.contains(&before) {
            return self.forgets(h);
        }
        assert_eq!(before, c.id(), "at most one contribution a parent, whatever crashed");
        self.check_vote(h, c);
    }

    /// Asserts that a node signs nothing after a start before it has compared with a quorum, or ten seconds have passed.
    pub fn check_compared(&self, h: usize) {
        if let Membership::List(members) = &self.plan.spec.membership {
            let host = &self.hosts[h];
            let others = host.compared.iter().filter(|node| members.contains(node)).count();
            let enough = others + 1 >= self.plan.spec.quorum();
            assert!(
                enough || self.now >= host.started_at + 10_000,
                "compared with {others} others only"
            );
        }
    }

    /// Counts a node as a liar from here on: it contradicts an earlier signature of its own that it lost with its disk, and
    /// no node in reach could have told it.
    fn forgets(&mut self, h: usize) {
        self.say(|| format!("node {h} signs against what it has forgotten"));
        self.figures.forgot += 1;
        self.hosts[h].liar = true;
    }

    /// Asserts that an honest node votes at most once in a round and that the sources of its votes never descend, also
    /// after crashes.
    fn check_vote(&mut self, h: usize, c: &Contribution) {
        let Some(source) = c.source else { return };
        let votes = &mut self.hosts[h].votes;
        votes.insert(c.id(), (c.round - 1, source));
        let mut all: Vec<_> = votes.values().copied().collect();
        all.sort_unstable();
        let up = |pair: &[(u64, u64)]| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1;
        if !self.hosts[h].forgotten.is_empty() && !all.windows(2).all(up) {
            return self.forgets(h);
        }
        assert!(
            all.windows(2).all(up),
            "one vote a round, sources that never descend: {all:?}"
        );
    }

    pub fn check_head(&mut self, h: usize, checkpoint: CheckpointId, weights: BlobId) {
        self.hosts[h].head_moved_at = self.now;
        self.figures.head_moves += 1;
        self.truth.assert_valid(&checkpoint);
        let before = self.hosts[h].head.replace(checkpoint);
        if before.is_some_and(|before| !self.truth.descends(checkpoint, before)) {
            self.figures.swings += 1;
        }
        let content = self.truth.content_of(&checkpoint);
        assert_eq!(content.weights, weights);
        let disk = &self.hosts[h].disk;
        let mut blobs = content.blobs();
        assert!(
            blobs.all(|(_, blob)| disk.blobs.contains(&blob)),
            "the head's blobs are here"
        );
        // A node that lost weights in a crash stands on an older head until it has fetched them.
        let looks = self.figures.head_moves.is_multiple_of(8);
        if looks && self.honest(h) && self.truth.descends(checkpoint, self.settled) {
            self.check_fates(h, checkpoint);
        }
    }

    pub fn check_confirmed(&mut self, h: usize, id: &CheckpointId) {
        let quorum = self.plan.spec.quorum();
        let contributions = self.hosts[h].disk.contributions.values();
        let mut authors: Vec<_> = contributions
            .filter(|c| c.record.parent == *id && c.record.source.is_some())
            .map(|c| c.record.author)
            .collect();
        authors.sort_unstable();
        authors.dedup();
        assert!(authors.len() >= quorum, "a quorum stands on what is confirmed");
    }

    pub fn assert_can_aggregate(&self, h: usize, job: &AggregateJob) {
        let blobs = &self.hosts[h].disk.blobs;
        let updates = job
            .fresh
            .iter()
            .chain(job.late.iter().map(|l| &l.item))
            .map(|item| item.update);
        for update in updates {
            assert!(!self.truth.bad.contains(&update), "what is aggregated is on the schema");
            assert!(blobs.contains(&update), "and here");
        }
        let mut base = job.base.blobs();
        assert!(base.all(|(_, blob)| blobs.contains(&blob)), "so is what it is added to");
        assert_eq!(job.id, job.proposal.id());
        assert_eq!(job.base, self.truth.content_of(&job.proposal.parent));
    }

    /// Checks a node after every input.
    pub fn check_step(&mut self, h: usize) {
        let host = &self.hosts[h];
        let Some(machine) = &host.machine else { return };
        if host.liar {
            return;
        }
        let (head, confirmed) = (machine.head(), machine.confirmed_head());
        assert!(confirmed.round <= head.round && confirmed.confirmed);
        let (held, most) = (machine.records().len(), self.most_held(machine));
        assert!(held <= most, "{held} records, at most {most}");
        // These cost as much as many steps. The machine itself checks its cheap invariants after every input.
        if self.figures.inputs.is_multiple_of(64) {
            if let Err(broken) = machine.check_invariants() {
                panic!("an invariant does not hold on node {h}: {broken}");
            }
            self.check_submissions(h, machine);
        }
        let settled = machine.settled_head().id;
        if settled != self.settled && matches!(self.plan.spec.membership, Membership::List(_)) {
            self.check_settled(settled);
        }
    }

    /// Asserts that all checkpoints that honest nodes call final lie on one branch.
    pub fn check_settled(&mut self, settled: CheckpointId) {
        if self.truth.descends(self.settled, settled) {
            return;
        }
        let agrees = self.truth.descends(settled, self.settled);
        if !agrees && self.liars_outvote() {
            self.say(|| "liars voted on both sides".into());
            self.overruled = true;
            return;
        }
        assert!(
            agrees || self.overruled,
            "what is final stays: {} and then {settled}",
            self.settled
        );
        self.figures.settled += 1;
        self.settled = settled;
    }

    /// Returns true if the operators' trust may undo checkpoints below a horizon.
    fn trusts(&self) -> bool {
        self.plan.spec.membership == Membership::Open && self.plan.keep_rounds.is_some()
    }

    /// Returns true if two quorums may have only liars in common; the protocol then promises nothing. Always true for an
    /// open model.
    fn liars_outvote(&self) -> bool {
        let Membership::List(members) = &self.plan.spec.membership else {
            return true;
        };
        let liars = self
            .hosts
            .iter()
            .filter(|h| h.liar && members.contains(&h.node))
            .count();
        liars >= 2 * self.plan.spec.quorum() - members.len()
    }

    /// Returns the largest number of records that a node may hold. It follows from the rounds in the node's memory and from
    /// the number of signing nodes.
    fn most_held(&self, machine: &Machine) -> usize {
        let newest = machine.records().last().map_or(0, |(round, _)| *round);
        let rounds = usize::try_from(newest.saturating_sub(machine.root_round())).expect("few") + 1;
        // An honest node makes one contribution and at most one seal for each head that it stands on while a round is open.
        let each = if self.plan.liars == 0 { 4 } else { 24 };
        (rounds + 1) * self.hosts.len() * each
    }

    /// Checks the number of weights and updates whenever a node collects garbage.
    pub fn check_blobs(&self, h: usize) {
        let machine = self.hosts[h].machine.as_ref().filter(|_| self.honest(h));
        if let Some(machine) = machine {
            let (live, most) = (machine.live_blobs().len(), self.most_held(machine));
            assert!(live <= most + 8, "{live} blobs, at most {most}");
        }
    }

    /// Asserts that all rounds that are far enough below the horizon are in the archive, unless the node looks for another
    /// branch there.
    fn check_archive(&self, machine: &Machine) {
        let below = u64::from(self.plan.spec.rounds.max_staleness) + 1;
        let horizon = machine.horizon();
        assert!(machine.root_round() <= horizon.saturating_sub(below));
        if machine.sync_above() == horizon {
            assert_eq!(machine.root_round(), horizon.saturating_sub(below), "horizon {horizon}");
        }
    }

    /// Asserts that a node keeps an answer for each submission that it acknowledged.
    fn check_submissions(&self, h: usize, machine: &Machine) {
        let host = &self.hosts[h];
        for id in &host.acknowledged {
            let (submission, state) = &host.disk.submissions[id];
            if let Some(live) = machine.submissions().get(id) {
                assert_eq!(live, state, "what the machine says of a submission is durable");
            } else {
                assert!(
                    state.is_final(),
                    "submission {id} on {} is lost: {state:?}",
                    submission.base
                );
            }
            match state {
                SubmissionState::Merged { contribution } => {
                    assert!(
                        host.disk.contributions.contains_key(contribution),
                        "merged into something durable"
                    );
                }
                SubmissionState::Sealed { checkpoint, .. } if !state.is_final() => {
                    let seal = &self.truth.seals[checkpoint];
                    let own = host.signed[&submission.base];
                    assert!(
                        seal.fresh.contains(&own) || seal.late.contains(&own),
                        "sealed where it says"
                    );
                }
                _ => {}
            }
        }
    }

    /// Asserts that each final answer of a node is true for the head it stands on: a submission is in the head's history
    /// exactly if the answer says so.
    fn check_fates(&self, h: usize, head: CheckpointId) {
        let host = &self.hosts[h];
        if host.succession.is_some() && self.may_disagree() {
            return;
        }
        // Members that did not take part may go on; for the others the model ended.
        let head = host
            .succession
            .as_ref()
            .map_or(head, |succession| succession.checkpoint);
        let mut listed: BTreeMap<SubmissionId, CheckpointId> = BTreeMap::new();
        for (id, checkpoint) in self.truth.listed(head) {
            let c = &self.truth.contributions[&id];
            if c.author == host.node {
                let merged = host.merged.get(&c.update).into_iter().flatten();
                listed.extend(merged.map(|submission| (*submission, checkpoint)));
            }
        }
        for id in &host.acknowledged {
            let (_, state) = &host.disk.submissions[id];
            let said = match state {
                SubmissionState::Sealed { checkpoint, .. } => Some(checkpoint),
                _ => None,
            };
            if state.is_final() && !self.overruled && !self.trusts() {
                assert_eq!(
                    listed.get(id),
                    said,
                    "a final answer is true: node {h} said {state:?} of {id}"
                );
            }
        }
    }

    fn honest_machines(&self) -> impl Iterator<Item = (usize, &Machine)> {
        let up = |(h, host): (usize, &crate::host::Host)| Some((h, host.machine.as_ref()?.head().id)).map(|_| h);
        let hosts = self
            .hosts
            .iter()
            .enumerate()
            .filter(|(_, host)| !host.liar)
            .filter_map(up);
        hosts.filter_map(|h| Some((h, self.hosts[h].machine.as_ref()?)))
    }

    /// Asserts that the model goes on once the faults have ended.
    pub fn check_live(&self, healed_at: u64) {
        let round = self.best_round();
        if self.ends() || self.honest_machines().any(|(_, machine)| machine.is_complete()) {
            return;
        }
        assert!(
            round >= healed_at + ROUNDS_MIN,
            "alive: round {healed_at} at {} ms, {round} when the trainers stop",
            HEAL_MS + 2_000
        );
    }

    /// Asserts that all running honest nodes stand on one head when the network has been quiet for a while.
    pub fn check_lull(&mut self) {
        let heads: Vec<_> = self
            .honest_machines()
            .map(|(h, m)| (h, m.head().round, m.head().id))
            .collect();
        assert!(
            heads.iter().all(|head| head.2 == heads[0].2) || self.ends_apart(&heads),
            "one head after a lull: {heads:?}"
        );
        self.figures.lulls += 1;
    }

    /// Returns true if the heads of an open model are of one round, and their branches part below each node's horizon. Then each
    /// node refuses the other branch, for which no quorum vouches, until the next round makes one of them longer.
    fn is_even_fork(&self, heads: &[(usize, u64, CheckpointId)]) -> bool {
        let (_, round, one) = heads[0];
        let Some((_, _, other)) = heads.iter().find(|head| head.2 != one) else {
            return false;
        };
        let mut fork = (one, *other, round);
        while fork.0 != fork.1 && fork.2 > 0 {
            let parent = |at: &CheckpointId| self.truth.seals[at].parent;
            fork = (parent(&fork.0), parent(&fork.1), fork.2 - 1);
        }
        let open = matches!(self.plan.spec.membership, Membership::Open);
        let below = self.honest_machines().all(|(_, machine)| fork.2 <= machine.horizon());
        open && heads.iter().all(|head| head.1 == round) && below
    }

    /// Returns true if the run is complete on all nodes, which may stand on different closing rounds then: a liar can give the
    /// update of its vote to some nodes alone, or in an open model add closing rounds, and no later round settles the matter. The
    /// last checkpoint is the same, and the weights are.
    fn ends_apart(&self, heads: &[(usize, u64, CheckpointId)]) -> bool {
        let complete = self.honest_machines().all(|(_, machine)| machine.is_complete());
        complete && heads.iter().any(|head| head.2 != heads[0].2)
    }

    /// Asserts that at the end all honest nodes stand on one head, and have done so for a while.
    pub fn check_rest(&mut self) {
        self.check_successions();
        let heads: Vec<_> = self
            .honest_machines()
            .map(|(h, m)| (h, m.head().round, m.head().id))
            .collect();
        let honest = self.hosts.iter().filter(|h| !h.liar).count();
        assert_eq!(heads.len(), honest, "everyone is up again");
        // In an open model the archive waits for ever for the branches that strangers have left open at the end.
        let open = matches!(self.plan.spec.membership, Membership::Open);
        if self.ends_apart(&heads) || open && self.honest_machines().all(|(_, machine)| machine.is_complete()) {
            let weights: BTreeSet<_> = self.honest_machines().map(|(_, m)| m.head().content.weights).collect();
            assert_eq!(weights.len(), 1, "closing rounds change no weights");
            return self.check_complete();
        }
        if self.is_even_fork(&heads) {
            return;
        }
        assert!(
            heads.iter().all(|head| head.2 == heads[0].2),
            "connected nodes stand on one head: {heads:?}"
        );
        self.check_complete();
        for (h, host) in self.hosts.iter().enumerate().filter(|(_, host)| !host.liar) {
            assert!(host.head_moved_at <= END_MS - REST_MS, "node {h}'s head rests");
            let machine = host.machine.as_ref().expect("up");
            self.check_submissions(h, machine);
            self.check_fates(h, heads[0].2);
            self.check_archive(machine);
            for id in &host.acknowledged {
                let (submission, state) = &host.disk.submissions[id];
                if self.ends() {
                    continue;
                }
                assert_ne!(*state, SubmissionState::Pending, "submission {id} is answered for");
                if matches!(state, SubmissionState::Carried { .. }) {
                    let base = self.truth.seals.get(&submission.base).map_or(0, |s| s.round);
                    let staleness = u64::from(self.plan.spec.rounds.max_staleness);
                    let expires = base + 1 + staleness;
                    let list = matches!(self.plan.spec.membership, Membership::List(_));
                    let line = if list {
                        machine.settled_head().round
                    } else {
                        machine.horizon()
                    };
                    assert!(line < expires, "what is too old is refused, and says so");
                }
            }
        }
        self.count_fates();
    }

    /// Asserts that a run which has reached its end is complete on every honest node, with one last checkpoint.
    fn check_complete(&mut self) {
        let last = self.plan.spec.end.max_rounds;
        let states: Vec<_> = self
            .honest_machines()
            .map(|(h, machine)| {
                let end = machine.last_checkpoint().map(|end| (end.id, end.round));
                (h, machine.head().round, end)
            })
            .collect();
        for (h, round, end) in &states {
            let beyond = end.map_or(0, |(_, end)| round.saturating_sub(end));
            assert!(beyond <= CLOSING_MAX, "node {h} is {beyond} rounds beyond the end");
            assert_eq!(*end, states[0].2, "complete on all or on none: {states:?}");
            let at_end = last.is_some_and(|last| *round >= last) && !self.ends();
            assert!(
                end.is_some() || !at_end,
                "a run that has reached its last round is complete: {states:?}"
            );
        }
        self.figures.completed += u64::from(states[0].2.is_some());
    }

    fn count_fates(&mut self) {
        for host in self.hosts.iter().filter(|h| !h.liar) {
            for (submission, state) in host.disk.submissions.values() {
                match state {
                    SubmissionState::Sealed { checkpoint, .. } => {
                        self.figures.sealed += 1;
                        let late = self
                            .truth
                            .seals
                            .get(checkpoint)
                            .is_some_and(|s| s.parent != submission.base);
                        self.figures.late_sealed += u64::from(late);
                    }
                    SubmissionState::Rejected { .. } | SubmissionState::Superseded { .. } => self.figures.rejected += 1,
                    SubmissionState::Carried { .. } => self.figures.carried += 1,
                    SubmissionState::Pending | SubmissionState::Merged { .. } => {}
                }
            }
        }
    }
}
