//! Serves `qres.v1.WeightsService`.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use qres_node::handle::{Fetch, SubmissionKind, Submit};
use tonic::{Request, Response, Status, Streaming};

use super::api::Api;
use super::connection::Connection;
use super::place::Place;
use super::status::status;
use super::upload::Chunk;
use super::{caller, evaluation, field, message};
use crate::pb;

impl Chunk for pb::SubmitWeightsRequest {
    fn take_data(&mut self) -> Bytes {
        std::mem::take(&mut self.data)
    }
}

pub(super) fn submit(header: pb::SubmitWeightsRequest) -> Result<Submit, Status> {
    let kind = match pb::SubmissionKind::try_from(header.kind) {
        Ok(pb::SubmissionKind::Unspecified | pb::SubmissionKind::Weights) => SubmissionKind::Weights,
        Ok(pb::SubmissionKind::Delta) => SubmissionKind::Delta,
        Err(_) => {
            let problem = format!("{} is unknown here: 1 (weights) or 2 (delta) are possible", header.kind);
            return Err(field::invalid("kind", problem));
        }
    };
    Ok(Submit {
        model: field::model("model", &header.model)?,
        base: field::optional_id("base", &header.base)?,
        trainer: field::text("trainer", header.trainer, field::NAME_BYTES_MAX)?,
        samples: field::samples("samples", header.samples)?,
        kind,
        metrics: field::metrics("metrics", header.metrics)?,
        evaluation_samples: header.evaluation_samples,
        steps: header.steps,
        upload: field::upload(
            header.idempotency_key,
            header.offset,
            header.total_bytes,
            &header.digest,
        )?,
    })
}

pub(super) fn fetch(request: &pb::FetchWeightsRequest) -> Result<Fetch, Status> {
    let best = evaluation::best(&request.checkpoint)?;
    let checkpoint = match best {
        Some(_) => None,
        None => field::optional_id("checkpoint", &request.checkpoint)?,
    };
    let trainer = match &request.trainer {
        Some(trainer) => Some(field::text("trainer", trainer.clone(), field::NAME_BYTES_MAX)?),
        None => None,
    };
    let named = checkpoint.is_some() || best.is_some();
    let fetch = Fetch {
        model: field::model("model", &request.model)?,
        after: field::optional_id("after", &request.after)?,
        checkpoint,
        best,
        confirmed_only: request.confirmed_only,
        every_head: request.every_head,
        // A checkpoint that the request names, and one for deployment, are not waited for.
        trainer: trainer.clone().filter(|_| !named && !request.confirmed_only),
        personal: trainer,
        offset: request.offset,
    };
    if named && (fetch.after.is_some() || fetch.confirmed_only) {
        return Err(field::invalid(
            "checkpoint",
            "is given with after or confirmed_only: name one checkpoint, or say which one you wait for",
        ));
    }
    if fetch.personal.is_some() && fetch.every_head {
        return Err(field::invalid(
            "trainer",
            "is given with every_head: a trainer waits for a head that it can submit on",
        ));
    }
    if fetch.offset > 0 && fetch.checkpoint.is_none() {
        return Err(field::invalid(
            "offset",
            format!(
                "{} without a checkpoint: the head may be another file by now, so name the one that you go on with",
                fetch.offset
            ),
        ));
    }
    Ok(fetch)
}

#[tonic::async_trait]
impl pb::weights_service_server::WeightsService for Api {
    async fn submit_weights(
        &self,
        request: Request<Streaming<pb::SubmitWeightsRequest>>,
    ) -> Result<Response<pb::SubmitWeightsResponse>, Status> {
        let (_, extensions, mut stream) = request.into_parts();
        let (mut header, data): (pb::SubmitWeightsRequest, _) = self.first(&mut stream).await?;
        header.trainer = caller::trainer(&extensions, header.trainer)?;
        let mut submit = submit(header)?;
        if let Some(keyed) = &mut submit.upload.key {
            *keyed = caller::key(&extensions, std::mem::take(keyed));
        }
        let upload = self.node.submit(submit).await.map_err(status)?;
        let view = self.carry(upload, data, &mut stream).await?;
        let submission = Some(message::submission(view));
        Ok(Response::new(pb::SubmitWeightsResponse { submission }))
    }

    async fn get_upload(
        &self,
        request: Request<pb::GetUploadRequest>,
    ) -> Result<Response<pb::GetUploadResponse>, Status> {
        let (_, extensions, request) = request.into_parts();
        let key = field::text("idempotency_key", request.idempotency_key, field::NAME_BYTES_MAX)?;
        if key.is_empty() {
            return Err(field::invalid("idempotency_key", "missing: name the upload's key"));
        }
        let key = caller::key(&extensions, key);
        let kept_bytes = self.node.upload_offset(&key).await.map_err(status)?;
        Ok(Response::new(pb::GetUploadResponse { kept_bytes }))
    }

