//! The bootstrap addresses before a start: do their names resolve, and does something answer over TCP?

use std::io;
use std::time::Duration;

use futures::future::join_all;
use qres_node::finding::Finding;
use qres_node::mesh::host_and_port;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

const CHECK: &str = "bootstrap";
/// Most time for a name, and for a connection.
const STEP_MAX: Duration = Duration::from_secs(5);
/// Places of a name that are tried, at the same time.
const PLACES_MAX: usize = 4;

/// Judges the bootstrap addresses. The connection is closed at once: this is no node that could greet.
pub async fn finding(addresses: &[String]) -> Finding {
    if addresses.is_empty() {
        let text = "no bootstrap node is configured: this node waits for others to dial it";
        return Finding::skipped(
            CHECK,
            text,
            "name a node of the swarm with --bootstrap, if this node is not the first",
        );
    }
    let tried = join_all(addresses.iter().map(|address| attempt(address))).await;
    judge(addresses, &tried)
}

/// The result of one address: reached, not tried over TCP, or the reason why not.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tried {
    Answers,
    OnlyQuic,
    Fails(String),
}

fn judge(addresses: &[String], tried: &[Tried]) -> Finding {
    let all = addresses.iter().zip(tried);
    let why = |(address, tried): (&String, &Tried)| match tried {
        Tried::Fails(why) => Some(format!("{address} ({why})")),
        Tried::Answers | Tried::OnlyQuic => None,
    };
    let failed: Vec<_> = all.filter_map(why).collect();
    let answers = tried.iter().filter(|tried| **tried == Tried::Answers).count();
    let quic = tried.iter().filter(|tried| **tried == Tried::OnlyQuic).count();
    let quic = match quic {
        0 => String::new(),
        count => format!("; {count} name QUIC alone, which is not tried here"),
    };
    let text = format!("{answers} of {} bootstrap addresses answer over TCP{quic}", tried.len());
    if failed.is_empty() {
        return Finding::ok(CHECK, text);
    }
    let text = format!("{text}; these do not: {}", failed.join("; "));
    let remedy = "check name and port, that the node there runs, and the firewalls between; nodes that start together find each \
                  other later";
    match failed.len() == tried.len() {
        true => Finding::failed(CHECK, text, remedy),
        false => Finding::warning(CHECK, text, remedy),
    }
}

async fn attempt(address: &str) -> Tried {
    match host_and_port(address) {
        Some((host, port, true)) => connect(&host, port)
            .await
            .map_or_else(Tried::Fails, |()| Tried::Answers),
        Some((_, _, false)) => Tried::OnlyQuic,
        None => Tried::Fails("no address that can be dialled".to_owned()),
    }
}

/// Connects to a host, at the first of its addresses that answers.
pub async fn connect(host: &str, port: u16) -> Result<(), String> {
    let late = |_| format!("no answer within {} s", STEP_MAX.as_secs());
    let found = timeout(STEP_MAX, lookup_host((host, port))).await.map_err(late)?;
    let places: Vec<_> = found.map_err(|error| words(&error))?.take(PLACES_MAX).collect();
    let tries = places
        .into_iter()
        .map(|place| Box::pin(async move { timeout(STEP_MAX, TcpStream::connect(place)).await }));
    let mut last = "the name has no address".to_owned();
    for tried in join_all(tries).await {
        match tried {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => last = words(&error),
            Err(elapsed) => last = late(elapsed),
        }
    }
    Err(last)
}

fn words(error: &io::Error) -> String {
    error.to_string().to_lowercase()
}

#[cfg(test)]
mod tests {
    use qres_node::finding::Verdict;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_address_answers_or_the_reason_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nowhere = format!("/ip4/127.0.0.1/tcp/{}", gone.local_addr().unwrap().port());
        drop(gone);
        let quic = "/ip4/127.0.0.1/udp/1/quic-v1".to_owned();
        assert_eq!(finding(&[there.clone(), quic]).await.verdict, Verdict::Ok);
        assert_eq!(finding(&[there, nowhere.clone()]).await.verdict, Verdict::Warning);
        let failed = finding(&[nowhere]).await;
        assert_eq!(failed.verdict, Verdict::Failed);
        assert!(failed.text.contains("refused"), "{failed:?}");
        assert_eq!(finding(&[]).await.verdict, Verdict::Skipped);
    }
}
