//! The members of an attacked model: each one trains on its own node's head, and liars wait for what the honest ones found.

use std::collections::BTreeMap;

use qres_api::client::{Client, ClientError};
use qres_api::pb::{FetchWeightsRequest, SubmissionKind, SubmitWeightsRequest};
use qres_fed::learner::{Examples, Learner, TrainConfig};
use qres_fed::ndarray::ArrayView1;
use qres_fed::tensor::{TensorError, TensorView, Tensors};
use tokio::sync::watch;
use tonic::Code;

use super::liar::Attack;

/// The honest members' updates by the checkpoint that they were made on. Liars read them.
#[derive(Debug)]
pub struct Leak {
    updates: watch::Sender<BTreeMap<String, Vec<Vec<f32>>>>,
    honest: usize,
}

impl Leak {
    /// Makes the leak of a model with this many honest members.
    pub fn new(honest: usize) -> Self {
        Self {
            updates: watch::Sender::new(BTreeMap::new()),
            honest,
        }
    }

    fn tell(&self, base: &str, update: Vec<f32>) {
        self.updates
            .send_modify(|all| all.entry(base.to_owned()).or_default().push(update));
    }

    /// Waits until all honest members have trained on this checkpoint.
    async fn of(&self, base: &str) -> Vec<Vec<f32>> {
        let complete =
            |all: &BTreeMap<String, Vec<Vec<f32>>>| all.get(base).is_some_and(|all| all.len() >= self.honest);
        let mut updates = self.updates.subscribe();
        // The sender lives as long as `self`.
        let all = updates.wait_for(complete).await;
        all.ok().and_then(|all| all.get(base).cloned()).unwrap_or_default()
    }
}

/// One member of an attacked model.
pub struct Member<'a> {
    pub node: Client,
    pub model: &'a str,
    pub rows: Examples,
    /// The attack, if the member is a liar.
    pub lies: Option<Attack>,
    pub leak: &'a Leak,
}

impl Member<'_> {
    /// Trains and submits, round by round, until `rounds` rounds are sealed.
    pub async fn run(self, mut learner: Learner, rounds: u64) -> anyhow::Result<()> {
        let mut after = String::new();
        loop {
            let request = FetchWeightsRequest {
                model: self.model.to_owned(),
                after,
                ..Default::default()
            };
            let (head, base) = self.node.fetch_tensors(request).await?;
            if head.checkpoint.round >= rounds {
                return Ok(());
            }
            learner.load(&base)?;
            let config = TrainConfig {
                seed: head.checkpoint.round,
                ..TrainConfig::default().told(&head.trainer_config)
            };
            if !self.rows.is_empty() {
                learner.train(&self.rows, &config, &base)?;
            }
            let update = difference(&learner.tensors(), &base)?;
            let (update, samples) = self.answer(&head.checkpoint.id, update).await;
            let header = SubmitWeightsRequest {
                model: self.model.to_owned(),
                base: head.checkpoint.id.clone(),
                samples,
                kind: SubmissionKind::Delta.into(),
                ..Default::default()
            };
            match self.node.submit_tensors(header, shaped(&base, &update)).await {
                // The round was closed before: go on with the newer checkpoint.
                Err(ClientError::Refused {
                    code: Code::FailedPrecondition,
                    ..
                })
                | Ok(_) => after = head.checkpoint.id,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns the update and the samples that the member sends.
    async fn answer(&self, base: &str, own: Vec<f32>) -> (Vec<f32>, u64) {
        let samples = (self.rows.len() as u64).max(1);
        match self.lies {
            None => {
                self.leak.tell(base, own.clone());
                (own, samples)
            }
            Some(attack) => {
                let honest = self.leak.of(base).await;
                (attack.update(&own, &honest), attack.samples(samples))
            }
        }
    }
}

/// Returns weights minus base, one tensor after another.
fn difference(weights: &Tensors, base: &Tensors) -> Result<Vec<f32>, TensorError> {
    let mut update = vec![];
    for (after, before) in weights.values().zip(base.values()) {
        update.extend(&after.array::<f32>()? - &before.array::<f32>()?);
    }
    Ok(update)
}

/// Gives an update the names and shapes of these tensors.
fn shaped<'a>(like: &'a Tensors, update: &'a [f32]) -> Vec<(&'a str, TensorView<'a>)> {
    let mut rest = ArrayView1::from(update).into_dyn();
    let mut shaped = vec![];
    for (name, tensor) in like {
        let elements = tensor.shape().iter().product::<usize>().min(rest.len());
        let (own, after) = rest.split_at(qres_fed::ndarray::Axis(0), elements);
        rest = after;
        if let Ok(own) = own.into_shape_with_order(tensor.shape()) {
            shaped.push((name.as_str(), own.into()));
        }
    }
    shaped
}
