//! Access to a node through its gRPC contract: the generated stubs, and the few calls that every test makes.

use bytes::Bytes;
use qres_api::pb;
use qres_api::pb::model_service_client::ModelServiceClient;
use qres_api::pb::node_service_client::NodeServiceClient;
use qres_api::pb::peer_service_client::PeerServiceClient;
use qres_api::pb::round_service_client::RoundServiceClient;
use qres_api::pb::state_service_client::StateServiceClient;
use qres_api::pb::submission_service_client::SubmissionServiceClient;
use qres_api::pb::weights_service_client::WeightsServiceClient;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::wait::until;

/// The gRPC clients of one daemon, all on one channel.
#[derive(Clone)]
pub struct Node {
    channel: Channel,
}

/// A fetched checkpoint: the header and the weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// The first message of the answer. It names the checkpoint.
    pub header: pb::FetchWeightsResponse,
    /// Bytes of the weights file, from the requested offset on.
    pub file: Vec<u8>,
}

impl Fetched {
    /// Id of the checkpoint that the [`Fetched::header`] names.
    pub fn id(&self) -> String {
        self.header
            .checkpoint
            .as_ref()
            .expect("the first message names it")
            .id
            .clone()
    }

    /// Round of the checkpoint that the [`Fetched::header`] names.
    pub fn round(&self) -> u64 {
        self.header
            .checkpoint
            .as_ref()
            .expect("the first message names it")
            .round
    }
}

type Answer<T> = Result<T, Status>;

impl Node {
    /// Creates the clients for an address such as `127.0.0.1:4002`. The channel connects when it is first used.
    pub fn new(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        Self {
            channel: endpoint.connect_lazy(),
        }
    }

