//! Models that ended because their members changed: this node goes on with their successors.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::context::NodeContext;
use crate::service::succession;

/// The time between two looks. A successor that is announced, and a model that ends, are looked at at once.
const LOOKS_EVERY: Duration = Duration::from_secs(10);

/// Goes on with the successor of each model that has ended, until the node stops.
pub async fn run(context: Arc<NodeContext>) {
    loop {
        let look = tokio::time::timeout(LOOKS_EVERY, context.ended.notified());
        if context.lifecycle.stop.run_until_cancelled(look).await.is_none() {
            return;
        }
        for model in context.catalog.all() {
            let ended = model
                .joined()
                .is_some_and(|joined| joined.heads.borrow().successor.is_some());
            if !ended {
                continue;
            }
            if let Err(error) = succession::go_on(&context, &model).await {
                warn!(model = %model.spec().name, id = %model.id, %error, "cannot go on with the successor yet");
            }
        }
    }
}
