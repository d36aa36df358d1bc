//! The node's front: everything a caller can ask of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use prometheus_client::registry::Registry;
use qres_fed::id::{BlobId, CheckpointId, NodeId, SpecId, SubmissionId};
use qres_fed::record::{Membership, ModelName, Rule, TensorSpec};

use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::config::NodeConfig;
use crate::engine::registry::Known;
use crate::engine::{self, Core, StartError};
use crate::error::NodeError;
use crate::view::{
    CheckpointView, ListedModel, ModelView, NodeView, PeerView, Revision, RoundView, StateView, SubmissionView,
    WatchItem,
};

type Answer<T> = Result<T, NodeError>;

/// How a caller names a model: `name`, or `name@id` (id = spec id, 64 hex digits) which always works. An id in the place of the
/// name means the model of that id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRef {
    /// The name.
    pub name: ModelName,
    /// The spec, when two bear the name.
    pub id: Option<SpecId>,
}

/// What a byte stream announces of itself; each is checked when given.
#[derive(Debug, Clone, Default)]
pub struct UploadOptions {
    /// Idempotency key: makes the upload resumable and its outcome repeatable. At most 128 bytes.
    pub key: Option<String>,
    /// Where this stream goes on (only with a key): bytes already kept.
    pub offset: u64,
    /// Total bytes.
    pub bytes: Option<u64>,
    /// BLAKE3 of all bytes.
    pub digest: Option<BlobId>,
}

/// A new model, without its weights.
#[derive(Debug, Clone)]
pub struct CreateModel {
    /// Name.
    pub name: ModelName,
    /// e.g. `fedavg/1`.
    pub strategy: Rule,
    /// e.g. `bf16/1`.
    pub codec: Rule,
    /// k; `None` = a majority of the list.
    pub min_contributions: Option<u32>,
    /// See `RoundPolicy`.
    pub target: Option<u32>,
    /// See `RoundPolicy`.
    pub deadline_ms: Option<u64>,
    /// See `RoundPolicy`.
    pub deadline_ms_max: Option<u64>,
    /// See `RoundPolicy`.
    pub max_staleness: Option<u32>,
    /// `None` = a list of this node alone.
    pub membership: Option<Membership>,
    /// A predecessor; its head is then checkpoint 0 and no weights are sent.
    pub succeeds: Option<SpecId>,
    /// Weights out of a seed; then none are sent either.
    pub seeded: Option<Seeded>,
    /// The weights' stream.
    pub upload: UploadOptions,
}

/// First weights that the node makes itself: see [`qres_fed::tensor::write_seeded`].
#[derive(Debug, Clone)]
pub struct Seeded {
    /// The schema, in any order.
    pub tensors: Vec<TensorSpec>,
    /// Where they come from.
    pub seed: u64,
}

/// What a submission's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubmissionKind {
    /// Full weights: differenced against the base here.
    Weights,
    /// Already weights minus base.
    Delta,
}

/// A trainer's submission, without its bytes.
#[derive(Debug, Clone)]
pub struct Submit {
    /// Which model.
    pub model: ModelRef,
    /// The checkpoint it was trained from; `None` is accepted only if just one was handed out for the open round.
    pub base: Option<CheckpointId>,
    /// Unique on this node, at most 128 bytes; empty = `default`.
    pub trainer: String,
    /// Training samples behind it.
    pub samples: u64,
    /// Weights or delta.
    pub kind: SubmissionKind,
    /// For people: at most 64 finite numbers.
    pub metrics: BTreeMap<String, f64>,
    /// The bytes' stream.
    pub upload: UploadOptions,
}

/// A fetch.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// Which model.
    pub model: ModelRef,
    /// Wait until the head differs from this one.
    pub after: Option<CheckpointId>,
    /// Exactly this checkpoint instead of the head.
    pub checkpoint: Option<CheckpointId>,
    /// The newest confirmed checkpoint instead of a provisional head.
    pub confirmed_only: bool,
    /// With `after`: heads too on which this node has contributed already.
    pub every_head: bool,
    /// Only a head that this trainer can still submit on; empty = `default`.
    pub trainer: Option<String>,
    /// First byte to send.
    pub offset: u64,
}

