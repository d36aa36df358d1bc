//! A model that a caller names, joined or only announced.

use std::collections::BTreeSet;
use std::sync::Arc;

use qres_fed::id::{NodeId, SpecId};
use qres_fed::record::ModelName;
use qres_store::HeardModel;

use crate::catalog::entry::Model;
use crate::error::{NodeError, Reason};

/// A model that a caller names.
#[derive(Clone)]
pub enum Known {
    /// The model is or was joined here.
    Here(Arc<Model>),
    /// The model was only announced.
    Heard(Arc<HeardModel>),
}

impl Known {
    /// The spec's id.
    pub fn id(&self) -> SpecId {
        match self {
            Self::Here(model) => model.id,
            Self::Heard(heard) => heard.id,
        }
    }

    /// Returns the model's name.
    pub fn name(&self) -> &ModelName {
        match self {
            Self::Here(model) => &model.spec().name,
            Self::Heard(heard) => &heard.name,
        }
    }

    /// Returns the node that created the model.
    pub fn creator(&self) -> NodeId {
        match self {
            Self::Here(model) => model.spec().creator,
            Self::Heard(heard) => heard.creator,
        }
    }

    /// Returns the spec that the model succeeds, if there is one.
    pub fn succeeds(&self) -> Option<SpecId> {
        match self {
            Self::Here(model) => model.spec().succeeds,
            Self::Heard(heard) => heard.succeeds,
        }
    }

    /// Returns true if the model is joined and has ended, because its members changed.
    pub fn has_ended(&self) -> bool {
        let Self::Here(model) = self else { return false };
        model
            .joined()
            .is_some_and(|joined| joined.heads.borrow().successor.is_some())
    }

    /// Returns true if the model is joined.
    pub fn is_joined(&self) -> bool {
        matches!(self, Self::Here(model) if model.joined().is_some())
    }
}

/// Leaves out of models of one name those that another one of them succeeds.
pub fn without_succeeded(models: &mut Vec<Known>) {
    let succeeded: BTreeSet<_> = models.iter().filter_map(Known::succeeds).collect();
    models.retain(|model| !succeeded.contains(&model.id()));
}

/// The most models that a refusal lists.
const LISTED_MAX: usize = 8;

/// Returns the error [`Reason::ModelAmbiguous`] for several models of one name.
pub fn ambiguous(name: &ModelName, models: &[Known]) -> NodeError {
    NodeError::new(
        Reason::ModelAmbiguous,
        format!(
            "{} specs bear the name {name}: say which, as name@id: {}",
            models.len(),
            listed(models)
        ),
    )
    .field("model")
}

/// Lists at most [`LISTED_MAX`] models, each with its id and creator.
pub fn listed(models: &[Known]) -> String {
    let line = |model: &Known| format!("{}@{} (created by {})", model.name(), model.id(), model.creator());
    let mut all: Vec<_> = models.iter().take(LISTED_MAX).map(line).collect();
    if models.len() > LISTED_MAX {
        all.push(format!("and {} more", models.len() - LISTED_MAX));
    }
    all.join(", ")
}
