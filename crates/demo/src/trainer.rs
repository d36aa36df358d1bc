//! A trainer, the program that a user of QRES Swarm writes. A trainer talks to its own node alone, and its rows never leave
//! it.

use qres_api::client::{Client, ClientError};
use qres_api::pb::{FetchWeightsRequest, SubmitWeightsRequest};
use qres_fed::learner::{Examples, Learner, TrainConfig};
use tonic::Code;

/// Trains on the head of `node` and submits the weights, round by round, until `rounds` rounds are sealed.
pub async fn run(node: Client, model: &str, mut learner: Learner, rows: Examples, rounds: u64) -> anyhow::Result<()> {
    let mut after = String::new();
    loop {
        // Fetch the head. The node waits until the head is another checkpoint than the last one.
        let request = FetchWeightsRequest {
            model: model.to_owned(),
            after,
            ..Default::default()
        };
        let (head, weights) = node.fetch_tensors(request).await?;
        if head.checkpoint.round >= rounds {
            return Ok(());
        }

        // Train on the head, with the numbers that came with it: FedProx's mu, the learning rate, …
        learner.load(&weights)?;
        let config = TrainConfig {
            seed: head.checkpoint.round,
            ..TrainConfig::default().told(&head.trainer_config)
        };
        let loss = learner.train(&rows, &config, &weights)?;

        // Submit the result with the checkpoint that it was trained from.
        let header = SubmitWeightsRequest {
            model: model.to_owned(),
            base: head.checkpoint.id.clone(),
            samples: rows.len() as u64,
            metrics: [("loss".to_owned(), f64::from(loss))].into(),
            ..Default::default()
        };
        match node.submit_tensors(header, &learner.tensors()).await {
            // The submission came too late for that checkpoint: go on with the newer one.
            Err(ClientError::Refused {
                code: Code::FailedPrecondition,
                ..
            })
            | Ok(_) => after = head.checkpoint.id,
            Err(error) => return Err(error.into()),
        }
    }
}
