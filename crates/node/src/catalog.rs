//! The models that a node knows: those that are or were joined here, whole, and an outline of those that were announced.

pub mod command;
pub mod entry;
pub mod fixed;
pub mod heard;
pub mod joined;
pub mod known;
pub mod refused;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock};
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::ModelName;

use crate::error::{NodeError, Reason};
use crate::request::ModelRef;
use entry::Model;
use heard::Heard;
use joined::Joined;
use known::{Known, ambiguous, without_succeeded};

/// All models that this node knows.
#[derive(Default)]
pub struct Catalog {
    models: RwLock<BTreeMap<SpecId, Arc<Model>>>,
    heard: Mutex<Heard>,
}

impl Catalog {
    /// Adds a model that is joined, or will be in a moment. Returns the model that has its id from here on, and true if that
    /// one was there already.
    pub fn add(&self, model: Arc<Model>) -> (Arc<Model>, bool) {
        let mut models = self.models.write();
        if let Some(known) = models.get(&model.id) {
            return (known.clone(), true);
        }
        models.insert(model.id, model.clone());
        (model, false)
    }

    /// Removes a model that was not joined after all.
    pub fn remove(&self, id: &SpecId) {
        self.models.write().remove(id);
    }

    /// Returns the models that were announced.
    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock()
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
        debug_assert!(known.is_sorted_by(|a, b| a.id() < b.id()), "a model is known once");
        known
    }

    /// Returns the model of an id that is or was joined.
    pub fn get(&self, id: &SpecId) -> Option<Arc<Model>> {
        self.models.read().get(id).cloned()
    }

    /// Returns all models that are or were joined, ordered by id.
    pub fn all(&self) -> Vec<Arc<Model>> {
        self.models.read().values().cloned().collect()
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
        if let Some(joined) = newest(named.iter().filter(|model| model.is_joined()).cloned().collect()) {
            return Ok(joined);
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

    /// Returns the joined model of a name: of a model and its successor, the successor.
    pub fn joined_of(&self, name: &ModelName) -> Option<Arc<Model>> {
        let all = self.all().into_iter().map(Known::Here);
        let joined = all.filter(|model| model.name() == name && model.is_joined());
        match newest(joined.collect())? {
            Known::Here(model) => Some(model),
            Known::Heard(_) => None,
        }
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

/// Returns the one of these joined models that none of the others succeeds, rather one that has not ended.
fn newest(mut joined: Vec<Known>) -> Option<Known> {
    without_succeeded(&mut joined);
    joined.into_iter().min_by_key(Known::has_ended)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use qres_fed::id::CheckpointId;
    use qres_fed::record::{Content, Membership, Signature, Signed};
    use qres_fed::round::{CheckpointInfo, Conditions};
    use qres_store::HeardModel;
    use tokio::sync::{mpsc, watch};
    use tokio_util::sync::CancellationToken;

    use super::joined::Heads;
    use super::*;
    use crate::tests::spec;

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
            content: Content::of_weights(BlobId([0; 32])),
            confirmed: true,
            verified: true,
        };
        let heads = Heads {
            head: info,
            confirmed: info,
            workable: true,
            last: None,
            unusable_count: 0,
            conditions: Conditions::default(),
            successor: None,
        };
        model.set_joined(Some(Arc::new(Joined {
            inbox,
            heads: watch::channel(heads).1,
            handed_out: Mutex::default(),
            unmerged: watch::channel(None).1,
            unstored: Arc::default(),
            fixed: watch::Sender::new(fixed::FixedState::Here),
            records: AtomicUsize::default(),
            refused: Mutex::default(),
            changes: Mutex::default(),
            releases: Default::default(),
            stop: CancellationToken::new(),
        })));
    }

    fn here(catalog: &Catalog, name: &str, membership: Membership, seed: u8) -> Arc<Model> {
        catalog.add(Arc::new(model(name, membership, seed))).0
    }

    fn hear(catalog: &Catalog, name: &str, seed: u8) -> Arc<HeardModel> {
        let spec = model(name, Membership::Open, seed);
        let heard = HeardModel {
            id: spec.id,
            name: name.parse().unwrap(),
            creator: node(seed),
            succeeds: None,
            spec_bytes: 1,
            signature: Signature([0; 64]),
            carrier: node(seed),
        };
        catalog.heard().keep(heard, |_| false).expect("it fits");
        catalog.heard().get(&spec.id).expect("kept")
    }

    fn wanted(name: &str, id: Option<SpecId>) -> ModelRef {
        ModelRef {
            name: name.parse().unwrap(),
            id,
        }
    }

    #[test]
    fn a_name_that_two_specs_bear_is_refused_and_both_are_listed() {
        let catalog = Catalog::default();
        let one = hear(&catalog, "m", 1);
        assert_eq!(catalog.find(&wanted("m", None)).unwrap().id(), one.id);
        let other = here(&catalog, "m", Membership::Open, 2);
        let error = catalog.find(&wanted("m", None)).err().unwrap();
        assert_eq!(error.reason.name(), "MODEL_AMBIGUOUS");
        for (id, creator) in [(one.id, one.creator), (other.id, other.spec().creator)] {
            assert!(error.message.contains(&id.to_string()), "{error}");
            assert!(error.message.contains(&creator.to_string()), "{error}");
            assert_eq!(catalog.find(&wanted("m", Some(id))).unwrap().id(), id);
            assert_eq!(
                catalog.find_joined(&wanted("m", Some(id))).err().unwrap().reason.name(),
                "MODEL_NOT_JOINED"
            );
        }
        join(&other);
        assert_eq!(
            catalog.find(&wanted("m", None)).unwrap().id(),
            other.id,
            "the joined one is meant"
        );
        assert_eq!(
            catalog.find(&wanted("n", None)).err().unwrap().reason.name(),
            "MODEL_UNKNOWN"
        );
    }

    #[test]
    fn a_model_that_is_being_joined_is_known_once() {
        let catalog = Catalog::default();
        let heard = hear(&catalog, "m", 1);
        let model = here(&catalog, "m", Membership::Open, 1);
        assert_eq!(model.id, heard.id);
        let known: Vec<_> = catalog.known().iter().map(Known::id).collect();
        assert_eq!(known, [heard.id]);
        // The model that was there stays: two tasks of one model would sign twice.
        let (again, was_there) = catalog.add(Arc::new(super::tests::model("m", Membership::Open, 1)));
        assert!(was_there && Arc::ptr_eq(&again, &model));
    }

    #[test]
    fn an_id_alone_names_its_model_even_if_another_bears_it_as_a_name() {
        let catalog = Catalog::default();
        let meant = hear(&catalog, "m", 1);
        let id = meant.id.to_string();
        hear(&catalog, &id, 2);
        assert_eq!(catalog.find(&wanted(&id, None)).unwrap().id(), meant.id);
    }

    #[test]
    fn a_list_model_is_read_by_its_members_alone_and_a_spec_by_anyone() {
        let (member, stranger) = (node(1), node(9));
        let catalog = Catalog::default();
        let list = Membership::List([member, node(2)].into());
        let secret = here(&catalog, "secret", list, 1);
        let blob = BlobId([7; 32]);
        assert!(!catalog.may_read(&member, &secret.id, &blob), "not joined");
        join(&secret);
        assert!(catalog.may_read(&member, &secret.id, &blob));
        assert!(!catalog.may_read(&stranger, &secret.id, &blob));
        let heard = hear(&catalog, "heard", 3);
        for id in [secret.id, heard.id] {
            assert!(catalog.may_read(&stranger, &id, &BlobId::from(id)));
        }
        assert!(!catalog.may_read(&member, &heard.id, &blob));
        // A digest in the place of a spec's id is no spec.
        assert!(!catalog.may_read(&member, &SpecId(blob.0), &blob));
    }

    #[test]
    fn only_models_that_all_readers_may_read_lend_their_blobs() {
        let catalog = Catalog::default();
        let list = |members: &[u8]| Membership::List(members.iter().map(|n| node(*n)).collect());
        let add = |name, membership, seed| here(&catalog, name, membership, seed);
        let three = add("three", list(&[1, 2, 3]), 1);
        let two = add("two", list(&[1, 2]), 2);
        let other = add("other", list(&[1, 4]), 3);
        let open = add("open", Membership::Open, 4);
        let away = add("away", Membership::Open, 5);
        for model in [&three, &two, &other, &open] {
            join(model);
        }
        let lenders = |model: &Arc<Model>| {
            let mut names: Vec<_> = catalog.wider(model).iter().map(|m| m.spec().name.to_string()).collect();
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
