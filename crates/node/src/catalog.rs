//! The models that a node knows: those that are or were joined here, whole, and an outline of those that were announced.

pub mod command;
pub mod heard;
pub mod known;
pub mod refused;

pub use known::{Known, ambiguous};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use qres_fed::codec::Codec;
use qres_fed::id::{BlobId, CheckpointId, NodeId, SpecId};
use qres_fed::record::{Canonical, Membership, Signed, Spec};
use qres_fed::round::{BaseError, CheckpointInfo, Conditions, Machine};
use qres_fed::tensor::Layout;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::catalog::command::Message;
use crate::catalog::refused::Refused;
use crate::error::{NodeError, Reason};
use crate::handle::ModelRef;
use heard::Heard;

/// A model that is or was joined here, or is about to be.
pub struct Model {
    /// The spec's id.
    pub id: SpecId,
    /// The spec and its creator's signature.
    pub signed: Signed<Spec>,
    /// The length of the spec's canonical bytes.
    pub spec_bytes: u64,
    /// The layout of the canonical weights file.
    pub layout: Layout,
    /// The length of an update in bytes; `None` when the codec is unknown here.
    pub update_bytes: Option<u64>,
    joined: RwLock<Option<Arc<Joined>>>,
}

/// The parts of a running model that other tasks use.
pub struct Joined {
    /// Sends messages to the model's task.
    pub inbox: mpsc::Sender<Message>,
    /// The current heads of the model.
    pub heads: watch::Receiver<Heads>,
    /// Bases handed out to trainers while the open round lasts.
    pub handed_out: Mutex<BTreeSet<CheckpointId>>,
    /// The number of submissions that wait to be merged, once the node drains.
    pub unmerged: watch::Receiver<Option<usize>>,
    /// Blobs of submissions that the disk does not take yet.
    pub unstored: Arc<Mutex<BTreeSet<BlobId>>>,
    /// The number of records that the machine holds in memory.
    pub records: AtomicUsize,
    /// Records that came by comparison and were not kept.
    pub refused: Mutex<Refused>,
    /// Ends the model's task.
    pub stop: CancellationToken,
}

/// The head of a model and the facts about it that other tasks need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// The head of the model.
    pub head: CheckpointInfo,
    /// The newest confirmed checkpoint of its branch.
    pub confirmed: CheckpointInfo,
    /// True if this node can still contribute on the head, or never could.
    pub workable: bool,
    /// The number of submissions, in this run, of which no update could be made: a trainer may wait for one more.
    pub unusable_count: u64,
    /// The conditions that an operator should know.
    pub conditions: Conditions,
}

impl Heads {
    /// Reads the heads of a [`Machine`] as it stands.
    pub fn of(machine: &Machine) -> Self {
        let head = machine.head();
        let fault = machine.check_base(&head.id).err();
        Self {
            head,
            confirmed: machine.confirmed_head(),
            unusable_count: machine.unusable_count(),
            workable: !matches!(fault, Some(BaseError::Contributed(_) | BaseError::Conflicts { .. })),
            conditions: machine.conditions(),
        }
    }
}

impl Model {
    /// Creates a model from a spec whose signature and self-agreement are checked.
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

    /// Returns the model's spec.
    pub fn spec(&self) -> &Spec {
        &self.signed.record
    }

    /// Returns the running model, or `None` when it is not joined.
    pub fn joined(&self) -> Option<Arc<Joined>> {
        self.joined.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Marks the model as joined, or as no longer joined.
    pub fn set_joined(&self, joined: Option<Arc<Joined>>) {
        *self.joined.write().unwrap_or_else(PoisonError::into_inner) = joined;
    }

    /// Returns true if `peer` may read what belongs to the model.
    pub fn readable_by(&self, peer: &NodeId) -> bool {
        match &self.spec().membership {
            Membership::List(members) => members.contains(peer),
            Membership::Open => true,
        }
    }

    /// Returns true if every node that may read `other` may read this model, too.
    fn readable_by_all_of(&self, other: &Model) -> bool {
        match (&self.spec().membership, &other.spec().membership) {
            (Membership::Open, _) => true,
            (Membership::List(_), Membership::Open) => false,
            (Membership::List(all), Membership::List(some)) => some.is_subset(all),
        }
    }
}

impl Joined {
    /// Forgets the records that were refused: they may be welcome now.
    pub fn forget_refused(&self) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Asks the model's task a question about its [`Machine`].
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Machine) -> T + Send + 'static,
    ) -> Result<T, NodeError> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Ask(Box::new(move |machine| {
            // Sending fails only if the caller has gone: then the answer is not needed.
            let _ = reply.send(question(machine));
        }));
        self.inbox.send(message).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())
    }
}

