//! The node's front: all calls that its callers can make.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use prometheus_client::registry::Registry;
use qres_fed::id::{BlobId, CheckpointId, NodeId, SpecId, SubmissionId};
use qres_fed::record::{Membership, ModelName, Rule, TensorSpec};

use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::catalog::known::Known;
use crate::config::NodeConfig;
use crate::context::NodeContext;
use crate::error::NodeError;
use crate::startup::StartError;
use crate::view::{
    CheckpointView, ListedModel, ModelView, NodeView, PeerView, Revision, RoundView, StateView, SubmissionView,
    WatchItem,
};
use crate::{announced, background, creators, service, startup, view};

type Answer<T> = Result<T, NodeError>;

/// A caller's name of a model: `name`, or `name@id` (id = spec id, 64 hex digits) which always works. An id in the place of the
/// name means the model of that id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRef {
    /// The model's name, or its id in text.
    pub name: ModelName,
    /// The spec's id, needed when two specs bear the name.
    pub id: Option<SpecId>,
}

/// The facts that a byte stream announces of itself; each is checked when given.
#[derive(Debug, Clone, Default)]
pub struct UploadOptions {
    /// An idempotency key: it makes the upload resumable and its outcome repeatable. At most 128 bytes.
    pub key: Option<String>,
    /// The byte at which this stream goes on: the bytes before it are already kept. Above 0 only with a key.
    pub offset: u64,
    /// The total bytes of the stream.
    pub bytes: Option<u64>,
    /// The BLAKE3 of all bytes.
    pub digest: Option<BlobId>,
}

/// A new model, without its weights.
#[derive(Debug, Clone)]
pub struct CreateModel {
    /// The name of the new model.
    pub name: ModelName,
    /// The aggregation strategy, e.g. `fedavg/1`.
    pub strategy: Rule,
    /// The codec of updates, e.g. `bf16/1`.
    pub codec: Rule,
    /// The contributions that a round needs at least (k). `None` means a majority of the list; an open model must name them.
    pub min_contributions: Option<u32>,
    /// See [`qres_fed::record::RoundPolicy::target`].
    pub target: Option<u32>,
    /// See [`qres_fed::record::RoundPolicy::deadline_ms`].
    pub deadline_ms: Option<u64>,
    /// See [`qres_fed::record::RoundPolicy::deadline_ms_max`].
    pub deadline_ms_max: Option<u64>,
    /// See [`qres_fed::record::RoundPolicy::max_staleness`].
    pub max_staleness: Option<u32>,
    /// The members; `None` means a list of this node alone.
    pub membership: Option<Membership>,
    /// A predecessor; its head is then checkpoint 0, and no weights are sent.
    pub succeeds: Option<SpecId>,
    /// Weights made from a seed ([`Seeded`]); no weights are sent then either.
    pub seeded: Option<Seeded>,
    /// The stream of the weights.
    pub upload: UploadOptions,
}

/// First weights that the node makes itself: see [`qres_fed::tensor::write_seeded`].
#[derive(Debug, Clone)]
pub struct Seeded {
    /// The schema, in any order.
    pub tensors: Vec<TensorSpec>,
    /// The seed that the weights are made from.
    pub seed: u64,
}

/// The content of a submission's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubmissionKind {
    /// Full weights: this node takes their difference to the base.
    Weights,
    /// A difference: weights minus base.
    Delta,
}

/// A trainer's submission, without its bytes.
#[derive(Debug, Clone)]
pub struct Submit {
    /// The model to submit to.
    pub model: ModelRef,
    /// The checkpoint that the work was trained from. `None` is accepted only if just one was handed out for the open round.
    pub base: Option<CheckpointId>,
    /// The trainer's name, unique on this node, at most 128 bytes; empty means `default`.
    pub trainer: String,
    /// The training samples behind the work, at least 1.
    pub samples: u64,
    /// The content of the bytes: weights or a delta.
    pub kind: SubmissionKind,
    /// Figures for people: at most 64 numbers, which may be NaN, with names of at most 128 bytes.
    pub metrics: BTreeMap<String, f64>,
    /// The stream of the bytes.
    pub upload: UploadOptions,
}

