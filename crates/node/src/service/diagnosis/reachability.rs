//! Whether peers that dial this node back reach it, and at which of its addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use qres_mesh::{Inspection, ReachAnswer, ReachReport};

use super::words::{connected, first, peer};
use crate::finding::Finding;

const CHECK: &str = "reachability";
const OPEN: &str = "open the mesh's port, TCP and UDP, in the firewalls between; behind a NAT forward it to this machine, and name \
                    the address outside with --announce";

/// The results of the dials to one address.
#[derive(Default)]
struct Dials {
    /// The peers that reached this node there.
    reached: Vec<String>,
    /// The peers that did not, each with the reason.
    missed: Vec<String>,
}

/// Judges the peers' answers. `serves` is true for a bootstrap node, which is of no use to others if they cannot reach it.
pub fn findings(reports: &[ReachReport], inspection: &Inspection, serves: bool) -> Vec<Finding> {
    if reports.is_empty() {
        let text = "no peer is connected, so nobody can dial this node back";
        let remedy = "connect to a node first: --bootstrap, or `qres peers dial ADDRESS`";
        return vec![Finding::skipped(CHECK, text, remedy)];
    }
    let dialled = reports
        .iter()
        .filter(|report| matches!(report.answer, ReachAnswer::Dialled(_)));
    let count = dialled.count();
    if count == 0 {
        return vec![unanswered(reports)];
    }
    let dials = dials(reports);
    let (reached, missed): (BTreeMap<_, _>, BTreeMap<_, _>) =
        dials.into_iter().partition(|(_, dials)| !dials.reached.is_empty());
    // An address that this node does not know may be an old one, or a peer's invention.
    let is_announced = |address: &String| inspection.announced.contains(address);
    let is_own = |address: &String| is_announced(address) || inspection.listening.contains(address);
    let mut all = vec![];
    if reached.is_empty() {
        all.push(nowhere(&missed, count, serves));
    } else {
        all.push(somewhere(&reached));
    }
    for (address, dials) in &reached {
        if !dials.missed.is_empty() {
            let text = format!("some peers do not reach {address}: {}", first(&dials.missed));
            all.push(Finding::warning(
                CHECK,
                text,
                "check the networks between this node and these peers",
            ));
        }
    }
    for (address, dials) in missed.iter().filter(|(address, _)| is_own(address)) {
        let why = first(&dials.missed);
        if is_announced(address) {
            let text = format!("no peer reaches the announced address {address}: {why}");
            let remedy = format!("correct or remove this --announce, or make it lead to this node: {OPEN}");
            all.push(Finding::failed(CHECK, text, remedy));
        } else if !reached.is_empty() {
            let text = format!("no peer reaches {address}: {why}");
            let remedy =
                "the other address is enough; open this one too (TCP and UDP, IPv4 and IPv6) if it should work";
            all.push(Finding::warning(CHECK, text, remedy));
        }
    }
    let tried = |address: &&String| reached.contains_key(*address) || missed.contains_key(*address);
    for address in inspection.announced.iter().filter(|address| !tried(address)) {
        let text = format!(
            "the announced address {address} was not tried: the peers that were asked see this node over a wider network, or \
             know 8 better addresses"
        );
        all.push(Finding::warning(
            CHECK,
            text,
            "announce an address that those peers can reach",
        ));
    }
    all
}

fn dials(reports: &[ReachReport]) -> BTreeMap<String, Dials> {
    let mut dials: BTreeMap<String, Dials> = BTreeMap::new();
    for report in reports {
        let ReachAnswer::Dialled(addresses) = &report.answer else {
            continue;
        };
        for address in addresses {
            let entry = dials.entry(address.address.clone()).or_default();
            match address.reached {
                true => entry.reached.push(peer(&report.node)),
                false => entry.missed.push(format!("{}: {}", peer(&report.node), address.reason)),
            }
        }
    }
    dials
}

/// Makes the finding that no peer dialled.
fn unanswered(reports: &[ReachReport]) -> Finding {
    let why = |report: &ReachReport| match &report.answer {
        ReachAnswer::Failed(why) => format!("{}: {why}", peer(&report.node)),
        _ => format!("{}: busy", peer(&report.node)),
    };
    let whys: Vec<_> = reports.iter().map(why).collect();
    let busy = reports.iter().any(|report| report.answer == ReachAnswer::Busy);
    let remedy = match busy {
        true => "ask again in a minute: a peer dials a node back at most once a minute",
        false => "the peers may be of an older version, which does not dial back, or their connections break",
    };
    Finding::skipped(
        CHECK,
        format!("no peer dialled this node back: {}", first(&whys)),
        remedy,
    )
}

/// Makes the finding that this node was reached.
fn somewhere(reached: &BTreeMap<String, Dials>) -> Finding {
    let addresses: Vec<_> = reached.keys().cloned().collect();
    let mut peers: Vec<_> = reached.values().flat_map(|dials| dials.reached.clone()).collect();
    peers.sort();
    peers.dedup();
    let limit = match reached.keys().map(|address| distance(address)).max() {
        Some(Distance::Machine) => {
            " over loopback: this peer runs on this machine, so other machines may still not reach this node"
        }
        Some(Distance::Network) => " within a private network: nodes outside of it may still not reach this node",
        _ => "",
    };
    Finding::ok(
        CHECK,
        format!("{} reached this node at {}{limit}", first(&peers), first(&addresses)),
    )
}

/// Makes the finding that no peer reached this node at any address.
fn nowhere(missed: &BTreeMap<String, Dials>, peers: usize, serves: bool) -> Finding {
    let each = |(address, dials): (&String, &Dials)| format!("{address}: {}", dials.missed.join(", "));
    let missed: Vec<_> = missed.iter().map(each).collect();
    let tried = match missed.is_empty() {
        true => "they know no address of it that they could dial".to_owned(),
        false => first(&missed),
    };
    let text = format!(
        "{} dialled this node back, without reaching it: {tried}",
        connected(peers)
    );
    if serves {
        return Finding::failed(
            CHECK,
            format!("{text}. New nodes cannot join through this bootstrap node"),
            OPEN,
        );
    }
    Finding::warning(
        CHECK,
        format!("{text}. This node works as long as it reaches others itself"),
        OPEN,
    )
}

/// From how far away a reached address can be reached.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Distance {
    Machine,
    Network,
    Everywhere,
}

fn distance(address: &str) -> Distance {
    match address.split('/').nth(2).map(str::parse::<IpAddr>) {
        Some(Ok(ip)) if ip.to_canonical().is_loopback() => Distance::Machine,
        Some(Ok(IpAddr::V4(ip))) => {
            let [a, b, ..] = ip.octets();
            // RFC 6598: behind a carrier's NAT.
            let shared = a == 100 && b & 0xc0 == 64;
            match ip.is_private() || ip.is_link_local() || shared {
                true => Distance::Network,
                false => Distance::Everywhere,
            }
        }
        Some(Ok(IpAddr::V6(ip))) if ip.is_unique_local() || ip.is_unicast_link_local() => Distance::Network,
        _ => Distance::Everywhere,
    }
}

#[cfg(test)]
mod tests;
