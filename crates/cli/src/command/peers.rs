//! The command `qres peers`.

use std::time::Duration;

use clap::Subcommand;
use qres_api::pb;
use serde_json::json;

use super::{Context, needed};
use crate::failure::Failure;
use crate::show::json;
use crate::show::table::Table;
use crate::show::text;
use crate::value::duration;

/// Time between two looks at the peers while too few are connected.
const POLL: Duration = Duration::from_millis(250);

/// Shows and manages peers.
#[derive(Debug, clap::Args)]
pub struct Peers {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List known peers (the same as `qres peers` alone)
    List {
        /// Wait until this many peers are connected; see --timeout
        #[arg(long, value_name = "N", default_value_t = 0)]
        at_least: usize,
    },
    /// Connect to an address: IP, host, host:port or multiaddr
    Dial {
        /// Address of the node to connect to
        address: String,
    },
    /// Disconnect a peer and refuse it for a time
    Ban {
        /// Peer id or node id of the peer
        peer: String,
        /// Reason of the ban, as the peer list shows it
        #[arg(long, default_value = "banned by hand")]
        reason: String,
        /// Length of the ban, e.g. 30m [default: 1h]
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        for_: Option<Duration>,
    },
    /// End the ban of a peer
    Unban {
        /// Peer id or node id of the peer
        peer: String,
    },
}

impl Peers {
    /// Runs the command and prints the peers.
    pub async fn run(self, context: Context) -> Result<(), Failure> {
        match self.command.unwrap_or(Command::List { at_least: 0 }) {
            Command::List { at_least } => list(context, at_least).await,
            Command::Dial { address } => dial(context, address).await,
            Command::Ban { peer, reason, for_ } => {
                let request = pb::BanPeerRequest {
                    peer,
                    reason,
                    duration_ms: for_.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                };
                let answer = context.client.peers().ban_peer(request).await?.into_inner();
                print(&context, &needed(answer.peer, "peer")?);
                Ok(())
            }
            Command::Unban { peer } => {
                let answer = context
                    .client
                    .peers()
                    .unban_peer(pb::UnbanPeerRequest { peer })
                    .await?
                    .into_inner();
                print(&context, &needed(answer.peer, "peer")?);
                Ok(())
            }
        }
    }
}

async fn list(context: Context, at_least: usize) -> Result<(), Failure> {
    let is_connected = |peer: &&pb::Peer| peer.state() == pb::PeerState::Connected;
    let mut peers = context.peers().await?;
    while peers.iter().filter(is_connected).count() < at_least {
        tokio::time::sleep(POLL).await;
        peers = context.peers().await?;
    }
    context.output.print(
        || json!({"peers": json::list(&peers, json::peer)}),
        || table(&peers).text("no peers: name one with `qres peers dial` or `qres-daemon --bootstrap`"),
    );
    Ok(())
}

async fn dial(context: Context, address: String) -> Result<(), Failure> {
    let request = pb::DialPeerRequest {
        address: address.clone(),
    };
    context.client.peers().dial_peer(request).await?;
    context
        .output
        .print(|| json!({}), || format!("connected to the node at {address}"));
    Ok(())
}

fn print(context: &Context, peer: &pb::Peer) {
    context.output.print(
        || json!({"peer": json::peer(peer)}),
        || table(std::slice::from_ref(peer)).text(""),
    );
}

fn table(peers: &[pb::Peer]) -> Table {
    let mut table = Table::new(["PEER", "NODE", "STATE", "RTT", "SCORE", "SOFTWARE", "ADDRESS", "WHY"]);
    for peer in peers {
        table.row([
            peer.peer_id.clone(),
            text::short(&peer.node_id),
            text::peer_state(peer).to_owned(),
            peer.rtt_ms.map_or("-".into(), |ms| format!("{ms:.1} ms")),
            format!("{:.1}", peer.score),
            peer.agent.clone(),
            peer.addresses.first().cloned().unwrap_or_default(),
            why(peer),
        ]);
    }
    table
}

fn why(peer: &pb::Peer) -> String {
    match peer.banned_until.as_ref() {
        Some(until) => format!("{} (until {until})", peer.reason),
        None => peer.reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_peer_shows_why() {
        let peer = pb::Peer {
            peer_id: "12D3".into(),
            node_id: "feedfacecafe".into(),
            state: pb::PeerState::Refused.into(),
            reason: "speaks protocol 11".into(),
            agent: "qres-daemon/9.0.0".into(),
            ..Default::default()
        };
        assert_eq!(
            table(&[peer]).text("").to_string(),
            "PEER  NODE      STATE    RTT  SCORE  SOFTWARE           ADDRESS  WHY\n\
             12D3  feedface  refused  -    0.0    qres-daemon/9.0.0           speaks protocol 11"
        );
    }
}
