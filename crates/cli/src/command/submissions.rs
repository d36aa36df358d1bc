//! The command `qres submissions`.

use qres_api::pb;
use serde_json::json;

use super::submit::failed;
use super::{Context, PAGE_SIZE, needed, pages};
use crate::failure::Failure;
use crate::show::json;
use crate::show::submission::submission_text;
use crate::show::table::Table;
use crate::show::text;

/// Shows submissions and their outcomes.
#[derive(Debug, clap::Args)]
pub struct Submissions {
    /// Only the submissions of this model
    #[arg(conflicts_with = "id")]
    model: Option<String>,
    /// Only the submission with this id
    #[arg(long, value_name = "SUBMISSION")]
    id: Option<String>,
    /// Wait until the submission is in a checkpoint, rejected or superseded
    #[arg(long, requires = "id")]
    wait: bool,
}

impl Submissions {
    /// Asks for the submissions and prints them. With `--wait`, returns a [`Failure`] if the submission was rejected or
    /// superseded.
    pub async fn run(self, context: Context) -> Result<(), Failure> {
        if let Some(id) = self.id {
            let request = pb::GetSubmissionRequest { id, wait: self.wait };
            let answer = context.client.submissions().get_submission(request).await?.into_inner();
            let submission = needed(answer.submission, "submission")?;
            context.output.print(
                || json!({"submission": json::submission(&submission)}),
                || submission_text(&submission),
            );
            return match self.wait {
                true => failed(&submission),
                false => Ok(()),
            };
        }
        let model = self.model.unwrap_or_default();
        let submissions = pages(|page_token| async {
            let request = pb::ListSubmissionsRequest {
                model: model.clone(),
                page_size: PAGE_SIZE,
                page_token,
            };
            let page = context
                .client
                .submissions()
                .list_submissions(request)
                .await?
                .into_inner();
            Ok((page.submissions, page.next_page_token))
        })
        .await?;
        context.output.print(
            || json!({"submissions": json::list(&submissions, json::submission)}),
            || table(&submissions).text("no submissions: hand one in with `qres submit`"),
        );
        Ok(())
    }
}

fn table(submissions: &[pb::Submission]) -> Table {
    let mut table = Table::new(["ID", "MODEL", "TRAINER", "BASE", "SAMPLES", "AT", "STATE", "OUTCOME"]);
    for submission in submissions {
        table.row([
            text::short(&submission.id),
            submission.model.clone(),
            submission.trainer.clone(),
            text::short(&submission.base),
            submission.samples.to_string(),
            submission
                .acknowledged_at
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            text::submission_state(submission).to_owned(),
            text::outcome(submission),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_shows_the_outcome_of_each() {
        let submission = pb::Submission {
            id: "0123456789".into(),
            model: "m".into(),
            trainer: "default".into(),
            base: "feedfacecafe".into(),
            samples: 5,
            state: pb::SubmissionState::Rejected.into(),
            reason: "too old".into(),
            ..Default::default()
        };
        assert_eq!(
            table(&[submission]).text("").to_string(),
            "ID        MODEL  TRAINER  BASE      SAMPLES  AT  STATE     OUTCOME\n\
             01234567  m      default  feedface  5            rejected  too old"
        );
    }
}
