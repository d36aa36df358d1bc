//! Weights on their way to a trainer.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use qres_fed::id::{BlobId, CheckpointId, SpecId};
use qres_fed::round::CheckpointInfo;
use qres_fed::strategy;
use qres_fed::tensor::{Assembled, Source};
use qres_store::{BlobFile, Owner, Store};

use crate::catalog::entry::Model;
use crate::catalog::fixed::FixedState;
use crate::catalog::joined::{Heads, Joined};
use crate::context::NodeContext;
use crate::error::{NodeError, Reason};
use crate::refusal::stopped;
use crate::request::{Fetch, trainer_name};
use crate::succession::in_successor;
use crate::view::CheckpointView;

/// The bytes of one chunk: clients in every language take messages up to 4 MiB untuned.
const CHUNK_BYTES: u64 = 1 << 20;

/// The answer to a [`Fetch`].
pub struct Fetched {
    /// The checkpoint whose weights are sent.
    pub checkpoint: CheckpointView,
    /// Settings that the trainer must apply: `mu`, `learning_rate`, …
    pub trainer_config: BTreeMap<String, f64>,
    /// The id of the model's spec.
    pub spec: SpecId,
    /// The length of the whole file in bytes.
    pub bytes: u64,
    /// The BLAKE3 of the trainer's personal tensors; `None` while it has none.
    pub personal: Option<BlobId>,
    /// True if the run has ended with this checkpoint.
    pub complete: bool,
    /// The safetensors file's bytes from the offset on, in chunks of at most 1 MiB.
    pub chunks: BoxStream<'static, Result<Bytes, NodeError>>,
}

/// A checkpoint that was asked for and is known here; no file is open yet.
pub struct Found {
    context: Arc<NodeContext>,
    model: Arc<Model>,
    joined: Arc<Joined>,
    info: CheckpointInfo,
    offset: u64,
    /// The trainer whose personal tensors are wanted.
    personal: Option<String>,
    /// True if the checkpoint is a base to train from.
    base: bool,
}

/// Waits for the checkpoint that a [`Fetch`] asks for.
pub async fn find(context: &Arc<NodeContext>, mut fetch: Fetch) -> Result<Found, NodeError> {
    let (model, joined) = context.catalog.find_joined(&fetch.model)?;
    fetch.checkpoint = fetch.checkpoint.map(|wanted| in_successor(context, &model, wanted));
    fetch.after = fetch.after.map(|after| in_successor(context, &model, after));
    // Before a checkpoint is chosen: the head may move many times meanwhile.
    fixed_here(context, &joined).await?;
    let info = match (fetch.checkpoint, &fetch.best) {
        (_, Some(metric)) => best(context, &model, metric).await?,
        (Some(id), _) => joined
            .ask(move |machine| machine.checkpoint(&id))
            .await?
            .ok_or_else(|| not_held(&id.to_string()))?,
        (None, None) => wait(context, model.id, &joined, &fetch).await?,
    };
    Ok(Found {
        context: context.clone(),
        model,
        joined,
        info,
        offset: fetch.offset,
        personal: fetch.personal.as_deref().map(|name| trainer_name(name).to_owned()),
        base: fetch.best.is_none(),
    })
}

impl Found {
    /// Opens the file of the weights, which takes up to three descriptors until the chunks are dropped: two more in a model with frozen
    /// or personal tensors.
    pub async fn open(self) -> Result<Fetched, NodeError> {
        let (file, personal) = open(&self.context, &self.model, &self.info, self.personal).await?;
        let total = file.len();
        if self.offset > total {
            return Err(NodeError::new(
                Reason::OffsetPastEnd,
                format!("offset {}: the weights have {total} bytes", self.offset),
            )
            .field("offset"));
        }
        let last = self.joined.heads.borrow().last;
        let complete = last.is_some_and(|last| last.id == self.info.id);
        if self.base && !complete {
            hand_out(&self.joined, &self.info);
        }
        Ok(Fetched {
            complete,
            checkpoint: CheckpointView::of(&self.model, &self.info),
            trainer_config: strategy::trainer_config(self.model.spec(), self.info.round + 1),
            spec: self.model.id,
            bytes: total,
            personal,
            chunks: chunks(self.context, Arc::new(file), self.offset),
        })
    }
}

