//! The comparisons of a model that has just started: nothing is signed before them.

use std::sync::Arc;

use qres_fed::id::NodeId;
use qres_fed::round::Input;

use crate::engine::Core;
use crate::engine::message::Message;
use crate::engine::registry::Model;

/// Models that sign nothing yet.
fn waiting(core: &Core) -> impl Iterator<Item = Arc<Model>> {
    let all = core.registry.all().into_iter();
    all.filter(|model| {
        let joined = model.joined();
        joined.is_some_and(|joined| joined.heads.borrow().conditions.comparing.is_some())
    })
}

fn readers(core: &Core, model: &Model) -> Vec<NodeId> {
    let connected = core.mesh.connected();
    connected.into_iter().filter(|node| model.readable_by(node)).collect()
}

/// Says who is there to be compared with.
pub fn tell_reachable(core: &Core) {
    for model in waiting(core) {
        let peers = readers(core, &model).into_iter().collect();
        if let Some(joined) = model.joined() {
            // A full inbox is told a few seconds later.
            let _ = joined.inbox.try_send(Message::Inputs(vec![Input::Reachable(peers)]));
        }
    }
}

/// Compares with all who are there: a comparison may have failed, or have been turned away by a busy peer.
pub fn compare_again(core: &Core) {
    for model in waiting(core) {
        compare_with_all(core, &model);
    }
}

/// Compares a model that has just started with all who are there. Those who come later are compared with when they come.
pub fn compare_with_all(core: &Core, model: &Model) {
    let peers = readers(core, model);
    if !peers.is_empty() {
        core.syncer.request(model.id, peers);
    }
}
