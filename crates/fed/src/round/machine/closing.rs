//! Closes the open round: when, with which contributions, and in which order of sealers.

use std::collections::BTreeSet;

use crate::id::{CheckpointId, ContributionId, Instant, NodeId, ProofId, ProposalId};
use crate::record::{Content, Proposal, Seal, Signed};
use crate::round::machine::Machine;
use crate::round::table::closing::Closing;
use crate::round::{Output, Unsigned};

/// Stagger between sealers, in measured delays: the way of the seal, and as much again for the sets to be equal and for the
/// seal to be recomputed. A rough simulation lost 15 % of the work below one delay and 2 of 46 rounds forked above it.
const DELAYS_PER_STAGGER: u64 = 3;
/// Minimum stagger in milliseconds: on a busy machine a process may not run for so long, and a fork costs more. Only a round
/// whose first sealer went away pays for it.
const STAGGER_MS_MIN: u64 = 250;
/// Maximum stagger in milliseconds: a member with a satellite link must not stop the others for hours.
const STAGGER_MS_MAX: u64 = 30_000;
/// Maximum number of others' seals that are waited for in one round while they are recomputed:
/// with free identities there could be any number.
const WAITED_FOR_MAX: usize = 2;

impl Machine {
    /// Milliseconds between one sealer's turn and the next.
    fn stagger_ms(&self) -> u64 {
        let delay = self.pacing.delay_ms.saturating_mul(DELAYS_PER_STAGGER);
        delay
            .clamp(STAGGER_MS_MIN, STAGGER_MS_MAX)
            .saturating_add(self.fetching.jobs.last_ms().min(STAGGER_MS_MAX))
    }

    /// Fresh contributions that a seal may list now, ascending: their blobs are here, one per member, none by an equivocator.
    pub(in crate::round) fn ready(&self) -> Vec<ContributionId> {
        let here = |id: &ContributionId| self.fetching.blobs.updates.is_here(&self.history.update_of(id));
        let mut ready: Vec<_> = self.open_contributions().filter(here).collect();
        ready.truncate(crate::record::MEMBERS_MAX);
        ready.sort_unstable();
        ready
    }

    /// Number of contributions with which this node closes a round: k. A closing round that no quorum votes in settles nothing, and
    /// the few members on one side of a cut would make one after the other.
    pub(in crate::round) fn needed(&self) -> usize {
        match self.is_at_end() {
            true => self.rules.k.max(self.rules.quorum),
            false => self.rules.k,
        }
    }

    /// Returns `Some` if the policy lets the round close with this number of contributions; `Some(true)` if the target is
    /// reached or no member is missing.
    fn may_close(&self, ready: usize) -> Option<bool> {
        if ready < self.needed() {
            return None;
        }
        let target = self.rules.spec.rounds.target.is_some_and(|t| ready >= t as usize);
        if target || (self.rules.is_list && self.missing().is_empty()) {
            return Some(true);
        }
        let due = self.deadline().is_some_and(|at| at <= self.now);
        (due || self.open.seal_now || self.is_ending()).then_some(false)
    }

    /// Closes the round if it is time, as far as this node has to do it.
    pub(in crate::round) fn close_round(&mut self) {
        let head = self.history.chain.head();
        if !self.rules.is_member
            || self.is_far_ahead()
            || self.history.confirmed_against(&self.rules, &head).is_some()
            || !self
                .history
                .tree
                .get(&head)
                .is_some_and(|n| n.verified && self.knows_end_at(n) && self.fetching.blobs.are_here(&n.content))
        {
            return;
        }
        if self.is_complete() {
            return;
        }
        let ready = self.ready();
        self.note_expected();
        if self.open.closing.is_none() {
            let Some(full) = self.may_close(ready.len()) else {
                return;
            };
            self.open.closing = Some(Closing {
                at: self.now,
                full,
                proposal: None,
                computed: None,
                signed: false,
                waited_for: BTreeSet::new(),
            });
        }
        let Some(turn) = self.turn() else { return };
        let now = self.now;
        // An equivocation that came to light since then takes its author's
        // contribution out again, and so does a blob that vanished.
        let gone = |id: &ContributionId| !self.fetching.blobs.updates.is_here(&self.history.update_of(id));
        // In an open model a proof may be crowded out.
        let forgotten = |id: &ProofId| self.history.ledger.proof(id).is_none();
        let proposed = self.open.closing.as_ref().and_then(|c| c.proposal.as_ref());
        let outdated = proposed.is_some_and(|p| {
            p.fresh.iter().any(|id| ready.binary_search(id).is_err())
                || p.late.iter().any(gone)
                || p.proofs.iter().any(forgotten)
        });
        let needed = self.needed();
        let Some(closing) = &mut self.open.closing else { return };
        if closing.signed {
            return;
        }
        if outdated {
            closing.proposal = None;
            closing.computed = None;
        }
        if closing.proposal.is_none() {
            if ready.len() < needed {
                self.open.closing = None;
                return;
            }
            if closing.full || turn <= now {
                let proposal = self.propose(ready);
                if let Some(closing) = &mut self.open.closing {
                    closing.proposal = Some(proposal);
                }
            }
        }
        self.seal_if_due();
    }

