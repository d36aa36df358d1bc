//! Preparation for a stop: the node takes no new work, and merges and sends the acknowledged work.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use qres_fed::round::Input;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::catalog::command::ModelCommand;
use crate::catalog::entry::Model;
use crate::catalog::joined::Joined;
use crate::context::NodeContext;
use crate::service::peers;
use crate::view::NodeView;

/// The longest wait of a drain for submissions to be merged; those not merged by then stay on the disk for the next start.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Takes no new work from here on, and returns when no submission waits to be merged, or after [`DRAIN_MAX`].
pub async fn drain(context: &Arc<NodeContext>) -> NodeView {
    context.lifecycle.draining.store(true, Ordering::Relaxed);
    let joined = context.catalog.all().into_iter().filter_map(|m| Some((m.joined()?, m)));
    let waits = joined.map(|(joined, model)| merge(joined, model));
    tokio::select! {
        () = context.lifecycle.stop.cancelled() => {}
        _ = futures::future::join_all(waits) => info!("drained"),
    }
    peers::node(context).await
}

async fn merge(joined: Arc<Joined>, model: Arc<Model>) {
    let merged = async {
        joined
            .inbox
            .send(ModelCommand::Inputs(vec![Input::MergeNow]))
            .await
            .map_err(drop)?;
        let mut unmerged = joined.unmerged.clone();
        unmerged.wait_for(|count| *count == Some(0)).await.map_err(drop)?;
        Ok::<_, ()>(())
    };
    if timeout(DRAIN_MAX, merged).await.is_err() {
        warn!(model = %model.spec().name, "submissions still wait to be merged: they are on the disk for the next start");
    }
}
