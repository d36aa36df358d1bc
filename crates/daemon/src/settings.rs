//! Settings as they are given in a file, in the environment or on the command line. Only their types are checked here.

use serde::{Deserialize, Deserializer, Serialize};

/// The role of a node in the swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Runs beside trainers: learns, serves, forwards.
    Node,
    /// Helps other nodes find each other; joins no model.
    Bootstrap,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines of text for people.
    Text,
    /// Each line is one JSON object.
    Json,
}

/// What the node does when other members of a model want to change its list of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MembersChange {
    /// It agrees to what a member proposes, and goes on with the successor.
    Follow,
    /// It agrees only if its operator does; once a quorum agreed, it goes on with the successor.
    Ask,
    /// It agrees to nothing, and its operator joins the successor, or does not.
    Never,
}

/// Every setting, each `None` if a layer does not mention it. The field's name is the key in the file; with `QRES_` in
/// front and in capitals it is the environment variable, with dashes it is the flag.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Role of this node: `node` runs beside trainers, `bootstrap` helps other nodes find each other [default: node]
    #[arg(long, value_name = "MODE")]
    pub mode: Option<Mode>,
    /// Port of the mesh, TCP and UDP; 0 picks one [default: 4001]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// An address on which the mesh listens; may be repeated [default: 0.0.0.0 and ::, which is every address of the machine]
    #[arg(long, value_name = "IP", value_delimiter = ',')]
    pub listen: Option<Vec<String>>,
    /// A node to connect to first: IP, host, host:port or multiaddr; may be repeated
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub bootstrap: Option<Vec<String>>,
    /// A multiaddr at which other nodes reach this node; may be repeated, $(NAME) is taken from the environment, $(ORDINAL+N) is
    /// N and the number at the end of the host name
    #[arg(long, value_name = "MULTIADDR", value_delimiter = ',')]
    pub announce: Option<Vec<String>>,
    /// Name of the swarm: nodes of different networks refuse each other [default: qres]
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// File with the key that all nodes of the network share (`qres network-key` makes one): no other node connects. The mesh then
    /// uses TCP alone
    #[arg(long, value_name = "FILE")]
    pub network_key: Option<String>,
    /// Peer id of a node that may connect; may be repeated. Without this setting every node of the network may
    #[arg(long, value_name = "PEER_ID", value_delimiter = ',')]
    pub allow_peer: Option<Vec<String>>,
    /// The most connections to other nodes [default: 256]
    #[arg(long, value_name = "N")]
    pub connections_max: Option<u32>,
    /// Address on which gRPC listens; port 0 picks one [default: 127.0.0.1:4002]
    #[arg(long, value_name = "IP:PORT")]
    pub grpc_addr: Option<String>,
    /// Allow gRPC without encryption or authentication on an address that other machines can reach
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub grpc_insecure: Option<bool>,
    /// Certificate chain of the gRPC server, PEM; with --grpc-tls-key gRPC is encrypted. Read again when it changes
    #[arg(long, value_name = "FILE")]
    pub grpc_tls_cert: Option<String>,
    /// Private key of the gRPC server's certificate, PEM. Read again when it changes
    #[arg(long, value_name = "FILE")]
    pub grpc_tls_key: Option<String>,
    /// Oldest version of TLS that gRPC speaks: 1.3 or 1.2 [default: 1.3]
    #[arg(long, value_name = "VERSION")]
    #[serde(deserialize_with = "text_or_number")]
    pub grpc_tls_min: Option<String>,
    /// CA of client certificates, PEM: callers show a certificate that this CA signed. Read again when it changes
    #[arg(long, value_name = "FILE")]
    pub grpc_client_ca: Option<String>,
    /// File that names callers, their roles and the hashes of their tokens (see `qres token new`). Read again when it changes
    #[arg(long, value_name = "FILE")]
    pub grpc_callers: Option<String>,
    /// Unix socket on which gRPC listens too; only this user can open it
    #[arg(long, value_name = "PATH")]
    pub grpc_socket: Option<String>,
    /// The most connections of callers [default: 2048, and at most half of the process's open files]
    #[arg(long, value_name = "N")]
    pub grpc_connections_max: Option<u32>,
    /// The most calls at the same time, streams and waiting calls left out [default: 256]
    #[arg(long, value_name = "N")]
    pub grpc_calls_max: Option<u32>,
    /// The most streams at the same time on one connection; more wait in the caller [default: 256]
    #[arg(long, value_name = "N")]
    pub grpc_streams_max: Option<u32>,
    /// The most calls a second of one caller; 0 = no limit [default: 2000]
    #[arg(long, value_name = "N")]
    pub grpc_rate_max: Option<u32>,
    /// File to which each call of an operator is written, one JSON object a line; the log has these lines too [default: none]
    #[arg(long, value_name = "FILE")]
    pub audit_log: Option<String>,
    /// Directory of identity, records and weights [default: `qres` in the user's data directory]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// A file with this node's key (32 bytes), e.g. of a mounted Secret: copied into a data directory that has no key yet, and
    /// an error if the directory has another key; $(NAME) is taken from the environment
    #[arg(long, value_name = "FILE")]
    pub identity_file: Option<String>,
    /// Number of trainers whose submissions the node waits for before it contributes [default: 1]
    #[arg(long, value_name = "N")]
    pub trainers: Option<u32>,
    /// A model to join as soon as it is known: name@id, id, or a name alone, which means the model of that name by a creator that
    /// this node knows (see --creator); may be repeated
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    pub join: Option<Vec<String>>,
    /// Peer id of a node whose models --join may give by name alone; may be repeated
    #[arg(long, value_name = "PEER_ID", value_delimiter = ',')]
    pub creator: Option<Vec<String>>,
    /// Peer id of a trusted node: in open models, checkpoints too old to recompute are accepted if a trusted node built on or
    /// sealed them; may be repeated
    #[arg(long, value_name = "PEER_ID", value_delimiter = ',')]
    pub trust: Option<Vec<String>>,
    /// What to do when other members want to change a model's list of members [default: ask]
    #[arg(long, value_name = "POLICY")]
    pub members_change: Option<MembersChange>,
    /// Number of confirmed rounds whose weights stay on disk, or `all` [default: 8]
    #[arg(long, value_name = "N|all")]
    #[serde(deserialize_with = "text_or_number")]
    pub retention: Option<String>,
    /// The most bytes of weights on disk: a number, a share of their bytes plus the free ones, or `none` [default: 90%]
    #[arg(long, value_name = "BYTES|SHARE%|none")]
    #[serde(deserialize_with = "text_or_number")]
    pub blob_bytes_max: Option<String>,
    /// The most bytes of the header of a new model's safetensors file [default: 16777216]
    #[arg(long, value_name = "BYTES")]
    pub header_bytes_max: Option<u64>,
    /// Filter of log lines, e.g. `info,qres_mesh=debug` [default: info; libraries log problems only, unless they are named]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Format of log lines [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Address of the admin port, which serves /metrics, /livez and /readyz without authentication, or `off` [default: off]
    #[arg(long, value_name = "IP:PORT")]
    pub admin_addr: Option<String>,
}

