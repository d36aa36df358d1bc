//! The four layers that a setting can come from (defaults, file, environment, flags), and their merging.

use std::path::Path;

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use qres_node::store::Quota;

use qres_node::HEADER_BYTES_MAX;

use super::problems::{ConfigErrors, Problems};
use super::{ConfigError, Environment, LogFormat, MembersChange, Mode, Origin, Settings};
use crate::args::Args;
use crate::settings::{KEYS, Shape};

/// Least similarity (Jaro-Winkler, 1 = equal) at which a known key is suggested for an unknown one. Below it the two keys
/// only happen to share letters.
const SIMILARITY_MIN: f64 = 0.7;

const LOG_DEFAULT: &str = "info";

/// Prefix of the names of this program's environment variables.
const PREFIX: &str = "QRES_";

/// Variables with the prefix that are no settings of the daemon: `QRES_CONFIG` names the configuration file, the others are
/// for the tool `qres` and for trainers, which may run in the same pod.
const NO_SETTINGS: [&str; 8] = [
    "QRES_CONFIG",
    "QRES_ADDR",
    "QRES_TLS_CA",
    "QRES_TLS_CERT",
    "QRES_TLS_KEY",
    "QRES_TLS_NAME",
    "QRES_TOKEN",
    "QRES_TOKEN_FILE",
];

/// A layer as figment takes it. Its name is figment's metadata of each value, from which [`origin`] finds the [`Origin`].
struct Layer {
    name: String,
    values: Dict,
}

const DEFAULTS: &str = "defaults";
const ENVIRONMENT: &str = "environment";
const FLAGS: &str = "flags";
/// Prefix of the name of a file's layer, so that a file called `flags` is not taken for the layer of the flags.
const FILE: &str = "file ";

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// All layers, merged, with the [`Origin`] of every value.
#[derive(Debug)]
pub struct Layers {
    /// The merged settings; a later layer wins over an earlier one.
    pub settings: Settings,
    merged: Figment,
}

impl Layers {
    /// Reads file and environment, and puts them and the flags of `args` over the defaults. Each layer is checked on its own:
    /// a wrong value is a [`ConfigError`] even if another layer overrides it. Returns all of them.
    pub fn read(args: &Args, env: &Environment) -> Result<Self, ConfigErrors> {
        let mut layers = vec![Layer::of(DEFAULTS, &defaults())];
        if let Some(path) = &args.config {
            layers.push(Layer::of_file(path)?);
        }
        layers.push(Layer::of_environment(env));
        layers.push(Layer::of(FLAGS, &args.settings));
        let (mut merged, mut problems) = (Figment::new(), Problems::default());
        for layer in layers {
            layer.check(&mut problems);
            merged = merged.merge(layer);
        }
        problems.finish(Some(()))?;
        let settings = merged.extract().map_err(|error| failure(&error, DEFAULTS))?;
        Ok(Self { settings, merged })
    }

    /// Returns the [`Origin`] of the value of `key`.
    pub fn origin(&self, key: &str) -> Origin {
        match self.merged.find_metadata(key) {
            Some(found) => origin(&found.name, key),
            None => Origin::Default,
        }
    }

    /// Makes a [`ConfigError::Value`] about the value of `key`, with its [`Origin`].
    pub fn error(&self, key: &'static str, problem: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            key,
            origin: self.origin(key),
            problem: problem.into(),
        }
    }
}

/// The layer of the [`Settings`] that hold if no other layer sets them. `data_dir` has no entry: its default depends on
/// the user and is found when the settings are resolved.
fn defaults() -> Settings {
    Settings {
        mode: Some(Mode::Node),
        port: Some(4001),
        listen: Some(vec!["0.0.0.0".into(), "::".into()]),
        bootstrap: Some(Vec::new()),
        announce: Some(Vec::new()),
        network: Some("qres".into()),
        network_key: None,
        allow_peer: Some(Vec::new()),
        connections_max: Some(256),
        grpc_addr: Some("127.0.0.1:4002".into()),
        grpc_insecure: Some(false),
        data_dir: None,
        identity_file: None,
        trainers: Some(1),
        join: Some(Vec::new()),
        creator: Some(Vec::new()),
        trust: Some(Vec::new()),
        members_change: Some(MembersChange::Ask),
        retention: Some("8".into()),
        blob_bytes_max: Some(Quota::DEFAULT.to_string()),
        header_bytes_max: Some(HEADER_BYTES_MAX),
        log: Some(LOG_DEFAULT.into()),
        log_format: Some(LogFormat::Text),
        admin_addr: Some("off".into()),
        grpc_tls_cert: None,
        grpc_tls_key: None,
        grpc_tls_min: Some("1.3".into()),
        grpc_client_ca: None,
        grpc_callers: None,
        grpc_socket: None,
        grpc_connections_max: Some(2048),
        grpc_calls_max: Some(256),
        grpc_streams_max: Some(256),
        grpc_rate_max: Some(2000),
        audit_log: None,
    }
}

