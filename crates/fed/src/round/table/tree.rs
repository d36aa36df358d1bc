//! The tree of the known checkpoints, linked to their parents.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::id::{BlobId, CheckpointId};
use crate::record::BlobRole;
use crate::round::table::ballots::Votes;
use crate::round::table::leaves::{Filed, Leaves};
use crate::round::table::node::Node;
use crate::round::table::rank::Rank;

/// The tree, rooted in the oldest checkpoint in memory.
#[derive(Debug)]
pub(in crate::round) struct Tree {
    root: CheckpointId,
    nodes: BTreeMap<CheckpointId, Node>,
    by_round: BTreeMap<u64, BTreeSet<CheckpointId>>,
    /// Candidates without candidate children. A child always ranks above its parent, so the head is on one of their paths.
    pub(in crate::round) leaves: Leaves,
    /// Number of checkpoints that have this blob in this role.
    blobs: BTreeMap<(BlobRole, BlobId), usize>,
    quorum: usize,
    /// True if a quorum's votes are enough to adopt a checkpoint by its digest (list models).
    quorum_attests: bool,
}

impl Tree {
    pub fn new(root: Node, quorum: usize, quorum_attests: bool) -> Self {
        let mut tree = Self {
            root: root.id,
            nodes: BTreeMap::new(),
            by_round: BTreeMap::new(),
            leaves: Leaves::default(),
            blobs: BTreeMap::new(),
            quorum,
            quorum_attests,
        };
        tree.add(root);
        tree
    }

    pub fn root(&self) -> CheckpointId {
        self.root
    }

    /// Removes the root. Its child `next`, the only one, becomes the root.
    pub fn advance_root(&mut self, next: &CheckpointId) -> Option<Node> {
        if self.nodes.get(next)?.parent != Some(self.root) {
            return None;
        }
        let node = self.nodes.remove(&self.root)?;
        self.forget(&node);
        if let Some(filed) = node.filed {
            self.leaves.remove(&filed);
        }
        self.root = *next;
        self.review(next);
        Some(node)
    }

    /// Puts the root's parent back, which becomes the root.
    pub fn retreat_root(&mut self, mut node: Node) {
        let (id, before) = (node.id, self.root);
        node.children.insert(before);
        node.candidates_below = 1;
        self.root = id;
        self.add(node);
        self.review(&before);
    }

    pub fn get(&self, id: &CheckpointId) -> Option<&Node> {
        self.nodes.get(id)
    }

    pub fn get_mut(&mut self, id: &CheckpointId) -> Option<&mut Node> {
        self.nodes.get_mut(id)
    }

    /// Checkpoints of one round, on any branch.
    pub fn of_round(&self, round: u64) -> impl Iterator<Item = &Node> {
        let ids = self.by_round.get(&round);
        ids.into_iter().flatten().filter_map(|id| self.nodes.get(id))
    }

    /// Checkpoints of this round and later ones.
    pub fn rounds_from(&self, round: u64) -> impl Iterator<Item = &Node> {
        let rounds = self.by_round.range(round..);
        rounds.flat_map(|(_, ids)| ids).filter_map(|id| self.nodes.get(id))
    }

    /// The leaves, the greatest first.
    pub fn leaves(&self) -> impl Iterator<Item = &Rank> {
        self.leaves.all()
    }

    pub fn rank(&self, node: &Node) -> Rank {
        Rank {
            confirmed: node.confirmed,
            round: node.round,
            votes: node.votes.stands.min(self.quorum),
            fresh: node.fresh,
            id: Reverse(node.id),
        }
    }

    /// Number of checkpoints that have this blob in this role.
    pub fn count_blob(&self, role: BlobRole, blob: BlobId) -> usize {
        self.blobs.get(&(role, blob)).copied().unwrap_or(0)
    }

    /// Adds a [`Node`] whose parent is in the tree, or the root.
    pub fn add(&mut self, node: Node) {
        let (id, parent) = (node.id, node.parent);
        self.by_round.entry(node.round).or_default().insert(id);
        for named in node.content.blobs() {
            *self.blobs.entry(named).or_default() += 1;
        }
        self.nodes.insert(id, node);
        if let Some(parent) = parent.and_then(|p| self.nodes.get_mut(&p)) {
            parent.children.insert(id);
        }
        self.review(&id);
    }

    /// Removes a [`Node`] and all its descendants. Returns them, parents first.
    pub fn remove(&mut self, id: &CheckpointId) -> Vec<Node> {
        let mut order = vec![*id];
        let mut next = 0;
        while let Some(at) = order.get(next) {
            let children = self.nodes.get(at).map(|n| n.children.clone()).unwrap_or_default();
            order.extend(children);
            next += 1;
        }
        // The order is from the leaves towards the root, so that only the parent of the removed branch becomes a leaf.
        for at in order.iter().rev() {
            self.set_candidate(at, false);
        }
        let parent = self.nodes.get(id).and_then(|n| n.parent);
        if let Some(parent) = parent.and_then(|p| self.nodes.get_mut(&p)) {
            parent.children.remove(id);
        }
        let removed = order.iter().filter_map(|at| self.nodes.remove(at));
        let removed: Vec<_> = removed.collect();
        removed.iter().for_each(|node| self.forget(node));
        removed
    }

