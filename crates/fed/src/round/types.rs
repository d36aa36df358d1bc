//! Plain types of a machine: its settings, what a store gives back, and what callers see.

use std::collections::BTreeSet;

use crate::id::{BlobId, CheckpointId, ConsentId, ContributionId, Instant, NodeId, ProofId, SealId, SpecId};
use crate::record::{Change, Consent, Content, Contribution, Proof, Report, Seal, Signed, Spec, Summary};
use crate::round::{Submission, SubmissionState};

/// A node's own settings for one model. None of them makes a record valid or invalid.
#[derive(Debug, Clone)]
pub struct Config {
    /// Id of this node.
    pub node: NodeId,
    /// Number of trainers to wait for before merging. A follower refuses all trainers, so the number has no effect there.
    pub trainers: u32,
    /// Milliseconds before the round's deadline at which the submissions that are here are merged anyway.
    pub merge_margin_ms: u64,
    /// Number of rounds below the newest settled one whose checkpoints stay; `None` keeps all.
    pub keep_rounds: Option<u64>,
    /// What this node does when members of the model want to change its list of members.
    pub members: MembersPolicy,
}

/// What a node does when other members propose a change of members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MembersPolicy {
    /// It agrees to what a member proposes, and goes on with the successor.
    Follow,
    /// It agrees only if its operator does. Once a quorum agreed, it goes on with the successor.
    #[default]
    Ask,
    /// It agrees to nothing by itself, and takes no part in the end of the model. Its operator joins the successor, or does not.
    Never,
}

/// What becomes of a submission when its model ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handed {
    /// The work is in this checkpoint of the model, on the branch of the last one.
    Sealed {
        /// The checkpoint that holds the work.
        checkpoint: CheckpointId,
        /// The share of the result that the contribution had, in parts per million.
        weight_ppm: u32,
    },
    /// The work is based on the last checkpoint: it counts in the successor.
    CarriedOver,
    /// The work is based on an older checkpoint, and no seal took it in time.
    Lost,
}

/// A proposed change of members, and the members that agree to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeInfo {
    /// The change.
    pub change: Change,
    /// The members that agree to it.
    pub agreed: BTreeSet<NodeId>,
}

/// The end of a model, and the model that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    /// The change of members that a quorum agreed to.
    pub change: Change,
    /// The last checkpoint of the model.
    pub checkpoint: CheckpointId,
    /// The round of that checkpoint.
    pub round: u64,
    /// The blob with the weights of that checkpoint.
    pub weights: BlobId,
    /// The spec of the successor: see [`Change::successor`].
    pub successor: SpecId,
}

/// The records and states that a store remembers of a model, in any order.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// Contributions as they were persisted.
    pub contributions: Vec<Signed<Contribution>>,
    /// Seals as they were persisted.
    pub seals: Vec<Signed<Seal>>,
    /// Proofs as they were persisted.
    pub proofs: Vec<Proof>,
    /// Consents as they were persisted, one of each author.
    pub consents: Vec<Signed<Consent>>,
    /// Checkpoints whose weights are here and right (checkpoint 0 included, once its blob is here).
    pub verified: BTreeSet<CheckpointId>,
    /// Submissions that are not final.
    pub submissions: Vec<(Submission, SubmissionState)>,
    /// The root of the last [`Persist::Archive`](super::Persist::Archive) or [`Persist::Unarchive`](super::Persist::Unarchive);
    /// `None` if there was neither, and then checkpoint 0 is the root.
    pub root: Option<Root>,
}

/// A record's name for sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum RecordId {
    Contribution(ContributionId),
    Seal(SealId),
    Proof(ProofId),
    Consent(ConsentId),
}

/// A checkpoint as a machine knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CheckpointInfo {
    pub id: CheckpointId,
    pub round: u64,
    pub parent: Option<CheckpointId>,
    pub content: Content,
    /// True if a quorum votes for the checkpoint or for a descendant.
    pub confirmed: bool,
    /// True if the weights are here and right.
    pub verified: bool,
}

/// A contribution as a round shows it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ContributionInfo {
    pub id: ContributionId,
    /// Author of the contribution. `None` once the contribution is forgotten, and then all numbers
    /// below are 0: of old rounds only the seal is kept.
    pub author: Option<NodeId>,
    pub samples: u64,
    pub fidelity: f32,
    pub bytes: u64,
    pub late: bool,
    /// True if the contribution's blob is here and checked.
    pub here: bool,
    /// What the author says about its work.
    pub report: Report,
    /// The author's noisy updates, this one included.
    pub releases: u64,
}

impl ContributionInfo {
    /// Describes a contribution that a seal lists and that is forgotten.
    pub(in crate::round) fn forgotten(id: ContributionId, late: bool) -> Self {
        Self {
            id,
            author: None,
            samples: 0,
            fidelity: 0.0,
            bytes: 0,
            late,
            here: false,
            report: Report::default(),
            releases: 0,
        }
    }
}