/// Returns the best confirmed checkpoint by a metric, or by the first one if it has no name.
async fn best(context: &NodeContext, model: &Model, metric: &str) -> Result<CheckpointInfo, NodeError> {
    let metrics = &model.spec().metrics;
    let place = match metric {
        "" => 0,
        name => metrics
            .iter()
            .position(|known| known.name == name)
            .unwrap_or(metrics.len()),
    };
    if place >= metrics.len() {
        let names: Vec<_> = metrics.iter().map(|metric| metric.name.as_str()).collect();
        let known = match names.is_empty() {
            true => "the model has no metrics".to_owned(),
            false => format!("the model has the metrics {}", names.join(", ")),
        };
        return Err(NodeError::invalid(
            "checkpoint",
            format!("no best one by {metric:?}: {known}"),
        ));
    }
    let spec = model.id;
    let all = context.disk.blocking(move |store| store.best(spec)).await?;
    let found = all.into_iter().find(|(at, _)| usize::from(*at) == place);
    let (_, best) = found.ok_or_else(|| {
        NodeError::new(
            Reason::CheckpointNotHeld,
            format!("no confirmed round has measured {} yet", metrics[place].name),
        )
        .field("checkpoint")
    })?;
    Ok(CheckpointInfo {
        id: best.checkpoint,
        round: best.round,
        parent: best.parent,
        content: best.content,
        confirmed: true,
        verified: true,
    })
}

/// Waits for the checkpoint that is asked for. A head that the trainer has submitted on is passed over. When that work is
/// rejected, and so may never bring a new head, the trainer gets the error [`Reason::SubmissionRejected`].
async fn wait(
    context: &NodeContext,
    spec: SpecId,
    joined: &Joined,
    fetch: &Fetch,
) -> Result<CheckpointInfo, NodeError> {
    let Some(trainer) = fetch.trainer.as_deref().map(trainer_name) else {
        return next(context, joined, fetch, None).await;
    };
    let mut passed = fetch.after;
    loop {
        let info = tokio::select! {
            info = next(context, joined, fetch, passed) => info?,
            error = rejection(joined, trainer, passed) => return Err(error),
        };
        if joined.heads.borrow().last.is_some() {
            return Ok(info);
        }
        let name = trainer.to_owned();
        let submitted = context
            .disk
            .blocking(move |store| store.submission_for(spec, &name, info.id));
        if submitted.await?.is_none() {
            return Ok(info);
        }
        passed = Some(info.id);
    }
}

/// Waits until a trainer's work on a base is rejected because no update can be made of it.
async fn rejection(joined: &Joined, trainer: &str, base: Option<CheckpointId>) -> NodeError {
    let mut heads = joined.heads.clone();
    let Some(base) = base else {
        return std::future::pending().await;
    };
    loop {
        let seen = heads.borrow_and_update().unusable_count;
        let name = trainer.to_owned();
        let rejected = joined.ask(move |machine| machine.unusable(&name, &base));
        match rejected.await {
            Ok(None) => {}
            Err(error) => return error,
            Ok(Some(reason)) => {
                let message = format!("the work of trainer {trainer:?} on base {base} was rejected: {reason}");
                return NodeError::new(Reason::SubmissionRejected, message).field("after");
            }
        }
        if heads.wait_for(|heads| heads.unusable_count != seen).await.is_err() {
            return stopped();
        }
    }
}

/// Waits until the head (or the newest confirmed checkpoint) is here and differs from [`Fetch::after`] and `passed`.
async fn next(
    context: &NodeContext,
    joined: &Joined,
    fetch: &Fetch,
    passed: Option<CheckpointId>,
) -> Result<CheckpointInfo, NodeError> {
    let mut heads = joined.heads.clone();
    let wanted = |heads: &Heads| match (heads.last, fetch.confirmed_only) {
        (Some(last), _) => last,
        (None, true) => heads.confirmed,
        (None, false) => heads.head,
    };
    // A caller that waits for work gets none from a model that has ended.
    let waits = fetch.trainer.is_some() || fetch.after.is_some();
    let changed = heads.wait_for(|heads| {
        let info = wanted(heads);
        if waits && (heads.successor.is_some() || heads.last.is_some()) {
            return true;
        }
        // A trainer that waits for work is not woken for a base on which this node has contributed already.
        let trains = fetch.trainer.is_some() || fetch.after.is_some() && !fetch.confirmed_only && !fetch.every_head;
        let idle = trains && !heads.workable;
        info.verified && Some(info.id) != fetch.after && Some(info.id) != passed && !idle
    });
    tokio::select! {
        changed = changed => {
            let heads = *changed.map_err(|_| stopped())?;
            if waits {
                joined.refuse_if_ended()?;
            }
            Ok(wanted(&heads))
        }
        () = context.lifecycle.stop.cancelled() => Err(stopped()),
    }
}

