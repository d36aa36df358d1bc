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

use super::message::Message;
use crate::error::{Kind, NodeError};
use crate::handle::ModelRef;

/// Models known but not joined: above it new announcements are forgotten. A spec is a few KiB as a rule.
const AVAILABLE_MAX: usize = 1024;
/// Of these, by one creator.
const AVAILABLE_PER_CREATOR_MAX: usize = 64;
/// Bytes of all their specs, which are kept as blobs.
const AVAILABLE_BYTES_MAX: u64 = 256 << 20;

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
    blobs: RwLock<Owned>,
}

/// Which blob belongs to which model.
#[derive(Default)]
struct Owned {
    blobs: BTreeMap<BlobId, Owners>,
    /// Counts collections.
    epoch: u64,
}

/// The models that a blob belongs to, each with the node that first said so.
struct Owners {
    vouchers: BTreeMap<SpecId, NodeId>,
    /// The collection before which it was last said.
    epoch: u64,
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
        let (mut all, mut by_creator, mut bytes) = (0, 0, model.spec_bytes);
        for other in available {
            all += 1;
            by_creator += usize::from(other.spec().creator == creator);
            bytes += other.spec_bytes;
        }
        let full = all >= AVAILABLE_MAX || by_creator >= AVAILABLE_PER_CREATOR_MAX || bytes > AVAILABLE_BYTES_MAX;
        if !joining && full {
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

    /// Notes that a blob belongs to a model, as `voucher` says: who signed the record that names it. The first one counts.
    pub fn own(&self, blob: BlobId, spec: SpecId, voucher: NodeId) {
        let mut owned = self.blobs.write().unwrap_or_else(PoisonError::into_inner);
        let epoch = owned.epoch;
        let owners = owned.blobs.entry(blob).or_insert_with(|| Owners {
            vouchers: BTreeMap::new(),
            epoch,
        });
        owners.epoch = epoch;
        owners.vouchers.entry(spec).or_insert(voucher);
    }

    /// Whether `peer` may read a blob as one of this model's: it belongs to the model, which `peer` may read, and it is no
    /// secret of another model. Digests are public (envelopes name them), so who names a list model's blob under a model of
    /// his own must be a member of that list himself.
    pub fn may_read(&self, peer: &NodeId, spec: &SpecId, blob: &BlobId) -> bool {
        let Some(model) = self.get(spec) else { return false };
        if BlobId::from(*spec) == *blob {
            return true;
        }
        if model.joined().is_none() || !model.readable_by(peer) {
            return false;
        }
        let owned = self.blobs.read().unwrap_or_else(PoisonError::into_inner);
        let Some(owners) = owned.blobs.get(blob) else {
            return false;
        };
        let Some(voucher) = owners.vouchers.get(spec) else {
            return false;
        };
        let others = owners.vouchers.keys().filter(|other| *other != spec);
        others
            .filter_map(|other| self.get(other))
            .all(|other| other.readable_by(peer) || other.readable_by(voucher))
    }

    /// A collection begins: what is said to belong to a model from here on stays.
    pub fn begin_collection(&self) {
        self.blobs.write().unwrap_or_else(PoisonError::into_inner).epoch += 1;
    }

    /// It ends: forgets blobs that nothing refers to.
    pub fn end_collection(&self, live: &BTreeSet<BlobId>) {
        let mut owned = self.blobs.write().unwrap_or_else(PoisonError::into_inner);
        let epoch = owned.epoch;
        owned
            .blobs
            .retain(|blob, owners| owners.epoch == epoch || live.contains(blob));
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
        let one = registry.add(model("m", Membership::Open, 1), false).unwrap();
        assert_eq!(registry.find(&wanted("m", None)).unwrap().id, one.id);
        let other = registry.add(model("m", Membership::Open, 2), false).unwrap();
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
    fn announced_models_are_bounded_by_creator_and_a_join_is_not() {
        let registry = Registry::default();
        let named = |n: usize| model(&format!("m{n}"), Membership::Open, 1);
        for n in 0..AVAILABLE_PER_CREATOR_MAX {
            assert!(registry.add(named(n), false).is_some());
        }
        assert!(registry.add(named(1000), false).is_none());
        assert!(registry.add(named(0), false).is_some(), "a known one is found");
        assert!(registry.add(named(1000), true).is_some());
    }

    #[test]
    fn a_list_model_s_blobs_are_its_members_alone_whoever_names_them_elsewhere() {
        let (member, stranger) = (node(1), node(9));
        let registry = Registry::default();
        let list = Membership::List([member, node(2)].into());
        let secret = registry.add(model("secret", list, 1), true).unwrap();
        let open = registry.add(model("open", Membership::Open, 9), true).unwrap();
        join(&secret);
        join(&open);
        let (weights, published) = (BlobId([7; 32]), BlobId([8; 32]));
        registry.own(weights, secret.id, member);
        registry.own(weights, open.id, stranger);
        registry.own(published, secret.id, member);
        registry.own(published, open.id, member);
        assert!(registry.may_read(&member, &secret.id, &weights));
        assert!(!registry.may_read(&stranger, &secret.id, &weights));
        assert!(
            !registry.may_read(&stranger, &open.id, &weights),
            "a stranger named it under his own model"
        );
        assert!(
            registry.may_read(&stranger, &open.id, &published),
            "a member did: it is his to give"
        );
        // A digest in the place of a spec's id is no spec.
        assert!(!registry.may_read(&stranger, &SpecId(weights.0), &weights));
        assert!(
            registry.may_read(&stranger, &secret.id, &BlobId::from(secret.id)),
            "specs are anyone's"
        );
    }

    #[test]
    fn a_collection_forgets_what_is_dead_and_not_what_came_meanwhile() {
        let registry = Registry::default();
        let open = registry.add(model("open", Membership::Open, 9), true).unwrap();
        join(&open);
        let [dead, live, new] = [1, 2, 3].map(|n| BlobId([n; 32]));
        registry.own(dead, open.id, node(9));
        registry.own(live, open.id, node(9));
        registry.begin_collection();
        registry.own(new, open.id, node(9));
        registry.end_collection(&BTreeSet::from([live]));
        let readable = [dead, live, new].map(|blob| registry.may_read(&node(5), &open.id, &blob));
        assert_eq!(readable, [false, true, true]);
    }
}
