//! A checkpoint in the tree, with its links, votes and state.

use std::collections::BTreeSet;

use crate::id::{CheckpointId, SealId};
use crate::record::Content;
use crate::round::Root;
use crate::round::table::ballots::Votes;
use crate::round::table::convicted::Convicted;
use crate::round::table::leaves::Filed;

/// A checkpoint in the [`Tree`](super::tree::Tree). All its ancestors down to the root are in the tree too.
#[derive(Debug, Clone)]
pub(in crate::round) struct Node {
    pub id: CheckpointId,
    pub round: u64,
    /// Parent of the checkpoint; `None` for checkpoint 0 only.
    pub parent: Option<CheckpointId>,
    pub content: Content,
    /// Number of fresh contributions that the checkpoint lists.
    pub fresh: usize,
    /// Seals that make the checkpoint, in order of arrival. They differ in the sealer only.
    pub seals: Vec<SealId>,
    pub children: BTreeSet<CheckpointId>,
    /// Votes of the authors with a contribution on the checkpoint that are not convicted on its branch.
    pub votes: Votes,
    /// The newest round, on the way here from checkpoint 0, that a quorum votes for.
    pub confirmed: u64,
    /// The newest round, on that way, that is final: no branch without it can win.
    pub settled: u64,
    /// The newest round, on that way, whose checkpoint may be adopted by its digest; 0 = none.
    pub attested: u64,
    /// The round of the run's last checkpoint, if it is on the way here (this checkpoint included).
    pub end: Option<u64>,
    /// Number of listed contributions that are not here.
    pub missing: usize,
    /// True if all listed contributions are here and may stand together.
    pub complete: bool,
    /// True if the checkpoint counts against its sealer's share of incomplete ones.
    pub incomplete: bool,
    /// True if the weights of the checkpoint are here and right.
    pub verified: bool,
    /// Nodes that are convicted of equivocation on the branch, by this checkpoint's seal included.
    pub convicted: Convicted,
    /// True if the checkpoint may become the head, once verified.
    pub(super) candidate: bool,
    /// Number of children that are candidates.
    pub(super) candidates_below: usize,
    /// True for a leaf that was looked at: the work to make it the head is under way, or nothing can be done for it now.
    pub(super) seen: bool,
    /// True for a leaf whose next step can be computed once no other step is computed.
    pub(super) ready: bool,
    pub(super) filed: Option<Filed>,
}

impl Node {
    /// Makes a node without seals, votes or children.
    pub fn new(id: CheckpointId, round: u64, parent: Option<&Node>, content: Content, convicted: Convicted) -> Self {
        Self {
            id,
            round,
            parent: parent.map(|p| p.id),
            content,
            fresh: 0,
            seals: vec![],
            children: BTreeSet::new(),
            votes: Votes::default(),
            confirmed: parent.map_or(0, |p| p.confirmed),
            settled: parent.map_or(0, |p| p.settled),
            attested: parent.map_or(0, |p| p.attested),
            end: parent.and_then(|p| p.end),
            missing: 0,
            complete: false,
            incomplete: false,
            verified: false,
            convicted,
            candidate: false,
            candidates_below: 0,
            seen: false,
            ready: false,
            filed: None,
        }
    }

    /// Makes the node of a [`Root`]. A checkpoint below the horizon is settled, and so it is confirmed.
    pub fn of_root(root: Root) -> Self {
        let convicted = root.convicted.into_iter().collect();
        let mut node = Self::new(root.id, root.round, None, root.content, convicted);
        node.parent = root.parent;
        node.confirmed = root.round;
        node.settled = root.round;
        node
    }

    /// Returns true if this leaf was looked at.
    pub fn is_seen(&self) -> bool {
        self.seen
    }
}
