//! The plan of a run, made from a seed: number of nodes, policy and faults.

use std::collections::{BTreeMap, BTreeSet};

use qres_fed::id::{BlobId, NodeId};
use qres_fed::record::{Dtype, End, Goal, Membership, Metric, MetricTarget, RoundPolicy, Rule, Spec, TensorSpec};
use qres_fed::round::MembersPolicy;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::liar::LIES;

/// Time at which the faults end, in ms; after it the model must go on.
pub const HEAL_MS: u64 = 6_000;
/// Start of the lull, in ms: in half of the runs trainers and liars pause from here to [`LULL_END_MS`].
pub const LULL_MS: u64 = 8_500;
/// End of the lull, in ms, when the heads must agree: a merge waits 2 s for a trainer, its round 2 s for members, then
/// sealers take turns.
pub const LULL_END_MS: u64 = 15_000;
/// Time at which the trainers stop, in ms; after it the nodes must come to rest.
pub const STOP_MS: u64 = 21_500;
/// Time of the end, in ms, when everything is compared.
pub const END_MS: u64 = 28_500;

/// The settings of one run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub spec: Spec,
    /// All nodes: the first ones are honest, the last `liars` lie.
    pub nodes: Vec<NodeId>,
    pub liars: usize,
    /// The one kind of lie of each liar; `None` means any kind. A liar with one kind tells it at most once on each
    /// checkpoint, because two contributions on one would convict it at once.
    pub scripts: Vec<Option<usize>>,
    /// True if the liars go on lying when the other faults end: the model must go on all the same.
    pub stubborn: bool,
    pub trainers: u32,
    /// Number of honest members without a trainer. They hold a copy, seal and verify, and each costs a deadline once.
    pub silent: usize,
    pub keep_rounds: Option<u64>,
    pub delay_ms_max: u64,
    pub loss: f64,
    pub duplicate: f64,
    /// Probability of a crash between any two outputs of a node.
    pub crash: f64,
    pub partitions: bool,
    /// Pace of a trainer, in ms: each training takes from this to three times this.
    pub pace_ms: u64,
    /// Longest time of an aggregation, in ms.
    pub compute_ms_max: u64,
    /// Index of a node whose disk is once replaced by an older copy.
    pub goes_back: Option<usize>,
    /// True if trainers and liars pause in the middle of the run.
    pub lull: bool,
    /// Slowness of honest nodes that no round needs: their trainers are 10 to 10,000 times slower than the others.
    pub slow: Vec<u64>,
    /// What each node does when members propose a change; empty if none is proposed in this run.
    pub members: Vec<MembersPolicy>,
}

pub fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

