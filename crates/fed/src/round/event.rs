//! The inputs and outputs of the round machine.

use std::collections::BTreeSet;

use super::{Archived, Root, Submission, SubmissionState, Succession};
use crate::id::{BlobId, CheckpointId, ContributionId, Instant, NodeId, ProofId, ProposalId, SealId, SubmissionId};
use crate::record::{BlobRole, Change, Consent, Content, Contribution, Figures, Proof, Proposal, Seal, Signed};

/// An event for the machine. Signatures are verified before a record comes in.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A trainer's submission, already durable.
    Submission(Submission),
    /// A trainer of this node tried to submit and was refused. The trainer is alive, so the next merge waits for it.
    TrainerHere(String),
    /// A contribution of any node, this node included (after a restart or from a peer).
    Contribution(Signed<Contribution>),
    /// A seal of any node.
    Seal(Signed<Seal>),
    /// The answer to [`Output::WantArchived`]: the archive's rounds from there on, ascending.
    Archived(Vec<Archived>),
    /// A peer said which checkpoint it stands on.
    HeadClaim {
        /// The peer that said so.
        by: NodeId,
        /// The checkpoint that the peer stands on.
        head: CheckpointId,
    },
    /// All records that a peer holds and this node lacked have come in, or the peer has none of this model.
    Compared(NodeId),
    /// The peers that are connected now.
    Reachable(BTreeSet<NodeId>),
    /// An equivocation proof, both signatures verified.
    Proof(Proof),
    /// A consent of any member, its signature verified.
    Consent(Signed<Consent>),
    /// The operator of this node agrees to a change of members, its own or another member's; `None` withdraws.
    Agree(Option<Change>),
    /// The answer to [`Output::WantBlob`]: the blob is here, fits the schema and is finite, in the role in which it was wanted.
    BlobHere {
        /// The blob that is here.
        blob: BlobId,
        /// The role in which it was checked.
        role: BlobRole,
    },
    /// The answer to [`Output::WantBlob`]: the blob is here but off the schema or
    /// not finite. In this role no node ever uses it.
    BlobBad {
        /// The blob that is bad.
        blob: BlobId,
        /// The role in which it was checked. A blob that is no update may be weights.
        role: BlobRole,
    },
    /// The answer to [`Output::Encode`].
    Encoded {
        /// The parent checkpoint of the job.
        parent: CheckpointId,
        /// The coded update's blob, stored.
        update: BlobId,
        /// Length of the coded update in bytes.
        update_bytes: u64,
        /// Sum of the merged submissions' samples.
        samples: u64,
        /// Fidelity of the coded update, as measured.
        fidelity: f32,
        /// The noisy updates of this node, this one included: see [`Contribution::releases`].
        releases: u64,
    },
    /// [`Output::Encode`] could not be done. The submissions at fault are rejected
    /// with the reason, and the others are tried again.
    EncodeFailed {
        /// The parent checkpoint of the job.
        parent: CheckpointId,
        /// The submissions that are at fault.
        submissions: Vec<SubmissionId>,
        /// The reason, as text for people.
        reason: String,
    },
    /// The answer to [`Output::Sign`] of a contribution.
    SignedContribution(Signed<Contribution>),
    /// The answer to [`Output::Sign`] of a seal.
    SignedSeal(Signed<Seal>),
    /// The answer to [`Output::Sign`] of a consent.
    SignedConsent(Signed<Consent>),
    /// What became of submissions that the successor took over, or did not: they are final here.
    HandedOver(Vec<(SubmissionId, SubmissionState)>),
    /// The answer to [`Output::Aggregate`]: the blob of the result, stored.
    Aggregated {
        /// Id of the aggregation job.
        proposal: ProposalId,
        /// The blobs that it made.
        result: Content,
    },
    /// [`Output::Aggregate`] could not be done (a blob vanished, the disk is full). The job is tried again later.
    AggregateFailed {
        /// Id of the aggregation job.
        proposal: ProposalId,
    },
    /// An operator ends the wait of the open round (`SealRound`). The round still never closes with fewer than k contributions.
    SealNow,
    /// From here on this node merges its submissions at once, because it will be stopped.
    /// The round waits for the other members as before.
    MergeNow,
    /// The measured one-way delay to the other members (an upper percentile), in milliseconds. The seal stagger follows it.
    DelayMs(u64),
    /// An operator trusts these nodes: a checkpoint that one of them contributed on or sealed may be adopted by its digest. An
    /// open model needs that to catch up from below the horizon of the others; in a list the votes of a quorum are enough.
    Trust(BTreeSet<NodeId>),
    /// The instant asked for by [`Output::WakeAt`] has come.
    Tick,
}

