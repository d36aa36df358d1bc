//! What goes into the round machine and what comes out.

use std::collections::BTreeSet;

use super::archive::{Archived, Root};
use crate::id::{BlobId, CheckpointId, ContributionId, Instant, NodeId, ProofId, ProposalId, SealId, SubmissionId};
use crate::record::{Contribution, Proof, Proposal, Seal, Signed};

/// What one trainer handed in; its bytes are stored and checked (schema, finiteness) before the machine hears of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// What the trainer was answered.
    pub id: SubmissionId,
    /// Which trainer, a name unique on this node.
    pub trainer: String,
    /// The checkpoint it trained from.
    pub base: CheckpointId,
    /// Samples behind it.
    pub samples: u64,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubmissionState {
    /// Waiting to be merged.
    Pending,
    /// In this node's contribution.
    Merged {
        /// That contribution.
        contribution: ContributionId,
    },
    /// In a checkpoint of the head's branch.
    Sealed {
        /// That checkpoint.
        checkpoint: CheckpointId,
        /// The share of the result that the contribution had, in parts per million.
        weight_ppm: u32,
        /// Whether a quorum stands on top.
        confirmed: bool,
        /// Whether that is for good: the checkpoint is settled (docs/adr/0007), so that no branch without it can win.
        settled: bool,
    },
    /// Not in its own round's checkpoint; offered as late work to this round.
    Carried {
        /// The round that may take it.
        round: u64,
    },
    /// Never in: the reason says why.
    Rejected {
        /// For people.
        reason: String,
    },
    /// Overtaken by something else: the reason says by what.
    Superseded {
        /// For people.
        reason: String,
    },
}

impl SubmissionState {
    /// Whether it stays so for ever, whatever heads do later. Until then the answer is provisional.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Sealed { settled, .. } => *settled,
            Self::Rejected { .. } | Self::Superseded { .. } => true,
            Self::Pending | Self::Merged { .. } | Self::Carried { .. } => false,
        }
    }
}

/// Something that happened. Signatures are verified before a record comes in.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A trainer's submission, already durable.
    Submission(Submission),
    /// A trainer of this node tried to submit and was refused: it is there, and the next merge waits for it.
    TrainerHere(String),
    /// A contribution, one's own included (after a restart or from a peer).
    Contribution(Signed<Contribution>),
    /// A seal.
    Seal(Signed<Seal>),
    /// The answer to [`Output::WantArchived`]: the archive's rounds from there on, ascending.
    Archived(Vec<Archived>),
    /// A peer says which checkpoint it stands on.
    HeadClaim {
        /// The peer.
        by: NodeId,
        /// Its head.
        head: CheckpointId,
    },
    /// All records that a peer holds and this node lacked have come in, or the peer has none of this model.
    Compared(NodeId),
    /// The peers that are connected now.
    Reachable(BTreeSet<NodeId>),
    /// An equivocation proof, both signatures verified.
    Proof(Proof),
    /// The answer to [`Output::WantBlob`]: the blob is here, and on the schema and finite as what it was wanted as.
    BlobHere {
        /// Which.
        blob: BlobId,
        /// Looked at as an update, or as weights.
        update: bool,
    },
    /// The answer to [`Output::WantBlob`]: the blob is here but off the schema or not finite. As such it is never used, by anyone.
    BlobBad {
        /// Which.
        blob: BlobId,
        /// Looked at as an update, or as weights: what is no update may be weights.
        update: bool,
    },
    /// The answer to [`Output::Encode`].
    Encoded {
        /// The job's parent.
        parent: CheckpointId,
        /// The coded update's blob, stored.
        update: BlobId,
        /// Its length.
        update_bytes: u64,
        /// Sum of the merged submissions' samples.
        samples: u64,
        /// As measured.
        fidelity: f32,
    },
    /// [`Output::Encode`] could not be done; these submissions are rejected with the reason, the others tried again.
    EncodeFailed {
        /// The job's parent.
        parent: CheckpointId,
        /// Those at fault.
        submissions: Vec<SubmissionId>,
        /// For people.
        reason: String,
    },
    /// The answer to [`Output::Sign`] of a contribution.
    SignedContribution(Signed<Contribution>),
    /// The answer to [`Output::Sign`] of a seal.
    SignedSeal(Signed<Seal>),
    /// The answer to [`Output::Aggregate`]: the result's blob, stored.
    Aggregated {
        /// The job.
        proposal: ProposalId,
        /// The weights.
        result: BlobId,
    },
    /// [`Output::Aggregate`] could not be done (a blob vanished, the disk is full): it is tried again later.
    AggregateFailed {
        /// The job.
        proposal: ProposalId,
    },
    /// An operator ends the waiting (`SealRound`); never below k.
    SealNow,
    /// From here on this node merges what it has at once, as it will be stopped; the round waits for the others as ever.
    MergeNow,
    /// The measured one-way delay to the other members (an upper percentile), ms: the seal stagger follows it.
    DelayMs(u64),
    /// An operator takes these nodes' word: a checkpoint that one of them contributed on or sealed may be adopted by its
    /// digest. An open model needs it to catch up from below the others' horizon; in a list a quorum's word is enough.
    Trust(BTreeSet<NodeId>),
    /// The instant asked for by [`Output::WakeAt`] has come.
    Tick,
}