/// The answer to a fetch.
pub struct Fetched {
    /// Which checkpoint.
    pub checkpoint: CheckpointView,
    /// What the trainer must apply: `mu`, `learning_rate`, …
    pub trainer_config: BTreeMap<String, f64>,
    /// The spec.
    pub spec: SpecId,
    /// The safetensors file's bytes from the offset on, in chunks of at most 1 MiB.
    pub chunks: BoxStream<'static, Answer<Bytes>>,
}

/// A state to publish.
#[derive(Debug, Clone)]
pub struct PublishState {
    /// Which (joined) model.
    pub model: ModelRef,
    /// Which of this node's states, at most 128 bytes.
    pub name: String,
    /// Unix ms; `None` = now.
    pub timestamp_unix_ms: Option<u64>,
    /// A safetensors file.
    pub tensors: Bytes,
    /// How it is coded on the way; `None` = `bf16/1`.
    pub codec: Option<Rule>,
}

/// What to watch.
#[derive(Debug, Clone)]
pub enum WatchFilter {
    /// Models: all.
    Models,
    /// Rounds of one model.
    Rounds(ModelRef),
    /// Submissions of one model (all when `None`).
    Submissions(Option<ModelRef>),
    /// Peers.
    Peers,
    /// States of a model; only these names when not empty.
    States(ModelRef, Vec<String>),
}

/// A page of a list: items, and the token of the next page.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// `None` on the last page.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The same page of something else.
    pub fn map<U>(self, item: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(item).collect(),
            next: self.next,
        }
    }
}

/// Which page: at most `size` items after `token`.
#[derive(Debug, Clone)]
pub struct PageRequest {
    /// 1 to 1,000.
    pub size: usize,
    /// From the previous page; `None` = the first.
    pub token: Option<String>,
}

impl PageRequest {
    /// The page of a list that ascends by `key`; a token is the key of the page's last item, in hex.
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

pub use crate::engine::Upload;
pub use crate::engine::fetch::Found;

/// The node, for its callers. Cheap to clone.
#[derive(Clone)]
pub struct NodeHandle {
    pub(crate) core: Arc<Core>,
}

impl NodeHandle {
    /// Starts a node; answers once it listens and its joined models run.
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        Ok(Self {
            core: engine::start(config).await?,
        })
    }

    /// Ends every task and says goodbye to peers.
    pub async fn stop(&self) {
        engine::stop(&self.core).await;
    }

    /// Creates a model from a weights stream.
    pub async fn create_model(&self, create: CreateModel) -> Answer<Upload<ModelView>> {
        engine::create::begin(&self.core, create).await
    }

    /// Joins a known model: by its id, by its name and creator, or by its bare name when the creator is known here.
    pub async fn join_model(&self, model: ModelRef, creator: Option<NodeId>) -> Answer<ModelView> {
        self.core.refuse_if_draining()?;
        self.core.refuse_if_bootstrap()?;
        let model = engine::creators::to_join(&self.core, &model, creator)?;
        let joined = engine::membership::join(&self.core, &model).await?;
        engine::auto_join::again(&self.core).await;
        Ok(joined)
    }

    /// Leaves a joined model.
    pub async fn leave_model(&self, model: ModelRef) -> Answer<()> {
        let (model, _) = self.core.registry.find_joined(&model)?;
        engine::membership::leave(&self.core, &model).await
    }

    /// One model.
    pub async fn model(&self, model: ModelRef) -> Answer<ModelView> {
        let known = self.core.registry.find(&model)?;
        let model = engine::announced::whole(&self.core, &known).await?;
        Ok(engine::views::model(&self.core, &model))
    }

    /// Reads something of a model's tensors, which ascend by name.
    pub async fn tensors<T>(&self, model: ModelRef, read: impl FnOnce(&[TensorSpec]) -> T) -> Answer<T> {
        let known = self.core.registry.find(&model)?;
        let model = engine::announced::whole(&self.core, &known).await?;
        Ok(read(&model.spec().tensors))
    }

    /// All known models, by name: of those that were only announced an outline.
    pub async fn models(&self, page: PageRequest) -> Answer<Page<ListedModel>> {
        let mut all = self.core.registry.known();
        all.sort_by(|a, b| (a.name(), a.id()).cmp(&(b.name(), b.id())));
        // No letter of a name is below the separator, so tokens sort as the list does.
        let key = |model: &Known| format!("{}\0{}", model.name(), model.id());
        let page = page.cut(all, key)?;
        Ok(page.map(|known| engine::views::listed(&self.core, known)))
    }