/// A change that must be durable. All changes in one answer are one transaction,
/// durable before any later output is carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum Persist {
    /// A contribution of any node, as received.
    Contribution(Signed<Contribution>),
    /// A seal, as received.
    Seal(Signed<Seal>),
    /// An equivocation proof, received or made here.
    Proof(Proof),
    /// A consent of any member. It replaces the one of the same author.
    Consent(Signed<Consent>),
    /// The weights of this checkpoint are here and right (recomputed, or attested by a quorum).
    Verified(CheckpointId),
    /// A submission has a new [`SubmissionState`].
    Submission(SubmissionId, SubmissionState),
    /// Forget these records, which are below the horizon or on a branch that can no longer win.
    Forget(Forgotten),
    /// Keep these rounds in the archive. A start does not read the archive: the machine then begins at `root`.
    Archive {
        /// The oldest checkpoint that stays in memory.
        root: Root,
        /// The rounds below `root` that were not archived yet, ascending.
        rounds: Vec<Archived>,
    },
    /// Begin at `root`, which was in the archive. `root` and all archived rounds above it are records again.
    Unarchive {
        /// The oldest checkpoint in memory.
        root: Root,
    },
}

/// Records that are no longer held, for [`Persist::Forget`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Ids of the forgotten contributions.
    pub contributions: Vec<ContributionId>,
    /// Ids of the forgotten seals.
    pub seals: Vec<SealId>,
    /// Ids of the forgotten proofs.
    pub proofs: Vec<ProofId>,
    /// Checkpoints that were [`Persist::Verified`].
    pub verified: Vec<CheckpointId>,
}

/// A record to be signed with this node's key, for [`Output::Sign`].
#[derive(Debug, Clone, PartialEq)]
pub enum Unsigned {
    /// A contribution: comes back as [`Input::SignedContribution`].
    Contribution(Contribution),
    /// A seal: comes back as [`Input::SignedSeal`].
    Seal(Seal),
    /// A consent: comes back as [`Input::SignedConsent`].
    Consent(Consent),
}

/// Job of [`Output::Encode`]: merge these submissions, take the difference to the base's weights, and code the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodeJob {
    /// The checkpoint that the submissions are based on.
    pub parent: CheckpointId,
    /// The blob with the weights of that checkpoint.
    pub weights: BlobId,
    /// The submissions, ascending by id.
    pub submissions: Vec<EncodeItem>,
}

/// A submission in an [`EncodeJob`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EncodeItem {
    /// Id of the submission.
    pub id: SubmissionId,
    /// Number of its samples, which is its weight.
    pub samples: u64,
    /// Number of its local steps, if its trainer said it.
    pub steps: Option<f64>,
}

// `steps` is never NaN: see `Report::fault`.
impl Eq for EncodeItem {}

/// A fresh contribution in an [`AggregateJob`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshItem {
    /// Id of the contribution.
    pub id: ContributionId,
    /// The node that made it.
    pub author: NodeId,
    /// The blob with its update.
    pub update: BlobId,
    /// Number of its samples, which is its weight.
    pub samples: u64,
    /// What its author says about its work, as far as the strategy uses it.
    pub figures: Figures,
}

/// A late contribution in an [`AggregateJob`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateItem {
    /// The contribution, described like a fresh one.
    pub item: FreshItem,
    /// Number of rounds behind, at least 1. The discount is a function of this number.
    pub staleness: u32,
}

