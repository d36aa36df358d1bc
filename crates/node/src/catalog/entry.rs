//! A model that is or was joined here: its spec, the facts that follow from it, and its running task.

use std::sync::Arc;

use parking_lot::RwLock;
use qres_fed::codec::Codec;
use qres_fed::id::{NodeId, SpecId};
use qres_fed::record::{Canonical, Membership, Signed, Spec};
use qres_fed::strategy;
use qres_fed::tensor::Layout;

use super::fixed::FixedParts;
use super::joined::Joined;

/// A model that is or was joined here, or is about to be.
pub struct Model {
    /// The spec's id.
    pub id: SpecId,
    /// The spec and its creator's signature.
    pub signed: Signed<Spec>,
    /// The length of the spec's canonical bytes.
    pub spec_bytes: u64,
    /// The layout of the canonical weights file: that of the shared tensors.
    pub layout: Layout,
    /// The frozen and personal tensors; `None` if the model has none.
    pub fixed: Option<FixedParts>,
    /// The layout of the file with the server optimiser's state; `None` if the strategy has none.
    pub state_layout: Option<Layout>,
    /// The length of an update in bytes; `None` when the codec is unknown here.
    pub update_bytes: Option<u64>,
    joined: RwLock<Option<Arc<Joined>>>,
}

impl Model {
    /// Creates a model from a spec whose signature and self-agreement are checked.
    pub fn new(signed: Signed<Spec>) -> Self {
        let spec = &signed.record;
        Self {
            id: spec.id(),
            spec_bytes: spec.to_canonical().len() as u64,
            layout: Layout::of(&spec.tensors),
            fixed: FixedParts::of(spec),
            state_layout: strategy::state_schema(spec).map(|schema| Layout::of(&schema)),
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

    /// Returns the length of the file that trainers get, with all tensors.
    pub fn file_bytes(&self) -> u64 {
        match &self.fixed {
            None => self.layout.file_bytes(),
            Some(fixed) => fixed.assembly.file_bytes(),
        }
    }

    /// Returns the running model, or `None` when it is not joined.
    pub fn joined(&self) -> Option<Arc<Joined>> {
        self.joined.read().clone()
    }

    /// Marks the model as joined, or as no longer joined.
    pub fn set_joined(&self, joined: Option<Arc<Joined>>) {
        *self.joined.write() = joined;
    }

    /// Returns true if `peer` may read what belongs to the model.
    pub fn readable_by(&self, peer: &NodeId) -> bool {
        match &self.spec().membership {
            Membership::List(members) => members.contains(peer),
            Membership::Open => true,
        }
    }

    /// Returns true if every node that may read `other` may read this model, too.
    pub(super) fn readable_by_all_of(&self, other: &Model) -> bool {
        match (&self.spec().membership, &other.spec().membership) {
            (Membership::Open, _) => true,
            (Membership::List(_), Membership::Open) => false,
            (Membership::List(all), Membership::List(some)) => some.is_subset(all),
        }
    }
}
