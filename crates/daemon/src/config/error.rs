//! What is wrong with a configuration.

use super::Origin;

/// A configuration error: which setting, where its value came from, what is wrong and what to say instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read: {error}; name another with --config")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: String,
    },
    /// The file is no TOML.
    #[error("the configuration file {path} is not valid TOML: {error}")]
    Syntax {
        /// Which.
        path: String,
        /// Where and why.
        error: String,
    },
    /// A key that means nothing.
    #[error("{origin}: there is no setting {key:?}{}; `qres-daemon --help` lists them all", nearest.map(|n| format!(", did you mean {n:?}?")).unwrap_or_default())]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// As it was written.
        key: String,
        /// A known key that looks like it.
        nearest: Option<&'static str>,
    },
    /// A value that cannot be.
    #[error("{key} (from {origin}): {problem}")]
    Value {
        /// The setting.
        key: &'static str,
        /// Where its value came from.
        origin: Origin,
        /// What is wrong, and the remedy.
        problem: String,
    },
}
