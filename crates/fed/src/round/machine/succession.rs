//! The change of members: agreement on the change, the end of the model at one checkpoint, and the successor (docs/adr/0011).
//!
//! ```text
//! agree      members consent to a change                    a quorum agreed: the model ends
//! stand      each says on which checkpoint it stands        a quorum stands on one: each of them binds itself to it
//! bound      members bind themselves to the checkpoint      a quorum is bound: the successor begins with its weights
//! ```
//!
//! A member changes what it is bound to only if the quorum cannot be reached there any more. So of two checkpoints at most one
//! ever has a quorum, unless members lie.

use std::collections::BTreeSet;

use crate::id::{CheckpointId, ConsentId, ContributionId, SubmissionId};
use crate::record::{Change, Consent, Handover, Signed};
use crate::round::machine::Machine;
use crate::round::{ChangeInfo, Handed, MembersPolicy, Output, Persist, RecordId, Submission, Succession, Unsigned};

impl Machine {
    /// Takes what the operator of this node says: agreement to this change, or to none. An end that a quorum agreed to is not
    /// withdrawn, because others may rely on it.
    pub(in crate::round) fn agree(&mut self, change: Option<Change>) {
        if self.ending().is_none() && self.may_consent() {
            self.sign_consent(change, None);
        }
    }

    /// Takes in a consent of any member. The `node` crate has verified the signature.
    pub(in crate::round) fn take_consent(&mut self, signed: Signed<Consent>) {
        let consent = &signed.record;
        if consent.spec != self.rules.spec_id || consent.check(&self.rules.spec).is_err() {
            return;
        }
        let id = consent.id();
        let Some(replaced) = self.consents.keep(id, signed.clone()) else {
            return;
        };
        if let Some(old) = replaced {
            self.history.ledger.unindex_consent(&old);
        }
        self.history.ledger.index_consent(id);
        self.out.persist(Persist::Consent(signed));
        // Checkpoints that members are bound to are verified.
        self.dirty.head = true;
        self.dirty.round = true;
        self.out.round_changed();
    }

    /// Takes in this node's own consent, now signed, and sends it.
    pub(in crate::round) fn signed_consent(&mut self, signed: Signed<Consent>) {
        let id = signed.record.id();
        self.take_consent(signed.clone());
        if self.consents.get(&id).is_some() {
            self.out.act(Output::SendConsent(signed));
        }
    }

    /// Brings this node's own consent in line with what it knows.
    pub(in crate::round) fn settle_succession(&mut self) {
        if self.consents.is_empty() {
            return;
        }
        self.tell_succession();
        if !self.may_consent() || self.rules.config.members == MembersPolicy::Never {
            return;
        }
        let own = self.consents.of(&self.rules.config.node);
        let standing = own.filter(|own| own.handover.is_some()).map(|own| own.change.clone());
        if let Some(change) = self.ending() {
            self.hand_over(change);
        } else if let Some(change) = standing {
            // The quorum is gone, because a member withdrew meanwhile. To stand somewhere is no promise.
            self.sign_consent(change, None);
        } else if self.rules.config.members == MembersPolicy::Follow {
            self.follow();
        }
    }

    /// Agrees to the change that most members agree to, unless this node proposed another one or its operator withdrew.
    fn follow(&mut self) {
        let changes = self.consents.changes(|author| !self.history.is_excluded(author));
        let best = changes.first().map(|(change, _)| (*change).clone());
        let own = self.consents.of(&self.rules.config.node);
        let stays = own.is_some_and(|own| {
            let change = own.change.as_ref();
            change.is_none_or(|change| change.proposer == own.author)
        });
        if !stays && best.is_some() {
            self.sign_consent(best, None);
        }
    }

    /// Says on which checkpoint this node would end the model, and binds itself once a quorum stands there.
    fn hand_over(&mut self, change: Change) {
        let own = self.consents.of(&self.rules.config.node);
        let own = own.filter(|own| own.change.as_ref() == Some(&change));
        let held = own.and_then(|own| own.handover);
        if let Some(held) = held.filter(|held| held.bound)
            && self.may_reach_quorum(&change, &held.checkpoint)
        {
            return;
        }
        if !self.is_at_rest() {
            return;
        }
        let own = (self.history.chain.round(), self.history.chain.head());
        let (round, checkpoint) = self.supported(&change).unwrap_or(own);
        let mut standing = self.standing(&change, &checkpoint);
        if held.is_none_or(|held| held.checkpoint != checkpoint) {
            standing += 1;
        }
        let handover = Handover {
            round,
            checkpoint,
            bound: standing >= self.rules.quorum,
        };
        if held != Some(handover) {
            self.sign_consent(Some(change), Some(handover));
        }
    }

