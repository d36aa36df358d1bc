//! Loads the configuration: reads the layers and resolves them.

use super::resolve::resolve;
use super::{Config, ConfigErrors, Environment, Layers};
use crate::args::Args;

impl Config {
    /// Reads the layers that `args` and `env` name and resolves them, or returns everything that is wrong with them. Also returns the [`Layers`], which the report needs.
    pub fn load(args: &Args, env: &Environment) -> Result<(Self, Layers), ConfigErrors> {
        let layers = Layers::read(args, env)?;
        let config = resolve(&layers, env)?;
        Ok((config, layers))
    }
}

/// Returns the default configuration with this data directory.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub fn test_config(data_dir: &std::path::Path) -> Config {
    let args = Args {
        settings: crate::config::Settings {
            data_dir: Some(data_dir.display().to_string()),
            ..Default::default()
        },
        ..Args::default()
    };
    Config::load(&args, &Environment::new()).unwrap().0
}
