//! `qres.v1.ModelService`.

use bytes::Bytes;
use qres_fed::record::Rule;
use qres_node::handle::{CreateModel, WatchFilter};
use qres_node::view::Event;
use tonic::{Request, Response, Status, Streaming};

use super::status::status;
use super::upload::Chunk;
use super::watch::Watch;
use super::{Api, field, message, page};
use crate::pb;

/// What a model that names no strategy gets.
const STRATEGY_DEFAULT: &str = "fedavg/1";
/// What a model that names no codec gets.
const CODEC_DEFAULT: &str = "bf16/1";

impl Chunk for pb::CreateModelRequest {
    fn take_data(&mut self) -> Bytes {
        std::mem::take(&mut self.data)
    }
}

pub(super) fn create(header: pb::CreateModelRequest) -> Result<CreateModel, Status> {
    Ok(CreateModel {
        name: field::model_name("name", &header.name)?,
        strategy: field::rule("strategy", header.strategy)?.unwrap_or_else(|| Rule::new(STRATEGY_DEFAULT)),
        codec: field::rule("codec", header.codec)?.unwrap_or_else(|| Rule::new(CODEC_DEFAULT)),
        min_contributions: header.min_contributions,
        target: header.target,
        deadline_ms: header.deadline_ms,
        deadline_ms_max: header.deadline_max_ms,
        max_staleness: header.max_staleness,
        membership: field::membership(&header.members, header.open)?,
        succeeds: field::optional_id("succeeds", &header.succeeds)?,
        seeded: field::seeded(header.tensors, header.seed, &header.succeeds)?,
        upload: field::upload(
            header.idempotency_key,
            header.offset,
            header.total_bytes,
            &header.digest,
        )?,
    })
}

fn event(event: Event) -> Option<pb::Model> {
    match event {
        Event::Model(view) => Some(message::model_in_brief(view)),
        Event::ModelHeard(heard) => Some(message::heard_model(&heard)),
        Event::ModelLeft(id, name) => Some(pb::Model {
            name: name.to_string(),
            id: id.to_string(),
            standing: pb::ModelStanding::Left.into(),
            ..pb::Model::default()
        }),
        Event::Round(_) | Event::Submission(_) | Event::Peer(_) | Event::State(_) => None,
    }
}

#[tonic::async_trait]
impl pb::model_service_server::ModelService for Api {
    async fn create_model(
        &self,
        request: Request<Streaming<pb::CreateModelRequest>>,
    ) -> Result<Response<pb::CreateModelResponse>, Status> {
        let mut stream = request.into_inner();
        let (header, data) = self.first(&mut stream).await?;
        let create = create(header)?;
        if create.succeeds.is_some() && !data.is_empty() {
            return Err(field::invalid(
                "data",
                "is given with succeeds: the first weights are the old model's head then",
            ));
        }
        if create.seeded.is_some() && !data.is_empty() {
            return Err(field::invalid(
                "data",
                "is given with a seed: the first weights come from one or the other",
            ));
        }
        let upload = self.node.create_model(create).await.map_err(status)?;
        let view = self.carry(upload, data, &mut stream).await?;
        let model = Some(message::model(view));
        Ok(Response::new(pb::CreateModelResponse { model }))
    }

    async fn join_model(
        &self,
        request: Request<pb::JoinModelRequest>,
    ) -> Result<Response<pb::JoinModelResponse>, Status> {
        let request = request.into_inner();
        let model = field::model("model", &request.model)?;
        let creator = field::optional_node("creator", &request.creator)?;
        let view = self.node.join_model(model, creator).await.map_err(status)?;
        let model = Some(message::model(view));
        Ok(Response::new(pb::JoinModelResponse { model }))
    }

    async fn leave_model(
        &self,
        request: Request<pb::LeaveModelRequest>,
    ) -> Result<Response<pb::LeaveModelResponse>, Status> {
        let model = field::model("model", &request.into_inner().model)?;
        self.node.leave_model(model).await.map_err(status)?;
        Ok(Response::new(pb::LeaveModelResponse {}))
    }

    async fn get_model(&self, request: Request<pb::GetModelRequest>) -> Result<Response<pb::GetModelResponse>, Status> {
        let model = field::model("model", &request.into_inner().model)?;
        let view = self.node.model(model).await.map_err(status)?;
        let model = Some(message::model(view));
        Ok(Response::new(pb::GetModelResponse { model }))
    }

    async fn list_models(
        &self,
        request: Request<pb::ListModelsRequest>,
    ) -> Result<Response<pb::ListModelsResponse>, Status> {
        let request = request.into_inner();
        let asked = page::request(request.page_size, request.page_token)?;
        let (models, next_page_token) =
            page::fitting(asked, |page| self.node.models(page), message::listed_model).await?;
        Ok(Response::new(pb::ListModelsResponse {
            models,
            next_page_token,
        }))
    }

    type WatchModelsStream = Watch<pb::WatchModelsResponse>;

    async fn watch_models(
        &self,
        request: Request<pb::WatchModelsRequest>,
    ) -> Result<Response<Self::WatchModelsStream>, Status> {
        let from = request.into_inner().from_revision;
        self.watch(WatchFilter::Models, from, event, |item| pb::WatchModelsResponse {
            revision: item.revision,
            kind: item.kind,
            model: item.resource,
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_makes_a_model_with_the_defaults() {
        let header = pb::CreateModelRequest {
            name: "digits-mlp".into(),
            ..Default::default()
        };
        let create = create(header).unwrap();
        assert_eq!(
            (create.strategy.id.as_str(), create.codec.id.as_str()),
            ("fedavg/1", "bf16/1")
        );
        assert!(create.membership.is_none() && create.min_contributions.is_none() && create.succeeds.is_none());
    }

    #[test]
    fn a_model_that_was_left_has_its_names_alone() {
        let id = qres_fed::id::SpecId([1; 32]);
        let left = event(Event::ModelLeft(id, "m".parse().unwrap())).unwrap();
        assert_eq!((left.name.as_str(), left.standing()), ("m", pb::ModelStanding::Left));
        assert_eq!(left.id, id.to_string());
    }
}
