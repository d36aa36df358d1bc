//! Aggregation rules against figures that others have published, and against the properties that they must have.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod bad_input;
mod bits;
mod bounds;
mod properties;
mod published;
mod round;
mod verdicts;
mod weightings;