/// The type of a key's value, by which its text in the environment is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The text itself is the value.
    Text,
    /// The text is a whole number.
    Number,
    /// The text is `true` or `false`.
    Switch,
    /// The text is a list with commas between the items.
    List,
}

/// Every key and the [`Shape`] of its value, in the order in which a report shows them.
pub const KEYS: [(&str, Shape); 35] = [
    ("mode", Shape::Text),
    ("port", Shape::Number),
    ("listen", Shape::List),
    ("bootstrap", Shape::List),
    ("announce", Shape::List),
    ("network", Shape::Text),
    ("network_key", Shape::Text),
    ("allow_peer", Shape::List),
    ("connections_max", Shape::Number),
    ("grpc_addr", Shape::Text),
    ("grpc_insecure", Shape::Switch),
    ("grpc_tls_cert", Shape::Text),
    ("grpc_tls_key", Shape::Text),
    ("grpc_tls_min", Shape::Text),
    ("grpc_client_ca", Shape::Text),
    ("grpc_callers", Shape::Text),
    ("grpc_socket", Shape::Text),
    ("grpc_connections_max", Shape::Number),
    ("grpc_calls_max", Shape::Number),
    ("grpc_streams_max", Shape::Number),
    ("grpc_rate_max", Shape::Number),
    ("audit_log", Shape::Text),
    ("data_dir", Shape::Text),
    ("identity_file", Shape::Text),
    ("trainers", Shape::Number),
    ("join", Shape::List),
    ("creator", Shape::List),
    ("trust", Shape::List),
    ("members_change", Shape::Text),
    ("retention", Shape::Text),
    ("blob_bytes_max", Shape::Text),
    ("header_bytes_max", Shape::Number),
    ("log", Shape::Text),
    ("log_format", Shape::Text),
    ("admin_addr", Shape::Text),
];

/// Reads a number or a text as a text: a file may say `retention = 8` as well as `retention = "all"`.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Fraction(f64),
        Text(String),
    }
    Ok(Some(match Either::deserialize(deserializer)? {
        Either::Number(number) => number.to_string(),
        Either::Fraction(number) => number.to_string(),
        Either::Text(text) => text,
    }))
}
