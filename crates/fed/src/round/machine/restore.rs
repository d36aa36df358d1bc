//! The start of a [`Machine`] from what the store remembers.

use std::collections::BTreeSet;

use crate::id::Instant;
use crate::record::Spec;
use crate::round::machine::Machine;
use crate::round::table::comparison::Comparison;
use crate::round::table::consents::Consents;
use crate::round::table::dirty::Dirty;
use crate::round::table::fetching::Fetching;
use crate::round::table::history::History;
use crate::round::table::intake::Intake;
use crate::round::table::node::Node;
use crate::round::table::open_round::OpenRound;
use crate::round::table::outbox::Outbox;
use crate::round::table::pacing::Pacing;
use crate::round::table::queued::Queued;
use crate::round::table::rules::Rules;
use crate::round::table::search::Search;
use crate::round::table::submissions::Submissions;
use crate::round::{Config, Output, RecordId, Restored, Root};

impl Machine {
    /// Makes a [`Machine`] that knows nothing but its spec and the root.
    fn empty(spec: Spec, config: Config, root: Option<Root>, now: Instant) -> Self {
        let node = Node::of_root(root.unwrap_or_else(|| Root::zero(&spec)));
        let root = node.id;
        let rules = Rules::new(spec, config);
        Self {
            history: History::new(node, &rules),
            intake: Intake::new(!rules.is_list),
            search: Search::default(),
            open: OpenRound::default(),
            pacing: Pacing::default(),
            fetching: Fetching::default(),
            submissions: Submissions::new(rules.config.trainers),
            comparison: Comparison::new(now, rules.to_compare()),
            consents: Consents::default(),
            out: Outbox::new(root),
            dirty: Dirty::all(),
            now,
            rules,
        }
    }

    /// Reads the store's records back in the order in which they build on each other, then settles as after any input.
    pub(in crate::round) fn restore(
        spec: Spec,
        config: Config,
        restored: Restored,
        now: Instant,
    ) -> (Self, Vec<Output>) {
        let mut machine = Self::empty(spec, config, restored.root.clone(), now);
        let fresh = restored.seals.is_empty() && restored.contributions.is_empty();
        machine.out.set_stored(stored_ids(&restored));
        machine.intake.known_verified = restored.verified;
        if machine.intake.known_verified.remove(&machine.rules.zero) {
            machine.fetching.blobs.weights.set_here(machine.rules.spec.checkpoint0);
            if let Some(node) = machine.history.tree.get_mut(&machine.rules.zero) {
                node.verified = true;
            }
            machine.history.tree.review(&machine.rules.zero);
        }
        let root = machine.history.tree.root();
        if machine.intake.known_verified.remove(&root)
            && let Some(node) = machine.history.tree.get_mut(&root)
        {
            node.verified = true;
            machine.fetching.blobs.set_here(&node.content);
            machine.history.tree.review(&root);
        }
        for proof in restored.proofs {
            machine.restore_proof(proof);
        }
        machine.restore_consents(restored.consents);
        let mut records: Vec<(u64, Queued)> = vec![];
        records.extend(
            restored
                .contributions
                .into_iter()
                .map(|c| (c.record.round, Queued::Contribution(c))),
        );
        records.extend(restored.seals.into_iter().map(|s| (s.record.round, Queued::Seal(s))));
        // The sort is stable: in each round the contributions come first, then the seals.
        records.sort_by_key(|(round, _)| *round);
        for (_, record) in records {
            machine.intake.queue.push_back(record);
            machine.work_off_queue();
        }
        machine.out.set_stored(BTreeSet::new());
        machine.intake.restoring = false;
        for (submission, state) in restored.submissions {
            machine.restore_submission(submission, state);
        }
        machine.settle_restored(fresh);
        let outputs = machine.out.drain();
        (machine, outputs)
    }

    fn settle_restored(&mut self, fresh: bool) {
        self.recall_attendance();
        let before = self.history.chain.head();
        self.settle_head();
        if self.history.chain.head() == before {
            self.announce_head();
        }
        let head = self.history.chain.head();
        let known = self.history.ballots.authors(&head) > 0;
        if fresh {
            self.pacing.paces.begin(head, self.now);
        }
        self.open = OpenRound {
            first: known.then_some(self.now),
            submitted: self.submissions.waits_on(&head).then_some(self.now),
            ..OpenRound::default()
        };
        // Records that were persisted just before a crash may never have been sent.
        let own = self
            .submissions
            .own(&head)
            .and_then(|id| self.history.ledger.contribution(&id))
            .cloned();
        if let Some(own) = own {
            self.out.act(Output::SendContribution(own));
        }
        let seals = self
            .history
            .tree
            .get(&head)
            .map(|n| n.seals.clone())
            .unwrap_or_default();
        let seals = seals.iter().filter_map(|id| self.history.ledger.seal(id));
        let own = seals
            .filter(|s| s.record.sealer == self.rules.config.node)
            .cloned()
            .collect::<Vec<_>>();
        for seal in own {
            self.out.act(Output::SendSeal(seal));
        }
        self.settle();
    }

    /// Restores the attendance, before the head is chosen anew: each member was last
    /// heard in the newest round that it contributed to.
    fn recall_attendance(&mut self) {
        let held: Vec<_> = self
            .history
            .ledger
            .contributions_of(1, u64::MAX)
            .map(|(id, _)| id)
            .collect();
        for id in held {
            self.attend(&id);
        }
    }
}

fn stored_ids(restored: &Restored) -> BTreeSet<RecordId> {
    let contributions = restored
        .contributions
        .iter()
        .map(|c| RecordId::Contribution(c.record.id()));
    let seals = restored.seals.iter().map(|s| RecordId::Seal(s.record.id()));
    let proofs = restored.proofs.iter().map(|p| RecordId::Proof(p.id()));
    contributions.chain(seals).chain(proofs).collect()
}
