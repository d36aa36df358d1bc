//! Aggregates vectors that come as JSON, one round a line, and prints the results as JSON, one a line. For comparisons with
//! other implementations (`make conformance`).
//!
//! A line: `{"rules": [{"id": "krum/1", "params": {"f": 1}}], "vectors": [[1.0, 2.0], …], "samples": [1, …]}`.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use qres_fed::id::{BlobId, CheckpointId, NodeId};
use qres_fed::record::{Dtype, End, Figures, Membership, RoundPolicy, Rule, Spec, TensorSpec};
use qres_fed::tensor::Layout;
use qres_fed::update::{Outputs, Parent, Weighted, aggregate};
use serde::Deserialize;

#[derive(Deserialize)]
struct NamedRule {
    id: String,
    #[serde(default)]
    params: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Round {
    rules: Vec<NamedRule>,
    vectors: Vec<Vec<f64>>,
    samples: Vec<u64>,
}

impl Round {
    fn spec(&self, members: &[NodeId]) -> Result<Spec, Box<dyn std::error::Error>> {
        let rule = |rule: &NamedRule| Rule {
            id: rule.id.clone(),
            params: rule.params.clone(),
        };
        Ok(Spec {
            name: "conformance".parse()?,
            tensors: vec![TensorSpec {
                name: "x".into(),
                dtype: Dtype::F64,
                shape: vec![self.vectors.first().map_or(0, Vec::len) as u64],
            }]
            .into(),
            strategy: Rule::new("fedavg/1"),
            aggregation: self.rules.iter().map(rule).collect(),
            rounds: RoundPolicy {
                min_contributions: u32::try_from(members.len())?,
                ..RoundPolicy::default()
            },
            codec: Rule::new("none/1"),
            privacy: Rule::new("none/1"),
            membership: Membership::List(members.iter().copied().collect()),
            checkpoint0: BlobId([0; 32]),
            fixed: None,
            creator: members[0],
            succeeds: None,
            metrics: vec![],
            end: End::default(),
            schedules: Default::default(),
            earlier_rounds: 0,
        })
    }

    fn aggregate(&self) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
        let author = |i: usize| NodeId([u8::try_from(i + 1).unwrap_or(u8::MAX); 32]);
        let members: Vec<NodeId> = (0..self.vectors.len()).map(author).collect();
        let spec = self.spec(&members)?;
        let layout = Layout::of(&spec.tensors);
        let mut zeros = layout.header().to_vec();
        zeros.resize(usize::try_from(layout.file_bytes())?, 0);
        let bytes = |x: &Vec<f64>| x.iter().flat_map(|x| x.to_le_bytes()).collect();
        let updates: Vec<Vec<u8>> = self.vectors.iter().map(bytes).collect();
        let weighted = |(i, update)| Weighted {
            update,
            author: members[i],
            samples: self.samples[i],
            staleness: 0,
            figures: Figures::default(),
        };
        let fresh: Vec<Weighted<'_>> = updates
            .iter()
            .map(|update| update as _)
            .enumerate()
            .map(weighted)
            .collect();
        let parent = Parent {
            id: CheckpointId([0; 32]),
            weights: &zeros,
            optimiser: None,
        };
        let mut out = vec![];
        aggregate(&spec, parent, &fresh, &[], Outputs::of_weights(&mut out))?;
        let data = &out[layout.header().len()..];
        Ok(data
            .as_chunks::<8>()
            .0
            .iter()
            .map(|bytes| f64::from_le_bytes(*bytes))
            .collect())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let round: Round = serde_json::from_str(&line?)?;
        writeln!(out, "{}", serde_json::to_string(&round.aggregate()?)?)?;
    }
    Ok(())
}
