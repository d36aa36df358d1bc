//! `qres-demo attack`: eight members, up to two of them liars, learn one model after another with and without robust rules.

mod chart;
mod defence;
mod liar;
mod member;
mod report;

use std::time::Duration;

use anyhow::Context;
use qres_api::client::Client;
use qres_api::pb;
use qres_fed::learner::Examples;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::args::{Attacked, Kind};
use crate::digits::Digits;
use crate::model::{STRATEGY, numbers};
use crate::swarm::Swarm;
use crate::{digits, federation, run, split};
use defence::Defence;
use liar::Attack;
use member::{Leak, Member};
use report::{Report, Row};

/// Members of each model. With eight the default rules take two liars.
pub const MEMBERS: u64 = 8;
/// Most time until all nodes hold a new model; it takes about a second.
const GATHER_TIMEOUT: Duration = Duration::from_secs(60);
/// Time in milliseconds that a round waits for a silent member.
const DEADLINE_MS: u64 = 30_000;
/// The learner: a perceptron of 2,410 parameters.
const LEARNER: Kind = Kind::Mlp;

/// Runs all attacks against both defences and prints the table. Returns true if the default rules held: the worst attack costs
/// at most 3 points of accuracy, and no attack at most 1 point.
pub async fn run(args: &Attacked, swarm: &Swarm) -> anyhow::Result<bool> {
    let data = digits::load(args.seed)?;
    let parts = split::by_labels(&data.train, swarm.nodes.len(), args.seed);
    println!(
        "{} nodes and a bootstrap node on loopback; {} digits split by labels; {} rounds a model",
        swarm.nodes.len(),
        data.train.len(),
        args.rounds
    );
    let nodes = run::connect(swarm).await?;
    let ids: Vec<String> = swarm.nodes.iter().map(|daemon| daemon.banner.node_id.clone()).collect();
    let others = ids[1..].iter().cloned().collect();
    let met = timeout(GATHER_TIMEOUT, federation::meet(&nodes[0], &others)).await;
    met.context("the nodes did not find each other")??;
    let mut report = Report::default();
    for attack in Attack::ALL {
        for defence in [Defence::Mean, Defence::Default] {
            let scene = Scene {
                args,
                nodes: &nodes,
                ids: &ids,
                parts: &parts,
                data: &data,
            };
            let row = scene.play(attack, defence).await?;
            println!("{}", row.line());
            report.rows.push(row);
        }
    }
    println!("\n{}", report.render());
    chart::write(&args.out, &report)?;
    println!("  chart: {}", args.out.display());
    Ok(report.held())
}

/// One swarm for all attacks.
struct Scene<'a> {
    args: &'a Attacked,
    nodes: &'a [Client],
    ids: &'a [String],
    parts: &'a [Examples],
    data: &'a Digits,
}

impl Scene<'_> {
    /// Trains one model under one attack.
    async fn play(&self, attack: Attack, defence: Defence) -> anyhow::Result<Row> {
        let model = format!("attack/{}/{}", attack.name(), defence.name());
        self.found(&model, defence).await?;
        let honest = self.nodes.len() - attack.liars();
        let leak = Leak::new(honest);
        let mut members = vec![];
        for (i, (node, rows)) in self.nodes.iter().zip(self.parts).enumerate() {
            let lies = (i >= honest).then_some(attack);
            let member = Member {
                node: node.clone(),
                model: &model,
                rows: lies.map_or_else(|| rows.clone(), |attack| attack.rows(rows)),
                lies,
                leak: &leak,
            };
            members.push(member.run(LEARNER.learner(self.args.seed), self.args.rounds));
        }
        futures::future::try_join_all(members).await?;
        let row = Row {
            attack,
            defence,
            accuracy: self.accuracy(&model).await?,
            liars: self.weights(&model, &self.ids[honest..]).await?,
        };
        self.leave(&model).await;
        Ok(row)
    }

    /// Creates the model on the first node and lets the others join it.
    async fn found(&self, model: &str, defence: Defence) -> anyhow::Result<()> {
        let mut params = numbers();
        let aggregation = match defence {
            Defence::Default => vec![],
            Defence::Mean => {
                params.insert("max_share".to_owned(), 1.0);
                vec![pb::Rule {
                    id: "mean/1".to_owned(),
                    ..Default::default()
                }]
            }
        };
        let header = pb::CreateModelRequest {
            name: model.to_owned(),
            strategy: Some(pb::Rule {
                id: STRATEGY.to_owned(),
                params,
            }),
            aggregation,
            members: self.ids.to_vec(),
            deadline_ms: Some(DEADLINE_MS),
            ..Default::default()
        };
        let weights = LEARNER.learner(self.args.seed).tensors();
        self.nodes[0].create_model_of(header, &weights).await?;
        let mut joining = JoinSet::new();
        for node in &self.nodes[1..] {
            let (node, model, creator) = (node.clone(), model.to_owned(), self.ids[0].clone());
            joining.spawn(async move { timeout(GATHER_TIMEOUT, federation::join(&node, &model, &creator)).await });
        }
        while let Some(joined) = joining.join_next().await {
            joined?.with_context(|| format!("a node did not get the model {model}"))??;
        }
        Ok(())
    }

    async fn accuracy(&self, model: &str) -> anyhow::Result<f64> {
        let request = pb::FetchWeightsRequest {
            model: model.to_owned(),
            ..Default::default()
        };
        let (_, weights) = self.nodes[0].fetch_tensors(request).await?;
        let mut learner = LEARNER.learner(self.args.seed);
        learner.load(&weights)?;
        Ok(learner.accuracy(&self.data.held_out)?)
    }

    /// Returns the mean weight of the liars' contributions, and the share that they claim, over all rounds that still have
    /// verdicts.
    async fn weights(&self, model: &str, liars: &[String]) -> anyhow::Result<Option<(f64, f64)>> {
        let request = pb::ListRoundsRequest {
            model: model.to_owned(),
            page_size: 1_000,
            ..Default::default()
        };
        let rounds = self.nodes[0].rounds().list_rounds(request).await?.into_inner().rounds;
        let contributions = rounds.iter().flat_map(|round| &round.contributions);
        let of_liars = contributions.filter(|contribution| liars.contains(&contribution.author));
        let verdicts: Vec<_> = of_liars
            .filter_map(|contribution| contribution.verdict.as_ref())
            .collect();
        let mean = |value: fn(&pb::ContributionVerdict) -> f64| {
            verdicts.iter().map(|verdict| value(verdict)).sum::<f64>() / verdicts.len() as f64
        };
        Ok((!verdicts.is_empty()).then(|| (mean(|verdict| verdict.weight), mean(|verdict| verdict.claimed))))
    }

    /// Leaves the model on all nodes: a node joins a bounded number of models.
    async fn leave(&self, model: &str) {
        for node in self.nodes {
            let request = pb::LeaveModelRequest {
                model: model.to_owned(),
            };
            // The next model does not need it.
            let _ = node.models().leave_model(request).await;
        }
    }
}
