//! Checks of single settings that several kinds of settings share.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{ConfigError, Layers};

/// Returns a number that lies within bounds, or an error that names them.
pub(super) fn within(
    layers: &Layers,
    key: &'static str,
    value: Option<u32>,
    least: u32,
    most: u32,
) -> Result<u32, ConfigError> {
    let value = value.unwrap_or(least);
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(layers.error(key, format!("{value} is outside {least} to {most}")))
}

/// Reads an IP address with a port; `localhost` is 127.0.0.1.
pub(super) fn socket(layers: &Layers, key: &'static str, value: &str) -> Result<SocketAddr, ConfigError> {
    let numeric = match value.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => value.to_owned(),
    };
    numeric.parse().map_err(|_| {
        let problem = format!("{value:?} is no IP address with a port, e.g. 127.0.0.1:4002 or [::1]:4002");
        layers.error(key, problem)
    })
}

/// Returns a path that is set. An empty text is none, as in a chart that leaves a value out.
pub(super) fn path(said: Option<&String>) -> Option<PathBuf> {
    said.filter(|path| !path.is_empty()).map(PathBuf::from)
}