    /// Returns the checkpoint to which most members are bound, with its round, if this node may stand there instead of on its
    /// head. Otherwise a round that closed late would leave the members on two checkpoints for ever.
    ///
    /// It must branch off the head's branch at a confirmed checkpoint or later, so that liars cannot undo what a quorum
    /// confirmed.
    fn supported(&self, change: &Change) -> Option<(u64, CheckpointId)> {
        let bound = self.consents.bound(change, |author| !self.history.is_excluded(author));
        let confirmed = self.history.confirmed_round();
        let open = bound.into_iter().filter_map(|(checkpoint, count)| {
            let node = self.history.tree.get(&checkpoint).filter(|node| node.verified)?;
            let mut at = node;
            while !self.history.chain.contains(at.round, &at.id) {
                at = self.history.tree.get(&at.parent?)?;
            }
            let fits = at.round >= confirmed && self.may_reach_quorum(change, &checkpoint);
            fits.then_some((count, node.round, checkpoint))
        });
        open.max().map(|(_, round, checkpoint)| (round, checkpoint))
    }

    /// Works on the checkpoints that members are bound to and that this node has not verified, for the purpose `leaf`: none of them
    /// need be on the way to the greatest leaf. One that a quorum is bound to is adopted by its digest.
    pub(in crate::round) fn verify_bound(&mut self, leaf: &CheckpointId) {
        let Some(change) = self.ending() else { return };
        let handovers = self.consents.handovers(&change);
        let bound: BTreeSet<_> = handovers.filter(|(_, h)| h.bound).map(|(_, h)| h.checkpoint).collect();
        let decided = self.decided().map(|(_, checkpoint)| checkpoint);
        for checkpoint in bound {
            let Some(node) = self.history.tree.get(&checkpoint).filter(|node| !node.verified) else {
                continue;
            };
            let parent = node.parent.and_then(|parent| self.history.tree.get(&parent));
            let recomputes = parent.is_some_and(|parent| parent.verified);
            if decided == Some(checkpoint) {
                self.adopt(leaf, &checkpoint);
            }
            if recomputes {
                self.recompute(leaf, &checkpoint);
            }
        }
    }

    /// Signs a consent with the next number. The signed one comes back at once, and is then brought in line again.
    fn sign_consent(&mut self, change: Option<Change>, handover: Option<Handover>) {
        let author = self.rules.config.node;
        let last = self.consents.of(&author);
        if last.is_some_and(|last| (&last.change, last.handover) == (&change, handover)) {
            return;
        }
        if last.is_none() && change.is_none() {
            return;
        }
        let number = last.map_or(1, |last| last.number.saturating_add(1));
        self.out.act(Output::Sign(Unsigned::Consent(Consent {
            spec: self.rules.spec_id,
            author,
            number,
            change,
            handover,
        })));
    }

    /// Returns true if this node may sign a consent: a member that is not convicted, and that has compared its records.
    fn may_consent(&mut self) -> bool {
        self.rules.is_list
            && self.rules.is_member
            && !self.history.is_excluded(&self.rules.config.node)
            && self.may_sign()
    }

    /// Returns the change to which a quorum agreed, so that the model ends. A member that is bound to a checkpoint stays with its
    /// change.
    pub fn ending(&self) -> Option<Change> {
        if self.consents.is_empty() {
            return None;
        }
        let own = self.consents.of(&self.rules.config.node);
        if let Some(own) = own.filter(|own| own.handover.is_some_and(|handover| handover.bound)) {
            return own.change.clone();
        }
        let changes = self.consents.changes(|author| !self.history.is_excluded(author));
        let (change, agreed) = changes.into_iter().next()?;
        (agreed.len() >= self.rules.quorum).then(|| change.clone())
    }

    /// Returns true if this node makes no more work for the model, because a quorum agreed to end it.
    pub(in crate::round) fn is_ending(&self) -> bool {
        self.rules.config.members != MembersPolicy::Never && self.ending().is_some()
    }

    /// Returns true if the open round cannot close without new work: fewer than k contributions are here. An update that is
    /// withheld does not keep the model from ending.
    fn is_at_rest(&self) -> bool {
        let head = self.history.chain.head();
        let verified = self.history.tree.get(&head).is_some_and(|node| node.verified);
        let closes = self.ready().len() >= self.needed() && !self.is_far_ahead() && !self.is_complete();
        verified && self.open.closing.is_none() && !closes
    }

    /// Returns how many members stand on this checkpoint, or are bound to it.
    fn standing(&self, change: &Change, checkpoint: &CheckpointId) -> usize {
        let named = self.consents.handovers(change);
        let here = named.filter(|(_, handover)| handover.checkpoint == *checkpoint);
        here.filter(|(author, _)| !self.history.is_excluded(author)).count()
    }

    /// Returns true if a quorum may yet be bound to this checkpoint: not so many members are bound to others that it cannot.
    fn may_reach_quorum(&self, change: &Change, checkpoint: &CheckpointId) -> bool {
        let members = self.rules.members().map_or(0, BTreeSet::len);
        let others = self.consents.handovers(change);
        let lost = others.filter(|(_, handover)| handover.bound && handover.checkpoint != *checkpoint);
        members.saturating_sub(lost.count()) >= self.rules.quorum
    }

    /// Returns the checkpoint to which a quorum is bound. Nothing that a member says later takes that back from those that are told.
    fn decided(&self) -> Option<(Change, CheckpointId)> {
        let counts = |author: &_| !self.history.is_excluded(author);
        self.consents.decided(self.rules.quorum, counts)
    }

