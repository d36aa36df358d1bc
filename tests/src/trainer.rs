//! Trainers that need no time to train: the project's own client.

use std::ops::ControlFlow;

use bytes::Bytes;
use qres_api::client::{Client, ClientError};
use qres_api::pb;
use qres_fed::tensor::to_safetensors;

use crate::Swarm;

/// One trainer on one node.
#[derive(Clone)]
pub struct Trainer {
    /// Connected to the node.
    pub client: Client,
    /// The model's name.
    pub model: &'static str,
}

impl Trainer {
    /// One for each node.
    pub async fn one_each(swarm: &Swarm, model: &'static str) -> Vec<Self> {
        let mut trainers = vec![];
        for daemon in &swarm.daemons {
            let client = Client::connect(daemon.grpc.clone()).await.expect("connected");
            trainers.push(Self { client, model });
        }
        trainers
    }

    /// Hands in weights trained from `base`.
    pub async fn submit(&self, base: &str, weights: Bytes) -> Result<pb::Submission, ClientError> {
        let header = pb::SubmitWeightsRequest {
            model: self.model.into(),
            base: base.into(),
            samples: 100,
            ..Default::default()
        };
        self.client.submit(header, weights).await
    }

    /// What to ask for to get the next head after `base`.
    pub fn after(&self, base: String) -> pb::FetchWeightsRequest {
        pb::FetchWeightsRequest {
            model: self.model.into(),
            after: base,
            ..Default::default()
        }
    }

    /// A round of the head's branch.
    pub async fn round(&self, round: u64) -> pb::Round {
        let request = pb::GetRoundRequest {
            model: self.model.into(),
            round: Some(round),
        };
        let answer = self.client.rounds().get_round(request).await.expect("a round");
        answer.into_inner().round.expect("a round")
    }

    /// The loop of the README: hands in these weights by turns, each time the head moves, until `next` breaks.
    pub async fn train_on(
        &self,
        base: &str,
        weights: &[Bytes],
        mut next: impl AsyncFnMut(&pb::Checkpoint) -> ControlFlow<()>,
    ) {
        let mut base = base.to_owned();
        for weights in weights.iter().cycle() {
            match self.submit(&base, weights.clone()).await {
                Err(ClientError::Refused { reason, .. }) if reason.starts_with("BASE_") => {}
                answer => drop(answer.expect("submitted")),
            }
            let (fetch, _) = self.client.fetch_all(self.after(base)).await.expect("fetched");
            if next(&fetch.checkpoint).await.is_break() {
                return;
            }
            base = fetch.checkpoint.id;
        }
    }
}

/// A list model of all nodes, joined everywhere. Gives checkpoint 0.
pub async fn create(swarm: &Swarm, trainers: &[Trainer], weights: Bytes) -> String {
    let name = trainers[0].model;
    let header = pb::CreateModelRequest {
        name: name.into(),
        codec: Some(pb::Rule {
            id: "bf16/1".into(),
            ..Default::default()
        }),
        members: swarm.daemons.iter().map(|daemon| daemon.peer_id.clone()).collect(),
        ..Default::default()
    };
    let model = trainers[0].client.create_model(header, weights).await.expect("created");
    for node in &swarm.nodes()[1..] {
        node.join(name).await;
        node.wait_for_round(name, 0).await;
    }
    model.head.expect("a head").id
}

/// Weights of so many parameters in ten layers, as a model has: not one giant tensor.
pub fn weights(parameters: usize, value: f32) -> Bytes {
    let layer = parameters / 10;
    let tensors: Vec<_> = (0..10)
        .map(|i| {
            let values = (0..layer).map(|k| value * ((k * 31 + i) % 97) as f32).collect();
            (format!("layer{i}.weight"), vec![layer as u64], values)
        })
        .collect();
    to_safetensors(&tensors).into()
}

/// What trainer `i` hands in in a round. Never the same twice: a blob that the others hold already would not be sent.
pub fn trained(parameters: usize, i: usize, round: u64) -> Bytes {
    weights(parameters, 0.001 * (i + 1) as f32 + 0.01 * (round + 1) as f32)
}