    /// Begins a submission.
    pub async fn submit(&self, submit: Submit) -> Answer<Upload<SubmissionView>> {
        engine::submit::begin(&self.core, submit).await
    }

    /// Bytes kept of a resumable upload.
    pub async fn upload_offset(&self, key: &str) -> Answer<u64> {
        let key = key.to_owned();
        Ok(self.core.blocking(move |store| store.blobs().kept(&key)).await)
    }

    /// Weights, once there are such as are asked for; a caller that has its turn opens them.
    pub async fn fetch(&self, fetch: Fetch) -> Answer<Found> {
        engine::fetch::find(&self.core, fetch).await
    }

    /// One submission; `wait` = once it is sealed, rejected or superseded.
    pub async fn submission(&self, id: SubmissionId, wait: bool) -> Answer<SubmissionView> {
        engine::submission::get(&self.core, id, wait).await
    }

    /// Submissions, newest first.
    pub async fn submissions(&self, model: Option<ModelRef>, page: PageRequest) -> Answer<Page<SubmissionView>> {
        engine::submission::list(&self.core, model, page).await
    }

    /// A round of the head's branch; `None` = the open one.
    pub async fn round(&self, model: ModelRef, round: Option<u64>) -> Answer<RoundView> {
        engine::rounds::get(&self.core, &model, round).await
    }

    /// Rounds of the head's branch, newest first, the open one included.
    pub async fn rounds(&self, model: ModelRef, page: PageRequest) -> Answer<Page<RoundView>> {
        engine::rounds::list(&self.core, &model, page).await
    }

    /// Ends the open round's waiting; never below k.
    pub async fn seal_round(&self, model: ModelRef) -> Answer<RoundView> {
        engine::rounds::seal(&self.core, &model).await
    }

    /// Publishes a state.
    pub async fn publish_state(&self, state: PublishState) -> Answer<StateView> {
        engine::state::publish(&self.core, state).await
    }

    /// Known peers, by id.
    pub async fn peers(&self, page: PageRequest) -> Answer<Page<PeerView>> {
        let mut all = self.core.mesh.peers().await?;
        all.sort_by(|a, b| a.peer_id.cmp(&b.peer_id));
        page.cut(all, |peer| peer.peer_id.clone())
    }

    /// One peer, by libp2p peer id or node id.
    pub async fn peer(&self, peer_id: &str) -> Answer<PeerView> {
        engine::peers::get(&self.core, peer_id).await
    }

    /// Dials a multiaddr, an IP or a `host[:port]`; answers once the peer is admitted, or it is clear why not.
    pub async fn dial(&self, address: &str) -> Answer<()> {
        engine::peers::dial(&self.core, address).await
    }

    /// Bans a peer for a while.
    pub async fn ban(&self, peer_id: &str, reason: &str, for_: Duration) -> Answer<PeerView> {
        engine::peers::ban(&self.core, peer_id, reason, for_).await
    }

    /// Ends a ban.
    pub async fn unban(&self, peer_id: &str) -> Answer<PeerView> {
        engine::peers::unban(&self.core, peer_id).await
    }

    /// This node.
    pub async fn node(&self) -> Answer<NodeView> {
        Ok(engine::peers::node(&self.core).await)
    }

    /// Takes no new work from here on; answers when what was acknowledged is merged and sent, or after 30 s.
    pub async fn drain(&self) -> Answer<NodeView> {
        Ok(engine::drain(&self.core).await)
    }

    /// A watch from a revision; 0 = a snapshot first.
    pub async fn watch(&self, filter: WatchFilter, from: Revision) -> Answer<BoxStream<'static, Answer<WatchItem>>> {
        engine::watch(&self.core, filter, from)
    }

    /// Shows the node's figures in a registry, which does not keep the node alive.
    pub fn register_metrics(&self, registry: &mut Registry) {
        let core = Arc::downgrade(&self.core);
        self.core
            .metrics
            .register(registry, core, self.core.downloads.counters());
    }

    /// Resolves when a part of the node has failed for good, with the reason: its owner should stop it and end the process, so
    /// that whoever supervises it starts a new one.
    pub fn failed(&self) -> impl Future<Output = String> + use<> {
        self.core.failed()
    }

    /// Resolves when the node shuts down: long streams end then.
    pub fn stopping(&self) -> WaitForCancellationFutureOwned {
        self.core.stop.clone().cancelled_owned()
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
