//! Serves `qres.v1.ModelService`.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use qres_fed::record::{End, Rule, Schema, TENSORS_MAX};
use qres_node::error::{NodeError, Reason};
use qres_node::handle::{CreateModel, MembersCall, WatchFilter};
use qres_node::view::Event;
use tonic::{Request, Response, Status, Streaming};

use super::api::Api;
use super::status::status;
use super::upload::{Chunk, late_header};
use super::watch::Watch;
use super::{audit, evaluation, field, message, page, schedule};
use crate::pb;

/// Strategy of a model if the request names none.
const STRATEGY_DEFAULT: &str = "fedavg/1";
/// Codec of a model if the request names none.
const CODEC_DEFAULT: &str = "bf16/1";
/// Privacy mechanism of a model if the request names none.
const PRIVACY_DEFAULT: &str = "none/1";

impl Chunk for pb::CreateModelRequest {
    fn take_data(&mut self) -> Bytes {
        std::mem::take(&mut self.data)
    }
}

pub(super) fn create(header: pb::CreateModelRequest) -> Result<CreateModel, Status> {
    Ok(CreateModel {
        name: field::model_name("name", &header.name)?,
        strategy: field::rule("strategy", header.strategy)?.unwrap_or_else(|| Rule::new(STRATEGY_DEFAULT)),
        aggregation: field::rules("aggregation", header.aggregation)?,
        codec: field::rule("codec", header.codec)?.unwrap_or_else(|| Rule::new(CODEC_DEFAULT)),
        min_contributions: header.min_contributions,
        target: header.target,
        deadline_ms: header.deadline_ms,
        deadline_ms_max: header.deadline_max_ms,
        max_staleness: header.max_staleness,
        membership: field::membership(&header.members, header.open)?,
        metrics: evaluation::metrics("metrics", header.metrics)?,
        end: End {
            max_rounds: header.max_rounds,
            target: evaluation::target("until", header.until)?,
        },
        privacy: field::rule("privacy", header.privacy)?.unwrap_or_else(|| Rule::new(PRIVACY_DEFAULT)),
        schedules: schedule::schedules("schedules", header.schedules)?,
        personal: field::tensor_patterns("personal", header.personal, &header.succeeds)?,
        frozen: field::tensor_patterns("frozen", header.frozen, &header.succeeds)?,
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

/// Most bytes of a schema that comes in several messages: twice as many as a spec may have.
const SCHEMA_BYTES_MAX: usize = 16 << 20;

impl Api {
    /// Reads the tensors of later messages into `header`. Only one schema is read at a time, because it may take 16 MiB, and only
    /// for the time of a request, because other calls wait for their turn.
    async fn more_tensors(
        &self,
        header: &mut pb::CreateModelRequest,
        stream: &mut Streaming<pb::CreateModelRequest>,
    ) -> Result<(), Status> {
        let time = self.limits.request;
        let Some(second) = self.within(time, stream.message()).await? else {
            return Ok(());
        };
        let _turn = self.stop.or(async { Ok(self.schemas.acquire().await) }).await?;
        let mut room = SCHEMA_BYTES_MAX;
        add_tensors(header, second, &mut room)?;
        let rest = async {
            while let Some(message) = stream.message().await? {
                add_tensors(header, message, &mut room)?;
            }
            Ok(())
        };
        self.within(time, rest).await
    }

    async fn members(&self, model: &str, call: MembersCall) -> Result<pb::Model, Status> {
        let model = field::model("model", model)?;
        let view = self.node.members(model, call).await.map_err(status)?;
        Ok(message::model(view))
    }

    async fn within<T>(&self, time: Duration, work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let late = |_| {
            let message = format!("tensors: the schema was not whole within {time:?}: send it again");
            status(NodeError::new(Reason::RequestTooSlow, message).field("tensors"))
        };
        tokio::time::timeout(time, self.stop.or(work)).await.map_err(late)?
    }
}

/// Adds the tensors of a later message to `header`; `room` is the number of bytes that may still come.
fn add_tensors(
    header: &mut pb::CreateModelRequest,
    mut message: pb::CreateModelRequest,
    room: &mut usize,
) -> Result<(), Status> {
    let left = room.checked_sub(message.encoded_len());
    header.tensors.append(&mut message.tensors);
    if message != pb::CreateModelRequest::default() {
        return Err(status(late_header("tensors")));
    }
    let Some(left) = left.filter(|_| header.tensors.len() <= TENSORS_MAX) else {
        let problem = format!("more than {TENSORS_MAX} of them, or more than {SCHEMA_BYTES_MAX} bytes");
        return Err(field::invalid("tensors", problem));
    };
    *room = left;
    Ok(())
}

/// Returns the page of a schema that begins at the tensor whose number is the token.
fn tensors_page(schema: &Schema, size: u32, token: &str) -> Result<pb::ListTensorsResponse, Status> {
    let from = match token {
        "" => Some(0),
        token => token.parse().ok().filter(|from| *from <= schema.count()),
    };
    let from = from.ok_or_else(|| {
        let problem = "is none of ours: send the last answer's next_page_token, or nothing for the first page";
        field::invalid("page_token", problem)
    })?;
    let wanted = match size {
        0 => usize::MAX,
        size => usize::try_from(size).unwrap_or(usize::MAX),
    };
    let tensors = message::tensors(schema.all().skip(from).take(wanted));
    let next = from + tensors.len();
    Ok(pb::ListTensorsResponse {
        tensors,
        next_page_token: if next < schema.count() {
            next.to_string()
        } else {
            String::new()
        },
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
        let (_, extensions, mut stream) = request.into_parts();
        let (mut header, data): (pb::CreateModelRequest, _) = self.first(&mut stream).await?;
        audit::object(&extensions, &header.name);
        if header.seed.is_some() {
            self.more_tensors(&mut header, &mut stream).await?;
        }
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
        let (_, extensions, request) = request.into_parts();
        let model = field::model("model", &request.model)?;
        audit::object(&extensions, &request.model);
        let creator = field::optional_node("creator", &request.creator)?;
        let view = self.node.join_model(model, creator).await.map_err(status)?;
        let model = Some(message::model(view));
        Ok(Response::new(pb::JoinModelResponse { model }))
    }

    async fn change_members(
        &self,
        request: Request<pb::ChangeMembersRequest>,
    ) -> Result<Response<pb::ChangeMembersResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        audit::object(&extensions, &request.model);
        let call = MembersCall::Propose {
            add: field::nodes("add", &request.add)?,
            remove: field::nodes("remove", &request.remove)?,
        };
        let model = Some(self.members(&request.model, call).await?);
        Ok(Response::new(pb::ChangeMembersResponse { model }))
    }

    async fn accept_members(
        &self,
        request: Request<pb::AcceptMembersRequest>,
    ) -> Result<Response<pb::AcceptMembersResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        audit::object(&extensions, &request.model);
        let call = MembersCall::Accept(field::optional_node("proposer", &request.proposer)?);
        let model = Some(self.members(&request.model, call).await?);
        Ok(Response::new(pb::AcceptMembersResponse { model }))
    }

    async fn withdraw_members(
        &self,
        request: Request<pb::WithdrawMembersRequest>,
    ) -> Result<Response<pb::WithdrawMembersResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        audit::object(&extensions, &request.model);
        let model = Some(self.members(&request.model, MembersCall::Withdraw).await?);
        Ok(Response::new(pb::WithdrawMembersResponse { model }))
    }

    async fn leave_model(
        &self,
        request: Request<pb::LeaveModelRequest>,
    ) -> Result<Response<pb::LeaveModelResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let model = field::model("model", &request.model)?;
        audit::object(&extensions, &request.model);
        self.node.leave_model(model).await.map_err(status)?;
        Ok(Response::new(pb::LeaveModelResponse {}))
    }

    async fn get_model(&self, request: Request<pb::GetModelRequest>) -> Result<Response<pb::GetModelResponse>, Status> {
        let model = field::model("model", &request.into_inner().model)?;
        let view = self.node.model(model).await.map_err(status)?;
        let model = Some(message::model(view));
        Ok(Response::new(pb::GetModelResponse { model }))
    }

    async fn list_tensors(
        &self,
        request: Request<pb::ListTensorsRequest>,
    ) -> Result<Response<pb::ListTensorsResponse>, Status> {
        let request = request.into_inner();
        let model = field::model("model", &request.model)?;
        let page = self
            .node
            .tensors(model, |all| tensors_page(all, request.page_size, &request.page_token));
        page.await.map_err(status)?.map(Response::new)
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
    fn a_schema_in_several_messages_has_limits_and_brings_tensors_alone() {
        let tensors = |count: usize, name: &str| pb::CreateModelRequest {
            tensors: vec![
                pb::TensorSpec {
                    name: name.into(),
                    ..Default::default()
                };
                count
            ],
            ..Default::default()
        };
        let (mut header, mut room) = (tensors(1, "w"), SCHEMA_BYTES_MAX);
        add_tensors(&mut header, tensors(TENSORS_MAX - 1, "w"), &mut room).unwrap();
        assert_eq!(header.tensors.len(), TENSORS_MAX);
        let more = add_tensors(&mut header, tensors(1, "w"), &mut room).unwrap_err();
        assert!(more.message().contains("65536"), "{more}");
        let (mut header, mut room) = (tensors(1, "w"), SCHEMA_BYTES_MAX);
        let long = add_tensors(&mut header, tensors(1, &"w".repeat(SCHEMA_BYTES_MAX)), &mut room).unwrap_err();
        assert!(long.message().contains("16777216"), "{long}");
        let named = pb::CreateModelRequest {
            name: "late".into(),
            ..tensors(1, "w")
        };
        let late = add_tensors(&mut header, named, &mut SCHEMA_BYTES_MAX.clone()).unwrap_err();
        assert!(late.message().contains("other than tensors"), "{late}");
    }

    #[test]
    fn a_model_that_was_left_has_its_names_alone() {
        let id = qres_fed::id::SpecId([1; 32]);
        let left = event(Event::ModelLeft(id, "m".parse().unwrap())).unwrap();
        assert_eq!((left.name.as_str(), left.standing()), ("m", pb::ModelStanding::Left));
        assert_eq!(left.id, id.to_string());
    }
}
