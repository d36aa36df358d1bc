//! The command line of `qres`.

use std::time::Duration;

use clap::{Parser, Subcommand};
use qres_api::Address;

use crate::command::{
    backup, completions, create, doctor, drain, fetch, members, membership, network_key, peers, round, state, status,
    submissions, submit, tls, token, watch,
};
use crate::credentials::CredentialArgs;
use crate::value::duration;

/// Address of a node's gRPC by default.
const ADDRESS_DEFAULT: &str = "127.0.0.1:4002";

/// The command line as it was typed.
#[derive(Debug, Parser)]
#[command(
    name = "qres",
    version,
    about = "Look at a node of a QRES swarm and drive it.",
    after_help = "MODEL is a model's name, or name@id. Exit codes: 0, 1 when the command failed, 2 when it was wrong."
)]
pub struct Args {
    /// The node's gRPC address: host:port, https://host:port or unix:/path
    #[arg(long, global = true, env = "QRES_ADDR", default_value = ADDRESS_DEFAULT, value_name = "ADDRESS")]
    pub addr: Address,
    /// Print JSON: one object, or one object a line with commands that follow changes
    #[arg(long, global = true)]
    pub json: bool,
    /// Give up after this long, e.g. 30s or 5m
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Who calls, and the CA by which the node is known
    #[command(flatten)]
    pub credentials: CredentialArgs,
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of the tool.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the node, its models and the members that a round waits for
    Status(status::Status),
    /// Tell what is wrong with the node, and what to do
    Doctor(doctor::Doctor),
    /// Show the node's peers, or connect, ban and unban one
    Peers(peers::Peers),
    /// Create, join, leave, list or show models
    #[command(subcommand)]
    Model(Model),
    /// Hand in trained weights
    Submit(submit::Submit),
    /// Read a model's newest weights, or those of one checkpoint
    Fetch(fetch::Fetch),
    /// Show submissions and their outcomes
    Submissions(submissions::Submissions),
    /// Follow rounds, peers, models or submissions as they change
    Watch(watch::Watch),
    /// Publish and follow states
    #[command(subcommand)]
    State(state::State),
    /// Show, list or seal rounds
    #[command(subcommand)]
    Round(round::Round),
    /// Prepare the node for a shutdown: it takes no new submissions
    Drain(drain::Drain),
    /// Make a CA and certificates for a trial (needs no node)
    #[command(subcommand)]
    Tls(tls::TlsCommand),
    /// Write the data directory of a stopped node to one file
    Backup(backup::Backup),
    /// Make a data directory from the file of a backup
    Restore(backup::Restore),
    /// Print the completions of a shell (needs no node)
    Completions(completions::Completions),
    /// Write the manual pages (needs no node)
    Man(completions::Man),
    /// Make the key that all nodes of a network share (needs no node)
    NetworkKey(network_key::NetworkKey),
    /// Make and revoke callers' tokens (needs no node)
    #[command(subcommand)]
    Token(token::TokenCommand),
}

/// The commands for models.
#[derive(Debug, Subcommand)]
pub enum Model {
    /// Make a model from its first weights, or from a seed
    Create(Box<create::Create>),
    /// Take part in a model that was announced
    Join(membership::Join),
    /// Leave a model on this node; other nodes go on
    Leave(membership::Leave),
    /// Change the members of a model, together with the other members
    #[command(subcommand)]
    Member(members::Member),
    /// List joined and available models
    List(membership::List),
    /// Show one model with all its details
    Show(membership::Show),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_agrees_with_itself() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_reads_as_documented() {
        for line in [
            "status --json",
            "doctor",
            "doctor --json",
            "peers",
            "peers list",
            "peers list --at-least 4 --timeout 1m",
            "peers dial 203.0.113.7",
            "peers ban 12D3KooW --reason loud --for 1h",
            "peers unban 12D3KooW",
            "model create digits-mlp --weights w.safetensors",
            "model create digits-mlp --weights w.safetensors --strategy fedprox/1 --param mu=0.1 --codec int8/1 \
             --min-contributions 2 --target 3 --deadline 30s --deadline-max 5m --max-staleness 2 --member a,b --member c",
            "model create digits-mlp --weights w.safetensors --open --min-contributions 2 --target 3",
            "model create digits-mlp --succeeds ab12",
            "model create digits-mlp --weights w.safetensors --members-connected --yes",
            "model join a/b",
            "model join a/b --yes",
            "model join a/b --creator 12D3KooW",
            "model join a/b@ab12",
            "model leave a/b",
            "model member add a/b 12D3KooW,ab12 --remove cd34",
            "model member remove a/b ab12",
            "model member accept a/b --proposer ab12",
            "model member withdraw a/b",
            "model list",
            "model show a/b",
            "submit a/b w.safetensors --samples 100",
            "submit a/b w.safetensors --samples 100 --base ab12 --trainer t --delta --metric loss=0.5 --metric nan=NaN --key k --wait",
            "submit a/b w.safetensors --samples 100 --base-from start.safetensors --wait=confirmed",
            "fetch a/b --out w.safetensors",
            "fetch a/b --out w.safetensors --after ab12 --wait --confirmed-only --timeout 5m",
            "fetch a/b --out w.safetensors --checkpoint ab12",
            "submissions",
            "submissions a/b",
            "submissions --id ab12 --wait",
            "watch rounds a/b --from 7",
            "watch peers",
            "watch models",
            "watch submissions",
            "watch submissions a/b",
            "state publish a/b camera s.safetensors --codec none/1",
            "state subscribe a/b",
            "state subscribe a/b camera lidar --out states",
            "round show a/b",
            "round show a/b 3",
            "round list a/b --limit 10",
            "round seal a/b",
            "drain",
            "status --addr https://node.example --tls-ca ca.crt --tls-cert a.crt --tls-key a.key --token-file t --tls-name n",
            "status --addr unix:/run/qres.sock",
            "tls init",
            "tls init --out d --host node.example --host 10.0.0.1 --name root",
            "tls client --dir d --name alice --role trainer",
            "token new --name alice --role trainer",
            "token new --name alice --role reader --expires-days 90 --file f",
            "token list --file f",
            "token revoke --name alice",
            "token hash",
            "backup --data-dir d --out b.tar --without-identity",
            "restore --data-dir d --file b.tar",
            "completions bash",
            "completions zsh",
            "completions fish",
            "man --out d",
            "network-key --out k",
        ] {
            let words = std::iter::once("qres").chain(line.split_whitespace());
            if let Err(error) = Args::try_parse_from(words) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for line in [
            "model member add a/b",
            "model create m",
            "model create m --weights w --succeeds ab",
            "model create m --weights w --open --member a",
            "model create m --weights w --members-connected --member a",
            "model create m --weights w --members-connected --open",
            "model create m --weights w --yes",
            "submit m w",
            "submit m w --samples 0",
            "submit m w --samples 1 --base a --base-from b",
            "submit m w --samples 1 --metric loss=low",
            "model create m --weights w --strategy s/1 --param mu=NaN",
            "fetch m",
            "fetch m --out w --after a --checkpoint b",
            "fetch m --out w --checkpoint b --confirmed-only",
            "submissions --wait",
            "peers ban a --for 3",
            "model create m --weights w --deadline forever",
        ] {
            let words = std::iter::once("qres").chain(line.split_whitespace());
            assert!(Args::try_parse_from(words).is_err(), "{line}");
        }
    }
}
