//! The command `qres submit`.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use qres_api::pb;
use serde_json::json;

use super::Context;
use super::follow::{Next, follow};
use super::round;
use crate::failure::Failure;
use crate::show::json;
use crate::show::submission::submission_text;
use crate::show::text;
use crate::upload::Source;
use crate::value::metric;

/// Number of rounds that `--base-from` looks through: older ones are beyond any staleness that a model takes (64 at most).
const ROUNDS_SEARCHED: usize = 100;

/// Hands in trained weights.
#[derive(Debug, clap::Args)]
pub struct Submit {
    /// Name of the model, or name@id
    model: String,
    /// A safetensors file with the weights
    file: PathBuf,
    /// Number of training samples behind the weights: the weight of this submission
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    samples: u64,
    /// The checkpoint that the weights were trained from [default: the one that this node has handed out]
    #[arg(long, value_name = "CHECKPOINT")]
    base: Option<String>,
    /// The file of weights, as fetched, that these were trained from: their checkpoint is the base
    #[arg(long, value_name = "FILE", conflicts_with = "base")]
    base_from: Option<PathBuf>,
    /// Name of the trainer, unique on its node [default: default]
    #[arg(long, value_name = "NAME", default_value = "")]
    trainer: String,
    /// The file holds the weights minus those of the base
    #[arg(long)]
    delta: bool,
    /// A number, e.g. loss=0.3; may be repeated. A metric of the model goes to all members: it must describe the base, not the new
    /// weights. Any other number stays on this node
    #[arg(long = "metric", value_name = "NAME=NUMBER", value_parser = metric)]
    metrics: Vec<(String, f64)>,
    /// Number of samples on which the metrics were measured [default: --samples]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    evaluation_samples: Option<u64>,
    /// Number of local steps behind the weights; fednova/1 needs it
    #[arg(long, value_name = "N")]
    steps: Option<f64>,
    /// Make the upload resumable and its answer repeatable under this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Wait until the submission is in a checkpoint, or until that checkpoint is confirmed or final
    #[arg(long, value_name = "UNTIL", num_args = 0..=1, require_equals = true, default_missing_value = "sealed")]
    wait: Option<Until>,
}

/// The state of the submission to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// In a checkpoint, which may still be provisional.
    Sealed,
    /// In a checkpoint that a majority has built on: needs the next round's contributions.
    Confirmed,
    /// In a checkpoint that no other branch can replace: needs the contributions of the two next rounds.
    Final,
}

impl Submit {
    /// Uploads the weights, waits if `--wait` is given, and prints the submission. Returns a [`Failure`] if the submission was
    /// rejected or superseded.
    pub async fn run(self, context: Context) -> Result<(), Failure> {
        let base = match (&self.base, &self.base_from) {
            (Some(base), _) => base.clone(),
            (None, Some(file)) => base_of(&context, &self.model, file).await?,
            (None, None) => String::new(),
        };
        let source = Source::open(&self.file).await?;
        let header = self.header(base);
        let client = &context.client;
        let call = |offset, chunks| {
            let header = pb::SubmitWeightsRequest {
                offset,
                total_bytes: Some(source.total_bytes),
                digest: source.digest.clone(),
                ..header.clone()
            };
            client.submit_stream(header, chunks)
        };
        let mut submission = source.send(client, context.output, self.key.as_deref(), call).await?;
        if let Some(until) = self.wait {
            submission = wait(&context, submission, until).await?;
        }
        context.output.print(
            || json!({"submission": json::submission(&submission)}),
            || submission_text(&submission),
        );
        failed(&submission)
    }

    fn header(&self, base: String) -> pb::SubmitWeightsRequest {
        let kind = match self.delta {
            true => pb::SubmissionKind::Delta,
            false => pb::SubmissionKind::Weights,
        };
        pb::SubmitWeightsRequest {
            model: self.model.clone(),
            base,
            trainer: self.trainer.clone(),
            samples: self.samples,
            kind: kind.into(),
            metrics: self.metrics.iter().cloned().collect(),
            evaluation_samples: self.evaluation_samples,
            steps: self.steps,
            idempotency_key: self.key.clone().unwrap_or_default(),
            ..Default::default()
        }
    }
}

