//! Checks contributions and takes them in.

use std::collections::BTreeSet;

use crate::id::{CheckpointId, ContributionId, NodeId};
use crate::record::{Contribution, MEMBERS_MAX, Membership, Signed};
use crate::round::machine::Machine;
use crate::round::table::ballots::{Cast, Votes};
use crate::round::table::orphans::Missing;
use crate::round::table::queued::Queued;
use crate::round::{Persist, Refused};

/// Maximum number of contributions held per author and parent. Two are the proof of equivocation, and more prove nothing more.
/// Contributions that a seal lists are held beyond this limit.
const PER_PARENT_MAX: usize = 2;
/// Maximum number of contributions held per author and round, on any parents. An honest node makes one for each head it stood
/// on while a round was open; the simulator never saw more than a handful of them.
const PER_ROUND_MAX: usize = 16;

impl Machine {
    /// Takes in a [`Contribution`] of any author.
    pub(in crate::round) fn take_contribution(&mut self, signed: Signed<Contribution>) {
        let c = &signed.record;
        let id = c.id();
        if self.history.ledger.contribution(&id).is_some() {
            return;
        }
        if let Some(fault) = self.rules.contribution_fault(c) {
            let reason = format!("contribution {id}: {fault}");
            self.out.refuse(c.author, Refused::Contribution, reason);
            return;
        }
        if c.author == self.rules.config.node {
            // The vote counts even if the contribution cannot be held, because this node gave the vote.
            self.remember_vote(c);
        }
        // A stored contribution was within bounds when it was written. The branch of its parent may have been dropped since.
        if self.is_listed(&id, c) || self.intake.restoring {
            self.history.orphans.take_contribution(&id);
            return self.admit(id, signed);
        }
        if c.round <= self.history.horizon
            || self.history.orphans.has_contribution(&id)
            || self.history.invalid.contains_key(&c.parent)
        {
            return;
        }
        match self.history.tree.get(&c.parent).map(|node| node.round) {
            Some(round) if round.checked_add(1) == Some(c.round) => {
                if self.has_room_for(c) {
                    self.admit(id, signed);
                }
            }
            Some(round) => {
                let (author, said) = (c.author, c.round);
                let reason = format!("contribution {id}: names round {said}, its parent is round {round}'s");
                self.out.refuse(author, Refused::Contribution, reason);
            }
            None => self.keep_orphan(id, signed),
        }
    }

    /// Returns true if a seal lists the contribution and may do so. A checkpoint whose seal may not list it is invalidated,
    /// because its lists would make any contribution welcome.
    fn is_listed(&mut self, id: &ContributionId, c: &Contribution) -> bool {
        for checkpoint in self.history.named.get(id).cloned().unwrap_or_default() {
            let seal = self
                .history
                .tree
                .get(&checkpoint)
                .and_then(|node| self.history.seal_of(node));
            if let Some(fault) = seal.and_then(|seal| self.rules.listing_fault(seal, id, c)) {
                self.invalidate(&checkpoint, &fault);
            }
        }
        self.history.named.contains_key(id)
    }

    fn has_room_for(&self, c: &Contribution) -> bool {
        if self.intake.restoring {
            return true;
        }
        let casts = self.history.ballots.by(&c.parent, &c.author);
        let earlier = casts.len();
        let round = self.history.ballots.of_round(c.round, c.author);
        let on_branch = self.history.chain.contains(c.round - 1, &c.parent);
        let own = c.author == self.rules.config.node;
        let others = self
            .history
            .ballots
            .on(&c.parent)
            .any(|(author, _)| *author != c.author);
        // In a list the number of members bounds the authors.
        let open = self.rules.spec.membership == Membership::Open;
        let crowded = open && !own && earlier == 0 && self.history.ballots.authors(&c.parent) >= MEMBERS_MAX;
        let few = earlier < PER_PARENT_MAX || self.says_more(c, casts);
        few && (round < PER_ROUND_MAX || on_branch || others || own) && !crowded
    }

    /// Returns true if a contribution adds votes to the other ones of its author on the parent. Two contributions that abstain
    /// must not keep out one that votes, because nodes that heard them in another order would count differently for ever.
    fn says_more(&self, c: &Contribution, casts: &[Cast]) -> bool {
        let cast = Cast {
            id: c.id(),
            round: c.round,
            source: c.source,
        };
        let all = [casts, &[cast]].concat();
        let parent = c.round - 1;
        !Votes::of(&all, parent).beyond(Votes::of(casts, parent)).is_none()
    }

    fn keep_orphan(&mut self, id: ContributionId, signed: Signed<Contribution>) {
        let (author, parent) = (signed.record.author, signed.record.parent);
        let round = signed.record.round;
        if self.history.orphans.add_contribution(id, signed) {
            self.out.want_records([author]);
            self.look_below(&parent, round);
        }
    }

    /// Looks for the branch of an unknown checkpoint that a quorum of a list (or a trusted node) stands on.
    /// The branch may part below the horizon, where unconfirmed branches are refused. Up to the round of
    /// that checkpoint such branches are let in now.
    fn look_below(&mut self, parent: &CheckpointId, round: u64) {
        let casts = self
            .history
            .orphans
            .contributions_on(parent)
            .filter(|c| c.record.round == round);
        let authors: BTreeSet<_> = casts.map(|c| c.record.author).collect();
        let attested = (round - 1, *parent);
        let vouched = self.rules.is_list && authors.len() >= self.rules.quorum;
        if (vouched || !authors.is_disjoint(&self.intake.trusted))
            && self.search.attested.is_none_or(|known| known < attested)
        {
            self.search.attested = Some(attested);
        }
    }

