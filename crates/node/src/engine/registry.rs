//! The models a node knows, and which of them it has joined.

mod room;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use qres_fed::codec::Codec;
use qres_fed::id::{BlobId, CheckpointId, NodeId, SpecId};
use qres_fed::record::{Canonical, Membership, Signed, Spec};
use qres_fed::round::{CheckpointInfo, Machine};
use qres_fed::tensor::Layout;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::message::Message;
use crate::error::{Kind, NodeError};
use crate::handle::ModelRef;

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
    /// Not to be forgotten: it is or was joined.
    pinned: AtomicBool,
    /// Ascends with the time it became known.
    number: AtomicU64,
}

/// What one needs of a model that runs here.
pub struct Joined {
    /// To its task.
    pub inbox: mpsc::Sender<Message>,
    /// Where it stands.
    pub heads: watch::Receiver<Heads>,
    /// Bases handed out to trainers while the open round lasts.
    pub handed_out: Mutex<BTreeSet<CheckpointId>>,
    /// Once the node drains: submissions that wait to be merged.
    pub unmerged: watch::Receiver<Option<usize>>,
    /// Blobs of submissions that the disk does not take yet.
    pub unstored: Arc<Mutex<BTreeSet<BlobId>>>,
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
            pinned: AtomicBool::new(false),
            number: AtomicU64::new(0),
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

    /// Whether it is or was joined here.
    pub fn was_joined(&self) -> bool {
        self.pinned.load(Ordering::Relaxed)
    }

