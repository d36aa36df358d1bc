//! Models that the configuration says to join as soon as they are known.

use std::sync::Arc;

use tracing::{info, warn};

use super::registry::Model;
use super::{Core, membership};

/// Joins a model that the configuration names, when it is the only one of that name.
pub async fn consider(core: &Arc<Core>, model: &Arc<Model>) {
    let spec = model.spec();
    let (name, id) = (spec.name.as_str(), model.id.to_string());
    let qualified = format!("{name}@{id}");
    let by_id = core
        .config
        .join
        .iter()
        .any(|wanted| *wanted == id || *wanted == qualified);
    let by_name = core.config.join.iter().any(|wanted| wanted == name);
    if model.joined().is_some() || !(by_id || by_name) {
        return;
    }
    let others = core
        .registry
        .all()
        .into_iter()
        .filter(|m| m.spec().name == spec.name && m.id != model.id)
        .count();
    if !by_id && others > 0 {
        warn!(
            model = name,
            "two specs bear this name: neither is joined by name; say name@id"
        );
        return;
    }
    match membership::join(core, model).await {
        Ok(_) => info!(model = name, %id, "joined, as configured"),
        Err(error) => warn!(model = name, %id, %error, "cannot join, as configured"),
    }
}