/// A sealed round of the head's branch, or the open round.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct RoundInfo {
    pub round: u64,
    pub parent: CheckpointId,
    /// The checkpoint that closed the round; `None` while the round is open.
    pub checkpoint: Option<CheckpointInfo>,
    pub sealers: Vec<NodeId>,
    pub contributions: Vec<ContributionInfo>,
    /// What the fresh contributions measured on the parent: one value for each of the spec's metrics, `None` where no
    /// member measured it.
    pub evaluation: Vec<Option<Summary>>,
    /// True if the round only settles the last checkpoint of the run: its contributions are votes.
    pub closing: bool,
    /// Members that are expected and not in.
    pub missing: Vec<NodeId>,
    /// Members whose work does not count, because there is proof against them (open round only).
    pub excluded: Vec<NodeId>,
    pub deadline: Option<Instant>,
    pub losing_seals: Vec<(CheckpointId, NodeId)>,
}

/// Reason why a submission's base cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum BaseError {
    #[error("base {0} is unknown here, or too old to be remembered: fetch the head and train from it")]
    Unknown(CheckpointId),
    #[error("base {base} is {behind} rounds behind, the spec takes at most {limit}: fetch the head and train from it")]
    Stale {
        base: CheckpointId,
        behind: u64,
        limit: u32,
    },
    #[error(
        "the weights of base {0} are not held here, not yet or no longer: fetch the head, which waits for it, and train from it"
    )]
    NotHeld(CheckpointId),
    #[error("this node has already contributed on base {0}: fetch the head (waiting for the next) and train from it")]
    Contributed(CheckpointId),
    #[error(
        "base {base} is on a branch that lost: most members stand on checkpoint {confirmed}; fetch the head and train from it"
    )]
    Conflicts {
        base: CheckpointId,
        confirmed: CheckpointId,
    },
    #[error("the run ends with round {0}: no more work is taken")]
    Complete(u64),
    #[error("this node is not a member of the model: it may fetch, not submit")]
    NotMember,
    #[error("{0}")]
    Convicted(Convicted),
}

/// The oldest checkpoint in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Id of the checkpoint.
    pub id: CheckpointId,
    /// Round of the checkpoint.
    pub round: u64,
    /// Parent of the checkpoint; `None` for checkpoint 0.
    pub parent: Option<CheckpointId>,
    /// Blobs of the checkpoint.
    pub content: Content,
    /// Nodes that are convicted on the branch of the checkpoint, by its own seal included.
    pub convicted: BTreeSet<NodeId>,
}

impl Root {
    /// Returns checkpoint 0 as a [`Root`].
    pub(in crate::round) fn zero(spec: &Spec) -> Self {
        let (id, checkpoint) = spec.zero();
        Self {
            id,
            round: 0,
            parent: None,
            content: checkpoint.result,
            convicted: BTreeSet::new(),
        }
    }
}

/// A round below the [`Root`], as the archive holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The seal that made the checkpoint of the round.
    pub seal: Signed<Seal>,
    /// The proofs that the seal names.
    pub proofs: Vec<Proof>,
}

impl Archived {
    /// Describes the round as a [`RoundInfo`]. Its contributions are forgotten, so only their ids are given.
    pub fn info(&self) -> RoundInfo {
        let seal = &self.seal.record;
        let fresh = seal.fresh.iter().map(|id| ContributionInfo::forgotten(*id, false));
        let late = seal.late.iter().map(|id| ContributionInfo::forgotten(*id, true));
        RoundInfo {
            round: seal.round,
            parent: seal.parent,
            checkpoint: Some(CheckpointInfo {
                id: seal.checkpoint().id(),
                round: seal.round,
                parent: Some(seal.parent),
                content: seal.result,
                confirmed: true,
                verified: false,
            }),
            sealers: vec![seal.sealer],
            contributions: fresh.chain(late).collect(),
            evaluation: vec![],
            closing: false,
            missing: vec![],
            excluded: vec![],
            deadline: None,
            losing_seals: vec![],
        }
    }
}

/// Conditions of a model on this node. All is well if each of them is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Set if this node is convicted: the other members leave its work out for good.
    pub convicted: Option<Convicted>,
    /// Set while this node signs nothing, because the comparison after the start is not over.
    pub comparing: Option<Comparing>,
    /// Set if no quorum has settled the newest rounds.
    pub unsettled: Option<Unsettled>,
}

/// Conviction of this node, because it signed two contributions on one parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node is convicted{}: it signed two contributions on one parent (an old backup, or two copies of its data directory?), \
     so all members refuse its work for good. Give the node a new identity.key, and have the creator make a successor of the \
     model that lists the new id",
    .proof.map(|id| format!(" by proof {id}")).unwrap_or_default()
)]
pub struct Convicted {
    /// The proof, if this node holds it. Other nodes may have forgotten the proof once
    /// their confirmed head had convicted this node.
    pub proof: Option<ProofId>,
}

/// Progress of the comparison after a start. This node signs nothing before its records were compared with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Comparing {
    /// Number of other nodes that this node has compared its records with since the start.
    pub compared: usize,
    /// Number of other nodes needed. In a list they make a quorum together with this node.
    pub needed: usize,
}

/// Warning that rounds go on while most members do not take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsettled {
    /// Number of rounds above the newest settled checkpoint.
    pub rounds: u64,
    /// Number of such rounds at which this node seals no more.
    pub limit: u64,
}