    /// Takes a removed node out of the indices.
    fn forget(&mut self, node: &Node) {
        for named in node.content.blobs() {
            if let Some(count) = self.blobs.get_mut(&named) {
                *count -= 1;
                if *count == 0 {
                    self.blobs.remove(&named);
                }
            }
        }
        if let Some(ids) = self.by_round.get_mut(&node.round) {
            ids.remove(&node.id);
            if ids.is_empty() {
                self.by_round.remove(&node.round);
            }
        }
    }

    /// Files a [`Node`] anew after a change of it.
    pub fn review(&mut self, id: &CheckpointId) {
        let Some(node) = self.nodes.get(id) else { return };
        let attested = node.attested == node.round;
        let candidate = *id == self.root || node.complete || node.verified || attested;
        self.set_candidate(id, candidate);
        self.file(id);
    }

    fn set_candidate(&mut self, id: &CheckpointId, candidate: bool) {
        let Some(node) = self.nodes.get_mut(id) else { return };
        if node.candidate == candidate {
            return;
        }
        node.candidate = candidate;
        let parent = node.parent;
        self.file(id);
        if let Some(parent) = parent {
            if let Some(node) = self.nodes.get_mut(&parent) {
                node.candidates_below = if candidate {
                    node.candidates_below + 1
                } else {
                    node.candidates_below - 1
                };
            }
            self.file(&parent);
        }
    }

    fn file(&mut self, id: &CheckpointId) {
        let Some(node) = self.nodes.get(id) else { return };
        let leaf = node.candidate && node.candidates_below == 0;
        let now = Filed {
            rank: self.rank(node),
            leaf,
            verified: node.candidate && node.verified,
            seen: leaf && node.seen,
            ready: leaf && node.seen && node.ready,
        };
        let Some(node) = self.nodes.get_mut(id).filter(|node| node.filed != Some(now)) else {
            return;
        };
        (node.seen, node.ready) = (now.seen, now.ready);
        let old = node.filed.replace(now);
        self.leaves.refile(old, now);
    }

    /// Notes that a leaf was looked at, and whether its next step can be computed; or that it is to be looked at again.
    pub fn set_seen(&mut self, id: &CheckpointId, seen: bool, ready: bool) {
        if let Some(node) = self.nodes.get_mut(id) {
            (node.seen, node.ready) = (seen, ready);
            self.file(id);
        }
    }

    /// Takes out the leaves that were looked at and of which nothing is expected now: they are leaves no more, or stand below
    /// the head. They are looked at again if they come back.
    pub fn take_left(&mut self, best: Option<Rank>) -> Vec<CheckpointId> {
        let below = self.leaves.seen_up_to(best);
        below.iter().for_each(|id| self.set_seen(id, false, false));
        let mut left = self.leaves.take_left();
        left.extend(below);
        left
    }

    /// Marks all leaves, so that they are looked at again.
    pub fn look_at_all_again(&mut self) {
        let seen = self.leaves.all_seen();
        seen.iter().for_each(|id| self.set_seen(id, false, false));
    }

    /// Adds the [`Votes`] of more authors on this checkpoint, or of authors that said more by it.
    pub fn add_votes(&mut self, id: &CheckpointId, more: Votes) {
        let quorum = self.quorum;
        let Some(node) = self.nodes.get_mut(id) else { return };
        let before = node.votes;
        let now: Votes = [before, more].into_iter().sum();
        node.votes = now;
        let (round, parent) = (node.round, node.parent);
        let reached = |count: fn(&Votes) -> usize| count(&before) < quorum && count(&now) >= quorum;
        if reached(|v| v.confirms) {
            self.raise(*id, |node| &mut node.confirmed, round);
        }
        // The votes of a quorum link the checkpoint to the parent, which the voters knew as confirmed: the parent is final.
        if let Some(parent) = parent.filter(|_| reached(|v| v.settles)) {
            self.raise(parent, |node| &mut node.settled, round - 1);
        }
        if reached(|v| v.stands) && self.quorum_attests {
            self.attest(id);
        }
        self.review(id);
    }

    /// Notes that the checkpoint may be adopted by its digest.
    pub fn attest(&mut self, id: &CheckpointId) {
        let Some(round) = self.nodes.get(id).map(|n| n.round) else {
            return;
        };
        self.raise(*id, |node| &mut node.attested, round);
        self.review(id);
    }