/// Returns the error [`Reason::Stopping`] for a model whose task is gone: the node stops, or the model was left.
pub fn stopped() -> NodeError {
    NodeError::new(
        Reason::Stopping,
        "the model is being left, or the node stops: try again",
    )
    .retry_after(1000)
}

/// All models that this node knows.
#[derive(Default)]
pub struct Registry {
    models: RwLock<BTreeMap<SpecId, Arc<Model>>>,
    heard: Mutex<Heard>,
}

impl Registry {
    /// Adds a model that is joined, or will be in a moment. Returns the model that has its id from here on, and true if that
    /// one was there already.
    pub fn add(&self, model: Arc<Model>) -> (Arc<Model>, bool) {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = models.get(&model.id) {
            return (known.clone(), true);
        }
        models.insert(model.id, model.clone());
        (model, false)
    }

    /// Removes a model that was not joined after all.
    pub fn remove(&self, id: &SpecId) {
        self.models.write().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Returns the models that were announced.
    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if a model is known, joined or not.
    pub fn knows(&self, id: &SpecId) -> bool {
        self.by_id(id).is_some()
    }

    /// Returns the model of an id, joined or not.
    pub fn by_id(&self, id: &SpecId) -> Option<Known> {
        let here = self.get(id).map(Known::Here);
        here.or_else(|| self.heard().get(id).map(Known::Heard))
    }

    /// Returns every known model, ordered by id.
    pub fn known(&self) -> Vec<Known> {
        let here = self.all();
        let mut known: Vec<_> = self
            .heard()
            .all()
            // A model that is being joined is in both for a moment.
            .filter(|heard| here.binary_search_by_key(&heard.id, |model| model.id).is_err())
            .map(Known::Heard)
            .collect();
        known.extend(here.into_iter().map(Known::Here));
        known.sort_by_key(Known::id);
        known
    }

    /// Returns the model of an id that is or was joined.
    pub fn get(&self, id: &SpecId) -> Option<Arc<Model>> {
        self.models
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// Returns all models that are or were joined, ordered by id.
    pub fn all(&self) -> Vec<Arc<Model>> {
        self.models
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Finds the model that a caller means: the one of that id, the joined one of that name, else the only known one of that
    /// name.
    pub fn find(&self, wanted: &ModelRef) -> Result<Known, NodeError> {
        let known = self.known();
        // An id alone is a name, too; a spec's id cannot be forged, while any node can give any name.
        let by_id = wanted
            .name
            .as_str()
            .parse::<SpecId>()
            .ok()
            .filter(|_| wanted.id.is_none());
        if let Some(model) = by_id.and_then(|id| known.iter().find(|model| model.id() == id)) {
            return Ok(model.clone());
        }
        let meant = |model: &&Known| *model.name() == wanted.name && wanted.id.is_none_or(|id| id == model.id());
        let named: Vec<_> = known.iter().filter(meant).cloned().collect();
        if let Some(joined) = named.iter().find(|model| model.is_joined()) {
            return Ok(joined.clone());
        }
        match named.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(NodeError::new(
                Reason::ModelUnknown,
                format!("model {} is unknown here: create it, or connect to a peer that has it (`qres model list` shows all)", wanted.name),
            )
            .field("model")),
            several => Err(ambiguous(&wanted.name, several)),
        }
    }

    /// Finds the model that a caller means, which must be joined.
    pub fn find_joined(&self, wanted: &ModelRef) -> Result<(Arc<Model>, Arc<Joined>), NodeError> {
        let not_joined = || {
            NodeError::new(
                Reason::ModelNotJoined,
                format!(
                    "model {} is known here but not joined: JoinModel (`qres model join {0}`) first",
                    wanted.name
                ),
            )
            .field("model")
        };
        let Known::Here(model) = self.find(wanted)? else {
            return Err(not_joined());
        };
        let joined = model.joined().ok_or_else(not_joined)?;
        Ok((model, joined))
    }

    /// Returns true if `peer` may read what this model's directory holds under that digest. Any peer may read a known spec.
    pub fn may_read(&self, peer: &NodeId, spec: &SpecId, blob: &BlobId) -> bool {
        if BlobId::from(*spec) == *blob {
            return self.knows(spec);
        }
        self.get(spec)
            .is_some_and(|model| model.joined().is_some() && model.readable_by(peer))
    }

    /// Returns the joined models whose readers include all of this one's, and which may hold its blob: what all readers may
    /// read anyway need not be fetched again. So a successor of the same members, or of fewer, starts from the head that is
    /// here.
    pub fn wider(&self, model: &Model) -> Vec<Arc<Model>> {
        let mut all = self.all();
        all.retain(|other| other.id != model.id && other.joined().is_some() && other.readable_by_all_of(model));
        all
    }
}

#[cfg(test)]
mod tests {
    use qres_fed::record::Signature;

    use super::*;
    use crate::tests::spec;
    use qres_store::HeardModel;

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
            workable: true,
            unusable_count: 0,
            conditions: Conditions::default(),
        };
        model.set_joined(Some(Arc::new(Joined {
            inbox,
            heads: watch::channel(heads).1,
            handed_out: Mutex::default(),
            unmerged: watch::channel(None).1,
            unstored: Arc::default(),
            records: AtomicUsize::default(),
            refused: Mutex::default(),
            stop: CancellationToken::new(),
        })));
    }

