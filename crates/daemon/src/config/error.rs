//! Errors of the configuration.

use super::Origin;

/// A configuration error. It names the setting, the [`Origin`] of its value, the problem and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("the configuration file {path} cannot be read: {error}; name another with --config")]
    File {
        /// The path of the file.
        path: String,
        /// The error of the operating system.
        error: String,
    },
    /// The configuration file is not valid TOML.
    #[error("the configuration file {path} is not valid TOML: {error}")]
    Syntax {
        /// The path of the file.
        path: String,
        /// The parser's error, with the line.
        error: String,
    },
    /// A key that is no setting.
    #[error("{origin}: there is no setting {key:?}{}; `qres-daemon --help` lists them all", nearest.map(|n| format!(", did you mean {n:?}?")).unwrap_or_default())]
    UnknownKey {
        /// The layer in which the key stands.
        origin: Origin,
        /// The key as it was written.
        key: String,
        /// A known key that looks like the unknown one.
        nearest: Option<&'static str>,
    },
    /// A value that its setting does not allow.
    #[error("{key} (from {origin}): {problem}")]
    Value {
        /// The key of the setting.
        key: &'static str,
        /// The layer that the value came from.
        origin: Origin,
        /// The problem and the remedy.
        problem: String,
    },
}