/// A request for the weights of a checkpoint.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// The model whose weights are wanted.
    pub model: ModelRef,
    /// Waits until the head differs from this checkpoint.
    pub after: Option<CheckpointId>,
    /// Asks for exactly this checkpoint instead of the head.
    pub checkpoint: Option<CheckpointId>,
    /// Asks for the newest confirmed checkpoint instead of a provisional head.
    pub confirmed_only: bool,
    /// With [`Fetch::after`] and without [`Fetch::trainer`]: takes heads, too, on which this node has contributed already.
    pub every_head: bool,
    /// Takes only a head that this trainer can still submit on; empty means `default`.
    pub trainer: Option<String>,
    /// The first byte to send.
    pub offset: u64,
}

/// The answer to a [`Fetch`].
pub struct Fetched {
    /// The checkpoint whose weights are sent.
    pub checkpoint: CheckpointView,
    /// Settings that the trainer must apply: `mu`, `learning_rate`, …
    pub trainer_config: BTreeMap<String, f64>,
    /// The id of the model's spec.
    pub spec: SpecId,
    /// The safetensors file's bytes from the offset on, in chunks of at most 1 MiB.
    pub chunks: BoxStream<'static, Answer<Bytes>>,
}

/// A state to publish under a joined model.
#[derive(Debug, Clone)]
pub struct PublishState {
    /// The model that the state belongs to; it must be joined.
    pub model: ModelRef,
    /// The name of this one of the node's states, at most 128 bytes.
    pub name: String,
    /// The time of the state in Unix ms; `None` means now.
    pub timestamp_unix_ms: Option<u64>,
    /// The tensors as a safetensors file.
    pub tensors: Bytes,
    /// The codec of the tensors on their way; `None` means `bf16/1`.
    pub codec: Option<Rule>,
}

/// The subject of a watch.
#[derive(Debug, Clone)]
pub enum WatchFilter {
    /// The models, all of them.
    Models,
    /// The rounds of one model.
    Rounds(ModelRef),
    /// The submissions of one model, or of all models when `None`.
    Submissions(Option<ModelRef>),
    /// The peers, all of them.
    Peers,
    /// The states of a model; only those with these names when any are given.
    States(ModelRef, Vec<String>),
}

/// A page of a list: its items, and the token of the next page.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The items of the page.
    pub items: Vec<T>,
    /// The token of the next page; `None` on the last page.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Converts every item, and keeps the token.
    pub fn map<U>(self, item: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(item).collect(),
            next: self.next,
        }
    }
}

/// The page that is asked for: at most `size` items after `token`.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// The most items of the page, 1 to 1,000.
    pub size: usize,
    /// The token from the previous page; `None` asks for the first page.
    pub token: Option<String>,
}

impl PageRequest {
    /// Returns the page of a list that ascends by `key`; a token is the key of the page's last item, in hex.
    pub fn cut<T>(&self, all: Vec<T>, key: impl Fn(&T) -> String) -> Answer<Page<T>> {
        let after = self.token.as_deref().map(|token| {
            let bytes = hex::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            bytes.ok_or_else(|| NodeError::invalid("page_token", "not a token of this list: start without one"))
        });
        let after = after.transpose()?;
        let mut rest = all
            .into_iter()
            .filter(|item| after.as_ref().is_none_or(|after| key(item) > *after))
            .peekable();
        let items: Vec<_> = rest.by_ref().take(self.size).collect();
        let next = rest.peek().and(items.last()).map(|last| hex::encode(key(last)));
        Ok(Page { items, next })
    }
}

pub use crate::service::fetch::Found;
pub use crate::upload::Upload;

/// The node, for its callers. A clone is cheap.
#[derive(Clone)]
pub struct NodeHandle {
    pub(crate) context: Arc<NodeContext>,
}

