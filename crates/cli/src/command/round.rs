//! The command `qres round`.

use clap::Subcommand;
use qres_api::pb;
use serde_json::json;

use super::{Context, PAGE_SIZE, needed};
use crate::failure::Failure;
use crate::output::Output;
use crate::show::json;
use crate::show::lines::Lines;
use crate::show::table::{Table, facts};
use crate::show::text;

/// Shows, lists and seals rounds.
#[derive(Debug, Subcommand)]
pub enum Round {
    /// Show a round: the open one unless a number is given
    Show {
        /// Name of the model, or name@id
        model: String,
        /// Number of the round, from 1
        round: Option<u64>,
    },
    /// List rounds, newest first
    List {
        /// Name of the model, or name@id
        model: String,
        /// The most rounds to list
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// End the waiting for more contributions to the open round
    Seal {
        /// Name of the model, or name@id
        model: String,
    },
}

impl Round {
    /// Runs the command and prints the rounds.
    pub async fn run(self, context: Context) -> Result<(), Failure> {
        let mut rounds = context.client.rounds();
        match self {
            Self::Show { model, round } => {
                let answer = rounds
                    .get_round(pb::GetRoundRequest { model, round })
                    .await?
                    .into_inner();
                print(context.output, &needed(answer.round, "round")?);
            }
            Self::Seal { model } => {
                let answer = rounds.seal_round(pb::SealRoundRequest { model }).await?.into_inner();
                print(context.output, &needed(answer.round, "round")?);
            }
            Self::List { model, limit } => {
                let found = list(&context, &model, limit as usize).await?;
                context.output.print(
                    || json!({"rounds": json::list(&found, json::round)}),
                    || table(&found).text("no rounds yet: a round begins with the first contribution"),
                );
            }
        }
        Ok(())
    }
}

/// Reads the newest rounds of a model, at most `limit`.
pub async fn list(context: &Context, model: &str, limit: usize) -> Result<Vec<pb::Round>, Failure> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    while found.len() < limit {
        let request = pb::ListRoundsRequest {
            model: model.to_owned(),
            page_size: u32::try_from(limit - found.len()).unwrap_or(PAGE_SIZE).min(PAGE_SIZE),
            page_token,
        };
        let page = context.client.rounds().list_rounds(request).await?.into_inner();
        let nothing = page.rounds.is_empty();
        found.extend(page.rounds);
        page_token = page.next_page_token;
        if nothing || page_token.is_empty() {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
}

fn print(output: Output, round: &pb::Round) {
    output.print(|| json!({"round": json::round(round)}), || round_text(round));
}

fn round_text(round: &pb::Round) -> Lines {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let made = round.checkpoint.as_ref();
    let head = facts([
        ("round", Some(format!("{} of {}", round.round, round.model))),
        ("state", Some(text::round_state(round).to_owned())),
        ("parent", Some(round.parent.clone())),
        (
            "checkpoint",
            made.map(|made| format!("{} ({})", made.id, text::confirmed(made.confirmed))),
        ),
        ("sealed by", some(text::shorts(&round.sealers))),
        ("needed", Some(format!("{} contributions", round.min_contributions))),
        ("missing", some(text::shorts(&round.missing))),
        (
            "deadline",
            round
                .deadline_in_ms
                .map(|ms| format!("in {}", text::duration_ms(ms.into()))),
        ),
        (
            "parent's",
            some(
                round
                    .evaluation
                    .iter()
                    .map(text::evaluation)
                    .collect::<Vec<_>>()
                    .join("; "),
            ),
        ),
        (
            "closing",
            round
                .closing
                .then(|| "the members only vote: the run has ended with the parent".to_owned()),
        ),
        (
            "lost seals",
            some(text::shorts(round.losing_seals.iter().map(|seal| &seal.checkpoint))),
        ),
    ]);
    let noisy = round.contributions.iter().any(|c| c.privacy_spent.is_some());
    let spent = noisy.then_some("EPSILON SPENT");
    let columns = ["CONTRIBUTION", "AUTHOR", "SAMPLES", "FIDELITY", "SIZE", "LATE"];
    let mut table = Table::new(columns.into_iter().chain(spent).chain(["VERDICT"]));
    for contribution in &round.contributions {
        let cells = [
            text::short(&contribution.id),
            text::short(&contribution.author),
            contribution.samples.to_string(),
            format!("{:.6}", contribution.fidelity),
            text::bytes(contribution.total_bytes),
            text::yes(contribution.late),
        ];
        let spent = contribution.privacy_spent.as_ref();
        let spent = noisy.then(|| spent.map_or_else(String::new, |spent| format!("{:.4}", spent.epsilon)));
        let verdict = contribution.verdict.as_ref().map(text::verdict).unwrap_or_default();
        table.row(cells.into_iter().chain(spent).chain([verdict]));
    }
    head.then(table.text("no contributions yet"))
}

fn table(rounds: &[pb::Round]) -> Table {
    let mut table = Table::new([
        "ROUND",
        "STATE",
        "IN",
        "LATE",
        "CHECKPOINT",
        "CONFIRMED",
        "SEALED BY",
        "MISSING",
        "PARENT'S METRICS",
    ]);
    for round in rounds {
        let late = round
            .contributions
            .iter()
            .filter(|contribution| contribution.late)
            .count();
        let made = round.checkpoint.as_ref();
        table.row([
            round.round.to_string(),
            text::round_state(round).to_owned(),
            (round.contributions.len() - late).to_string(),
            late.to_string(),
            made.map_or("-".into(), |made| text::short(&made.id)),
            made.map_or("-".into(), |made| text::yes(made.confirmed)),
            text::shorts(&round.sealers),
            text::shorts(&round.missing),
            text::measured(round),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round() -> pb::Round {
        pb::Round {
            model: "m".into(),
            round: 3,
            state: pb::RoundState::Open.into(),
            parent: "aa".into(),
            contributions: vec![pb::Contribution {
                steps: None,
                privacy_spent: None,
                id: "0123456789".into(),
                author: "feedfacecafe".into(),
                samples: 100,
                fidelity: 0.999_999_4,
                total_bytes: 2048,
                late: false,
                verdict: Some(pb::ContributionVerdict {
                    claimed: 0.9,
                    weight: 0.0,
                    clipped: 1.0,
                    distance: Some(1234.5),
                    rejected: pb::Rejection::NotSelected.into(),
                }),
            }],
            missing: vec!["deadbeef00".into()],
            min_contributions: 2,
            ..Default::default()
        }
    }

    #[test]
    fn with_noise_a_round_shows_the_epsilon_that_each_author_has_spent() {
        let mut round = round();
        round.contributions[0].verdict = None;
        round.contributions[0].privacy_spent = Some(pb::PrivacySpent {
            releases: 7,
            epsilon: 2.5,
            delta: 1e-5,
        });
        let text = round_text(&round).to_string();
        let (_, table) = text.split_once("\n\n").unwrap();
        assert_eq!(
            table,
            "CONTRIBUTION  AUTHOR    SAMPLES  FIDELITY  SIZE     LATE  EPSILON SPENT  VERDICT\n\
             01234567      feedface  100      0.999999  2.0 KiB  no    2.5000"
        );
    }

    #[test]
    fn a_round_lists_what_is_in_and_who_is_missing() {
        assert_eq!(
            round_text(&round()).to_string(),
            "round    3 of m\n\
             state    open\n\
             parent   aa\n\
             needed   2 contributions\n\
             missing  deadbeef\n\n\
             CONTRIBUTION  AUTHOR    SAMPLES  FIDELITY  SIZE     LATE  VERDICT\n\
             01234567      feedface  100      0.999999  2.0 KiB  no    weight 0.000 of 0.900 claimed, distance 1234.5000, \
             REJECTED: others lie closer together"
        );
    }
}
