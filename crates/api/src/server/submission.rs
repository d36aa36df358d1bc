//! Serves `qres.v1.SubmissionService`.

use qres_node::handle::WatchFilter;
use qres_node::view::Event;
use tonic::{Request, Response, Status};

use super::api::Api;
use super::status::status;
use super::watch::Watch;
use super::{field, message, page};
use crate::pb;

fn event(event: Event) -> Option<pb::Submission> {
    match event {
        Event::Submission(view) => Some(message::submission(view)),
        Event::Model(_)
        | Event::ModelHeard(_)
        | Event::ModelLeft(..)
        | Event::Round(_)
        | Event::Peer(_)
        | Event::State(_) => None,
    }
}

#[tonic::async_trait]
impl pb::submission_service_server::SubmissionService for Api {
    async fn get_submission(
        &self,
        request: Request<pb::GetSubmissionRequest>,
    ) -> Result<Response<pb::GetSubmissionResponse>, Status> {
        let pb::GetSubmissionRequest { id, wait } = request.into_inner();
        let id = field::id("id", &id)?;
        let asking = async { self.node.submission(id, wait).await.map_err(status) };
        let view = self.stop.or(asking).await?;
        let submission = Some(message::submission(view));
        Ok(Response::new(pb::GetSubmissionResponse { submission }))
    }

    async fn list_submissions(
        &self,
        request: Request<pb::ListSubmissionsRequest>,
    ) -> Result<Response<pb::ListSubmissionsResponse>, Status> {
        let request = request.into_inner();
        let model = field::optional_model("model", &request.model)?;
        let asked = page::request(request.page_size, request.page_token)?;
        let ask = |page| self.node.submissions(model.clone(), page);
        let (submissions, next_page_token) = page::fitting(asked, ask, message::submission).await?;
        Ok(Response::new(pb::ListSubmissionsResponse {
            submissions,
            next_page_token,
        }))
    }

    type WatchSubmissionsStream = Watch<pb::WatchSubmissionsResponse>;

    async fn watch_submissions(
        &self,
        request: Request<pb::WatchSubmissionsRequest>,
    ) -> Result<Response<Self::WatchSubmissionsStream>, Status> {
        let request = request.into_inner();
        let filter = WatchFilter::Submissions(field::optional_model("model", &request.model)?);
        self.watch(filter, request.from_revision, event, |item| {
            pb::WatchSubmissionsResponse {
                revision: item.revision,
                kind: item.kind,
                submission: item.resource,
            }
        })
        .await
    }
}
