//! The round as a state machine: `Machine::handle(input, now)` answers with what to do, in order.

mod event;

pub use event::{
    AggregateJob, EncodeJob, FreshItem, Input, LateItem, Output, Persist, Submission, SubmissionState, Unsigned,
};