pub fn spec(membership: Membership, rounds: RoundPolicy) -> Spec {
    Spec {
        name: "sim".parse().expect("a model name"),
        tensors: vec![TensorSpec {
            name: "w".into(),
            dtype: Dtype::F32,
            shape: vec![1],
        }]
        .into(),
        strategy: Rule::new("fedavg/1"),
        aggregation: vec![],
        rounds,
        codec: Rule::new("none/1"),
        privacy: Rule {
            id: "none/1".into(),
            params: BTreeMap::new(),
        },
        membership,
        checkpoint0: BlobId::of(b"checkpoint 0"),
        fixed: None,
        creator: node(1),
        succeeds: None,
        metrics: vec![],
        end: End::default(),
        schedules: Default::default(),
        earlier_rounds: 0,
    }
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let open = rng.random_bool(0.2);
        // Now and then there are many nodes: a run of 25 costs as much as ten of seven.
        let n: usize = match seed % 50 {
            49 => rng.random_range(8..=25),
            _ => rng.random_range(1..=7),
        };
        let majority = n / 2 + 1;
        // k is usually a majority; with a smaller one, which is allowed, the nodes must agree all the same.
        let k = if rng.random_bool(0.7) {
            majority
        } else {
            rng.random_range(1..=majority)
        };
        // A quorum of liars could confirm anything, and k honest members are needed for the model to go on.
        let liars_max = n - majority;
        let liars = if rng.random_bool(0.5) {
            rng.random_range(0..=liars_max)
        } else {
            0
        };
        // The last honest node is not a member and may not contribute.
        let follower = !open && n - liars > majority && rng.random_bool(0.2);
        let nodes: Vec<_> = (1..=n).map(|i| node(u8::try_from(i).expect("few nodes"))).collect();
        let mut members: BTreeSet<_> = nodes.iter().copied().collect();
        let (mut k, mut honest) = (k, n - liars);
        if follower {
            members.remove(&nodes[n - liars - 1]);
            honest -= 1;
            k = k.min(members.len());
        }
        let quorum = members.len() / 2 + 1;
        let liars = if honest < quorum.max(k) || liars >= quorum {
            0
        } else {
            liars
        };
        let rounds = policy(&mut rng, open, k, n);
        let membership = if open {
            Membership::Open
        } else {
            Membership::List(members)
        };
        let spare = honest - k.min(honest);
        let silent = if rng.random_bool(0.3) {
            rng.random_range(0..=spare)
        } else {
            0
        };
        let mut plan = Self {
            lull: false,
            goes_back: None,
            scripts: vec![],
            slow: vec![],
            members: vec![],
            seed,
            silent,
            spec: spec(membership, rounds),
            nodes,
            liars,
            stubborn: seed.is_multiple_of(2),
            trainers: rng.random_range(1..=2),
            keep_rounds: rng.random_bool(0.6).then(|| rng.random_range(0..=12)),
            delay_ms_max: *pick(&mut rng, &[2, 10, 40, 150]),
            loss: *pick(&mut rng, &[0.0, 0.02, 0.2]),
            duplicate: *pick(&mut rng, &[0.0, 0.1]),
            crash: *pick(&mut rng, &[0.0, 0.000_5, 0.005, 0.03]),
            partitions: rng.random_bool(0.5),
            pace_ms: rng.random_range(20..200),
            compute_ms_max: *pick(&mut rng, &[2, 20, 100]),
        };
        // In a third of the runs a checkpoint has the state of a server optimiser beside its weights.
        if seed.is_multiple_of(3) {
            plan.spec.strategy = Rule::new("fedadam/1");
        }
        plan.spec.metrics = vec![Metric {
            name: "loss".into(),
            goal: Goal::Lowest,
        }];
        plan.spec.end = end(seed);
        plan.lull = rng.random_bool(0.5);
        // The node may sign twice if no node in reach can tell it of its first signature; the others must then do without
        // it.
        if liars == 0 && silent == 0 && spare > 0 && rng.random_bool(0.3) {
            plan.goes_back = Some(rng.random_range(0..n));
        }
        let slow = if rng.random_bool(0.3) {
            spare - silent - usize::from(plan.goes_back.is_some())
        } else {
            0
        };
        let script = |_| rng.random_bool(0.5).then(|| rng.random_range(0..LIES));
        plan.scripts = (0..liars).map(script).collect();
        plan.members = policies(&plan, honest);
        plan.slow = (0..slow).map(|_| *pick(&mut rng, &[10, 100, 1_000, 10_000])).collect();
        plan
    }

    /// Returns what a node does when members propose a change.
    pub fn members_policy(&self, h: usize) -> MembersPolicy {
        self.members.get(h).copied().unwrap_or_default()
    }

    /// Returns true if trainers and liars pause at the time `now`.
    pub fn lulled(&self, now: u64) -> bool {
        self.lull && (LULL_MS..LULL_END_MS).contains(&now)
    }
}

/// In a fifth of the runs of a list, members change. At most so many honest members refuse that the others are a quorum.
fn policies(plan: &Plan, honest: usize) -> Vec<MembersPolicy> {
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed ^ 0xC4A);
    if plan.spec.membership == Membership::Open || !rng.random_bool(0.2) {
        return vec![];
    }
    let mut refuse = honest.saturating_sub(plan.spec.quorum());
    let mut policy = |_| match rng.random_range(0..5) {
        0 if refuse > 0 => {
            refuse -= 1;
            MembersPolicy::Never
        }
        0..=2 => MembersPolicy::Ask,
        _ => MembersPolicy::Follow,
    };
    (0..plan.nodes.len()).map(&mut policy).collect()
}

/// In a third of the runs the model is complete after some rounds, or when the loss is low enough.
fn end(seed: u64) -> End {
    let rounds = 1 + seed / 6 % 40;
    match seed % 6 {
        4 => End {
            max_rounds: Some(rounds),
            target: None,
        },
        5 => End {
            max_rounds: None,
            target: Some(MetricTarget {
                metric: "loss".into(),
                value: loss(rounds, 0),
            }),
        },
        _ => End::default(),
    }
}

/// The loss that a node measures on the checkpoint of a round: it falls, and each node measures another one.
pub fn loss(round: u64, h: usize) -> f64 {
    #[allow(clippy::cast_precision_loss)]
    let (round, h) = (round as f64, h as f64);
    1.0 / (1.0 + round) + 0.001 * h
}

fn policy(rng: &mut ChaCha8Rng, open: bool, k: usize, n: usize) -> RoundPolicy {
    RoundPolicy {
        min_contributions: u32::try_from(k).expect("small"),
        target: open.then(|| u32::try_from(rng.random_range(k..=n)).expect("small")),
        deadline_ms: rng.random_bool(0.7).then(|| rng.random_range(200..1_500)),
        deadline_ms_max: 2_000,
        max_staleness: rng.random_range(0..=5),
    }
}

pub fn pick<'a, T>(rng: &mut ChaCha8Rng, of: &'a [T]) -> &'a T {
    &of[rng.random_range(0..of.len())]
}
