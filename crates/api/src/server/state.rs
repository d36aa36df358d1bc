//! Serves `qres.v1.StateService`.

use qres_node::handle::{PublishState, WatchFilter};
use qres_node::view::Event;
use tonic::{Request, Response, Status};

use super::api::Api;
use super::status::status;
use super::watch::Watch;
use super::{field, message};
use crate::{CHUNK_BYTES_MAX, pb};

/// Most names that one subscription may list.
const NAMES_MAX: usize = 256;

pub(super) fn publish(request: pb::PublishStateRequest) -> Result<PublishState, Status> {
    if request.data.is_empty() || request.data.len() > CHUNK_BYTES_MAX {
        let problem = format!(
            "{} bytes given, a state is a safetensors file of at most {CHUNK_BYTES_MAX}",
            request.data.len()
        );
        return Err(field::invalid("data", problem));
    }
    if request.name.is_empty() {
        return Err(field::invalid("name", "missing: say which of this node's states it is"));
    }
    Ok(PublishState {
        model: field::model("model", &request.model)?,
        name: field::text("name", request.name, field::NAME_BYTES_MAX)?,
        timestamp_unix_ms: field::unix_ms("timestamp", request.timestamp)?,
        tensors: request.data,
        codec: field::rule("codec", request.codec)?,
    })
}

fn event(event: Event) -> Option<pb::State> {
    match event {
        Event::State(view) => Some(message::state(view)),
        Event::Model(_)
        | Event::ModelHeard(_)
        | Event::ModelLeft(..)
        | Event::Round(_)
        | Event::Submission(_)
        | Event::Peer(_) => None,
    }
}

#[tonic::async_trait]
impl pb::state_service_server::StateService for Api {
    async fn publish_state(
        &self,
        request: Request<pb::PublishStateRequest>,
    ) -> Result<Response<pb::PublishStateResponse>, Status> {
        let state = publish(request.into_inner())?;
        let view = self.node.publish_state(state).await.map_err(status)?;
        let state = Some(message::state(view));
        Ok(Response::new(pb::PublishStateResponse { state }))
    }

    type SubscribeStateStream = Watch<pb::SubscribeStateResponse>;

    async fn subscribe_state(
        &self,
        request: Request<pb::SubscribeStateRequest>,
    ) -> Result<Response<Self::SubscribeStateStream>, Status> {
        let request = request.into_inner();
        let model = field::model("model", &request.model)?;
        if request.names.len() > NAMES_MAX {
            let problem = format!("{} given, at most {NAMES_MAX} are possible", request.names.len());
            return Err(field::invalid("names", problem));
        }
        let filter = WatchFilter::States(model, request.names);
        self.watch(filter, request.from_revision, event, |item| {
            pb::SubscribeStateResponse {
                revision: item.revision,
                kind: item.kind,
                state: item.resource,
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tonic_types::StatusExt;

    use super::*;

    #[test]
    fn a_state_needs_a_name_and_data_within_the_limit() {
        let request = pb::PublishStateRequest {
            model: "m".into(),
            name: "pose".into(),
            data: Bytes::from_static(b"12345678"),
            ..Default::default()
        };
        assert_eq!(publish(request.clone()).unwrap().name, "pose");
        let nameless = pb::PublishStateRequest {
            name: String::new(),
            ..request.clone()
        };
        let large = pb::PublishStateRequest {
            data: vec![0; CHUNK_BYTES_MAX + 1].into(),
            ..request
        };
        for (bad, blamed) in [(nameless, "name"), (large, "data")] {
            let error = publish(bad).unwrap_err();
            assert_eq!(
                error.get_details_bad_request().unwrap().field_violations[0].field,
                blamed
            );
        }
    }
}
