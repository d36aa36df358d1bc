//! The command `qres model create`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use qres_api::pb;

use super::{Context, membership};
use crate::confirm::confirm;
use crate::failure::Failure;
use crate::show::lines::Lines;
use crate::upload::Source;
use crate::value::{Rule, duration, metric_goal, named_number, rule, schedule};

/// Makes a model from its first weights, or from a seed.
#[derive(Debug, clap::Args)]
pub struct Create {
    /// Name of the model: segments of [a-z0-9._-] joined by `/`, e.g. metabrain/v4
    name: String,
    /// A safetensors file with the first weights
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present_any = ["succeeds", "seed"],
        conflicts_with_all = ["succeeds", "seed"]
    )]
    weights: Option<PathBuf>,
    /// Let the node make the first weights, from this number: the same number makes the same model
    #[arg(long, value_name = "NUMBER", requires = "tensors", conflicts_with = "succeeds")]
    seed: Option<u64>,
    /// The tensors of the weights from a seed: JSON, [{"name": "w", "dtype": "F32", "shape": [64, 10]}, …], or the output of
    /// `qres model show --json`
    #[arg(long, value_name = "FILE", requires = "seed")]
    tensors: Option<PathBuf>,
    /// Strategy by which contributions become a checkpoint: fedavg/1, fedprox/1, or one with a server optimiser: fedavgm/1,
    /// diloco/1, fedadagrad/1, fedadam/1, fedyogi/1; or fednova/1, qfedavg/1, fedbuff/1 [default: fedavg/1]
    #[arg(long, value_name = "NAME/VERSION")]
    strategy: Option<String>,
    /// A parameter of the strategy, e.g. mu=0.1; may be repeated
    #[arg(long = "param", value_name = "NAME=NUMBER", value_parser = named_number, requires = "strategy")]
    params: Vec<(String, f64)>,
    /// A rule by which the updates of a round become one, e.g. trimmed-mean/1:f=2; may be repeated, the last one combines the updates
    /// [default: for five members or more trimmed-mean/1 with f = a quarter of the members, else mean/1]
    #[arg(long = "aggregate", value_name = "NAME/VERSION[:NAME=NUMBER,…]", value_parser = rule)]
    aggregation: Vec<Rule>,
    /// Codec by which updates are coded for sending [default: bf16/1]
    #[arg(long, value_name = "NAME/VERSION")]
    codec: Option<String>,
    /// The least share of an update that coding must keep, 0 to 1: an update that keeps less is rejected [default: 0.99]
    #[arg(long, value_name = "NUMBER")]
    fidelity_min: Option<f64>,
    /// k: contributions that a checkpoint needs [default: a majority of the members]
    #[arg(long, value_name = "K")]
    min_contributions: Option<u32>,
    /// Contributions at which a round closes early [default: all expected members]
    #[arg(long, value_name = "N")]
    target: Option<u32>,
    /// A fixed deadline from a round's first contribution, e.g. 30s [default: 3 times the median pace]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    deadline: Option<Duration>,
    /// The longest deadline that a round may have, e.g. 5m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    deadline_max: Option<Duration>,
    /// Rounds that late work may be behind and still count, discounted; 0 takes none [default: 10]
    #[arg(long, value_name = "ROUNDS")]
    max_staleness: Option<u32>,
    /// A node that may contribute and read; no others may: node id or peer id; may be repeated [default: this node alone]
    #[arg(long = "member", value_name = "ID", value_delimiter = ',')]
    members: Vec<String>,
    /// Take this node and the peers connected to it now as members, who may contribute and read: shows them and asks
    #[arg(long, conflicts_with = "members")]
    members_connected: bool,
    /// Any node may contribute; needs --min-contributions and --target
    #[arg(long, conflicts_with_all = ["members", "members_connected"])]
    open: bool,
    /// Take the connected peers as members without asking
    #[arg(long, requires = "members_connected")]
    yes: bool,
    /// A metric that contributions carry, and which values are better, e.g. loss=lowest or accuracy=highest; may be repeated
    #[arg(long = "metric", value_name = "NAME=lowest|highest", value_parser = metric_goal)]
    metrics: Vec<pb::Metric>,
    /// End the run with this round
    #[arg(long, value_name = "ROUND", value_parser = clap::value_parser!(u64).range(1..))]
    max_rounds: Option<u64>,
    /// End the run when a quorum of the members measure this value of a metric, or a better one, e.g. accuracy=0.95
    #[arg(long, value_name = "NAME=NUMBER", value_parser = named_number, requires = "metrics")]
    until: Option<(String, f64)>,
    /// A number for trainers that changes from round to round, e.g. learning_rate=cosine:1=0.1,100=0.001: 0.1 in round 1, 0.001 from
    /// round 100 on; step, linear, cosine or exponential between the points; may be repeated
    #[arg(long = "schedule", value_name = "NAME=CURVE:ROUND=NUMBER,…", value_parser = schedule)]
    schedules: Vec<(String, pb::Schedule)>,
    /// A tensor that each trainer has for itself, e.g. of a batch norm or an adapter: a name, or a pattern with * and ?; its values do
    /// not leave the trainer's node; may be repeated
    #[arg(long, value_name = "TENSOR", conflicts_with = "succeeds")]
    personal: Vec<String>,
    /// A tensor that keeps its first values and is never sent again: a name, or a pattern with * and ?; may be repeated
    #[arg(long, value_name = "TENSOR", conflicts_with = "succeeds")]
    frozen: Vec<String>,
    /// Shorten each update to the length `clip` and add noise before it leaves its node, e.g.
    /// gaussian/1:clip=1,noise_multiplier=0.5 or distributed-gaussian/1; further numbers: delta, epsilon_max [default: none/1]
    #[arg(long, value_name = "NAME/VERSION[:NAME=NUMBER,…]", value_parser = rule)]
    privacy: Option<Rule>,
    /// Take over from this spec of the same name: its head is the first checkpoint
    #[arg(long, value_name = "SPEC")]
    succeeds: Option<String>,
    /// Make the upload resumable under this key
    #[arg(long, value_name = "KEY", conflicts_with_all = ["succeeds", "seed"])]
    key: Option<String>,
}

