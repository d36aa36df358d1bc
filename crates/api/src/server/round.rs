//! Serves `qres.v1.RoundService`.

use qres_node::handle::WatchFilter;
use qres_node::view::Event;
use tonic::{Request, Response, Status};

use super::api::Api;
use super::status::status;
use super::watch::Watch;
use super::{audit, field, page, round_message};
use crate::pb;

fn event(event: Event) -> Option<pb::Round> {
    match event {
        Event::Round(view) => Some(round_message::round(view)),
        Event::Model(_)
        | Event::ModelHeard(_)
        | Event::ModelLeft(..)
        | Event::Submission(_)
        | Event::Peer(_)
        | Event::State(_) => None,
    }
}

#[tonic::async_trait]
impl pb::round_service_server::RoundService for Api {
    async fn get_round(&self, request: Request<pb::GetRoundRequest>) -> Result<Response<pb::GetRoundResponse>, Status> {
        let request = request.into_inner();
        let model = field::model("model", &request.model)?;
        if request.round == Some(0) {
            return Err(field::invalid(
                "round",
                "rounds count from 1 (checkpoint 0 comes from no round): leave it out for the open one",
            ));
        }
        let view = self.node.round(model, request.round).await.map_err(status)?;
        let round = Some(round_message::round(view));
        Ok(Response::new(pb::GetRoundResponse { round }))
    }

    async fn list_rounds(
        &self,
        request: Request<pb::ListRoundsRequest>,
    ) -> Result<Response<pb::ListRoundsResponse>, Status> {
        let request = request.into_inner();
        let model = field::model("model", &request.model)?;
        let asked = page::request(request.page_size, request.page_token)?;
        let ask = |page| self.node.rounds(model.clone(), page);
        let (rounds, next_page_token) = page::fitting(asked, ask, round_message::round).await?;
        Ok(Response::new(pb::ListRoundsResponse {
            rounds,
            next_page_token,
        }))
    }

    type WatchRoundsStream = Watch<pb::WatchRoundsResponse>;

    async fn watch_rounds(
        &self,
        request: Request<pb::WatchRoundsRequest>,
    ) -> Result<Response<Self::WatchRoundsStream>, Status> {
        let request = request.into_inner();
        let filter = WatchFilter::Rounds(field::model("model", &request.model)?);
        self.watch(filter, request.from_revision, event, |item| pb::WatchRoundsResponse {
            revision: item.revision,
            kind: item.kind,
            round: item.resource,
        })
        .await
    }

    async fn seal_round(
        &self,
        request: Request<pb::SealRoundRequest>,
    ) -> Result<Response<pb::SealRoundResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let model = field::model("model", &request.model)?;
        audit::object(&extensions, &request.model);
        let view = self.node.seal_round(model).await.map_err(status)?;
        let round = Some(round_message::round(view));
        Ok(Response::new(pb::SealRoundResponse { round }))
    }
}
