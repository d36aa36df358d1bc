//! Shows the rounds as they are sealed, one line each.

use std::collections::BTreeMap;

use anyhow::Context;
use futures::TryStreamExt;
use qres_api::client::Client;
use qres_api::pb;
use qres_fed::learner::{Examples, Learner};

use crate::table::{bar, bytes};

/// The state of the rounds as far as this program has seen them.
pub struct Progress {
    /// Number of rounds that will be trained.
    pub rounds: u64,
    /// The nodes' names for people, by node id.
    pub names: BTreeMap<String, String>,
    /// Held-out accuracy, 0 to 1, of each round's checkpoint; round 0 is the first weights.
    pub accuracy: BTreeMap<u64, f64>,
    /// Bytes of weights between trainers and their nodes.
    pub trainer_bytes: u64,
    /// Bytes of updates between nodes.
    pub node_bytes: u64,
    learner: Learner,
    held_out: Examples,
    /// The id of each round's checkpoint, as last seen.
    seen: BTreeMap<u64, String>,
}

impl Progress {
    /// Makes a [`Progress`] before the first round; `learner` has the first weights.
    pub fn new(
        rounds: u64,
        names: BTreeMap<String, String>,
        learner: Learner,
        held_out: Examples,
    ) -> anyhow::Result<Self> {
        let first = learner.accuracy(&held_out)?;
        Ok(Self {
            rounds,
            names,
            accuracy: [(0, first)].into(),
            trainer_bytes: 0,
            node_bytes: 0,
            learner,
            held_out,
            seen: BTreeMap::new(),
        })
    }

    /// Follows the rounds of a node, prints each as it is sealed, and returns after the last one.
    pub async fn follow(&mut self, node: &Client, model: &str) -> anyhow::Result<()> {
        let mut rounds = node.watch_rounds(model, 0).await?;
        while self.seen.keys().next_back() < Some(&self.rounds) {
            let message = rounds.try_next().await?.context("the node ended its watch of rounds")?;
            if let Some(round) = message.round
                && let Some(checkpoint) = &round.checkpoint
                && self.seen.get(&round.round) != Some(&checkpoint.id)
            {
                let accuracy = self.accuracy_of(node, model, checkpoint).await?;
                println!("{}", self.sealed(&round, checkpoint, accuracy));
            }
        }
        Ok(())
    }

    async fn accuracy_of(&mut self, node: &Client, model: &str, checkpoint: &pb::Checkpoint) -> anyhow::Result<f64> {
        let request = pb::FetchWeightsRequest {
            model: model.to_owned(),
            checkpoint: checkpoint.id.clone(),
            ..Default::default()
        };
        let (_, weights) = node.fetch_tensors(request).await?;
        self.learner.load(&weights)?;
        Ok(self.learner.accuracy(&self.held_out)?)
    }

    /// Records a sealed round and returns its line.
    fn sealed(&mut self, round: &pb::Round, checkpoint: &pb::Checkpoint, accuracy: f64) -> String {
        let again = self.seen.insert(round.round, checkpoint.id.clone()).is_some();
        self.accuracy.insert(round.round, accuracy);
        let nodes = self.names.len() as u64;
        // Each contribution was sent to every other node, and its trainer fetched and submitted all weights once.
        let between_nodes = round.contributions.iter().map(|c| c.total_bytes).sum::<u64>() * nodes.saturating_sub(1);
        let between_trainers = 2 * checkpoint.total_bytes * round.contributions.len() as u64;
        self.node_bytes += between_nodes;
        self.trainer_bytes += between_trainers;
        let name = |id: &String| self.names.get(id).cloned().unwrap_or_else(|| id.clone());
        format!(
            "  round {:>2}/{}  {} of {nodes} in, sealed by {:<8}  {:>5.1} %  {}  {:>8}{}",
            round.round,
            self.rounds,
            round.contributions.len(),
            round.sealers.iter().map(name).collect::<Vec<_>>().join(" and "),
            accuracy * 100.0,
            bar(accuracy),
            bytes(between_nodes + between_trainers),
            if again { "  (another seal won)" } else { "" },
        )
    }
}

#[cfg(test)]
mod tests {
    use qres_fed::ndarray::Array2;

    use super::*;
    use crate::args::Kind;

    fn progress() -> Progress {
        let names = [
            ("aa".to_owned(), "node 1".to_owned()),
            ("bb".to_owned(), "node 2".to_owned()),
        ];
        let rows = Examples::new(Array2::zeros((1, 64)), vec![0]).unwrap();
        Progress::new(20, names.into(), Kind::Softmax.learner(1), rows).unwrap()
    }

    fn checkpoint(id: &str) -> pb::Checkpoint {
        pb::Checkpoint {
            id: id.into(),
            total_bytes: 10_000,
            ..Default::default()
        }
    }

    fn round() -> pb::Round {
        let contribution = pb::Contribution {
            total_bytes: 4_000,
            ..Default::default()
        };
        pb::Round {
            round: 3,
            sealers: vec!["bb".into()],
            contributions: vec![contribution.clone(), contribution],
            ..Default::default()
        }
    }

    #[test]
    fn a_round_is_one_line() {
        let mut progress = progress();
        let line = progress.sealed(&round(), &checkpoint("c3"), 0.5);
        let expected = "  round  3/20  2 of 2 in, sealed by node 2     50.0 %  ██████████░░░░░░░░░░   48.0 kB";
        assert_eq!(line, expected);
        assert_eq!((progress.trainer_bytes, progress.node_bytes), (40_000, 8_000));
    }

    #[test]
    fn a_round_whose_seal_lost_is_told_again() {
        let mut progress = progress();
        progress.sealed(&round(), &checkpoint("c3"), 0.5);
        let line = progress.sealed(&round(), &checkpoint("d3"), 0.6);
        assert!(line.ends_with("(another seal won)"), "{line}");
        assert_eq!(progress.accuracy[&3], 0.6);
    }
}