    fn here(registry: &Registry, name: &str, membership: Membership, seed: u8) -> Arc<Model> {
        registry.add(Arc::new(model(name, membership, seed))).0
    }

    fn hear(registry: &Registry, name: &str, seed: u8) -> Arc<HeardModel> {
        let spec = model(name, Membership::Open, seed);
        let heard = HeardModel {
            id: spec.id,
            name: name.parse().unwrap(),
            creator: node(seed),
            spec_bytes: 1,
            signature: Signature([0; 64]),
            carrier: node(seed),
        };
        registry.heard().keep(heard, |_| false).expect("it fits");
        registry.heard().get(&spec.id).expect("kept")
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
        let one = hear(&registry, "m", 1);
        assert_eq!(registry.find(&wanted("m", None)).unwrap().id(), one.id);
        let other = here(&registry, "m", Membership::Open, 2);
        let error = registry.find(&wanted("m", None)).err().unwrap();
        assert_eq!(error.reason.name(), "MODEL_AMBIGUOUS");
        for (id, creator) in [(one.id, one.creator), (other.id, other.spec().creator)] {
            assert!(error.message.contains(&id.to_string()), "{error}");
            assert!(error.message.contains(&creator.to_string()), "{error}");
            assert_eq!(registry.find(&wanted("m", Some(id))).unwrap().id(), id);
            assert_eq!(
                registry
                    .find_joined(&wanted("m", Some(id)))
                    .err()
                    .unwrap()
                    .reason
                    .name(),
                "MODEL_NOT_JOINED"
            );
        }
        join(&other);
        assert_eq!(
            registry.find(&wanted("m", None)).unwrap().id(),
            other.id,
            "the joined one is meant"
        );
        assert_eq!(
            registry.find(&wanted("n", None)).err().unwrap().reason.name(),
            "MODEL_UNKNOWN"
        );
    }

    #[test]
    fn a_model_that_is_being_joined_is_known_once() {
        let registry = Registry::default();
        let heard = hear(&registry, "m", 1);
        let model = here(&registry, "m", Membership::Open, 1);
        assert_eq!(model.id, heard.id);
        let known: Vec<_> = registry.known().iter().map(Known::id).collect();
        assert_eq!(known, [heard.id]);
        // The model that was there stays: two tasks of one model would sign twice.
        let (again, was_there) = registry.add(Arc::new(super::tests::model("m", Membership::Open, 1)));
        assert!(was_there && Arc::ptr_eq(&again, &model));
    }

    #[test]
    fn an_id_alone_names_its_model_even_if_another_bears_it_as_a_name() {
        let registry = Registry::default();
        let meant = hear(&registry, "m", 1);
        let id = meant.id.to_string();
        hear(&registry, &id, 2);
        assert_eq!(registry.find(&wanted(&id, None)).unwrap().id(), meant.id);
    }

    #[test]
    fn a_list_model_is_read_by_its_members_alone_and_a_spec_by_anyone() {
        let (member, stranger) = (node(1), node(9));
        let registry = Registry::default();
        let list = Membership::List([member, node(2)].into());
        let secret = here(&registry, "secret", list, 1);
        let blob = BlobId([7; 32]);
        assert!(!registry.may_read(&member, &secret.id, &blob), "not joined");
        join(&secret);
        assert!(registry.may_read(&member, &secret.id, &blob));
        assert!(!registry.may_read(&stranger, &secret.id, &blob));
        let heard = hear(&registry, "heard", 3);
        for id in [secret.id, heard.id] {
            assert!(registry.may_read(&stranger, &id, &BlobId::from(id)));
        }
        assert!(!registry.may_read(&member, &heard.id, &blob));
        // A digest in the place of a spec's id is no spec.
        assert!(!registry.may_read(&member, &SpecId(blob.0), &blob));
    }

    #[test]
    fn only_models_that_all_readers_may_read_lend_their_blobs() {
        let registry = Registry::default();
        let list = |members: &[u8]| Membership::List(members.iter().map(|n| node(*n)).collect());
        let add = |name, membership, seed| here(&registry, name, membership, seed);
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
