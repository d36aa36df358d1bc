//! Models that ended because their members changed: this node goes on with their successors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qres_fed::id::SpecId;
use qres_wire::clock;
use tracing::warn;

use crate::context::NodeContext;
use crate::service::succession;

/// The time between two looks. A successor that is announced, and a model that ends, are looked at at once.
const LOOKS_EVERY: Duration = Duration::from_secs(10);

/// The time that a member waits for the announcement of a successor before it goes on without it: its proposer may be gone.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(30);

/// Goes on with the successor of each model that has ended, until the node stops.
pub async fn run(context: Arc<NodeContext>) {
    let mut since: BTreeMap<SpecId, Instant> = BTreeMap::new();
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
                since.remove(&model.id);
                continue;
            }
            let first = *since.entry(model.id).or_insert_with(clock::now);
            let waited = clock::now().saturating_duration_since(first) >= ANNOUNCED_WITHIN;
            if let Err(error) = succession::go_on(&context, &model, waited).await {
                warn!(model = %model.spec().name, id = %model.id, %error, "cannot go on with the successor yet");
            }
        }
    }
}
