//! Settings as they are said, in a file, the environment or on the command line: nothing is checked but their types.

use serde::{Deserialize, Deserializer, Serialize};

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Runs beside trainers: learns, serves, forwards.
    Node,
    /// Helps others find each other; joins no model.
    Bootstrap,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Every setting, each `None` where a layer does not mention it. The field's name is the key in the file; with `QRES_` in
/// front and in capitals it is the environment variable, with dashes the flag.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What this node is for: `node` runs beside trainers, `bootstrap` helps others find each other [default: node]
    #[arg(long, value_name = "MODE")]
    pub mode: Option<Mode>,
    /// Port of the mesh, TCP and UDP; 0 picks one [default: 4001]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// An address the mesh listens on; may be repeated [default: 0.0.0.0 and ::, which is everywhere]
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub listen: Option<Vec<String>>,
    /// A node to begin with: IP, host, host:port or multiaddr; may be repeated
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub bootstrap: Option<Vec<String>>,
    /// A multiaddr at which others reach this node; may be repeated, $(NAME) is taken from the environment
    #[arg(long, value_name = "MULTIADDR", value_delimiter = ',')]
    pub announce: Option<Vec<String>>,
    /// Name of the swarm: nodes of different networks refuse each other [default: qres]
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// The most connections to other nodes [default: 256]
    #[arg(long, value_name = "N")]
    pub connections_max: Option<u32>,
    /// Where gRPC listens; port 0 picks one [default: 127.0.0.1:4002]
    #[arg(long, value_name = "IP:PORT")]
    pub grpc_addr: Option<String>,
    /// Allow gRPC without encryption or authentication on an address other machines can reach
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub grpc_insecure: Option<bool>,
    /// Where identity, records and weights live [default: `qres` in the user's data directory]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// How many trainers' submissions the node waits for before it contributes [default: 1]
    #[arg(long, value_name = "N")]
    pub trainers: Option<u32>,
    /// A model to join as soon as it is known: name@id or id, or a name, which means the one by a creator that is known here (see
    /// --creator); may be repeated
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    pub join: Option<Vec<String>>,
    /// A node whose models --join may name by a bare name: peer id; may be repeated
    #[arg(long, value_name = "PEER_ID", value_delimiter = ',')]
    pub creator: Option<Vec<String>>,
    /// A node whose word is taken in open models, for rounds that nobody keeps any more: peer id; may be repeated
    #[arg(long, value_name = "PEER_ID", value_delimiter = ',')]
    pub trust: Option<Vec<String>>,
    /// Confirmed rounds whose weights stay on disk, or `all` [default: 8]
    #[arg(long, value_name = "N|all")]
    #[serde(deserialize_with = "text_or_number")]
    pub retention: Option<String>,
    /// The most bytes of weights on disk, as a number, a share of what they take and what is free, or `none` [default: 90%]
    #[arg(long, value_name = "BYTES|SHARE%|none")]
    #[serde(deserialize_with = "text_or_number")]
    pub blob_bytes_max: Option<String>,
    /// The most bytes of the header of a new model's safetensors file [default: 16777216]
    #[arg(long, value_name = "BYTES")]
    pub header_bytes_max: Option<u64>,
    /// What is logged, e.g. `info,qres_node=debug` [default: info; libraries only when something is wrong, unless they are named]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// How it is logged [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Serve Prometheus metrics here, or `off` [default: off]
    #[arg(long, value_name = "IP:PORT")]
    pub metrics_addr: Option<String>,
}

/// How a key's text in the environment is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As it is.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
    /// Comma separated.
    List,
}

/// Every key and the shape of its value, in the order in which a report shows them.
pub const KEYS: [(&str, Shape); 20] = [
    ("mode", Shape::Text),
    ("port", Shape::Number),
    ("listen", Shape::List),
    ("bootstrap", Shape::List),
    ("announce", Shape::List),
    ("network", Shape::Text),
    ("connections_max", Shape::Number),
    ("grpc_addr", Shape::Text),
    ("grpc_insecure", Shape::Switch),
    ("data_dir", Shape::Text),
    ("trainers", Shape::Number),
    ("join", Shape::List),
    ("creator", Shape::List),
    ("trust", Shape::List),
    ("retention", Shape::Text),
    ("blob_bytes_max", Shape::Text),
    ("header_bytes_max", Shape::Number),
    ("log", Shape::Text),
    ("log_format", Shape::Text),
    ("metrics_addr", Shape::Text),
];

/// `retention = 8` and `retention = "all"` both read well in a file.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    Ok(Some(match Either::deserialize(deserializer)? {
        Either::Number(number) => number.to_string(),
        Either::Text(text) => text,
    }))
}
