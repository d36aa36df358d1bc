//! Invariants: what holds after every input, valid or not. A test that breaks one has found a mistake.

use std::collections::BTreeMap;

use crate::id::{NodeId, ProofId};
use crate::round::machine::Machine;
use crate::round::table::history::History;

impl Machine {
    /// Checks all invariants, and says which one does not hold. The simulator calls this after every step.
    #[doc(hidden)]
    pub fn check_invariants(&self) -> Result<(), String> {
        self.check_cheap_invariants()?;
        self.history.ledger.invariant_index_names_what_is_held()?;
        self.history.tree.invariant_checkpoints_are_linked()?;
        self.history.invariant_chain_is_a_branch_of_the_tree()?;
        self.history.invariant_seals_belong_to_checkpoints()?;
        self.history.invariant_lowest_proofs_count()?;
        self.history.invariant_named_proofs_are_counted()?;
        self.invariant_consents_are_indexed()?;
        self.invariant_votes_only_go_up()
    }

    /// Checks the invariants that cost next to nothing.
    pub(super) fn check_cheap_invariants(&self) -> Result<(), String> {
        self.invariant_welcome_records_are_taken_in()?;
        self.invariant_chain_reaches_from_the_root_to_the_head()?;
        self.invariant_memory_reaches_below_the_horizon()?;
        self.invariant_proposal_is_on_the_head()
    }

    /// Invariant: no record that became welcome waits any more.
    fn invariant_welcome_records_are_taken_in(&self) -> Result<(), String> {
        match self.intake.queue.len() {
            0 => Ok(()),
            count => Err(format!("{count} welcome records wait")),
        }
    }

    /// Invariant: the head's branch begins at the tree's root, and the head is in the tree.
    fn invariant_chain_reaches_from_the_root_to_the_head(&self) -> Result<(), String> {
        let (chain, tree) = (&self.history.chain, &self.history.tree);
        if chain.at(chain.first()) != Some(tree.root()) {
            return Err(format!("the head's branch does not begin at the root {}", tree.root()));
        }
        let head = chain.head();
        match tree.get(&head) {
            Some(node) if node.round == chain.round() => Ok(()),
            _ => Err(format!("the head {head} is not in the tree under its round")),
        }
    }

    /// Invariant: the oldest checkpoint in memory is not above the horizon, so that all that may still lose is in memory.
    fn invariant_memory_reaches_below_the_horizon(&self) -> Result<(), String> {
        let (root, horizon) = (self.history.chain.first(), self.history.horizon);
        if root > horizon {
            return Err(format!("the root is of round {root}, the horizon is {horizon}"));
        }
        Ok(())
    }

    /// Invariant: what this node would seal builds on its head.
    fn invariant_proposal_is_on_the_head(&self) -> Result<(), String> {
        let closing = self.open.closing.as_ref();
        let head = self.history.chain.head();
        match closing.and_then(|closing| closing.proposal.as_ref()) {
            Some(proposal) if proposal.parent != head => {
                Err(format!("a proposal on {}, the head is {head}", proposal.parent))
            }
            _ => Ok(()),
        }
    }

    /// Invariant: the last vote is at least as high as every vote in a held contribution of this node, so that no later vote
    /// contradicts one (docs/adr/0007).
    fn invariant_votes_only_go_up(&self) -> Result<(), String> {
        let last = self.submissions.last_vote;
        for (id, signed) in self.history.ledger.contributions_of(0, u64::MAX) {
            let c = &signed.record;
            let Some(source) = c.source.filter(|_| c.author == self.rules.config.node) else {
                continue;
            };
            if last.is_none_or(|last| last.target + 1 < c.round || last.source < source) {
                return Err(format!("the vote in contribution {id} is above the last one, {last:?}"));
            }
        }
        Ok(())
    }
}

impl History {
    /// Invariant: the checkpoints of the head's branch follow each other in the tree.
    fn invariant_chain_is_a_branch_of_the_tree(&self) -> Result<(), String> {
        for round in self.chain.first()..=self.chain.round() {
            let node = self.chain.at(round).and_then(|id| self.tree.get(&id));
            let below = round.checked_sub(1).and_then(|round| self.chain.at(round));
            let follows = |parent| below.is_none() || parent == below;
            if !node.is_some_and(|node| node.round == round && follows(node.parent)) {
                return Err(format!("the head's branch is broken at round {round}"));
            }
        }
        Ok(())
    }

    /// Invariant: the held seals are those of the checkpoints in the tree.
    fn invariant_seals_belong_to_checkpoints(&self) -> Result<(), String> {
        let mut count = 0;
        for node in self.tree.all() {
            count += node.seals.len();
            if let Some(seal) = node.seals.iter().find(|id| self.ledger.seal(id).is_none()) {
                return Err(format!("seal {seal} of checkpoint {} is not held", node.id));
            }
        }
        let held = self.ledger.count_seals();
        if count != held {
            return Err(format!("{held} seals are held, the checkpoints have {count}"));
        }
        Ok(())
    }

    /// Invariant: the proof that counts against an author is the lowest one held.
    fn invariant_lowest_proofs_count(&self) -> Result<(), String> {
        let authors = self.ledger.accused();
        let lowest: BTreeMap<NodeId, ProofId> = authors
            .filter_map(|author| Some((author, self.ledger.lowest_proof(&author)?)))
            .collect();
        if lowest != self.proofs.proved {
            return Err(format!(
                "the lowest proofs are {lowest:?}, those that count {:?}",
                self.proofs.proved
            ));
        }
        Ok(())
    }

    /// Invariant: a proof counts as named once for each checkpoint in the tree that names it.
    fn invariant_named_proofs_are_counted(&self) -> Result<(), String> {
        let mut open = self.proofs.named.clone();
        for node in self.tree.all() {
            for proof in self.seal_of(node).into_iter().flat_map(|seal| &seal.proofs) {
                match open.get_mut(proof) {
                    Some(count) if *count > 0 => *count -= 1,
                    _ => {
                        return Err(format!(
                            "checkpoint {} names proof {proof}, which is not counted",
                            node.id
                        ));
                    }
                }
            }
        }
        match open.iter().find(|(_, count)| **count > 0) {
            Some((proof, count)) => Err(format!("proof {proof} counts {count} times too often")),
            None => Ok(()),
        }
    }
}
