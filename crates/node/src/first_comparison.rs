//! The comparisons of a model that has just started: nothing is signed before them.

use std::sync::Arc;

use qres_fed::id::NodeId;
use qres_fed::round::Input;

use crate::catalog::command::ModelCommand;
use crate::catalog::entry::Model;
use crate::context::NodeContext;

/// Returns the models that sign nothing yet.
fn waiting(context: &NodeContext) -> impl Iterator<Item = Arc<Model>> {
    let all = context.catalog.all().into_iter();
    all.filter(|model| {
        let joined = model.joined();
        joined.is_some_and(|joined| joined.heads.borrow().conditions.comparing.is_some())
    })
}

fn readers(context: &NodeContext, model: &Model) -> Vec<NodeId> {
    let connected = context.mesh.connected();
    connected.into_iter().filter(|node| model.readable_by(node)).collect()
}

/// Tells the models that sign nothing yet which peers can be compared with ([`Input::Reachable`]).
pub fn tell_reachable(context: &NodeContext) {
    for model in waiting(context) {
        let peers = readers(context, &model).into_iter().collect();
        if let Some(joined) = model.joined() {
            // A model with a full inbox is told a few seconds later.
            let _ = joined
                .inbox
                .try_send(ModelCommand::Inputs(vec![Input::Reachable(peers)]));
        }
    }
}

/// Compares again with all connected peers: a comparison may have failed, or have been turned away by a busy peer.
pub fn compare_again(context: &NodeContext) {
    for model in waiting(context) {
        compare_with_all(context, &model);
    }
}

/// Compares a model that has just started with all connected peers. Peers that come later are compared with when they come.
pub fn compare_with_all(context: &NodeContext, model: &Model) {
    let peers = readers(context, model);
    if !peers.is_empty() {
        context.syncer.request(model.id, peers);
    }
}
