//! Serves `qres.v1.NodeService`.

use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;

use super::api::Api;
use super::health::set_health;
use super::message;
use super::status::status;
use crate::pb;

/// The services whose health is NOT_SERVING while the node drains, because they refuse new work. The node as a whole stays
/// healthy: it still serves reads.
const DRAINED: [&str; 2] = [
    pb::weights_service_server::SERVICE_NAME,
    pb::model_service_server::SERVICE_NAME,
];

#[tonic::async_trait]
impl pb::node_service_server::NodeService for Api {
    async fn get_node(&self, _: Request<pb::GetNodeRequest>) -> Result<Response<pb::GetNodeResponse>, Status> {
        let view = self.node.node().await.map_err(status)?;
        let node = Some(message::node(view));
        Ok(Response::new(pb::GetNodeResponse { node }))
    }

    async fn diagnose_node(
        &self,
        _: Request<pb::DiagnoseNodeRequest>,
    ) -> Result<Response<pb::DiagnoseNodeResponse>, Status> {
        let diagnosis = async {
            // The semaphore is never closed.
            let _turn = self.diagnoses.acquire().await;
            let (around, own) = tokio::join!(self.surroundings.findings(), self.node.diagnose());
            Ok((around, own.map_err(status)?))
        };
        let (around, own) = self.stop.or(diagnosis).await?;
        let findings = around.into_iter().chain(own).map(message::finding).collect();
        Ok(Response::new(pb::DiagnoseNodeResponse { findings }))
    }

    async fn drain_node(&self, _: Request<pb::DrainNodeRequest>) -> Result<Response<pb::DrainNodeResponse>, Status> {
        set_health(&self.health, &DRAINED, ServingStatus::NotServing).await;
        let view = self.node.drain().await.map_err(status)?;
        let node = Some(message::node(view));
        Ok(Response::new(pb::DrainNodeResponse { node }))
    }
}
