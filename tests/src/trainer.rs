//! Trainers that need no time to train. They use the Rust client of this project.

use std::ops::ControlFlow;

use bytes::Bytes;
use qres_api::client::{Client, ClientError};
use qres_api::pb;
use qres_fed::ndarray::Array1;
use qres_fed::tensor::to_safetensors;

use crate::Swarm;

/// One trainer of one model on one node.
#[derive(Clone)]
pub struct Trainer {
    /// The [`Client`] that is connected to the node.
    pub client: Client,
    /// Name of the model that this trainer trains.
    pub model: &'static str,
}

impl Trainer {
    /// Connects one trainer to each node of a [`Swarm`].
    pub async fn one_each(swarm: &Swarm, model: &'static str) -> Vec<Self> {
        let mut trainers = vec![];
        for daemon in &swarm.daemons {
            let client = Client::connect(daemon.grpc.clone()).await.expect("connected");
            trainers.push(Self { client, model });
        }
        trainers
    }

    /// Submits weights that were trained from the checkpoint `base`.
    pub async fn submit(&self, base: &str, weights: Bytes) -> Result<pb::Submission, ClientError> {
        let header = pb::SubmitWeightsRequest {
            model: self.model.into(),
            base: base.into(),
            samples: 100,
            ..Default::default()
        };
        self.client.submit(header, weights).await
    }

    /// Returns the request that waits for the next head after the checkpoint `base`.
    pub fn after(&self, base: String) -> pb::FetchWeightsRequest {
        pb::FetchWeightsRequest {
            model: self.model.into(),
            after: base,
            ..Default::default()
        }
    }

    /// Returns a round on the branch of the head.
    pub async fn round(&self, round: u64) -> pb::Round {
        let request = pb::GetRoundRequest {
            model: self.model.into(),
            round: Some(round),
        };
        let answer = self.client.rounds().get_round(request).await.expect("a round");
        answer.into_inner().round.expect("a round")
    }

    /// Runs the loop of the README: submits these weights by turns, each time that the head moves, until `next` breaks. A refusal
    /// whose reason begins with `BASE_` is ignored.
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

/// Creates a list model of all nodes and joins it on each of them. Returns the id of checkpoint 0.
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

/// Returns weights of this many parameters in ten layers, because a real model is not one giant tensor.
pub fn weights(parameters: usize, value: f32) -> Bytes {
    let layer = parameters / 10;
    let tensors: Vec<_> = (0..10)
        .map(|i| {
            let values: Array1<f32> = (0..layer).map(|k| value * ((k * 31 + i) % 97) as f32).collect();
            (format!("layer{i}.weight"), values)
        })
        .collect();
    to_safetensors(tensors.iter().map(|(name, values)| (name, values.view()))).into()
}

/// Returns the weights that trainer `i` submits in a round. They are never the same twice, because a blob that the other nodes
/// hold already would not be sent.
pub fn trained(parameters: usize, i: usize, round: u64) -> Bytes {
    weights(parameters, 0.001 * (i + 1) as f32 + 0.01 * (round + 1) as f32)
}
