//! `qres.v1.NodeService`.

use tonic::{Request, Response, Status};

use super::status::status;
use super::{Api, message};
use crate::pb;

#[tonic::async_trait]
impl pb::node_service_server::NodeService for Api {
    async fn get_node(&self, _: Request<pb::GetNodeRequest>) -> Result<Response<pb::GetNodeResponse>, Status> {
        let view = self.node.node().await.map_err(status)?;
        let node = Some(message::node(view));
        Ok(Response::new(pb::GetNodeResponse { node }))
    }

    async fn drain_node(&self, _: Request<pb::DrainNodeRequest>) -> Result<Response<pb::DrainNodeResponse>, Status> {
        let view = self.node.drain().await.map_err(status)?;
        let node = Some(message::node(view));
        Ok(Response::new(pb::DrainNodeResponse { node }))
    }
}