/// Returns a [`Failure`] for a submission that was rejected or superseded, which makes the command fail.
pub fn failed(submission: &pb::Submission) -> Result<(), Failure> {
    match submission.state() {
        pb::SubmissionState::Rejected | pb::SubmissionState::Superseded => Err(Failure::local(format!(
            "submission {} was {}: {}",
            text::short(&submission.id),
            text::submission_state(submission),
            submission.reason
        ))),
        pb::SubmissionState::Unspecified
        | pb::SubmissionState::Pending
        | pb::SubmissionState::Merged
        | pb::SubmissionState::Sealed
        | pb::SubmissionState::Carried => Ok(()),
    }
}

/// Waits until the submission is in the state `until`, or can no longer get there.
async fn wait(context: &Context, submission: pb::Submission, until: Until) -> Result<pb::Submission, Failure> {
    if is_there(&submission, until) {
        return Ok(submission);
    }
    let client = &context.client;
    let model = format!("{}@{}", submission.model, submission.spec_id);
    let open = |from| {
        let model = model.clone();
        async move { client.watch_submissions(&model, from).await }
    };
    let mut latest = submission;
    let each = |message: pb::WatchSubmissionsResponse| {
        if let Some(found) = message.submission
            && found.id == latest.id
        {
            latest = found;
        }
        Ok(match is_there(&latest, until) {
            true => Next::Enough,
            false => Next::More,
        })
    };
    follow(context.output, 0, open, each).await?;
    Ok(latest)
}

fn is_there(submission: &pb::Submission, until: Until) -> bool {
    match submission.state() {
        pb::SubmissionState::Sealed => match until {
            Until::Sealed => true,
            Until::Confirmed => submission.confirmed,
            Until::Final => submission.r#final,
        },
        pb::SubmissionState::Rejected | pb::SubmissionState::Superseded => true,
        pb::SubmissionState::Unspecified
        | pb::SubmissionState::Pending
        | pb::SubmissionState::Merged
        | pb::SubmissionState::Carried => false,
    }
}

/// Returns the checkpoint whose weights the file holds: the newest one, if several rounds have the same weights. Returns a
/// [`Failure`] if there is none in the last [`ROUNDS_SEARCHED`] rounds.
async fn base_of(context: &Context, model: &str, file: &Path) -> Result<String, Failure> {
    let digest = Source::open(file).await?.digest;
    let found = context.model(model).await?;
    if let Some(head) = found.head.filter(|head| head.weights_digest == digest) {
        return Ok(head.id);
    }
    let rounds = round::list(context, model, ROUNDS_SEARCHED).await?;
    for round in &rounds {
        match &round.checkpoint {
            Some(made) if made.weights_digest == digest => return Ok(made.id.clone()),
            _ if round.round == 1 && found.checkpoint0_digest == digest => return Ok(round.parent.clone()),
            _ => {}
        }
    }
    Err(Failure::file(
        file,
        format!("holds the weights of no checkpoint of {model} that this node still lists: name the base with --base"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_where_it_was_to_or_where_nothing_more_can_come() {
        let with = |state: pb::SubmissionState, confirmed| pb::Submission {
            state: state.into(),
            confirmed,
            reason: "stale".into(),
            ..Default::default()
        };
        let provisional = with(pb::SubmissionState::Sealed, false);
        assert!(is_there(&provisional, Until::Sealed) && !is_there(&provisional, Until::Confirmed));
        let confirmed = with(pb::SubmissionState::Sealed, true);
        assert!(is_there(&confirmed, Until::Confirmed) && !is_there(&confirmed, Until::Final));
        let last = pb::Submission {
            r#final: true,
            ..confirmed
        };
        assert!(is_there(&last, Until::Final));
        for state in [
            pb::SubmissionState::Pending,
            pb::SubmissionState::Merged,
            pb::SubmissionState::Carried,
        ] {
            assert!(!is_there(&with(state, false), Until::Sealed));
            assert!(failed(&with(state, false)).is_ok());
        }
        for state in [pb::SubmissionState::Rejected, pb::SubmissionState::Superseded] {
            assert!(is_there(&with(state, false), Until::Confirmed));
            assert!(failed(&with(state, false)).unwrap_err().to_string().contains("stale"));
        }
    }
}
