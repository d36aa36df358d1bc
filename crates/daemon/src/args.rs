//! The command line of the daemon.

use std::path::PathBuf;

use clap::{CommandFactory, Parser};

use crate::settings::Settings;

const AFTER_HELP: &str = "\
Every setting may also stand in the file (--config), as `grpc_addr = \"127.0.0.1:4002\"`, or in the environment, as
QRES_GRPC_ADDR; lists are comma separated there. The command line wins over the environment, the environment over the
file, the file over the defaults. `--check-config` prints what came of it and from where.

Traces go to an OpenTelemetry collector when OTEL_EXPORTER_OTLP_ENDPOINT is set; the other OTEL_* variables hold too.

Exit codes: 0 after a shutdown by SIGTERM or SIGINT, 1 when running (or a check of --doctor) failed, 2 when the configuration is wrong.";

/// The command line as it was typed.
#[derive(Debug, Clone, Default, Parser)]
#[command(
    name = "qres-daemon",
    version,
    about = "A node of a QRES swarm: learns models together with other nodes, without a central server.",
    after_help = AFTER_HELP
)]
pub struct Args {
    /// The settings that have flags of their own
    #[command(flatten)]
    pub settings: Settings,
    /// A TOML file with settings
    #[arg(long, value_name = "FILE", env = "QRES_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print the resolved configuration and where each value came from, and exit: 0, or 2 when it is wrong
    #[arg(long)]
    pub check_config: bool,
    /// Check ports, files, disk, certificates, collector and bootstrap nodes without starting a node, print what is wrong and what to
    /// do, and exit: 0, or 1 when a check failed, or 2 when the configuration is wrong
    #[arg(long, conflicts_with = "check_config")]
    pub doctor: bool,
    /// Print the manual page for `man`, and exit
    #[arg(long)]
    pub man: bool,
}

/// Returns the manual page, in the language of `man`.
pub fn manual() -> std::io::Result<Vec<u8>> {
    let mut page = vec![];
    clap_mangen::Man::new(Args::command()).render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_agrees_with_itself() {
        Args::command().debug_assert();
    }

    #[test]
    fn lists_repeat_or_take_commas() {
        let args = Args::parse_from([
            "qres-daemon",
            "--bootstrap",
            "203.0.113.7",
            "--bootstrap",
            "a.example:4001,/ip4/203.0.113.8/tcp/4001",
        ]);
        assert_eq!(
            args.settings.bootstrap.unwrap(),
            ["203.0.113.7", "a.example:4001", "/ip4/203.0.113.8/tcp/4001"]
        );
    }

    #[test]
    fn a_switch_can_be_turned_off_again() {
        let insecure = |flags: &[&str]| {
            let args = std::iter::once("qres-daemon").chain(flags.iter().copied());
            Args::parse_from(args).settings.grpc_insecure
        };
        assert_eq!(insecure(&[]), None);
        assert_eq!(insecure(&["--grpc-insecure"]), Some(true));
        assert_eq!(insecure(&["--grpc-insecure=false"]), Some(false));
    }
}