    /// Tells the driver once the model has a successor, and this node has the weights to begin with.
    fn tell_succession(&mut self) {
        if self.consents.told.is_some() {
            return;
        }
        let Some((change, checkpoint)) = self.decided() else {
            return;
        };
        let Some(node) = self.history.tree.get(&checkpoint).filter(|node| node.verified) else {
            return;
        };
        let Ok(successor) = change.successor(&self.rules.spec, node.round, node.content.weights) else {
            return;
        };
        let succession = Succession {
            change,
            checkpoint,
            round: node.round,
            weights: node.content.weights,
            successor: successor.id(),
        };
        self.consents.told = Some(succession.clone());
        self.out.act(Output::Succeeded(succession));
    }

    /// The end of the model, once a quorum is bound to its last checkpoint and this node holds that. It stays when it was told
    /// once.
    pub fn succession(&self) -> Option<&Succession> {
        self.consents.told.as_ref()
    }

    /// What becomes of each submission of this node that is not final, when the model ends at this checkpoint.
    pub fn handed_over(&self, checkpoint: &CheckpointId) -> Vec<(SubmissionId, Handed)> {
        let states = self.submissions.states.iter().filter(|(_, state)| !state.is_final());
        let ids: Vec<_> = states.map(|(id, _)| *id).collect();
        let handed = |id: SubmissionId| Some((id, self.handed(self.submissions.known.get(&id)?, checkpoint)));
        ids.into_iter().filter_map(handed).collect()
    }

    fn handed(&self, submission: &Submission, last: &CheckpointId) -> Handed {
        let own = self.submissions.own(&submission.base).filter(|own| {
            let merged = self.submissions.merged.get(own);
            merged.is_some_and(|merged| merged.contains(&submission.id))
        });
        let listed = own.and_then(|own| self.listed_below(&own, last));
        match own.zip(listed) {
            Some((own, checkpoint)) => Handed::Sealed {
                checkpoint,
                weight_ppm: self
                    .history
                    .tree
                    .get(&checkpoint)
                    .map_or(0, |node| self.history.share_of(&self.rules, &own, node)),
            },
            None if submission.base == *last => Handed::CarriedOver,
            None => Handed::Lost,
        }
    }

    /// Returns the checkpoint on the branch of `last` that lists a contribution.
    fn listed_below(&self, id: &ContributionId, last: &CheckpointId) -> Option<CheckpointId> {
        let mut at = self.history.tree.get(last);
        while let Some(node) = at {
            let seal = self.history.seal_of(node)?;
            if seal.fresh.binary_search(id).is_ok() || seal.late.binary_search(id).is_ok() {
                return Some(node.id);
            }
            at = node.parent.and_then(|parent| self.history.tree.get(&parent));
        }
        None
    }

    /// The changes of members that are proposed, the most agreed one first.
    pub fn changes(&self) -> Vec<ChangeInfo> {
        if self.consents.is_empty() {
            return vec![];
        }
        let changes = self.consents.changes(|author| !self.history.is_excluded(author));
        let info = |(change, agreed): (&Change, _)| ChangeInfo {
            change: change.clone(),
            agreed,
        };
        changes.into_iter().map(info).collect()
    }

    /// The checkpoint to which this node is bound as the model's last one, with its round.
    pub fn bound_to(&self) -> Option<(u64, CheckpointId)> {
        let handover = self.consents.of(&self.rules.config.node)?.handover?;
        handover.bound.then_some((handover.round, handover.checkpoint))
    }

    /// The change that this node agrees to.
    pub fn agrees_to(&self) -> Option<&Change> {
        self.consents.of(&self.rules.config.node)?.change.as_ref()
    }

    /// A consent that is held.
    pub fn consent(&self, id: &ConsentId) -> Option<&Signed<Consent>> {
        self.consents.get(id)
    }

    /// Puts the consents back that the store holds. This node's own one is sent again: it may never have left.
    pub(in crate::round) fn restore_consents(&mut self, consents: Vec<Signed<Consent>>) {
        for signed in consents {
            let id = signed.record.id();
            if signed.record.author == self.rules.config.node {
                self.out.act(Output::SendConsent(signed.clone()));
            }
            if let Some(replaced) = self.consents.keep(id, signed) {
                replaced
                    .into_iter()
                    .for_each(|old| self.history.ledger.unindex_consent(&old));
                self.history.ledger.index_consent(id);
            }
        }
    }

    /// Invariant: the index names exactly the consents that are held.
    pub(in crate::round) fn invariant_consents_are_indexed(&self) -> Result<(), String> {
        let named = self.records().iter().filter_map(|(_, id)| match id {
            RecordId::Consent(id) => Some(*id),
            _ => None,
        });
        let named: Vec<_> = named.collect();
        let held = named.iter().filter(|id| self.consents.get(id).is_some()).count();
        if held == named.len() && held == self.consents.all().count() {
            return Ok(());
        }
        Err(format!(
            "{} consents are held, the index names {}",
            self.consents.all().count(),
            named.len()
        ))
    }
}
