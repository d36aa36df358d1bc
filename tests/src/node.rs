//! A node through its gRPC contract: the generated stubs, and the few calls that every test makes.

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

/// Clients of one daemon.
#[derive(Clone)]
pub struct Node {
    channel: Channel,
}

/// A fetched checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// The first message.
    pub header: pb::FetchWeightsResponse,
    /// The file.
    pub file: Vec<u8>,
}

impl Fetched {
    /// The checkpoint's id.
    pub fn id(&self) -> String {
        self.header
            .checkpoint
            .as_ref()
            .expect("the first message names it")
            .id
            .clone()
    }

    /// Its round.
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
    /// Connects when first used.
    pub fn new(address: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        Self {
            channel: endpoint.connect_lazy(),
        }
    }

    /// Models.
    pub fn models(&self) -> ModelServiceClient<Channel> {
        ModelServiceClient::new(self.channel.clone())
    }
    /// Weights.
    pub fn weights(&self) -> WeightsServiceClient<Channel> {
        WeightsServiceClient::new(self.channel.clone())
    }
    /// Submissions.
    pub fn submissions(&self) -> SubmissionServiceClient<Channel> {
        SubmissionServiceClient::new(self.channel.clone())
    }
    /// Rounds.
    pub fn rounds(&self) -> RoundServiceClient<Channel> {
        RoundServiceClient::new(self.channel.clone())
    }
    /// States.
    pub fn states(&self) -> StateServiceClient<Channel> {
        StateServiceClient::new(self.channel.clone())
    }
    /// Peers.
    pub fn peers(&self) -> PeerServiceClient<Channel> {
        PeerServiceClient::new(self.channel.clone())
    }
    /// The node itself.
    pub fn node(&self) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.channel.clone())
    }

    /// Creates a model from one message.
    pub async fn create(&self, request: pb::CreateModelRequest) -> Answer<pb::Model> {
        let answer = self.models().create_model(tokio_stream::once(request)).await?;
        Ok(answer.into_inner().model.expect("the model"))
    }

    /// Joins a model once it is known here: the only one of that name, whoever made it, or the one of that id.
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

    /// A model as it stands.
    pub async fn model(&self, model: &str) -> Answer<pb::Model> {
        let answer = self
            .models()
            .get_model(pb::GetModelRequest { model: model.into() })
            .await?;
        Ok(answer.into_inner().model.expect("the model"))
    }

    /// Submits a file, cut into messages.
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

    /// Submits full weights on a base.
    pub async fn submit(&self, model: &str, base: &str, samples: u64, file: &[u8]) -> Answer<pb::Submission> {
        let header = pb::SubmitWeightsRequest {
            model: model.into(),
            base: base.into(),
            samples,
            ..Default::default()
        };
        self.submit_with(header, file).await
    }

    /// Fetches, waiting for a head other than `after` when it is not empty.
    pub async fn fetch(&self, model: &str, after: &str) -> Answer<Fetched> {
        self.fetch_with(pb::FetchWeightsRequest {
            model: model.into(),
            after: after.into(),
            ..Default::default()
        })
        .await
    }

    /// Fetches.
    pub async fn fetch_with(&self, request: pb::FetchWeightsRequest) -> Answer<Fetched> {
        let mut stream = self.weights().fetch_weights(request).await?.into_inner();
        let header = stream.message().await?.expect("a first message");
        let mut file = vec![];
        while let Some(message) = stream.message().await? {
            file.extend_from_slice(&message.data);
        }
        Ok(Fetched { header, file })
    }

    /// A submission, once nothing more can become of it when `wait`.
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

    /// Waits until this many peers are connected.
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

    /// Waits until the head is at least at this round.
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