    /// It was not joined after all.
    pub fn unpin(&self) {
        self.pinned.store(self.joined().is_some(), Ordering::Relaxed);
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

    /// Whether everyone who may read `other` may read this one, too.
    fn readable_by_all_of(&self, other: &Model) -> bool {
        match (&self.spec().membership, &other.spec().membership) {
            (Membership::Open, _) => true,
            (Membership::List(_), Membership::Open) => false,
            (Membership::List(all), Membership::List(some)) => some.is_subset(all),
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

/// All known models.
#[derive(Default)]
pub struct Registry {
    models: RwLock<BTreeMap<SpecId, Arc<Model>>>,
    /// Models added.
    count: AtomicU64,
}

/// A model that is known now.
pub struct Added {
    /// It.
    pub model: Arc<Model>,
    /// What had to go for it: the store is to forget them, too.
    pub forgotten: Vec<Arc<Model>>,
}

impl Registry {
    /// Adds a model, or finds it. A new one that nobody here joined makes room for itself: the oldest such go, of its creator's
    /// first. `None`: it does not fit even then.
    pub fn add(&self, model: Model, joining: bool) -> Option<Added> {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = models.get(&model.id) {
            return Some(Added {
                model: known.clone(),
                forgotten: vec![],
            });
        }
        let forgotten = if joining { vec![] } else { room::make(&models, &model)? };
        for old in &forgotten {
            models.remove(&old.id);
        }
        let model = Arc::new(model);
        model
            .number
            .store(self.count.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        models.insert(model.id, model.clone());
        Some(Added { model, forgotten })
    }

    /// Keeps a model from making room for others: it is joined, or will be in a moment. It is known again if it has just gone.
    /// Answers whether it was kept already.
    pub fn pin(&self, model: &Arc<Model>) -> bool {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        models.entry(model.id).or_insert_with(|| model.clone());
        model.pinned.swap(true, Ordering::Relaxed)
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

    /// The one that a caller means: the one of that id, the joined one of that name, else the only known one.
    pub fn find(&self, wanted: &ModelRef) -> Result<Arc<Model>, NodeError> {
        // An id alone is a name, too; a spec's id cannot be forged, a name can be anyone's.
        let by_id = wanted.name.as_str().parse::<SpecId>().ok();
        if let Some(model) = by_id.filter(|_| wanted.id.is_none()).and_then(|id| self.get(&id)) {
            return Ok(model);
        }
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

    /// Whether `peer` may read what this model's directory holds under that digest. The bytes of a known spec are anyone's.
    pub fn may_read(&self, peer: &NodeId, spec: &SpecId, blob: &BlobId) -> bool {
        let Some(model) = self.get(spec) else { return false };
        BlobId::from(*spec) == *blob || (model.joined().is_some() && model.readable_by(peer))
    }

    /// A joined model whose readers include all of this one's, and which may hold the blob: what all readers may read anyway
    /// need not be fetched again. So a successor of the same members, or of fewer, starts from the head that is here.
    pub fn wider(&self, model: &Model) -> Vec<Arc<Model>> {
        let mut all = self.all();
        all.retain(|other| other.id != model.id && other.joined().is_some() && other.readable_by_all_of(model));
        all
    }
}

#[cfg(test)]
mod tests {
    use qres_fed::record::Signature;

    use super::super::tests::spec;
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    fn model(name: &str, membership: Membership, seed: u8) -> Model {
        Model::new(Signed {
            record: spec(name, membership, seed, node(seed)),
            signature: Signature([0; 64]),
        })
    }

    fn join(model: &Model) {
        let (inbox, _) = mpsc::channel(1);
        let info = CheckpointInfo {
            id: CheckpointId([0; 32]),
            round: 0,
            parent: None,
            weights: BlobId([0; 32]),
            confirmed: true,
            verified: true,
        };
        let heads = Heads {
            head: info,
            confirmed: info,
        };
        model.set_joined(Some(Arc::new(Joined {
            inbox,
            heads: watch::channel(heads).1,
            handed_out: Mutex::default(),
            unmerged: watch::channel(None).1,
            unstored: Arc::default(),
            stop: CancellationToken::new(),
        })));
    }

    fn wanted(name: &str, id: Option<SpecId>) -> ModelRef {
        ModelRef {
            name: name.parse().unwrap(),
            id,
        }
    }

    #[test]
    fn a_name_that_two_specs_bear_is_refused_and_both_are_listed() {
        let registry = Registry::default();
        let one = registry.add(model("m", Membership::Open, 1), false).unwrap().model;
        assert_eq!(registry.find(&wanted("m", None)).unwrap().id, one.id);
        let other = registry.add(model("m", Membership::Open, 2), false).unwrap().model;
        let error = registry.find(&wanted("m", None)).err().unwrap();
        assert_eq!(error.reason, "MODEL_AMBIGUOUS");
        for model in [&one, &other] {
            assert!(error.message.contains(&model.id.to_string()), "{error}");
            assert!(error.message.contains(&model.spec().creator.to_string()), "{error}");
            assert_eq!(registry.find(&wanted("m", Some(model.id))).unwrap().id, model.id);
        }
        assert_eq!(
            registry.find_joined(&wanted("m", Some(one.id))).err().unwrap().reason,
            "MODEL_NOT_JOINED"
        );
        join(&other);
        assert_eq!(
            registry.find(&wanted("m", None)).unwrap().id,
            other.id,
            "the joined one is meant"
        );
        assert_eq!(registry.find(&wanted("n", None)).err().unwrap().reason, "MODEL_UNKNOWN");
    }

    #[test]
    fn announced_models_are_bounded_by_creator_the_oldest_goes_and_what_was_joined_stays() {
        let registry = Registry::default();
        let named = |n: usize| model(&format!("m{n}"), Membership::Open, 1);
        let add = |n: usize| registry.add(named(n), false).unwrap();
        let other = registry.add(model("other", Membership::Open, 2), false).unwrap().model;
        let first = add(0).model;
        let second = add(1).model.id;
        registry.pin(&first);
        for n in 2..room::AVAILABLE_PER_CREATOR_MAX {
            assert!(add(n).forgotten.is_empty());
        }
        let gone: Vec<_> = add(1000).forgotten.iter().map(|m| m.id).collect();
        assert_eq!(gone, [second], "not another creator's, not the pinned one");
        assert!(registry.get(&second).is_none() && registry.get(&other.id).is_some());
        assert!(add(0).forgotten.is_empty(), "a known one is found");
        assert!(registry.add(named(1001), true).unwrap().forgotten.is_empty());
    }

    #[test]
    fn an_id_alone_names_its_model_even_if_another_bears_it_as_a_name() {
        let registry = Registry::default();
        let meant = registry.add(model("m", Membership::Open, 1), false).unwrap().model;
        let id = meant.id.to_string();
        registry.add(model(&id, Membership::Open, 2), false).unwrap();
        assert_eq!(registry.find(&wanted(&id, None)).unwrap().id, meant.id);
    }

    #[test]
    fn a_list_model_is_read_by_its_members_alone_and_a_spec_by_anyone() {
        let (member, stranger) = (node(1), node(9));
        let registry = Registry::default();
        let list = Membership::List([member, node(2)].into());
        let secret = registry.add(model("secret", list, 1), true).unwrap().model;
        let blob = BlobId([7; 32]);
        assert!(!registry.may_read(&member, &secret.id, &blob), "not joined");
        join(&secret);
        assert!(registry.may_read(&member, &secret.id, &blob));
        assert!(!registry.may_read(&stranger, &secret.id, &blob));
        assert!(registry.may_read(&stranger, &secret.id, &BlobId::from(secret.id)));
        // A digest in the place of a spec's id is no spec.
        assert!(!registry.may_read(&member, &SpecId(blob.0), &blob));
    }

    #[test]
    fn only_models_that_all_readers_may_read_lend_their_blobs() {
        let registry = Registry::default();
        let list = |members: &[u8]| Membership::List(members.iter().map(|n| node(*n)).collect());
        let add = |name, membership, seed| registry.add(model(name, membership, seed), true).unwrap().model;
        let three = add("three", list(&[1, 2, 3]), 1);
        let two = add("two", list(&[1, 2]), 2);
        let other = add("other", list(&[1, 4]), 3);
        let open = add("open", Membership::Open, 4);
        let away = add("away", Membership::Open, 5);
        for model in [&three, &two, &other, &open] {
            join(model);
        }
        let lenders = |model: &Arc<Model>| {
            let mut names: Vec<_> = registry
                .wider(model)
                .iter()
                .map(|m| m.spec().name.to_string())
                .collect();
            names.sort();
            names
        };
        assert_eq!(lenders(&three), ["open"]);
        assert_eq!(lenders(&two), ["open", "three"]);
        assert_eq!(lenders(&other), ["open"]);
        assert!(lenders(&open).is_empty());
        assert_eq!(lenders(&away), ["open"]);
    }
}
