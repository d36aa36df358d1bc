//! The command `qres fetch`.

use std::path::PathBuf;

use futures::StreamExt;
use qres_api::client::{self, Client};
use qres_api::pb;
use serde_json::json;

use super::Context;
use crate::failure::Failure;
use crate::file::Part;
use crate::progress;
use crate::show::json;
use crate::show::table::facts;
use crate::show::text;

/// Most attempts in a row at one download without any progress: each goes on where the attempt before broke.
const ATTEMPTS_MAX: u32 = 5;

/// Reads a checkpoint's weights into a file.
#[derive(Debug, clap::Args)]
pub struct Fetch {
    /// Name of the model, or name@id
    model: String,
    /// File to write the weights to, in the safetensors format
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Only weights newer than this checkpoint
    #[arg(long, value_name = "CHECKPOINT", conflicts_with = "checkpoint")]
    after: Option<String>,
    /// Wait for weights newer than --after, or than the present head
    #[arg(long, conflicts_with = "checkpoint")]
    wait: bool,
    /// The weights of exactly this checkpoint, or of the best confirmed one by the model's first metric (`best`) or by the metric
    /// NAME (`best:NAME`)
    #[arg(long, value_name = "CHECKPOINT")]
    checkpoint: Option<String>,
    /// The newest confirmed checkpoint instead of a provisional head: for deployment
    #[arg(long, conflicts_with = "checkpoint")]
    confirmed_only: bool,
    /// Wait for any newer head, also for one that this node has contributed on already
    #[arg(long, requires = "wait")]
    every_head: bool,
    /// Wait for weights that this trainer can still submit on, because it has not done so yet, and get its own personal tensors. With
    /// --checkpoint or --confirmed-only: do not wait for the trainer
    #[arg(long, value_name = "NAME", conflicts_with = "every_head")]
    trainer: Option<String>,
}

impl Fetch {
    /// Downloads the weights, checks their digest, and prints the checkpoint.
    pub async fn run(self, context: Context) -> Result<(), Failure> {
        let after = self.after(&context).await?;
        let request = pb::FetchWeightsRequest {
            model: self.model.clone(),
            after,
            checkpoint: self.checkpoint.clone().unwrap_or_default(),
            confirmed_only: self.confirmed_only,
            every_head: self.every_head,
            offset: 0,
            trainer: self.trainer.clone(),
        };
        let first = context.client.fetch(request).await?;
        let shown = (
            first.checkpoint.clone(),
            first.spec_id.clone(),
            first.trainer_config.clone(),
        );
        let (complete, total) = (first.complete, first.total_bytes);
        self.download(&context, first).await?;
        let (checkpoint, spec_id, trainer_config) = shown;
        let out = self.out.display().to_string();
        context.output.print(
            || {
                json!({
                    "checkpoint": json::checkpoint(&checkpoint),
                    "spec_id": spec_id,
                    "trainer_config": trainer_config,
                    "complete": complete,
                    "total_bytes": total,
                    "out": out,
                })
            },
            || {
                facts([
                    ("checkpoint", Some(checkpoint.id.clone())),
                    ("round", Some(checkpoint.round.to_string())),
                    ("standing", Some(text::confirmed(checkpoint.confirmed).to_owned())),
                    (
                        "apply",
                        Some(text::numbers(&trainer_config)).filter(|text| !text.is_empty()),
                    ),
                    (
                        "run",
                        complete.then(|| "complete: this is its last checkpoint".to_owned()),
                    ),
                    ("file", Some(format!("{out} ({})", text::bytes(total)))),
                ])
            },
        );
        Ok(())
    }

    /// Returns the checkpoint that the answer must differ from; empty if any checkpoint will do. The node would wait for a newer
    /// one, so without `--wait` this returns a [`Failure`] if the head is still `--after`.
    async fn after(&self, context: &Context) -> Result<String, Failure> {
        let head = async || Ok::<_, Failure>(context.model(&self.model).await?.head.map(|head| head.id));
        match (&self.after, self.wait) {
            (None, false) => Ok(String::new()),
            (None, true) => Ok(head().await?.unwrap_or_default()),
            (Some(after), true) => Ok(after.clone()),
            (Some(after), false) => match head().await? {
                Some(now) if now == *after => Err(Failure::local(format!(
                    "{} still stands on {}: nothing newer is here, --wait waits for it",
                    self.model,
                    text::short(after)
                ))),
                _ => Ok(after.clone()),
            },
        }
    }

    /// Writes the data to the file. Goes on after a broken stream, also one of an earlier run.
    async fn download(&self, context: &Context, first: client::Fetch) -> Result<(), Failure> {
        let (id, total, personal) = (
            first.checkpoint.id.clone(),
            first.total_bytes,
            first.personal_digest.clone(),
        );
        // A file with frozen or personal tensors has more than the checkpoint's weights, and no digest of its own.
        let digest = (total == first.checkpoint.total_bytes).then(|| first.checkpoint.weights_digest.clone());
        let mut part = Part::open(&self.out, &tag(&id, &personal))?;
        if part.bytes() > total {
            part.restart()?;
        }
        let bar = progress::bar(context.output, "fetching", total, part.bytes());
        let mut stream = Some(first);
        let mut attempt = 1;
        while part.bytes() < total {
            let begun = part.bytes();
            let outcome = match stream.take().filter(|stream| stream.offset == begun) {
                Some(stream) => copy(stream, &mut part, &bar).await,
                None => match self.resume(&context.client, (&id, &personal), begun).await {
                    Ok(stream) => copy(stream, &mut part, &bar).await,
                    Err(failure) => Err(failure),
                },
            };
            let Err(failure) = outcome else {
                continue;
            };
            attempt = if part.bytes() > begun { 1 } else { attempt + 1 };
            if !failure.is_passing() || attempt > ATTEMPTS_MAX {
                return Err(failure);
            }
            tokio::time::sleep(failure.retry_after().unwrap_or(progress::RETRY_WAIT)).await;
        }
        bar.finish_and_clear();
        part.finish(digest.as_deref())
    }

    async fn resume(
        &self,
        client: &Client,
        (checkpoint, personal): (&str, &str),
        offset: u64,
    ) -> Result<client::Fetch, Failure> {
        let request = pb::FetchWeightsRequest {
            model: self.model.clone(),
            checkpoint: checkpoint.to_owned(),
            offset,
            trainer: self.trainer.clone(),
            ..Default::default()
        };
        let stream = client.fetch(request).await?;
        if stream.offset != offset || stream.checkpoint.id != checkpoint {
            return Err(Failure::local(
                "the node answered with another checkpoint or offset than was asked for",
            ));
        }
        if stream.personal_digest != personal {
            return Err(Failure::local(
                "the trainer has submitted new personal tensors meanwhile: fetch again",
            ));
        }
        Ok(stream)
    }
}

/// Returns the tag of a partly written file: two files with the same tag are the same.
fn tag(checkpoint: &str, personal: &str) -> String {
    [checkpoint, personal]
        .map(|digest| digest.chars().take(16).collect::<String>())
        .concat()
}

async fn copy(mut stream: client::Fetch, part: &mut Part, bar: &indicatif::ProgressBar) -> Result<(), Failure> {
    while let Some(chunk) = stream.data.next().await {
        let chunk = chunk?;
        part.write(&chunk)?;
        bar.inc(chunk.len() as u64);
    }
    Ok(())
}
