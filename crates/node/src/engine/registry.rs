//! The models a node knows, and which of them it has joined.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use qres_fed::codec::Codec;
use qres_fed::id::{BlobId, CheckpointId, NodeId, SpecId};
use qres_fed::record::{Canonical, Membership, Signed, Spec};
use qres_fed::round::{CheckpointInfo, Machine};
use qres_fed::tensor::Layout;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::model::Message;
use crate::error::{Kind, NodeError};
use crate::handle::ModelRef;

/// Models known but not joined: above it new announcements are forgotten. A spec is a few KiB as a rule.
const AVAILABLE_MAX: usize = 1024;
/// Of these, by one creator.
const AVAILABLE_PER_CREATOR_MAX: usize = 64;

/// A known model.
pub struct Model {
    /// The spec's id.
    pub id: SpecId,
    /// The spec and its creator's signature.
    pub signed: Signed<Spec>,
    /// Length of its canonical bytes.
    pub spec_bytes: u64,
    /// The canonical weights file.
    pub layout: Layout,
    /// Length of an update; `None` when the codec is unknown here.
    pub update_bytes: Option<u64>,
    joined: RwLock<Option<Arc<Joined>>>,
}

/// What one needs of a model that runs here.
pub struct Joined {
    /// To its task.
    pub inbox: mpsc::Sender<Message>,
    /// Where it stands.
    pub heads: watch::Receiver<Heads>,
    /// Bases handed out to trainers while the open round lasts.
    pub handed_out: Mutex<BTreeSet<CheckpointId>>,
    /// Ends its task.
    pub stop: CancellationToken,
}

/// Where a model stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// The head.
    pub head: CheckpointInfo,
    /// The newest confirmed checkpoint of its branch.
    pub confirmed: CheckpointInfo,
}

impl Model {
    /// From a spec whose signature and self-agreement are checked.
    pub fn new(signed: Signed<Spec>) -> Self {
        let spec = &signed.record;
        Self {
            id: spec.id(),
            spec_bytes: spec.to_canonical().len() as u64,
            layout: Layout::of(&spec.tensors),
            update_bytes: Codec::of(&spec.codec)
                .ok()
                .map(|codec| codec.coded_bytes(&spec.tensors)),
            joined: RwLock::new(None),
            signed,
        }
    }

    /// The spec.
    pub fn spec(&self) -> &Spec {
        &self.signed.record
    }

    /// The running model, when it is joined.
    pub fn joined(&self) -> Option<Arc<Joined>> {
        self.joined.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Marks it joined, or no longer so.
    pub fn set_joined(&self, joined: Option<Arc<Joined>>) {
        *self.joined.write().unwrap_or_else(PoisonError::into_inner) = joined;
    }

    /// Whether `peer` may read what belongs to it.
    pub fn readable_by(&self, peer: &NodeId) -> bool {
        match &self.spec().membership {
            Membership::List(members) => members.contains(peer),
            Membership::Open => true,
        }
    }
}

impl Joined {
    /// Asks the model's task.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Machine) -> T + Send + 'static,
    ) -> Result<T, NodeError> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Ask(Box::new(move |machine| {
            // Whoever asked may have gone: then nobody needs the answer.
            let _ = reply.send(question(machine));
        }));
        self.inbox.send(message).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())
    }
}

/// The answer when a model's task is gone: the node stops, or the model was left.
pub fn stopped() -> NodeError {
    NodeError::new(
        Kind::Unavailable,
        "STOPPING",
        "the model is being left, or the node stops: try again",
    )
    .retry_after(1000)
}

/// All known models, and which blob belongs to which.
#[derive(Default)]
pub struct Registry {
    models: RwLock<BTreeMap<SpecId, Arc<Model>>>,
    blobs: RwLock<BTreeMap<BlobId, BTreeSet<SpecId>>>,
}

impl Registry {
    /// Adds a model, or finds it. `None`: too many that nobody here joined.
    pub fn add(&self, model: Model, joining: bool) -> Option<Arc<Model>> {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = models.get(&model.id) {
            return Some(known.clone());
        }
        let creator = model.spec().creator;
        let available = models.values().filter(|m| m.joined().is_none());
        let (mut all, mut by_creator) = (0, 0);
        for other in available {
            all += 1;
            by_creator += usize::from(other.spec().creator == creator);
        }
        if !joining && (all >= AVAILABLE_MAX || by_creator >= AVAILABLE_PER_CREATOR_MAX) {
            return None;
        }
        let model = Arc::new(model);
        models.insert(model.id, model.clone());
        Some(model)
    }

    /// One by id.
    pub fn get(&self, id: &SpecId) -> Option<Arc<Model>> {
        self.models
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// All, by id.
    pub fn all(&self) -> Vec<Arc<Model>> {
        self.models
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// The one that a caller means: the joined one of that name, else the only known one.
    pub fn find(&self, wanted: &ModelRef) -> Result<Arc<Model>, NodeError> {
        let named: Vec<_> = self
            .all()
            .into_iter()
            .filter(|m| m.spec().name == wanted.name && wanted.id.is_none_or(|id| id == m.id))
            .collect();
        if let Some(joined) = named.iter().find(|m| m.joined().is_some()) {
            return Ok(joined.clone());
        }
        match named.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(NodeError::new(
                Kind::NotFound,
                "MODEL_UNKNOWN",
                format!("model {} is unknown here: create it, or connect to a peer that has it (`qres model list` shows all)", wanted.name),
            )
            .field("model")),
            several => {
                let list: Vec<_> = several
                    .iter()
                    .map(|m| format!("{}@{} (created by {})", m.spec().name, m.id, m.spec().creator))
                    .collect();
                Err(NodeError::new(
                    Kind::FailedPrecondition,
                    "MODEL_AMBIGUOUS",
                    format!("{} specs bear the name {}: say which, as name@id: {}", several.len(), wanted.name, list.join(", ")),
                )
                .field("model"))
            }
        }
    }

    /// The one that a caller means, which must be joined.
    pub fn find_joined(&self, wanted: &ModelRef) -> Result<(Arc<Model>, Arc<Joined>), NodeError> {
        let model = self.find(wanted)?;
        let joined = model.joined().ok_or_else(|| {
            NodeError::new(
                Kind::FailedPrecondition,
                "MODEL_NOT_JOINED",
                format!(
                    "model {} is known here but not joined: JoinModel (`qres model join {0}`) first",
                    wanted.name
                ),
            )
            .field("model")
        })?;
        Ok((model, joined))
    }

    /// Notes that a blob belongs to a model.
    pub fn own(&self, blob: BlobId, spec: SpecId) {
        self.blobs
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(blob)
            .or_default()
            .insert(spec);
    }

    /// Whether a blob belongs to a model.
    pub fn owns(&self, blob: &BlobId, spec: &SpecId) -> bool {
        self.blobs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(blob)
            .is_some_and(|specs| specs.contains(spec))
    }

    /// Forgets a blob that was removed.
    pub fn disown(&self, blob: &BlobId) {
        self.blobs.write().unwrap_or_else(PoisonError::into_inner).remove(blob);
    }
}
