//! The fate of this node's contributions, and so of its submissions.

use crate::id::{CheckpointId, ContributionId};
use crate::round::SubmissionState;
use crate::round::machine::Machine;
use crate::round::table::node::Node;

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

    /// The round up to which this node never changes its mind. In a list this is the newest round that the votes of a quorum
    /// settled. In an open model, where any node can vote, this is the horizon.
    fn final_round(&self) -> u64 {
        if self.is_list {
            self.settled_round()
        } else {
            self.horizon
        }
    }

    /// The [`SubmissionState`] of the submissions in a contribution of this node. `before` is the state that was said last.
    fn fate_of(&self, id: &ContributionId, before: Option<&SubmissionState>) -> SubmissionState {
        let Some(signed) = self.ledger.contribution(id) else {
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
        let on_chain = |id: &CheckpointId| self.tree.get(id).is_some_and(|n| self.chain.contains(n.round, id));
        let listed = self.listed_in_chain(id).or(known.filter(on_chain));
        if let Some(node) = listed.and_then(|c| self.tree.get(&c)) {
            let weight_ppm = match self.share_of(id, node) {
                0 if known == Some(node.id) => known_ppm,
                ppm => ppm,
            };
            return SubmissionState::Sealed {
                checkpoint: node.id,
                weight_ppm,
                confirmed: node.round <= self.confirmed_round(),
                settled: node.round <= self.final_round(),
            };
        }
        // A contribution is rejected once the last round that could list it is final.
        let staleness = u64::from(self.spec.rounds.max_staleness);
        if c.round.saturating_add(staleness) <= self.final_round() {
            let reason = format!(
                "round {} was sealed without it and no later seal took it within {staleness} rounds (the spec's max_staleness)",
                c.round
            );
            return SubmissionState::Rejected { reason };
        }
        if c.parent == self.chain.head() {
            return SubmissionState::Merged { contribution: *id };
        }
        let round = self.chain.round() + 1;
        SubmissionState::Carried { round }
    }

    /// Share of a contribution in a checkpoint, in parts per million; 0 if other contributions in it are unknown.
    fn share_of(&self, id: &ContributionId, node: &Node) -> u32 {
        let Some(seal) = self.seal_of(node) else { return 0 };
        let (mut mine, mut all) = (0.0, 0.0);
        for listed in seal.fresh.iter().chain(&seal.late) {
            let Some(c) = self.ledger.contribution(listed) else {
                return 0;
            };
            // The same discount as in `update::aggregate`. The figure here only informs.
            let behind = seal.round.saturating_sub(c.record.round);
            #[allow(clippy::cast_precision_loss)]
            let weight = c.record.samples as f64 / (1.0 + behind as f64).sqrt();
            all += weight;
            if listed == id {
                mine = weight;
            }
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let ppm = (mine / all * 1e6).round() as u32;
        ppm
    }
}