impl NodeHandle {
    /// Starts a node; returns once it listens and its joined models run.
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        Ok(Self {
            context: startup::start(config).await?,
        })
    }

    /// Ends every task and says goodbye to peers.
    pub async fn stop(&self) {
        startup::stop(&self.context).await;
    }

    /// Creates a model from a weights stream, a seed or a predecessor's head.
    pub async fn create_model(&self, create: CreateModel) -> Answer<Upload<ModelView>> {
        service::create::begin(&self.context, create).await
    }

    /// Joins a known model: by its id, by its name and creator, or by its bare name when the creator is known here.
    pub async fn join_model(&self, model: ModelRef, creator: Option<NodeId>) -> Answer<ModelView> {
        self.context.refuse_if_draining()?;
        self.context.refuse_if_bootstrap()?;
        let model = creators::to_join(&self.context, &model, creator)?;
        let joined = service::membership::join(&self.context, &model).await?;
        background::auto_join::again(&self.context).await;
        Ok(joined)
    }

    /// Leaves a model that is joined.
    pub async fn leave_model(&self, model: ModelRef) -> Answer<()> {
        let (model, _) = self.context.registry.find_joined(&model)?;
        service::membership::leave(&self.context, &model).await
    }

    /// Returns the [`ModelView`] of one model.
    pub async fn model(&self, model: ModelRef) -> Answer<ModelView> {
        let known = self.context.registry.find(&model)?;
        let model = announced::whole(&self.context, &known).await?;
        Ok(view::build::model(&self.context, &model))
    }

    /// Reads something of a model's tensors, which ascend by name.
    pub async fn tensors<T>(&self, model: ModelRef, read: impl FnOnce(&[TensorSpec]) -> T) -> Answer<T> {
        let known = self.context.registry.find(&model)?;
        let model = announced::whole(&self.context, &known).await?;
        Ok(read(&model.spec().tensors))
    }

    /// Returns all known models, by name: of those that were only announced an outline ([`ListedModel::Heard`]).
    pub async fn models(&self, page: PageRequest) -> Answer<Page<ListedModel>> {
        let mut all = self.context.registry.known();
        all.sort_by(|a, b| (a.name(), a.id()).cmp(&(b.name(), b.id())));
        // No letter of a name is below the separator, so tokens sort as the list does.
        let key = |model: &Known| format!("{}\0{}", model.name(), model.id());
        let page = page.cut(all, key)?;
        Ok(page.map(|known| view::build::listed(&self.context, known)))
    }

    /// Begins the upload of a submission.
    pub async fn submit(&self, submit: Submit) -> Answer<Upload<SubmissionView>> {
        service::submit::begin(&self.context, submit).await
    }

    /// Returns the bytes kept of a resumable upload.
    pub async fn upload_offset(&self, key: &str) -> Answer<u64> {
        let key = key.to_owned();
        Ok(self.context.blocking(move |store| store.blobs().kept(&key)).await)
    }

    /// Waits for the weights that are asked for. A caller that has its turn opens them with [`Found::open`].
    pub async fn fetch(&self, fetch: Fetch) -> Answer<Found> {
        service::fetch::find(&self.context, fetch).await
    }

    /// Returns the [`SubmissionView`] of one submission; with `wait`, once it is sealed, rejected or superseded.
    pub async fn submission(&self, id: SubmissionId, wait: bool) -> Answer<SubmissionView> {
        service::submissions::get(&self.context, id, wait).await
    }

    /// Returns a page of submissions, the newest first.
    pub async fn submissions(&self, model: Option<ModelRef>, page: PageRequest) -> Answer<Page<SubmissionView>> {
        service::submissions::list(&self.context, model, page).await
    }

    /// Returns the [`RoundView`] of a round of the head's branch; `None` asks for the open round.
    pub async fn round(&self, model: ModelRef, round: Option<u64>) -> Answer<RoundView> {
        service::rounds::get(&self.context, &model, round).await
    }

    /// Returns a page of rounds of the head's branch, the newest first, the open one included.
    pub async fn rounds(&self, model: ModelRef, page: PageRequest) -> Answer<Page<RoundView>> {
        service::rounds::list(&self.context, &model, page).await
    }

    /// Ends the open round's waiting, but never below k contributions.
    pub async fn seal_round(&self, model: ModelRef) -> Answer<RoundView> {
        service::rounds::seal(&self.context, &model).await
    }

    /// Publishes a state, and returns its [`StateView`].
    pub async fn publish_state(&self, state: PublishState) -> Answer<StateView> {
        service::states::publish(&self.context, state).await
    }

    /// Returns a page of the known peers, by peer id.
    pub async fn peers(&self, page: PageRequest) -> Answer<Page<PeerView>> {
        let mut all = self.context.mesh.peers().await?;
        all.sort_by(|a, b| a.peer_id.cmp(&b.peer_id));
        page.cut(all, |peer| peer.peer_id.clone())
    }

    /// Returns the [`PeerView`] of one peer, by libp2p peer id or node id.
    pub async fn peer(&self, peer_id: &str) -> Answer<PeerView> {
        service::peers::get(&self.context, peer_id).await
    }

    /// Dials a multiaddr, an IP or a `host[:port]`; answers once the peer is admitted, or the reason against it is clear.
    pub async fn dial(&self, address: &str) -> Answer<()> {
        service::peers::dial(&self.context, address).await
    }

    /// Bans a peer for at most a year.
    pub async fn ban(&self, peer_id: &str, reason: &str, for_: Duration) -> Answer<PeerView> {
        service::peers::ban(&self.context, peer_id, reason, for_).await
    }

    /// Ends the ban of a peer.
    pub async fn unban(&self, peer_id: &str) -> Answer<PeerView> {
        service::peers::unban(&self.context, peer_id).await
    }

    /// Returns the [`NodeView`] of this node.
    pub async fn node(&self) -> Answer<NodeView> {
        Ok(service::peers::node(&self.context).await)
    }

    /// Takes no new work from here on; returns when the acknowledged work is merged and sent, or after 30 s.
    pub async fn drain(&self) -> Answer<NodeView> {
        Ok(service::drain::drain(&self.context).await)
    }

    /// Opens a watch that goes on after a revision; 0 asks for a snapshot first. The items are [`WatchItem`]s.
    pub async fn watch(&self, filter: WatchFilter, from: Revision) -> Answer<BoxStream<'static, Answer<WatchItem>>> {
        service::watch::watch(&self.context, filter, from)
    }

    /// Shows the node's figures in a registry, which does not keep the node alive.
    pub fn register_metrics(&self, registry: &mut Registry) {
        let context = Arc::downgrade(&self.context);
        self.context
            .metrics
            .register(registry, context, self.context.downloads.counters());
    }

    /// Resolves when a part of the node has failed for good, with the reason: its owner should stop it and end the process, so
    /// that a supervisor starts a new one.
    pub fn failed(&self) -> impl Future<Output = String> + use<> {
        self.context.failed()
    }

    /// Resolves when the node shuts down: long streams end then.
    pub fn stopping(&self) -> WaitForCancellationFutureOwned {
        self.context.stop.clone().cancelled_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(all: &[&str], size: usize, token: Option<String>) -> Answer<Page<String>> {
        let all = all.iter().map(ToString::to_string).collect();
        PageRequest { size, token }.cut(all, String::clone)
    }

    #[test]
    fn pages_end_to_end_give_every_item_once_even_when_the_last_one_shown_has_gone() {
        let all = ["a", "b", "c", "d", "e"];
        let (mut seen, mut token) = (vec![], None);
        loop {
            let page = cut(&all, 2, token).unwrap();
            seen.extend(page.items);
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
        let first = cut(&all, 2, None).unwrap();
        let rest = cut(&["a", "c", "d"], 5, first.next).unwrap();
        assert_eq!((rest.items, rest.next), (vec!["c".to_owned(), "d".to_owned()], None));
        // A full last page says that it is the last.
        assert_eq!(cut(&["a", "b"], 2, None).unwrap().next, None);
        assert_eq!(cut(&[], 2, None).unwrap().next, None);
    }

    #[test]
    fn a_token_that_is_none_of_ours_is_refused_by_its_field() {
        for token in ["zz", "ff", "f"] {
            let error = cut(&["a"], 1, Some(token.into())).unwrap_err();
            assert_eq!(error.field.as_deref(), Some("page_token"), "{token}");
        }
    }
}