    /// Returns a [`ModelServiceClient`] for this daemon.
    pub fn models(&self) -> ModelServiceClient<Channel> {
        ModelServiceClient::new(self.channel.clone())
    }
    /// Returns a [`WeightsServiceClient`] for this daemon.
    pub fn weights(&self) -> WeightsServiceClient<Channel> {
        WeightsServiceClient::new(self.channel.clone())
    }
    /// Returns a [`SubmissionServiceClient`] for this daemon.
    pub fn submissions(&self) -> SubmissionServiceClient<Channel> {
        SubmissionServiceClient::new(self.channel.clone())
    }
    /// Returns a [`RoundServiceClient`] for this daemon.
    pub fn rounds(&self) -> RoundServiceClient<Channel> {
        RoundServiceClient::new(self.channel.clone())
    }
    /// Returns a [`StateServiceClient`] for this daemon.
    pub fn states(&self) -> StateServiceClient<Channel> {
        StateServiceClient::new(self.channel.clone())
    }
    /// Returns a [`PeerServiceClient`] for this daemon.
    pub fn peers(&self) -> PeerServiceClient<Channel> {
        PeerServiceClient::new(self.channel.clone())
    }
    /// Returns a [`NodeServiceClient`], for calls about the node itself.
    pub fn node(&self) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.channel.clone())
    }

    /// Creates a model with `request` as the only message.
    pub async fn create(&self, request: pb::CreateModelRequest) -> Answer<pb::Model> {
        let answer = self.models().create_model(tokio_stream::once(request)).await?;
        Ok(answer.into_inner().model.expect("the model"))
    }

    /// Waits until the node knows a model, then joins it. `model` is `name@id`, or a name that only one known model has; any node
    /// may be the creator of the model.
    pub async fn join(&self, model: &str) -> pb::Model {
        until(&format!("{model} to be known and joined"), || async {
            let id = match model.split_once('@') {
                Some((_, id)) => id.to_owned(),
                None => self.model(model).await.ok()?.id,
            };
            let request = pb::JoinModelRequest {
                model: id,
                ..Default::default()
            };
            match self.models().join_model(request).await {
                Ok(answer) => answer.into_inner().model,
                Err(status) if status.code() == tonic::Code::NotFound => None,
                Err(status) => panic!("{status:?}"),
            }
        })
        .await
    }

    /// Returns a model as the node shows it now.
    pub async fn model(&self, model: &str) -> Answer<pb::Model> {
        let answer = self
            .models()
            .get_model(pb::GetModelRequest { model: model.into() })
            .await?;
        Ok(answer.into_inner().model.expect("the model"))
    }

    /// Submits a file, cut into messages of 1 MiB. The first message carries the fields of `header`, too.
    pub async fn submit_with(&self, header: pb::SubmitWeightsRequest, file: &[u8]) -> Answer<pb::Submission> {
        let mut messages: Vec<_> = file
            .chunks(1 << 20)
            .map(|chunk| pb::SubmitWeightsRequest {
                data: Bytes::copy_from_slice(chunk),
                ..Default::default()
            })
            .collect();
        if messages.is_empty() {
            messages.push(pb::SubmitWeightsRequest::default());
        }
        let data = std::mem::take(&mut messages[0].data);
        messages[0] = pb::SubmitWeightsRequest { data, ..header };
        let answer = self.weights().submit_weights(tokio_stream::iter(messages)).await?;
        Ok(answer.into_inner().submission.expect("the submission"))
    }

    /// Submits full weights that were trained from the checkpoint `base`.
    pub async fn submit(&self, model: &str, base: &str, samples: u64, file: &[u8]) -> Answer<pb::Submission> {
        let header = pb::SubmitWeightsRequest {
            model: model.into(),
            base: base.into(),
            samples,
            ..Default::default()
        };
        self.submit_with(header, file).await
    }

    /// Fetches the head. If `after` is not empty, waits for a head other than `after`.
    pub async fn fetch(&self, model: &str, after: &str) -> Answer<Fetched> {
        self.fetch_with(pb::FetchWeightsRequest {
            model: model.into(),
            after: after.into(),
            ..Default::default()
        })
        .await
    }

    /// Fetches the checkpoint that `request` describes.
    pub async fn fetch_with(&self, request: pb::FetchWeightsRequest) -> Answer<Fetched> {
        let mut stream = self.weights().fetch_weights(request).await?.into_inner();
        let header = stream.message().await?.expect("a first message");
        let mut file = vec![];
        while let Some(message) = stream.message().await? {
            file.extend_from_slice(&message.data);
        }
        Ok(Fetched { header, file })
    }

    /// Returns a submission. With `wait`, the answer comes only once the submission is sealed, rejected or superseded.
    pub async fn submission(&self, id: &str, wait: bool) -> Answer<pb::Submission> {
        let request = pb::GetSubmissionRequest { id: id.into(), wait };
        Ok(self
            .submissions()
            .get_submission(request)
            .await?
            .into_inner()
            .submission
            .expect("the submission"))
    }

    /// Returns a round; without a number, the open round.
    pub async fn round(&self, model: &str, number: Option<u64>) -> Answer<pb::Round> {
        let request = pb::GetRoundRequest {
            model: model.into(),
            round: number,
        };
        let answer = self.rounds().get_round(request).await?;
        Ok(answer.into_inner().round.expect("the round"))
    }

    /// Waits until at least this many peers are connected.
    pub async fn wait_for_peers(&self, count: u32) {
        until(&format!("{count} peers"), || async {
            let node = self
                .node()
                .get_node(pb::GetNodeRequest {})
                .await
                .ok()?
                .into_inner()
                .node?;
            (node.connected_peers >= count).then_some(())
        })
        .await;
    }

    /// Waits until the head is at least at this round, and returns it. Panics if the head stays below it without a move for
    /// [`crate::wait::DEADLINE`].
    pub async fn wait_for_round(&self, model: &str, round: u64) -> Fetched {
        let mut fetched = self.fetch(model, "").await.expect("fetch");
        while fetched.round() < round {
            let after = fetched.id();
            fetched = tokio::time::timeout(crate::wait::DEADLINE, self.fetch(model, &after))
                .await
                .unwrap_or_else(|_| panic!("waited for round {round} of {model}"))
                .expect("fetch");
        }
        fetched
    }
}
