//! The start of a [`Machine`] from what the store remembers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::codec::Codec;
use crate::id::Instant;
use crate::record::{Membership, Spec};
use crate::round::machine::Machine;
use crate::round::machine::limits::DELAY_MS_DEFAULT;
use crate::round::table::attendance::Attendance;
use crate::round::table::ballots::Ballots;
use crate::round::table::blobs::Blobs;
use crate::round::table::chain::Chain;
use crate::round::table::claims::Claims;
use crate::round::table::comparison::Comparison;
use crate::round::table::jobs::Jobs;
use crate::round::table::ledger::Ledger;
use crate::round::table::node::Node;
use crate::round::table::open_round::OpenRound;
use crate::round::table::orphans::Orphans;
use crate::round::table::outbox::Outbox;
use crate::round::table::paces::Paces;
use crate::round::table::proof_use::ProofUse;
use crate::round::table::pursuits::Pursuits;
use crate::round::table::queued::Queued;
use crate::round::table::shares::Shares;
use crate::round::table::submissions::Submissions;
use crate::round::table::taken_back::TakenBack;
use crate::round::table::tree::Tree;
use crate::round::{Config, Output, RecordId, Restored, Root};

impl Machine {
    /// Makes a [`Machine`] that knows nothing but its spec and the root.
    fn empty(spec: Spec, config: Config, root: Option<Root>, now: Instant) -> Self {
        let zero = spec.zero().0;
        let is_list = matches!(spec.membership, Membership::List(_));
        let node = Node::of_root(root.unwrap_or_else(|| Root::zero(&spec)));
        let (root, round) = (node.id, node.round);
        Self {
            spec_id: spec.id(),
            update_bytes: Codec::of(&spec.codec)
                .ok()
                .map(|codec| codec.coded_bytes(&spec.tensors)),
            zero,
            is_member: spec.admits(&config.node),
            is_list,
            k: spec.rounds.min_contributions as usize,
            quorum: spec.quorum(),
            tree: Tree::new(node, spec.quorum(), is_list),
            chain: Chain::new(root, round),
            submissions: Submissions::new(config.trainers),
            comparison: Comparison::new(now, Self::to_compare(is_list, spec.admits(&config.node), spec.quorum())),
            spec,
            config,
            ledger: Ledger::default(),
            ballots: Ballots::default(),
            orphans: Orphans::default(),
            blobs: Blobs::default(),
            jobs: Jobs::default(),
            attendance: Attendance::default(),
            paces: Paces::default(),
            open: OpenRound::default(),
            out: Outbox::default(),
            queue: VecDeque::new(),
            named: BTreeMap::new(),
            pursuits: Pursuits::default(),
            proved: BTreeMap::new(),
            named_proofs: BTreeMap::new(),
            proof_use: ProofUse::default(),
            invalid: BTreeMap::new(),
            refuted: BTreeMap::new(),
            claims: Claims::default(),
            shares: Shares::new(!is_list),
            trusted: BTreeSet::new(),
            told_below_horizon: BTreeSet::new(),
            known_verified: BTreeSet::new(),
            attested: None,
            taken_back: TakenBack::default(),
            doubted: BTreeSet::new(),
            cached_path: None,
            told_confirmed: root,
            horizon: round,
            delay_ms: DELAY_MS_DEFAULT,
            now,
            restoring: true,
            head_dirty: true,
            round_dirty: true,
            wants_dirty: true,
            chain_dirty: true,
            chain_broken: false,
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
        machine.known_verified = restored.verified;
        if machine.known_verified.remove(&machine.zero) {
            machine.blobs.weights.set_here(machine.spec.checkpoint0);
            if let Some(node) = machine.tree.get_mut(&machine.zero) {
                node.verified = true;
            }
            machine.tree.review(&machine.zero);
        }
        let root = machine.tree.root();
        if machine.known_verified.remove(&root)
            && let Some(node) = machine.tree.get_mut(&root)
        {
            node.verified = true;
            machine.blobs.weights.set_here(node.result);
            machine.tree.review(&root);
        }
        for proof in restored.proofs {
            machine.restore_proof(proof);
        }
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
            machine.queue.push_back(record);
            machine.work_off_queue();
        }
        machine.out.set_stored(BTreeSet::new());
        machine.restoring = false;
        for (submission, state) in restored.submissions {
            machine.restore_submission(submission, state);
        }
        machine.settle_restored(fresh);
        let outputs = machine.out.drain();
        (machine, outputs)
    }

    fn settle_restored(&mut self, fresh: bool) {
        self.recall_attendance();
        let before = self.chain.head();
        self.settle_head();
        if self.chain.head() == before {
            self.announce_head();
        }
        let head = self.chain.head();
        let known = self.ballots.authors(&head) > 0;
        if fresh {
            self.paces.begin(head, self.now);
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
            .and_then(|id| self.ledger.contribution(&id))
            .cloned();
        if let Some(own) = own {
            self.out.act(Output::SendContribution(own));
        }
        let seals = self.tree.get(&head).map(|n| n.seals.clone()).unwrap_or_default();
        let seals = seals.iter().filter_map(|id| self.ledger.seal(id));
        let own = seals
            .filter(|s| s.record.sealer == self.config.node)
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
        let held: Vec<_> = self.ledger.contributions_of(1, u64::MAX).map(|(id, _)| id).collect();
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