    /// Raises a field of a checkpoint, and of all checkpoints built on it, at least to `round`.
    fn raise(&mut self, id: CheckpointId, field: fn(&mut Node) -> &mut u64, round: u64) {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            let value = field(node);
            if *value >= round {
                continue;
            }
            *value = round;
            open.extend(&node.children);
            self.file(&id);
        }
    }

    /// All checkpoints, in no order that matters.
    pub fn all(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Invariant: each checkpoint but the root is a child of its parent, one round above it, and the indices hold all of them.
    pub fn invariant_checkpoints_are_linked(&self) -> Result<(), String> {
        for node in self.nodes.values() {
            let id = node.id;
            let parent = node.parent.and_then(|parent| self.nodes.get(&parent));
            let linked = parent.is_some_and(|parent| parent.children.contains(&id) && parent.round + 1 == node.round);
            if id != self.root && !linked {
                return Err(format!("checkpoint {id} is not linked to its parent"));
            }
            if let Some(child) = node.children.iter().find(|child| !self.nodes.contains_key(child)) {
                return Err(format!("checkpoint {id} has a child {child} that is not in the tree"));
            }
            if !self.by_round.get(&node.round).is_some_and(|ids| ids.contains(&id)) {
                return Err(format!("checkpoint {id} is not filed under round {}", node.round));
            }
        }
        let count = self.nodes.len();
        let filed: usize = self.by_round.values().map(BTreeSet::len).sum();
        let blobs: usize = self.blobs.values().sum();
        let named: usize = self.nodes.values().map(|node| node.content.blobs().count()).sum();
        if !self.nodes.contains_key(&self.root) || filed != count || blobs != named {
            return Err(format!(
                "{count} checkpoints, {filed} by round, {blobs} of {named} blobs counted"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Content;
    use crate::round::table::convicted::Convicted;

    fn id(n: u8) -> CheckpointId {
        CheckpointId([n; 32])
    }

    fn node(tree: &Tree, n: u8, parent: u8) -> Node {
        let parent = tree.get(&id(parent)).unwrap();
        let mut node = Node::new(
            id(n),
            parent.round + 1,
            Some(parent),
            Content::of_weights(BlobId([n; 32])),
            Convicted::default(),
        );
        node.complete = true;
        node
    }

    fn tree() -> Tree {
        let zero = Node::new(
            id(0),
            0,
            None,
            Content::of_weights(BlobId([0; 32])),
            Convicted::default(),
        );
        let mut tree = Tree::new(zero, 2, true);
        for (n, parent) in [(1, 0), (2, 0), (3, 1), (4, 3)] {
            tree.add(node(&tree, n, parent));
        }
        tree
    }

    fn votes(authors: usize) -> Votes {
        Votes {
            stands: authors,
            confirms: authors,
            settles: authors,
        }
    }

    fn leaves(tree: &Tree) -> Vec<CheckpointId> {
        tree.leaves().map(|rank| rank.id.0).collect()
    }

    #[test]
    fn the_longest_branch_ranks_first() {
        assert_eq!(leaves(&tree()), [id(4), id(2)]);
    }

    #[test]
    fn at_equal_rounds_votes_decide_then_fresh_then_the_lower_id() {
        let zero = Node::new(
            id(0),
            0,
            None,
            Content::of_weights(BlobId([0; 32])),
            Convicted::default(),
        );
        let mut tree = Tree::new(zero, 3, true);
        for n in [1, 2, 3] {
            let mut node = node(&tree, n, 0);
            node.fresh = if n == 3 { 5 } else { 4 };
            tree.add(node);
        }
        assert_eq!(leaves(&tree), [id(3), id(1), id(2)]);
        tree.add_votes(&id(2), votes(1));
        assert_eq!(leaves(&tree), [id(2), id(3), id(1)]);
        // Past the quorum more votes are worth nothing, so fresh contributions decide again.
        tree.add_votes(&id(2), votes(9));
        tree.add_votes(&id(3), votes(3));
        assert_eq!(leaves(&tree), [id(3), id(2), id(1)]);
    }

    #[test]
    fn a_confirmed_branch_ranks_above_a_longer_one_that_nobody_confirms() {
        let mut tree = tree();
        tree.add_votes(&id(2), votes(2));
        assert_eq!(leaves(&tree), [id(2), id(4)]);
        tree.add_votes(&id(1), votes(2));
        assert_eq!(leaves(&tree), [id(4), id(2)], "now both forks are confirmed to round 1");
        assert_eq!(tree.get(&id(4)).unwrap().confirmed, 1);
    }

    #[test]
    fn removing_a_branch_makes_its_parent_a_leaf_again() {
        let mut tree = tree();
        let gone: Vec<_> = tree.remove(&id(3)).iter().map(|n| n.id).collect();
        assert_eq!(gone, [id(3), id(4)]);
        assert_eq!(leaves(&tree), [id(1), id(2)]);
        assert!(tree.of_round(3).next().is_none());
    }
}