impl Layer {
    /// Makes a layer of the keys that `settings` mentions.
    fn of(name: impl Into<String>, settings: &Settings) -> Self {
        // The settings are plain options, lists and enums: serialising them cannot fail.
        let value = Value::serialize(settings).expect("settings are plain data");
        let mut values = value.into_dict().expect("a struct is a dictionary");
        // An option that is None must not override an earlier layer.
        values.retain(|_, value| !matches!(value, Value::Empty(..)));
        Self {
            name: name.into(),
            values,
        }
    }

    fn of_file(path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::File {
            path: shown.clone(),
            error: error.to_string(),
        })?;
        let syntax = |error: String| ConfigError::Syntax {
            path: shown.clone(),
            error,
        };
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| syntax(error.to_string().trim_end().to_owned()))?;
        let value = Value::serialize(table).map_err(|error| syntax(error.to_string()))?;
        Ok(Self {
            name: format!("{FILE}{shown}"),
            values: value.into_dict().unwrap_or_default(),
        })
    }

    /// Makes a layer of the `QRES_` variables. An empty variable counts as not set: a Helm chart leaves a setting out that way.
    fn of_environment(env: &Environment) -> Self {
        let read = |(name, text): (&String, &String)| {
            let text = text.trim();
            if text.is_empty() || is_service_link(name, text) || NO_SETTINGS.contains(&name.as_str()) {
                return None;
            }
            let key = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
            let known = KEYS.iter().find(|(known, _)| *known == key);
            let value = known.map_or_else(|| Value::from(text), |(_, shape)| shape.read(text));
            Some((key, value))
        };
        Self {
            name: ENVIRONMENT.to_owned(),
            values: env.iter().filter_map(read).collect(),
        }
    }

    /// Checks each key and each value by itself, so that all problems are found.
    fn check(&self, problems: &mut Problems) {
        for (key, value) in &self.values {
            if !KEYS.iter().any(|(known, _)| known == key) {
                problems.add(ConfigError::UnknownKey {
                    origin: origin(&self.name, key),
                    key: key.clone(),
                    nearest: nearest(key),
                });
                continue;
            }
            let alone = Figment::from(Self {
                name: self.name.clone(),
                values: Dict::from([(key.clone(), value.clone())]),
            });
            if let Err(error) = alone.extract::<Settings>() {
                problems.add(failure(&error, &self.name));
            }
        }
    }
}

impl Shape {
    /// Converts a variable's text to the type that its key needs. A text that does not fit stays a text, and
    /// [`Layer::check`] then reports it.
    fn read(self, text: &str) -> Value {
        let parsed = match self {
            Self::Text => None,
            Self::Number => text.parse::<u64>().ok().map(Value::from),
            Self::Switch => match text {
                "1" | "true" | "yes" | "on" => Some(Value::from(true)),
                "0" | "false" | "no" | "off" => Some(Value::from(false)),
                _ => None,
            },
            Self::List => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                let items: Vec<String> = items.map(str::to_owned).collect();
                // A text of commas alone names nothing: it stays a text, which is reported. For `allow_peer` an empty list
                // would let everybody in.
                (!items.is_empty()).then(|| Value::from(items))
            }
        };
        parsed.unwrap_or_else(|| Value::from(text))
    }
}

/// Returns true for a variable of a Kubernetes service link, which is no setting. Kubernetes sets
/// `QRES_PORT=tcp://10.0.0.1:4001`, `QRES_SERVICE_HOST`, `QRES_PORT_4001_TCP_ADDR` and the like in every pod beside a
/// Service called `qres`.
fn is_service_link(name: &str, text: &str) -> bool {
    let link = text.starts_with("tcp://") || text.starts_with("udp://");
    link || name.contains("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || name.contains("_PORT_")
}

fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase())
}

fn origin(layer: &str, key: &str) -> Origin {
    match layer {
        DEFAULTS => Origin::Default,
        ENVIRONMENT => Origin::Environment(variable(key)),
        FLAGS => Origin::Flag(format!("--{}", key.replace('_', "-"))),
        file => Origin::File(file.strip_prefix(FILE).unwrap_or(file).to_owned()),
    }
}

/// Returns the known key that is most similar to `key`, if its similarity is at least [`SIMILARITY_MIN`].
fn nearest(key: &str) -> Option<&'static str> {
    let key = key.to_ascii_lowercase().replace('-', "_");
    KEYS.iter()
        .map(|(known, _)| (strsim::jaro_winkler(&key, known), *known))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// Converts figment's error about a value of the wrong type in `layer` to a [`ConfigError::Value`].
fn failure(error: &figment::Error, layer: &str) -> ConfigError {
    let at = error.path.first().map_or("", String::as_str);
    let key = KEYS.iter().map(|(known, _)| *known).find(|known| *known == at);
    ConfigError::Value {
        key: key.unwrap_or("settings"),
        origin: origin(layer, at),
        problem: error.kind.to_string(),
    }
}
