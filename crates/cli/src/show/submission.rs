//! A submission as text.

use qres_api::pb;

use super::lines::Lines;
use super::table::facts;
use super::text;

/// Formats a submission as [`Lines`], with its ids in full.
pub fn submission_text(submission: &pb::Submission) -> Lines {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    facts([
        ("submission", Some(submission.id.clone())),
        (
            "model",
            Some(format!("{}@{}", submission.model, text::short(&submission.spec_id))),
        ),
        ("trainer", Some(submission.trainer.clone())),
        ("base", Some(submission.base.clone())),
        ("samples", Some(submission.samples.to_string())),
        ("metrics", some(text::numbers(&submission.metrics))),
        ("size", Some(text::bytes(submission.total_bytes))),
        ("state", Some(text::submission_state(submission).to_owned())),
        ("outcome", some(text::outcome(submission))),
    ])
}
