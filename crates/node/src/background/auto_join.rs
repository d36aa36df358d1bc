//! Models that this node joins as soon as it knows them, because its configuration names them.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{info, warn};

use crate::catalog::known::Known;
use crate::context::NodeContext;
use crate::creators;
use crate::service::membership;

/// The wish of the configuration about a model.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    /// The model is to be joined.
    Join,
    /// Only the bare name is configured, and it does not mean this model: see [`creators::named`].
    OtherCreator,
    /// There is nothing to do: the model is joined, or the configuration does not name it.
    None,
}

/// Joins a model that the configuration names: by its id, or by its bare name if it is the only model of that name by a known
/// creator.
pub async fn consider(context: &Arc<NodeContext>, model: &Known) {
    match wish(context, model) {
        Wish::Join => {
            if join(context, model).await {
                again(context).await;
            }
        }
        Wish::OtherCreator => {
            let (name, id, creator) = (model.name(), model.id(), model.creator());
            warn!(
                model = %name, %id, %creator,
                "not joined by its bare name: this node does not know its creator, or several models of that name; say \
                 --join {name}@{id}, or --creator"
            );
        }
        Wish::None => {}
    }
}

/// Looks again at the models that are not joined: a join may have made this node a fellow member of their creators.
pub async fn again(context: &Arc<NodeContext>) {
    // Each turn tries one more of the models that the configuration names.
    let mut tried = BTreeSet::new();
    loop {
        let models: Vec<_> = context.catalog.heard().all().map(Known::Heard).collect();
        let wanted = |model: &&Known| !tried.contains(&model.id()) && wish(context, model) == Wish::Join;
        let Some(model) = models.iter().find(wanted) else {
            return;
        };
        tried.insert(model.id());
        join(context, model).await;
    }
}

fn wish(context: &NodeContext, model: &Known) -> Wish {
    let (name, id) = (model.name().as_str(), model.id().to_string());
    let wanted = |what: &str| context.config.join.iter().any(|wanted| wanted == what);
    if model.is_joined() {
        Wish::None
    } else if wanted(&id) || wanted(&format!("{name}@{id}")) {
        Wish::Join
    } else if !wanted(name) || context.catalog.joined_of(model.name()).is_some() {
        // A joined model of that name gives way to a successor that its members agreed on, and to no announcement.
        Wish::None
    } else if creators::named(context, name).is_some_and(|named| named.id() == model.id()) {
        Wish::Join
    } else {
        Wish::OtherCreator
    }
}

async fn join(context: &Arc<NodeContext>, model: &Known) -> bool {
    let (name, id, creator) = (model.name(), model.id(), model.creator());
    match membership::join(context, model).await {
        Ok(_) => {
            info!(model = %name, %id, %creator, "joined, as configured");
            true
        }
        Err(error) => {
            warn!(model = %name, %id, %error, "cannot join, as configured");
            false
        }
    }
}
