//! The fate of this node's contributions, and so of its submissions.

use crate::id::{CheckpointId, ContributionId};
use crate::round::SubmissionState;
use crate::round::machine::Machine;

impl Machine {
    /// Updates the states of this node's submissions after the head's branch changed.
    pub(in crate::round) fn refresh_submissions(&mut self) {
        let ids: Vec<_> = self.submissions.merged.keys().copied().collect();
        for id in ids {
            let submissions = self.submissions.merged.get(&id).cloned().unwrap_or_default();
            let before = submissions
                .first()
                .and_then(|id| self.submissions.states.get(id))
                .cloned();
            let state = self.fate_of(&id, before.as_ref());
            let settled = state.is_final();
            for submission in submissions {
                self.set_state(submission, state.clone());
            }
            if settled {
                self.submissions.merged.remove(&id);
                self.forget_settled(&id);
            }
        }
    }

    /// Returns true if a contribution of this node holds submissions whose state is not final.
    pub(in crate::round) fn is_unsettled(&self, id: &ContributionId) -> bool {
        self.submissions.merged.contains_key(id)
    }

    /// The [`SubmissionState`] of the submissions in a contribution of this node. `before` is the state that was said last.
    fn fate_of(&self, id: &ContributionId, before: Option<&SubmissionState>) -> SubmissionState {
        let Some(signed) = self.history.ledger.contribution(id) else {
            let reason = "its contribution is no longer held".to_owned();
            return SubmissionState::Rejected { reason };
        };
        let c = &signed.record;
        let (known, known_ppm) = match before {
            Some(SubmissionState::Sealed {
                checkpoint, weight_ppm, ..
            }) => (Some(*checkpoint), *weight_ppm),
            _ => (None, 0),
        };
        // Below the horizon the lists of seals are forgotten, so the state that was said before them still holds.
        let on_chain = |id: &CheckpointId| {
            self.history
                .tree
                .get(id)
                .is_some_and(|n| self.history.chain.contains(n.round, id))
        };
        let listed = self.history.listed_in_chain(id).or(known.filter(on_chain));
        if let Some(node) = listed.and_then(|c| self.history.tree.get(&c)) {
            let weight_ppm = match self.history.share_of(&self.rules, id, node) {
                0 if known == Some(node.id) => known_ppm,
                ppm => ppm,
            };
            return SubmissionState::Sealed {
                checkpoint: node.id,
                weight_ppm,
                confirmed: node.round <= self.history.confirmed_round(),
                settled: node.round <= self.history.final_round(&self.rules),
            };
        }
        // A contribution is rejected once the last round that could list it is final.
        let staleness = u64::from(self.rules.spec.rounds.max_staleness);
        if c.round.saturating_add(staleness) <= self.history.final_round(&self.rules) {
            let reason = format!(
                "round {} was sealed without it and no later seal took it within {staleness} rounds (the spec's max_staleness)",
                c.round
            );
            return SubmissionState::Rejected { reason };
        }
        // In an open model the end can still be another one.
        if self.rules.is_list && self.is_complete() {
            let reason = "the run ended before a seal took it".to_owned();
            return SubmissionState::Rejected { reason };
        }
        if c.parent == self.history.chain.head() {
            return SubmissionState::Merged { contribution: *id };
        }
        let round = self.history.chain.round() + 1;
        SubmissionState::Carried { round }
    }
}
