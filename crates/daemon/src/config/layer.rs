//! The four layers a setting can come from, and how they are put together.

use std::fmt;
use std::path::Path;

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use qres_node::store::Quota;

use qres_node::HEADER_BYTES_MAX;

use super::settings::{KEYS, LogFormat, Mode, Settings, Shape};
use super::{ConfigError, Environment};
use crate::args::Args;

/// Below this similarity (Jaro-Winkler, 1 = equal) two keys only happen to share letters.
const SIMILARITY_MIN: f64 = 0.7;

const LOG_DEFAULT: &str = "info";

/// What the names of our variables begin with.
const PREFIX: &str = "QRES_";

/// Variables of ours that are no settings of the daemon: the file's own name, and the tool's node.
const NO_SETTINGS: [&str; 2] = ["QRES_CONFIG", "QRES_ADDR"];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// This file.
    File(String),
    /// This environment variable.
    Environment(String),
    /// This flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One layer, as figment takes it: its name finds the origin of a value again.
struct Layer {
    name: String,
    values: Dict,
}

const DEFAULTS: &str = "defaults";
const ENVIRONMENT: &str = "environment";
const FLAGS: &str = "flags";
/// In front of a file's path, so that a file called `flags` stays a file.
const FILE: &str = "file ";

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

/// All layers, merged, with the origin of every value.
#[derive(Debug)]
pub struct Layers {
    /// What was said, a later layer over an earlier one.
    pub settings: Settings,
    merged: Figment,
}

impl Layers {
    /// Reads file and environment, and puts them and the flags over the defaults. Each layer is checked on its own: a wrong
    /// value is an error even where another layer overrides it.
    pub fn read(args: &Args, env: &Environment) -> Result<Self, ConfigError> {
        let mut layers = vec![Layer::of(DEFAULTS, &defaults())];
        if let Some(path) = &args.config {
            layers.push(Layer::of_file(path)?);
        }
        layers.push(Layer::of_environment(env));
        layers.push(Layer::of(FLAGS, &args.settings));
        let mut merged = Figment::new();
        for layer in layers {
            layer.check()?;
            merged = merged.merge(layer);
        }
        let settings = merged.extract().map_err(|error| failure(&error, DEFAULTS))?;
        Ok(Self { settings, merged })
    }

    /// Where a key's value came from.
    pub fn origin(&self, key: &str) -> Origin {
        match self.merged.find_metadata(key) {
            Some(found) => origin(&found.name, key),
            None => Origin::Default,
        }
    }

    /// An error about a key's value.
    pub fn error(&self, key: &'static str, problem: impl Into<String>) -> ConfigError {
        ConfigError::Value {
            key,
            origin: self.origin(key),
            problem: problem.into(),
        }
    }
}

/// What holds where nobody says anything. Keys without an entry are off, or found out when they are resolved.
fn defaults() -> Settings {
    Settings {
        mode: Some(Mode::Node),
        port: Some(4001),
        listen: Some(vec!["0.0.0.0".into(), "::".into()]),
        bootstrap: Some(Vec::new()),
        announce: Some(Vec::new()),
        network: Some("qres".into()),
        connections_max: Some(256),
        grpc_addr: Some("127.0.0.1:4002".into()),
        grpc_insecure: Some(false),
        data_dir: None,
        trainers: Some(1),
        join: Some(Vec::new()),
        creator: Some(Vec::new()),
        trust: Some(Vec::new()),
        retention: Some("8".into()),
        blob_bytes_max: Some(Quota::DEFAULT.to_string()),
        header_bytes_max: Some(HEADER_BYTES_MAX),
        log: Some(LOG_DEFAULT.into()),
        log_format: Some(LogFormat::Text),
        metrics_addr: Some("off".into()),
    }
}

impl Layer {
    /// The keys that `settings` mentions.
    fn of(name: impl Into<String>, settings: &Settings) -> Self {
        // Plain options, lists and enums: serialising them cannot fail.
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

    /// The `QRES_` variables. An empty one counts as not set, which is how a chart leaves one out.
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

    fn check(&self) -> Result<(), ConfigError> {
        let alone = Figment::from(Self {
            name: self.name.clone(),
            values: self.values.clone(),
        });
        if let Some(key) = self
            .values
            .keys()
            .find(|key| !KEYS.iter().any(|(known, _)| known == key))
        {
            return Err(ConfigError::UnknownKey {
                origin: origin(&self.name, key),
                key: key.clone(),
                nearest: nearest(key),
            });
        }
        alone
            .extract::<Settings>()
            .map(drop)
            .map_err(|error| failure(&error, &self.name))
    }
}

impl Shape {
    /// A text of the environment as the value its key needs. What does not fit stays a text: the check then names it.
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
                Some(Value::from(items.map(str::to_owned).collect::<Vec<_>>()))
            }
        };
        parsed.unwrap_or_else(|| Value::from(text))
    }
}

/// Kubernetes sets `QRES_PORT=tcp://10.0.0.1:4001`, `QRES_SERVICE_HOST`, `QRES_PORT_4001_TCP_ADDR` and the like in every pod
/// beside a Service called `qres`: these are not meant for us.
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

/// The known key that `key` was probably meant to be.
fn nearest(key: &str) -> Option<&'static str> {
    let key = key.to_ascii_lowercase().replace('-', "_");
    KEYS.iter()
        .map(|(known, _)| (strsim::jaro_winkler(&key, known), *known))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}

/// A layer's value of the wrong type.
fn failure(error: &figment::Error, layer: &str) -> ConfigError {
    let at = error.path.first().map_or("", String::as_str);
    let key = KEYS.iter().map(|(known, _)| *known).find(|known| *known == at);
    ConfigError::Value {
        key: key.unwrap_or("settings"),
        origin: origin(layer, at),
        problem: error.kind.to_string(),
    }
}
