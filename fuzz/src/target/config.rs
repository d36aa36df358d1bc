//! The daemon's configuration file: reading it gives a value or an error with a text, and never panics.

use qres_daemon::args::Args;
use qres_daemon::config::{Config, Environment, report};

use crate::{Fixture, Target};

/// Reads a TOML file of settings.
pub const CONFIG: Target = Target {
    name: "config",
    run,
    seeds: |_| {
        [
            "mode = \"node\"\nport = 4001\nlisten = [\"0.0.0.0\", \"::\"]\nbootstrap = [\"203.0.113.7\", \"a.example:4001\"]\nnetwork = \"qres\"\n\
             grpc_addr = \"127.0.0.1:4002\"\ndata_dir = \"/var/lib/qres\"\ntrainers = 2\njoin = [\"digits-mlp\"]\nretention = \"8\"\n\
             log = \"info\"\nlog_format = \"json\"\nadmin_addr = \"127.0.0.1:9\"\nconnections_max = 9\n",
            "mode = \"bootstrap\"\nannounce = [\"/ip4/203.0.113.7/tcp/4001\"]\nretention = \"all\"\n",
            "",
        ]
        .map(|text| text.as_bytes().to_vec())
        .into()
    },
};

fn run(fixture: &Fixture, data: &[u8]) -> bool {
    let path = fixture.dir().join("qres.toml");
    std::fs::write(&path, data).expect("a file");
    let args = Args {
        config: Some(path),
        ..Args::default()
    };
    let env = Environment::from([("HOME".into(), "/nonexistent".into())]);
    match Config::load(&args, &env) {
        Ok((config, layers)) => {
            assert!(!report(&config, &layers).is_empty());
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}