    /// Trusts these nodes on the word of an operator: a checkpoint that one of them contributed on, or sealed, may be adopted
    /// by its digest. Open models need that, because there a quorum's votes are worth nothing, and rounds below the horizon of
    /// the others cannot be recomputed.
    pub(in crate::round) fn trust(&mut self, nodes: BTreeSet<NodeId>) {
        self.intake.trusted = nodes;
        let known: Vec<_> = self
            .history
            .tree
            .rounds_from(self.history.horizon + 1)
            .map(|n| n.id)
            .collect();
        for id in known {
            self.attest_if_trusted(&id);
        }
        self.dirty.head = true;
    }

    pub(in crate::round) fn attest_if_trusted(&mut self, id: &CheckpointId) {
        if self.intake.trusted.is_empty() {
            return;
        }
        let Some(node) = self
            .history
            .tree
            .get(id)
            .filter(|n| n.parent.is_some() && n.attested < n.round)
        else {
            return;
        };
        let voted = self.history.ballots.on(id).any(|(author, casts)| {
            self.intake.trusted.contains(author) && casts.iter().any(|cast| cast.round == node.round + 1)
        });
        if voted || !self.history.sealers_of(node).is_disjoint(&self.intake.trusted) {
            self.history.tree.attest(id);
            self.history.tree.look_at_all_again();
            self.dirty.head = true;
        }
    }

    /// Holds a contribution for good, and counts its votes.
    fn admit(&mut self, id: ContributionId, signed: Signed<Contribution>) {
        let c = signed.record.clone();
        let earlier = self.history.ballots.by(&c.parent, &c.author).to_vec();
        self.out.persist(Persist::Contribution(signed.clone()));
        self.history.ledger.add_contribution(id, signed);
        self.history.ballots.add(id, &c);
        self.fetching.blobs.add_user(id, &c);
        self.count_votes(&c, &earlier);
        self.name_gained(&c.parent);
        self.history
            .proofs
            .loose
            .extend(self.history.proofs.proved.get(&c.author));
        if let Some(first) = earlier.first() {
            self.convict(&c.author, &first.id, &id);
        }
        if c.author == self.rules.config.node {
            self.own_contribution(id, &c);
        }
        for checkpoint in self.history.named.get(&id).cloned().unwrap_or_default() {
            self.found(&checkpoint);
        }
        if c.parent == self.history.chain.head() {
            let now = self.now;
            self.open.first.get_or_insert(now);
            self.dirty.round = true;
            self.out.round_changed();
        }
        if self.fetching.blobs.updates.is_here(&c.update) {
            self.heard(&id);
        }
        self.dirty.wants = true;
    }

    /// Counts the [`Votes`] that a contribution adds to its author's earlier ones on the same parent.
    fn count_votes(&mut self, c: &Contribution, earlier: &[Cast]) {
        let Some(parent) = self
            .history
            .tree
            .get(&c.parent)
            .filter(|n| !n.convicted.contains(&c.author))
        else {
            return;
        };
        let all = Votes::of(self.history.ballots.by(&c.parent, &c.author), parent.round);
        let news = all.beyond(Votes::of(earlier, parent.round));
        if !news.is_none() {
            self.history.tree.add_votes(&c.parent, news);
            self.attest_if_trusted(&c.parent);
            self.dirty.head = true;
            // A checkpoint that is confirmed now may let this node sign again.
            self.dirty.round = true;
        }
    }

    /// Handles a contribution that is here together with its blob.
    pub(in crate::round) fn heard(&mut self, id: &ContributionId) {
        let Some(signed) = self.history.ledger.contribution(id) else {
            return;
        };
        let (author, parent) = (signed.record.author, signed.record.parent);
        self.attend(id);
        self.clock_pace(author, &parent);
        if parent == self.history.chain.head() {
            self.out.round_changed();
        }
        self.dirty.round = true;
        let update = self.history.update_of(id);
        self.pursued_came(&update);
    }

    /// Notes that the author of a contribution on verified weights is alive. A contribution on a chain that cannot be checked
    /// says nothing: its author chooses the round at will, so a silent member would be waited for in every round.
    pub(in crate::round) fn attend(&mut self, id: &ContributionId) {
        // No particular node is expected in an open model.
        let Some(c) = self
            .history
            .ledger
            .contribution(id)
            .filter(|_| self.rules.is_list)
            .map(|c| &c.record)
        else {
            return;
        };
        let parent = self.history.tree.get(&c.parent).filter(|node| node.verified);
        if parent.is_some_and(|node| node.round.checked_add(1) == Some(c.round)) {
            self.pacing.attendance.heard(c.author, c.round);
        }
    }

    /// Counts the [`Votes`] for a checkpoint that has just come in, and takes up the records that waited for it.
    pub(in crate::round) fn adopt_children(&mut self, id: &CheckpointId) {
        let Some(node) = self.history.tree.get(id) else { return };
        let voters = self
            .history
            .ballots
            .on(id)
            .filter(|(author, _)| !node.convicted.contains(author));
        let votes: Votes = voters.map(|(_, casts)| Votes::of(casts, node.round)).sum();
        if !votes.is_none() {
            self.history.tree.add_votes(id, votes);
        }
        self.attest_if_trusted(id);
        // The orphans name the checkpoint only if they are taken in, so its names are reviewed afterwards.
        self.intake.shares.doubted.insert(*id);
        for orphan in self.history.orphans.ids_on(id) {
            if let Some(signed) = self.history.orphans.take_contribution(&orphan) {
                self.intake.queue.push_back(Queued::Contribution(signed));
            }
        }
        let missing = Missing::Parent(*id);
        for orphan in self.history.orphans.seal_ids_for(missing) {
            if let Some(signed) = self.history.orphans.take_seal(&orphan) {
                self.intake.queue.push_back(Queued::Seal(signed));
            }
        }
    }
}