    fn propose(&self, fresh: Vec<ContributionId>) -> Proposal {
        Proposal {
            spec: self.rules.spec_id,
            round: self.history.chain.round() + 1,
            parent: self.history.chain.head(),
            fresh,
            late: self.late_to_seal(),
            proofs: self.history.proofs_to_carry(&self.rules),
        }
    }

    /// Time of this node's turn. The turns count from the moment the policy was met, or, if all
    /// compute the same, from this node's result on.
    fn turn(&self) -> Option<Instant> {
        let closing = self.open.closing.as_ref()?;
        let place = self.place()?;
        let from = if closing.full {
            closing.computed.unwrap_or(closing.at)
        } else {
            closing.at
        };
        Some(from.after_ms(place.saturating_mul(self.stagger_ms())))
    }

    fn seal_if_due(&mut self) {
        let closing = self.open.closing.as_ref();
        let Some(proposal) = closing.and_then(|closing| closing.proposal.clone()) else {
            return;
        };
        let id = proposal.id();
        let Some(result) = self.known_result(&proposal) else {
            return self.start_job(&proposal);
        };
        if let Some(closing) = &mut self.open.closing {
            closing.computed.get_or_insert(self.now);
        }
        // The seal of another node is being recomputed at this moment: to wait for one computation is cheaper than a fork. A
        // sealer that was refuted on this parent is not waited for, so each sealer can hold the round up once.
        let waits = self.waits_for_others(&proposal.parent, &id);
        if waits || self.turn().is_none_or(|turn| turn > self.now) {
            return;
        }
        if let Some(closing) = &mut self.open.closing {
            closing.signed = true;
        }
        self.sign_seal(proposal, result);
    }

    /// Returns true if a seal of another node is being recomputed that is worth waiting for: at most [`WAITED_FOR_MAX`] in a
    /// round, and none by a sealer that was refuted on the head.
    fn waits_for_others(&mut self, parent: &CheckpointId, own: &ProposalId) -> bool {
        let others = self.fetching.jobs.on(parent, own);
        if others.is_empty() || self.only_liars_computed() {
            return false;
        }
        let Some(closing) = &mut self.open.closing else {
            return false;
        };
        closing.waited_for.extend(&others);
        closing.waited_for.len() <= WAITED_FOR_MAX
    }

    /// Returns true if this is the proposal that this node would seal.
    pub(in crate::round) fn is_own_proposal(&self, id: &ProposalId) -> bool {
        let closing = self.open.closing.as_ref();
        closing
            .and_then(|c| c.proposal.as_ref())
            .is_some_and(|own| own.id() == *id)
    }

    /// Returns true if every unverified seal on the head is by sealers that were refuted there before.
    fn only_liars_computed(&self) -> bool {
        let head = self.history.chain.head();
        let Some(node) = self.history.tree.get(&head) else {
            return true;
        };
        let children = node.children.iter().filter_map(|id| self.history.tree.get(id));
        let mut sealers = children.filter_map(|n| self.history.seal_of(n)).map(|s| s.sealer);
        let refuted = |sealer: &NodeId| {
            let of_sealer = self.history.refuted.get(sealer).into_iter().flatten();
            of_sealer.into_iter().any(|(_, (parent, _))| *parent == head)
        };
        sealers.all(|sealer| refuted(&sealer))
    }

    fn sign_seal(&mut self, proposal: Proposal, result: Content) {
        self.out.act(Output::Sign(Unsigned::Seal(Seal {
            spec: proposal.spec,
            round: proposal.round,
            parent: proposal.parent,
            fresh: proposal.fresh,
            late: proposal.late,
            proofs: proposal.proofs,
            result,
            sealer: self.rules.config.node,
        })));
    }

    /// Takes in this node's own seal, now signed, and sends it.
    pub(in crate::round) fn own_seal(&mut self, signed: Signed<Seal>) {
        let id = signed.record.id();
        self.take_seal(signed.clone());
        if self.history.ledger.seal(&id).is_some() {
            self.out.act(Output::SendSeal(signed));
        }
    }

    /// Time at which closing goes on without further input.
    pub(in crate::round) fn next_seal_turn(&self) -> Option<Instant> {
        let closing = self.open.closing.as_ref().filter(|c| !c.signed)?;
        let waits = closing.full && closing.computed.is_none();
        self.turn().filter(|_| !waits)
    }
}
