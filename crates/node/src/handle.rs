//! The node's front: all calls that its callers can make.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::stream::BoxStream;
use prometheus_client::registry::Registry;
use qres_fed::id::{NodeId, SubmissionId};
use qres_fed::record::Schema;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::catalog::known::Known;
use crate::config::NodeConfig;
use crate::context::NodeContext;
use crate::error::NodeError;
use crate::finding::Finding;
use crate::scrape::Reading;
use crate::startup::StartError;
use crate::view::{
    ListedModel, ModelView, NodeView, PeerView, Revision, RoundView, StateView, SubmissionView, Vitals, WatchItem,
};
use crate::{announced, background, creators, service, startup};

pub use crate::page::{Page, PageRequest};
pub use crate::request::{
    CreateModel, Fetch, ModelRef, PublishState, Seeded, SubmissionKind, Submit, UploadOptions, WatchFilter,
};
pub use crate::service::fetch::{Fetched, Found};
pub use crate::service::succession::MembersCall;
pub use crate::upload::Upload;

type Answer<T> = Result<T, NodeError>;

/// The mesh's loop, which ticks five times a second, counts as stalled after this time without a tick.
const STALLED_AFTER: Duration = Duration::from_secs(30);

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
        self.context.lifecycle.refuse_if_draining()?;
        self.context.refuse_if_bootstrap()?;
        let model = creators::to_join(&self.context, &model, creator)?;
        let joined = service::membership::join(&self.context, &model).await?;
        background::auto_join::again(&self.context).await;
        Ok(joined)
    }

    /// Proposes a change of a model's members, agrees to one, or withdraws.
    pub async fn members(&self, model: ModelRef, call: MembersCall) -> Answer<ModelView> {
        service::succession::call(&self.context, &model, call).await
    }

    /// Leaves a model that is joined.
    pub async fn leave_model(&self, model: ModelRef) -> Answer<()> {
        let (model, _) = self.context.catalog.find_joined(&model)?;
        service::membership::leave(&self.context, &model).await
    }

    /// Returns the [`ModelView`] of one model.
    pub async fn model(&self, model: ModelRef) -> Answer<ModelView> {
        let known = self.context.catalog.find(&model)?;
        let model = announced::whole(&self.context, &known).await?;
        Ok(self.context.model_view(&model))
    }

    /// Reads something of a model's tensors.
    pub async fn tensors<T>(&self, model: ModelRef, read: impl FnOnce(&Schema) -> T) -> Answer<T> {
        let known = self.context.catalog.find(&model)?;
        let model = announced::whole(&self.context, &known).await?;
        Ok(read(&model.spec().tensors))
    }

    /// Returns all known models, by name: of those that were only announced an outline ([`ListedModel::Heard`]).
    pub async fn models(&self, page: PageRequest) -> Answer<Page<ListedModel>> {
        let mut all = self.context.catalog.known();
        all.sort_by(|a, b| (a.name(), a.id()).cmp(&(b.name(), b.id())));
        // No letter of a name is below the separator, so tokens sort as the list does.
        let key = |model: &Known| format!("{}\0{}", model.name(), model.id());
        let page = page.cut(all, key)?;
        let (me, twin) = (self.context.identity.node(), self.context.mesh.twin().borrow().clone());
        Ok(page.map(|known| ListedModel::of(known, &me, twin.as_ref())))
    }

    /// Begins the upload of a submission.
    pub async fn submit(&self, submit: Submit) -> Answer<Upload<SubmissionView>> {
        service::submit::begin(&self.context, submit).await
    }

    /// Returns the bytes kept of a resumable upload.
    pub async fn upload_offset(&self, key: &str) -> Answer<u64> {
        let key = key.to_owned();
        Ok(self.context.disk.blocking(move |store| store.blobs().kept(&key)).await)
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

    /// Checks what the node's mesh and its peers tell: ports, reachability, clocks, versions, bootstrap nodes and a second process.
    /// Takes up to 15 s.
    pub async fn diagnose(&self) -> Answer<Vec<Finding>> {
        service::diagnosis::diagnose(&self.context).await
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
        self.context.metrics.register(registry);
        let reading = Reading::new(Arc::downgrade(&self.context), self.context.downloads.counters());
        registry.register_collector(Box::new(reading));
    }

    /// Returns libp2p's own figures. They are in a registry of their own, which the mesh keeps.
    pub fn library_metrics(&self) -> Arc<Registry> {
        self.context.mesh.library_metrics()
    }

    /// Returns the [`Vitals`] of the node: reads flags, and waits for nothing.
    pub fn vitals(&self) -> Vitals {
        let silent = self.context.mesh.silent();
        Vitals {
            draining: self.context.lifecycle.draining.load(Ordering::Relaxed),
            failure: self.context.lifecycle.failure(),
            stalled: (silent > STALLED_AFTER && !self.context.lifecycle.stop.is_cancelled()).then_some(silent),
        }
    }

    /// Resolves when a part of the node has failed for good, with the reason: its owner should stop it and end the process, so
    /// that a supervisor starts a new one.
    pub fn failed(&self) -> impl Future<Output = String> + use<> {
        self.context.lifecycle.failed()
    }

    /// Resolves when the node shuts down: long streams end then.
    pub fn stopping(&self) -> WaitForCancellationFutureOwned {
        self.context.lifecycle.stop.clone().cancelled_owned()
    }
}
