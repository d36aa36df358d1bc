//! Rounds of vectors in memory, aggregated as a node aggregates them.

use qres_fed::aggregation::Verdict;
use qres_fed::id::{BlobId, CheckpointId, NodeId};
use qres_fed::record::{Dtype, End, Figures, Goal, Membership, Metric, RoundPolicy, Rule, Spec, TensorSpec};
use qres_fed::strategy::set_max_share;
use qres_fed::tensor::{Layout, TensorError};
use qres_fed::update::{Outputs, Parent, Weighted, aggregate};

/// Makes a rule from its name and numbers, e.g. `rule("nnm/1", &[("f", 2.0)])`.
pub fn rule(id: &str, numbers: &[(&str, f64)]) -> Rule {
    Rule {
        id: id.into(),
        params: numbers
            .iter()
            .map(|(name, number)| ((*name).to_owned(), *number))
            .collect(),
    }
}

/// Makes a rule with the number `f`.
pub fn with_f(id: &str, f: usize) -> Rule {
    rule(id, &[("f", f as f64)])
}

/// A round of contributions: a vector and samples for each member.
#[derive(Clone)]
pub struct Round {
    pub dtype: Dtype,
    pub rules: Vec<Rule>,
    pub max_share: Option<f64>,
    pub strategy: Rule,
    /// What each contribution says about its work; none says anything if this is empty.
    pub figures: Vec<Figures>,
    pub seed: [u8; 32],
    /// Each contribution's author, vector, samples and staleness.
    pub parts: Vec<(u16, Vec<f64>, u64, u32)>,
}

impl Round {
    /// Makes a round of f64 vectors, one a member, of one sample each.
    pub fn of(rules: &[Rule], vectors: &[Vec<f64>]) -> Self {
        Self {
            dtype: Dtype::F64,
            rules: rules.to_vec(),
            max_share: None,
            strategy: Rule::new("fedavg/1"),
            figures: vec![],
            seed: [7; 32],
            parts: (0..)
                .zip(vectors)
                .map(|(author, x)| (author, x.clone(), 1, 0))
                .collect(),
        }
    }

    pub fn author(i: u16) -> NodeId {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&(i + 1).to_be_bytes());
        NodeId(id)
    }

    pub fn spec(&self) -> Spec {
        let members: std::collections::BTreeSet<_> = self.parts.iter().map(|part| Self::author(part.0)).collect();
        let elements = self.parts.first().map_or(1, |part| part.1.len());
        let mut strategy = self.strategy.clone();
        set_max_share(&mut strategy, self.max_share);
        let loss = Metric {
            name: "loss".into(),
            goal: Goal::Lowest,
        };
        Spec {
            name: "rules".parse().unwrap(),
            tensors: vec![TensorSpec {
                name: "w".into(),
                dtype: self.dtype,
                shape: vec![elements as u64],
            }]
            .into(),
            strategy,
            aggregation: self.rules.clone(),
            rounds: RoundPolicy {
                min_contributions: members.len().max(1) as u32,
                ..RoundPolicy::default()
            },
            codec: Rule::new("none/1"),
            privacy: Rule::new("none/1"),
            membership: Membership::List(members),
            checkpoint0: BlobId([0; 32]),
            fixed: None,
            creator: Self::author(0),
            succeeds: None,
            metrics: vec![loss],
            end: End::default(),
            schedules: Default::default(),
            earlier_rounds: 0,
        }
    }

    fn bytes(&self, x: &[f64]) -> Vec<u8> {
        match self.dtype {
            Dtype::F64 => x.iter().flat_map(|x| x.to_le_bytes()).collect(),
            _ => x.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect(),
        }
    }

    /// Aggregates onto zeros, so that the result is the aggregated update.
    pub fn run(&self) -> Result<(Vec<f64>, Vec<Verdict>), TensorError> {
        let spec = self.spec();
        let layout = Layout::of(&spec.tensors);
        let mut zeros = layout.header().to_vec();
        zeros.resize(layout.file_bytes() as usize, 0);
        let updates: Vec<_> = self.parts.iter().map(|part| self.bytes(&part.1)).collect();
        let weighted = |late: bool| -> Vec<Weighted<'_>> {
            let parts = self.parts.iter().zip(&updates).enumerate();
            parts
                .filter(|(_, (part, _))| (part.3 > 0) == late)
                .map(|(at, ((author, _, samples, staleness), update))| Weighted {
                    update,
                    author: Self::author(*author),
                    samples: *samples,
                    staleness: *staleness,
                    figures: self.figures.get(at).copied().unwrap_or_default(),
                })
                .collect()
        };
        let parent = Parent {
            id: CheckpointId(self.seed),
            weights: &zeros,
            optimiser: None,
        };
        let mut out = vec![];
        let verdicts = aggregate(
            &spec,
            parent,
            &weighted(false),
            &weighted(true),
            Outputs::of_weights(&mut out),
        )?;
        let data = &out[layout.header().len()..];
        let numbers = match self.dtype {
            Dtype::F64 => data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            _ => data
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f64::from(f32::from_le_bytes(*b)))
                .collect(),
        };
        Ok((numbers, verdicts))
    }

    /// Returns the aggregated update.
    pub fn result(&self) -> Vec<f64> {
        self.run().unwrap().0
    }
}

/// Asserts that two vectors are the same to `within`.
pub fn assert_near(what: &str, x: &[f64], y: &[f64], within: f64) {
    let near = x.len() == y.len() && x.iter().zip(y).all(|(x, y)| (x - y).abs() <= within);
    assert!(near, "{what}: {x:?} is not {y:?}");
}