impl Create {
    /// Uploads the first weights, or asks for a model without them, and prints the new model.
    pub async fn run(self, context: Context) -> Result<(), Failure> {
        let members = match self.members_connected {
            true => connected_members(&context, self.yes).await?,
            false => self.members.clone(),
        };
        let alone = members.is_empty() && !self.open;
        let header = pb::CreateModelRequest {
            seed: self.seed,
            tensors: self.tensors.as_deref().map(schema).transpose()?.unwrap_or_default(),
            members,
            ..self.header()
        };
        let client = &context.client;
        let model = match &self.weights {
            None => client.create_model(header, Bytes::new()).await?,
            Some(path) => {
                let source = Source::open(path).await?;
                let call = |offset, chunks| {
                    let header = pb::CreateModelRequest {
                        offset,
                        total_bytes: Some(source.total_bytes),
                        digest: source.digest.clone(),
                        ..header.clone()
                    };
                    client.create_model_stream(header, chunks)
                };
                source.send(client, context.output, self.key.as_deref(), call).await?
            }
        };
        membership::print(context.output, &model);
        if alone && !context.output.is_json() {
            context.output.note(format_args!(
                "this node is the only member; a successor adds others: qres model create {} --succeeds {} --member {} --member ID …",
                model.name, model.id, model.creator
            ));
        }
        Ok(())
    }

    fn header(&self) -> pb::CreateModelRequest {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let strategy = self.strategy.clone().map(|id| pb::Rule {
            id,
            params: self.params.iter().cloned().collect(),
        });
        pb::CreateModelRequest {
            name: self.name.clone(),
            strategy,
            aggregation: self.aggregation.iter().map(Rule::message).collect(),
            codec: self.codec(),
            min_contributions: self.min_contributions,
            target: self.target,
            deadline_ms: self.deadline.map(ms),
            deadline_max_ms: self.deadline_max.map(ms),
            max_staleness: self.max_staleness,
            metrics: self.metrics.clone(),
            max_rounds: self.max_rounds,
            until: self
                .until
                .clone()
                .map(|(metric, value)| pb::MetricTarget { metric, value }),
            privacy: self.privacy.as_ref().map(Rule::message),
            schedules: self.schedules.iter().cloned().collect(),
            personal: self.personal.clone(),
            frozen: self.frozen.clone(),
            open: self.open,
            succeeds: self.succeeds.clone().unwrap_or_default(),
            idempotency_key: self.key.clone().unwrap_or_default(),
            ..Default::default()
        }
    }
}

impl Create {
    fn codec(&self) -> Option<pb::Rule> {
        let least = self.fidelity_min.map(|least| ("fidelity_min".to_owned(), least));
        let default = || least.is_some().then(|| CODEC_DEFAULT.to_owned());
        let id = self.codec.clone().or_else(default)?;
        Some(pb::Rule {
            id,
            params: least.into_iter().collect(),
        })
    }
}

/// The codec that the node takes if none is named.
const CODEC_DEFAULT: &str = "bf16/1";

/// Returns the ids of this node and of the peers connected to it now, once a person has agreed to them. Returns a
/// [`Failure`] if the person does not agree.
async fn connected_members(context: &Context, yes: bool) -> Result<Vec<String>, Failure> {
    let own = context.node().await?;
    let mut peers = context.peers().await?;
    peers.retain(|peer| peer.state() == pb::PeerState::Connected && !peer.bootstrap);
    let mut what = Lines::from("members, who may contribute and read everything:".to_owned());
    what.push(&format!("  {}  this node", own.peer_id));
    for peer in &peers {
        let address = peer.addresses.first().map_or("", String::as_str);
        what.push(&format!("  {}  {}  {address}", peer.peer_id, peer.agent));
    }
    if peers.is_empty() {
        what.push("  (no peer is connected: `qres peers` shows why)");
    }
    confirm(&what, yes)?;
    Ok(std::iter::once(own.node_id)
        .chain(peers.into_iter().map(|peer| peer.node_id))
        .collect())
}

/// A tensor, as `qres model show --json` prints it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    /// Not taken over: --personal and --frozen say it.
    #[serde(default, rename = "kind")]
    _kind: Option<String>,
}

/// A model, as `qres model show --json` prints it; only the tensors are read.
#[derive(serde::Deserialize)]
struct Shown {
    tensors: Vec<Tensor>,
}

fn schema(path: &Path) -> Result<Vec<pb::TensorSpec>, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, error))?;
    let read = match text.trim_start().starts_with('{') {
        true => serde_json::from_str(&text).map(|Shown { tensors }| tensors),
        false => serde_json::from_str(&text),
    };
    let tensors: Vec<Tensor> = read.map_err(|error| Failure::file(path, format!("no list of tensors: {error}")))?;
    let spec = |tensor: Tensor| pb::TensorSpec {
        name: tensor.name,
        dtype: tensor.dtype,
        shape: tensor.shape,
        ..Default::default()
    };
    Ok(tensors.into_iter().map(spec).collect())
}