/// Job of [`Output::Aggregate`]: aggregate these updates onto the parent's weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AggregateJob {
    /// Id of the job, which comes back in the answer.
    pub id: ProposalId,
    /// The proposal that the job computes.
    pub proposal: Proposal,
    /// The parent's blobs.
    pub base: Content,
    /// The fresh contributions, ascending by id.
    pub fresh: Vec<FreshItem>,
    /// The late contributions, ascending by id.
    pub late: Vec<LateItem>,
}

/// Kind of reason for which a record was refused, in [`Output::Refused`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A fault of the author: no node that keeps the rules makes such a record, independent of what it knows.
    Fault,
    /// No fault: an honest node may have made the record (it was cut off from the others, say), but it is of no use here.
    Useless,
}

/// The part of a record that was refused, in [`Output::Refused`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A contribution breaks the rules of its model, or does not fit its parent.
    Contribution,
    /// The update of a contribution is off the schema, or not finite.
    Update,
    /// A seal breaks the rules, or is of no use.
    Seal,
    /// The blobs of a seal are not those that its contributions make.
    Result,
}

/// An action for the driver. The driver carries out the outputs in their order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Make this change durable before going on.
    Persist(Persist),
    /// Sign this record and hand it back.
    Sign(Unsigned),
    /// Announce this contribution to everyone.
    SendContribution(Signed<Contribution>),
    /// Announce this seal to everyone.
    SendSeal(Signed<Seal>),
    /// Announce this proof to everyone.
    SendProof(Proof),
    /// Announce this consent to everyone.
    SendConsent(Signed<Consent>),
    /// Fetch this blob, from these nodes first. The answer is [`Input::BlobHere`] or [`Input::BlobBad`]. The machine asks once,
    /// and the driver keeps trying until [`Output::DropBlob`].
    WantBlob {
        /// The blob to fetch.
        blob: BlobId,
        /// Length of the blob in bytes, if a record names it.
        bytes: Option<u64>,
        /// The role in which it is wanted, and will be checked.
        role: BlobRole,
        /// Nodes that should have the blob.
        holders: Vec<NodeId>,
        /// The author of the open round's contribution with this update, if there is one. A node that announced the
        /// update and says that it does not have it is at fault. For an older contribution that cannot be said,
        /// because its author may have dropped the update.
        owed_by: Option<NodeId>,
    },
    /// Stop fetching this blob, because it is no longer wanted.
    DropBlob(BlobId),
    /// Sync with these nodes (with all peers if empty), because records that others named are missing here.
    WantRecords {
        /// The nodes that named the missing records.
        from: Vec<NodeId>,
    },
    /// Read the archive from this round on. The answer is [`Input::Archived`].
    WantArchived {
        /// The first round to read.
        from: u64,
    },
    /// Code an update. The answer is [`Input::Encoded`] or [`Input::EncodeFailed`].
    Encode(EncodeJob),
    /// Aggregate updates. The answer is [`Input::Aggregated`] or [`Input::AggregateFailed`].
    Aggregate(AggregateJob),
    /// The head is now this checkpoint.
    Head {
        /// Id of the checkpoint.
        checkpoint: CheckpointId,
        /// Round of the checkpoint.
        round: u64,
        /// The blob with the weights of the checkpoint.
        weights: BlobId,
    },
    /// A checkpoint of the head's branch is now confirmed: a quorum stands on it.
    Confirmed(CheckpointId),
    /// The model has ended: its members go on with a successor. Said once, and again after a restart.
    Succeeded(Succession),
    /// The open round changed: a node contributed, or a deadline was set.
    RoundChanged,
    /// A member signed two contributions on one parent.
    Equivocation {
        /// The member that signed both.
        author: NodeId,
        /// Id of the proof.
        proof: ProofId,
    },
    /// A record was refused.
    Refused {
        /// The author of the record.
        author: NodeId,
        /// The [`Refusal`], which says if the author is at fault.
        refusal: Refusal,
        /// The part of the record that was [`Refused`].
        what: Refused,
        /// The reason, as text for people.
        reason: String,
    },
    /// Call again with [`Input::Tick`] at this instant. A new instant replaces the earlier one;
    /// `None` means that there is nothing to wait for.
    WakeAt(Option<Instant>),
}