/// What must be durable. Everything in one answer is one transaction, durable before any later output is carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Persist {
    /// A contribution (anyone's), as received.
    Contribution(Signed<Contribution>),
    /// A seal, as received.
    Seal(Signed<Seal>),
    /// A proof.
    Proof(Proof),
    /// This checkpoint's weights are here and are right (recomputed, or attested by a quorum).
    Verified(CheckpointId),
    /// A submission's state changed.
    Submission(SubmissionId, SubmissionState),
    /// Forget these records: below the horizon or on a branch that can no longer win.
    Forget(Forgotten),
    /// Keep these rounds in the archive, which is not read at a start: a machine begins at `root` then.
    Archive {
        /// The oldest checkpoint that stays in memory.
        root: Root,
        /// What lies below it since the last time, ascending.
        rounds: Vec<Archived>,
    },
    /// Begin at `root`, which was in the archive; it and all above it there are records again.
    Unarchive {
        /// The oldest checkpoint in memory.
        root: Root,
    },
}

/// Records that are no longer held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Contributions.
    pub contributions: Vec<ContributionId>,
    /// Seals.
    pub seals: Vec<SealId>,
    /// Proofs.
    pub proofs: Vec<ProofId>,
    /// Checkpoints that were [`Persist::Verified`].
    pub verified: Vec<CheckpointId>,
}

/// A record to be signed with this node's key.
#[derive(Debug, Clone, PartialEq)]
pub enum Unsigned {
    /// A contribution: comes back as [`Input::SignedContribution`].
    Contribution(Contribution),
    /// A seal: comes back as [`Input::SignedSeal`].
    Seal(Seal),
}

/// Merge these submissions, difference them against the base's weights, code the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeJob {
    /// The base checkpoint.
    pub parent: CheckpointId,
    /// Its weights.
    pub weights: BlobId,
    /// Ascending by id, with samples.
    pub submissions: Vec<(SubmissionId, u64)>,
}

/// A fresh contribution to aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshItem {
    /// Its id.
    pub id: ContributionId,
    /// Its update.
    pub update: BlobId,
    /// Its weight.
    pub samples: u64,
}

/// A late contribution to aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateItem {
    /// The contribution.
    pub item: FreshItem,
    /// Rounds behind, at least 1: the discount is a function of it.
    pub staleness: u32,
}

/// Aggregate these updates onto the parent's weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateJob {
    /// Comes back in the answer.
    pub id: ProposalId,
    /// What it is.
    pub proposal: Proposal,
    /// The parent's weights.
    pub weights: BlobId,
    /// Ascending by id.
    pub fresh: Vec<FreshItem>,
    /// Ascending by id.
    pub late: Vec<LateItem>,
}

/// Why a record was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No node that keeps the rules makes such a record, whatever it knows: its author is at fault.
    Fault,
    /// An honest node may have made it (it was cut off from the others, say), but it is of no use here.
    Useless,
}

/// What to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Make durable before going on.
    Persist(Persist),
    /// Sign and hand back.
    Sign(Unsigned),
    /// Announce to everyone.
    SendContribution(Signed<Contribution>),
    /// Announce to everyone.
    SendSeal(Signed<Seal>),
    /// Announce to everyone.
    SendProof(Proof),
    /// Fetch this blob, from these nodes first; comes back as `BlobHere` or `BlobBad`. Asked once, the driver keeps trying.
    WantBlob {
        /// Which.
        blob: BlobId,
        /// Its length where a record names it.
        bytes: Option<u64>,
        /// Whether it is an update (checked against the schema) or weights.
        update: bool,
        /// Who should have it.
        holders: Vec<NodeId>,
        /// The author of the open round's contribution with this update, if there is one: a node that announced it and says
        /// that it has it not is at fault. Of an older one that can no longer be said: its author may have dropped it.
        owed_by: Option<NodeId>,
    },
    /// No longer wanted: stop fetching.
    DropBlob(BlobId),
    /// Records named by others are missing here: sync with these nodes (all peers when empty).
    WantRecords {
        /// Who named them.
        from: Vec<NodeId>,
    },
    /// Read the archive from this round on; comes back as `Archived`.
    WantArchived {
        /// Which round.
        from: u64,
    },
    /// Code an update; comes back as `Encoded`.
    Encode(EncodeJob),
    /// Aggregate; comes back as `Aggregated`.
    Aggregate(AggregateJob),
    /// The head is now this one.
    Head {
        /// Its id.
        checkpoint: CheckpointId,
        /// Its round.
        round: u64,
        /// Its weights.
        weights: BlobId,
    },
    /// A checkpoint of the head's branch is now confirmed: a quorum stands on it.
    Confirmed(CheckpointId),
    /// The open round changed: someone contributed, or a deadline was set.
    RoundChanged,
    /// A member signed two contributions on one parent.
    Equivocation {
        /// Who.
        author: NodeId,
        /// The evidence.
        proof: ProofId,
    },
    /// A record was refused.
    Refused {
        /// Who made it.
        author: NodeId,
        /// Whether that is the author's fault.
        refusal: Refusal,
        /// For people.
        reason: String,
    },
    /// Call again with [`Input::Tick`] at this instant; replaces the earlier one. `None` = nothing to wait for.
    WakeAt(Option<Instant>),
}