fn hand_out(joined: &Joined, info: &CheckpointInfo) {
    let mut handed_out = joined.handed_out.lock();
    handed_out.insert(info.id);
}

fn not_held(what: &str) -> NodeError {
    NodeError::new(
        Reason::CheckpointNotHeld,
        format!(
            "the weights of {what} are not held here: fetch the head, or ask a node that keeps more (--retention all)"
        ),
    )
    .field("checkpoint")
}

fn personal_lost(blob: &BlobId) -> NodeError {
    let problem = format!(
        "the file with the trainer's personal tensors ({blob}) is no longer on the disk: fetch without a trainer's name, and submit \
         personal tensors anew"
    );
    NodeError::new(Reason::CheckpointNotHeld, problem).field("trainer")
}

/// Waits until the file of a model's fixed tensors is here; at once in a model without such tensors.
pub async fn fixed_here(context: &NodeContext, joined: &Joined) -> Result<(), NodeError> {
    let mut state = joined.fixed.subscribe();
    let state = tokio::select! {
        state = state.wait_for(|state| *state != FixedState::Coming) => *state.map_err(|_| stopped())?,
        () = context.lifecycle.stop.cancelled() => return Err(stopped()),
        () = joined.stop.cancelled() => return Err(stopped()),
    };
    match state {
        FixedState::Bad => Err(NodeError::new(
            Reason::CheckpointNotHeld,
            "the file of the model's frozen and personal tensors is not what its spec says, so the model cannot be used: leave it",
        )
        .field("model")),
        FixedState::Coming | FixedState::Here => Ok(()),
    }
}

/// The file that a trainer gets.
enum Weights {
    /// The weights of a checkpoint as they are.
    Plain(BlobFile),
    /// All tensors of a model, from several files.
    Assembled(Assembled<BlobFile>),
}

impl Weights {
    fn len(&self) -> u64 {
        match self {
            Self::Plain(file) => file.len(),
            Self::Assembled(file) => file.len(),
        }
    }

    fn read_vec(&self, offset: u64, length: usize) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Plain(file) => file.read_vec(offset, length),
            Self::Assembled(file) => {
                let mut bytes = vec![0; length];
                file.read_at(offset, &mut bytes)?;
                Ok(bytes)
            }
        }
    }
}

/// Opens the file that a trainer gets, and returns the blob with its personal tensors.
async fn open(
    context: &NodeContext,
    model: &Arc<Model>,
    info: &CheckpointInfo,
    trainer: Option<String>,
) -> Result<(Weights, Option<BlobId>), NodeError> {
    let (model, weights) = (model.clone(), info.content.weights);
    let open = move |store: &Store| {
        let blobs = store.blobs_of(Owner::Model(model.id));
        let missing = |blob: &BlobId| not_held(&format!("blob {blob}"));
        let weights = blobs.open(&weights)?.ok_or_else(|| missing(&weights))?;
        let Some(parts) = &model.fixed else {
            return Ok((Weights::Plain(weights), None));
        };
        let fixed = blobs.open(&parts.blob)?.ok_or_else(|| missing(&parts.blob))?;
        let personal = trainer
            .map(|trainer| store.personal(model.id, &trainer))
            .transpose()?
            .flatten();
        let own = personal.map(|blob| {
            let file = store.blobs_of(Owner::Node).open(&blob)?;
            let fits = |file: &BlobFile| file.len() == parts.personal.file_bytes();
            file.filter(fits).ok_or_else(|| personal_lost(&blob))
        });
        let file = Assembled {
            assembly: parts.assembly.clone(),
            weights,
            fixed,
            own: own.transpose()?,
        };
        Ok((Weights::Assembled(file), personal))
    };
    context.disk.blocking(open).await
}

/// Reads one chunk ahead of the consumer, and never more.
fn chunks(context: Arc<NodeContext>, file: Arc<Weights>, offset: u64) -> BoxStream<'static, Result<Bytes, NodeError>> {
    let total = file.len();
    stream::iter((offset..total).step_by(usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX)))
        .map(move |at| {
            let (context, file) = (context.clone(), file.clone());
            async move {
                context
                    .disk
                    .blocking(move |_| {
                        let length = usize::try_from(CHUNK_BYTES.min(total - at)).unwrap_or(usize::MAX);
                        file.read_vec(at, length).map(Bytes::from)
                    })
                    .await
                    .map_err(|error: std::io::Error| NodeError::new(Reason::Store, error.to_string()))
            }
        })
        .buffered(2)
        .boxed()
}
