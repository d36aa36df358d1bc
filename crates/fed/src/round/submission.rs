//! A trainer's submission, and what became of it.

use crate::id::{CheckpointId, ContributionId, SubmissionId};
use crate::record::Report;

/// Work that one trainer handed in. Its bytes are stored and checked (schema, finiteness) before the machine hears of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Id that the trainer got as the answer.
    pub id: SubmissionId,
    /// Name of the trainer, unique on this node.
    pub trainer: String,
    /// The checkpoint it trained from.
    pub base: CheckpointId,
    /// Number of samples behind the work.
    pub samples: u64,
    /// What the trainer says about the work.
    pub report: Report,
}

/// The state of a [`Submission`]: what became of it so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubmissionState {
    /// The submission waits to be merged.
    Pending,
    /// The submission is in a contribution of this node.
    Merged {
        /// The contribution that holds the submission.
        contribution: ContributionId,
    },
    /// The submission is in a checkpoint of the head's branch.
    Sealed {
        /// The checkpoint that holds the submission.
        checkpoint: CheckpointId,
        /// The share of the result that the contribution had, in parts per million.
        weight_ppm: u32,
        /// True if a quorum stands on top of the checkpoint.
        confirmed: bool,
        /// True if the state is final: the checkpoint is settled (docs/adr/0007), so no branch without it can win.
        settled: bool,
    },
    /// The submission is not in the checkpoint of its own round. It is offered as late work to a later round.
    Carried {
        /// The round that may take the late work.
        round: u64,
    },
    /// The submission will never be in a checkpoint; the reason says why.
    Rejected {
        /// The reason, as text for people.
        reason: String,
    },
    /// The submission was replaced by something else; the reason says by what.
    Superseded {
        /// The reason, as text for people.
        reason: String,
    },
}

impl SubmissionState {
    /// Returns true if the state stays for ever, even if the head moves later. Until then the state is provisional.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Sealed { settled, .. } => *settled,
            Self::Rejected { .. } | Self::Superseded { .. } => true,
            Self::Pending | Self::Merged { .. } | Self::Carried { .. } => false,
        }
    }
}
