//! The command line of the demo.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Trains a classifier of handwritten digits on a swarm of real nodes on this machine.
///
/// Starts one bootstrap node and one node a trainer, as separate `qres-daemon` processes on loopback. Each trainer has
/// only some of the ten digits and talks to its own node alone. Exit code 1 when the nodes don't end on the same bits.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(name = "qres-demo", version, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// What to show instead of an ordinary federation
    #[command(subcommand)]
    pub scene: Option<Scene>,
    /// Number of rounds to train
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub rounds: u64,
    /// The learner to train
    #[arg(long, value_enum, default_value_t = Kind::Mlp)]
    pub learner: Kind,
    /// Number of nodes, each with one trainer
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=16))]
    pub nodes: u64,
    /// Seed that draws the held-out rows, the digits of each trainer, and the first weights
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// SVG file to write the curves of accuracy to
    #[arg(long, value_name = "FILE", default_value = "target/demo/accuracy.svg")]
    pub out: PathBuf,
}

/// Another thing to show.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Scene {
    Attack(Attacked),
}

/// Shows what liars do to a federation: eight real nodes, up to two of them liars, the digits split by labels. Each attack meets
/// the plain mean and the rules that a new list of eight members gets by default.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Attacked {
    /// Number of rounds to train each model
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub rounds: u64,
    /// Seed that draws the held-out rows, the split and the first weights
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// SVG file to write the chart to
    #[arg(long, value_name = "FILE", default_value = "target/demo/attack.svg")]
    pub out: PathBuf,
}

/// A learner that is built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Softmax regression, 650 parameters
    Softmax,
    /// A perceptron with 32 hidden units, 2,410 parameters
    Mlp,
    /// 64 spiking neurons, 4,810 parameters
    Snn,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_agrees_with_itself() {
        Args::command().debug_assert();
        let args = Args::parse_from(["qres-demo"]);
        assert_eq!((args.rounds, args.nodes, args.learner), (20, 3, Kind::Mlp));
    }

    #[test]
    fn absurd_counts_are_refused() {
        for bad in [["--nodes", "0"], ["--nodes", "17"], ["--rounds", "0"]] {
            assert!(
                Args::try_parse_from(["qres-demo"].into_iter().chain(bad)).is_err(),
                "{bad:?}"
            );
        }
    }
}