    type FetchWeightsStream = BoxStream<'static, Result<pb::FetchWeightsResponse, Status>>;

    async fn fetch_weights(
        &self,
        request: Request<pb::FetchWeightsRequest>,
    ) -> Result<Response<Self::FetchWeightsStream>, Status> {
        let mut asked = request.get_ref().clone();
        if let Some(trainer) = asked.trainer {
            asked.trainer = Some(caller::trainer(request.extensions(), trainer)?);
        }
        let fetch = fetch(&asked)?;
        let offset = fetch.offset;
        let connection = Connection::of(request.extensions(), &self.limits);
        let fetching = async {
            let found = self.node.fetch(fetch).await.map_err(status)?;
            // When a round closes, all trainers fetch at once. Waiting for a turn takes no file descriptor and little memory.
            let turn = [
                connection.places.take(Place::Send).await,
                self.places.take(Place::Send).await,
            ];
            Ok((found.open().await.map_err(status)?, turn))
        };
        let (fetched, turn) = self.stop.or(fetching).await?;
        let header = pb::FetchWeightsResponse {
            total_bytes: fetched.bytes,
            personal_digest: fetched.personal.map(|blob| blob.to_string()).unwrap_or_default(),
            checkpoint: Some(message::checkpoint(fetched.checkpoint)),
            spec_id: fetched.spec.to_string(),
            trainer_config: fetched.trainer_config,
            offset,
            data: Bytes::new(),
            complete: fetched.complete,
        };
        let chunks = fetched.chunks.map(move |chunk| {
            // The stream holds the turn, so the turn ends when the stream is dropped.
            let _turn = &turn;
            match chunk {
                Ok(data) => Ok(pb::FetchWeightsResponse {
                    data,
                    ..Default::default()
                }),
                Err(error) => Err(status(error)),
            }
        });
        let messages = stream::once(std::future::ready(Ok(header))).chain(chunks);
        Ok(Response::new(self.stop.or_stream(Box::pin(messages))))
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;

    fn blamed<T>(result: Result<T, Status>) -> String {
        let status = result.err().expect("must be refused");
        status.get_details_bad_request().unwrap().field_violations[0]
            .field
            .clone()
    }

    fn header() -> pb::SubmitWeightsRequest {
        pb::SubmitWeightsRequest {
            model: "m".into(),
            samples: 10,
            ..Default::default()
        }
    }

    #[test]
    fn a_submit_needs_a_model_and_samples_and_is_weights_unless_it_says_otherwise() {
        let parsed = submit(header()).unwrap();
        assert_eq!(
            (parsed.samples, parsed.kind, parsed.base),
            (10, SubmissionKind::Weights, None)
        );
        let delta = pb::SubmitWeightsRequest {
            kind: pb::SubmissionKind::Delta.into(),
            ..header()
        };
        assert_eq!(submit(delta).unwrap().kind, SubmissionKind::Delta);
        assert_eq!(blamed(submit(pb::SubmitWeightsRequest { kind: 9, ..header() })), "kind");
        assert_eq!(
            blamed(submit(pb::SubmitWeightsRequest { samples: 0, ..header() })),
            "samples"
        );
        assert_eq!(
            blamed(submit(pb::SubmitWeightsRequest {
                base: "x".into(),
                ..header()
            })),
            "base"
        );
        assert_eq!(
            blamed(submit(pb::SubmitWeightsRequest {
                model: String::new(),
                ..header()
            })),
            "model"
        );
    }

    #[test]
    fn a_fetch_that_goes_on_names_its_checkpoint() {
        let request = pb::FetchWeightsRequest {
            model: "m".into(),
            offset: 5,
            ..Default::default()
        };
        assert_eq!(blamed(fetch(&request)), "offset");
        let named = pb::FetchWeightsRequest {
            checkpoint: "ab".repeat(32),
            ..request
        };
        assert_eq!(fetch(&named).unwrap().offset, 5);
        let own = pb::FetchWeightsRequest {
            trainer: Some("alice".into()),
            ..named.clone()
        };
        let own = fetch(&own).unwrap();
        assert_eq!(
            (own.trainer, own.personal.as_deref()),
            (None, Some("alice")),
            "it does not wait"
        );
        let both = pb::FetchWeightsRequest {
            after: "ab".repeat(32),
            ..named
        };
        assert_eq!(blamed(fetch(&both)), "checkpoint");
    }
}
