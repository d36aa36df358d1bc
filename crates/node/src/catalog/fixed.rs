//! The tensors of a model that rounds do not change: the frozen ones and the personal ones.

use std::sync::Arc;

use qres_fed::id::BlobId;
use qres_fed::record::{Spec, TensorKind};
use qres_fed::tensor::{Assembly, Layout};

/// The parts of a model with frozen or personal tensors, as they follow from its spec.
pub struct FixedParts {
    /// The file with the values of the frozen tensors and the first values of the personal ones.
    pub blob: BlobId,
    /// The layout of that file.
    pub layout: Layout,
    /// The layout of the file with one trainer's personal tensors.
    pub personal: Layout,
    /// The plan of the file that trainers get.
    pub assembly: Arc<Assembly>,
}

impl FixedParts {
    /// Returns the parts; `None` for a model whose tensors are all shared.
    pub fn of(spec: &Spec) -> Option<Self> {
        let blob = spec.fixed?;
        Some(Self {
            blob,
            layout: Layout::of(spec.tensors.fixed()),
            personal: Layout::of(&spec.tensors.of_kind(TensorKind::Personal)),
            assembly: Arc::new(Assembly::of(&spec.tensors)),
        })
    }
}

/// How far the file of the fixed tensors has come on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FixedState {
    /// The file is looked for, or being checked.
    Coming,
    /// The file is here and right.
    Here,
    /// The file is not what the spec says: its creator made the model so.
    Bad,
}
