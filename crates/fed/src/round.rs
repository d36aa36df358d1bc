//! One model's rounds, as a state machine without I/O: `handle(input, now)` answers with what to do.

mod event;
mod machine;

pub use event::{
    AggregateJob, EncodeJob, FreshItem, Input, LateItem, Output, Persist, Submission, SubmissionState, Unsigned,
};
pub use machine::{BaseError, CheckpointInfo, Config, ContributionInfo, Machine, RecordId, Restored, RoundInfo};
