//! The command `qres drain`.

use qres_api::pb;
use serde_json::json;

use super::status::node_text;
use super::{Context, needed};
use crate::failure::Failure;
use crate::show::json;

/// Prepares the node for a shutdown.
#[derive(Debug, clap::Args)]
pub struct Drain {}

impl Drain {
    /// Asks the node to drain and prints its state.
    pub async fn run(self, context: Context) -> Result<(), Failure> {
        let answer = context
            .client
            .node()
            .drain_node(pb::DrainNodeRequest {})
            .await?
            .into_inner();
        let node = needed(answer.node, "node")?;
        context.output.print(
            || json!({"node": json::node(&node)}),
            || node_text(&node, context.client.address()),
        );
        Ok(())
    }
}
