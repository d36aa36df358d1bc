//! The command `qres watch`.

use clap::Subcommand;
use qres_api::pb;
use serde_json::{Value, json};

use super::Context;
use super::follow::{Message, Next, follow};
use crate::failure::Failure;
use crate::output::Output;
use crate::show::curve::Curves;
use crate::show::{json, text};

/// Follows rounds, peers, models or submissions as they change.
#[derive(Debug, clap::Args)]
pub struct Watch {
    #[command(subcommand)]
    what: What,
    /// Go on after this revision instead of beginning with the present state
    #[arg(long, global = true, value_name = "REVISION", default_value_t = 0)]
    from: u64,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A model's rounds: opened, gained a contribution, sealed; with the curves of the model's metrics
    Rounds {
        /// Name of the model, or name@id
        model: String,
    },
    /// Peers: connecting, connected, disconnected, refused or banned
    Peers,
    /// Models: made, joined, left, available, or a head that moved
    Models,
    /// Submissions: pending, merged, sealed, carried, rejected or superseded
    Submissions {
        /// Only the submissions of this model
        model: Option<String>,
    },
}

impl Watch {
    /// Follows the changes and prints them, until stdout cannot be written any more.
    pub async fn run(self, context: Context) -> Result<(), Failure> {
        let Context { client, output } = context;
        let client = &client;
        match self.what {
            What::Rounds { model } => {
                let open = |from| {
                    let model = model.clone();
                    async move { client.watch_rounds(&model, from).await }
                };
                let mut curves = Curves::default();
                let each = |message: pb::WatchRoundsResponse| {
                    let drawn = message
                        .round
                        .as_ref()
                        .map(|round| curves.drawn(round))
                        .unwrap_or_default();
                    print(
                        output,
                        &message,
                        "round",
                        message.round.as_ref(),
                        json::round,
                        |round| format!("{}  {drawn}", text::round_line(round)).trim_end().to_owned(),
                    )
                };
                follow(output, self.from, open, each).await
            }
            What::Peers => {
                let each = |message: pb::WatchPeersResponse| {
                    print(output, &message, "peer", message.peer.as_ref(), json::peer, peer)
                };
                follow(output, self.from, |from| client.watch_peers(from), each).await
            }
            What::Models => {
                let each = |message: pb::WatchModelsResponse| {
                    print(output, &message, "model", message.model.as_ref(), json::model, model)
                };
                follow(output, self.from, |from| client.watch_models(from), each).await
            }
            What::Submissions { model } => {
                let model = model.unwrap_or_default();
                let open = |from| {
                    let model = model.clone();
                    async move { client.watch_submissions(&model, from).await }
                };
                let each = |message: pb::WatchSubmissionsResponse| {
                    let found = message.submission.as_ref();
                    print(output, &message, "submission", found, json::submission, submission)
                };
                follow(output, self.from, open, each).await
            }
        }
    }
}

/// Prints a message: its JSON, or a line of text for the resource in it. Returns [`Next::Enough`] if stdout cannot be written.
fn print<T>(
    output: Output,
    message: &impl Message,
    field: &str,
    resource: Option<&T>,
    to_json: impl Fn(&T) -> Value,
    to_text: impl Fn(&T) -> String,
) -> Result<Next, Failure> {
    let kind = message.what();
    let reads = match (output.is_json(), resource) {
        (true, _) => {
            let line = json!({
                "revision": message.revision(),
                "kind": json::watch_kind(kind),
                field: resource.map(to_json),
            });
            output.print(|| line, String::new)
        }
        (false, Some(resource)) => output.print(|| Value::Null, || to_text(resource)),
        (false, None) => {
            if kind == pb::WatchKind::TooOld {
                output.note("that revision is no longer kept: this is how things stand, then what changes");
            }
            true
        }
    };
    Ok(if reads { Next::More } else { Next::Enough })
}

fn peer(peer: &pb::Peer) -> String {
    let address = peer.addresses.first().map_or("", String::as_str);
    format!(
        "{}  {}  {}  {address}  {}",
        peer.peer_id,
        text::peer_state(peer),
        peer.agent,
        peer.reason
    )
}

fn model(model: &pb::Model) -> String {
    let head = model.head.as_ref().map(|head| {
        let confirmed = text::confirmed(head.confirmed);
        format!(
            "  round {}, checkpoint {} {confirmed}",
            head.round,
            text::short(&head.id)
        )
    });
    let id = text::short(&model.id);
    format!(
        "{}@{id}  {}{}",
        model.name,
        text::standing(model),
        head.unwrap_or_default()
    )
}

/// Formats a [`pb::Submission`] as one line.
pub fn submission(submission: &pb::Submission) -> String {
    let (id, base) = (text::short(&submission.id), text::short(&submission.base));
    let state = text::submission_state(submission);
    format!(
        "{id}  {}  {}  base {base}  {state}  {}",
        submission.model,
        submission.trainer,
        text::outcome(submission)
    )
}
