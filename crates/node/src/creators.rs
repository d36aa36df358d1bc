//! Creators whose models may be joined by name alone. Any node may give any name, so a bare name means a model only when its
//! creator is known here: this node itself, a creator or a trusted node that the operator named, or a fellow member of a joined
//! model.

use qres_fed::id::{NodeId, SpecId};
use qres_fed::record::Membership;

use crate::catalog::entry::Model;
use crate::catalog::known::{Known, ambiguous, listed, without_succeeded};
use crate::context::NodeContext;
use crate::error::{NodeError, Reason};
use crate::request::ModelRef;

/// Returns true if a bare name may mean a model of this creator.
pub fn is_known(context: &NodeContext, creator: &NodeId) -> bool {
    let config = &context.config;
    *creator == context.identity.node()
        || config.creators.contains(creator)
        || config.trust.contains(creator)
        || context.catalog.all().iter().any(|model| shares_list(model, creator))
}

/// Returns true if this node and `other` are members of a [`Model`] that is joined here. This node is on the list of every
/// joined list model, as it could not join otherwise.
fn shares_list(model: &Model, other: &NodeId) -> bool {
    match &model.spec().membership {
        Membership::List(members) => model.joined().is_some() && members.contains(other),
        Membership::Open => false,
    }
}

/// Returns the only model of that name by a known creator, or `None` if there is none or more than one. A model that another one
/// of them succeeds does not count.
pub fn named(context: &NodeContext, name: &str) -> Option<Known> {
    let mut models = context.catalog.known();
    models.retain(|model| model.name().as_str() == name && is_known(context, &model.creator()));
    without_succeeded(&mut models);
    (models.len() == 1).then(|| models.remove(0))
}

/// Finds the model that a caller wants to join: by its id, by its name and creator, or by a bare name whose creator is known
/// here.
pub fn to_join(context: &NodeContext, wanted: &ModelRef, creator: Option<NodeId>) -> Result<Known, NodeError> {
    let says_id = |id: SpecId| context.catalog.knows(&id);
    if wanted.id.is_some() || wanted.name.as_str().parse().is_ok_and(says_id) {
        let model = context.catalog.find(wanted)?;
        return match creator.filter(|creator| *creator != model.creator()) {
            Some(creator) => Err(other_creator(&model, &creator)),
            None => Ok(model),
        };
    }
    let mut models = context.catalog.known();
    models.retain(|model| *model.name() == wanted.name);
    if models.is_empty() {
        // The model is unknown: `find` gives the error of every other call.
        return context.catalog.find(wanted);
    }
    let meant = |model: &&Known| match creator {
        Some(creator) => model.creator() == creator,
        None => model.is_joined() || is_known(context, &model.creator()),
    };
    let mut fitting: Vec<_> = models.iter().filter(meant).cloned().collect();
    // A name that is in use here means the joined model. Of an ended model and its successor, one may be by the named creator.
    if let Some(joined) = context
        .catalog
        .joined_of(&wanted.name)
        .filter(|_| fitting.iter().any(Known::is_joined))
    {
        return Ok(Known::Here(joined));
    }
    without_succeeded(&mut fitting);
    match fitting.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(creator_unknown(wanted, &models, creator)),
        several => Err(ambiguous(&wanted.name, several)),
    }
}

fn creator_unknown(wanted: &ModelRef, models: &[Known], creator: Option<NodeId>) -> NodeError {
    let problem = match creator {
        Some(creator) => format!("no model named {} was created by {creator}", wanted.name),
        None => format!(
            "a name is anyone's to give, and no model named {} is by a creator that this node knows (itself, a creator or trusted \
             node of its configuration, or a fellow member of a joined model)",
            wanted.name
        ),
    };
    NodeError::new(
        Reason::CreatorUnknown,
        format!(
            "{problem}: compare the ids with the creator, then say name@id, or the creator's id: {}",
            listed(models)
        ),
    )
    .field(if creator.is_some() { "creator" } else { "model" })
}

fn other_creator(model: &Known, creator: &NodeId) -> NodeError {
    NodeError::new(
        Reason::CreatorDiffers,
        format!(
            "{}: it was not created by {creator}",
            listed(std::slice::from_ref(model))
        ),
    )
    .field("creator")
}
