//! Bootstrap names: host names that may stand for many nodes, as a headless Service of Kubernetes stands for all its pods.
//!
//! libp2p dials the addresses of a name one after another and stays with the first that answers. Nodes that are all given
//! one name could so form groups that never meet. Therefore this node asks the resolver itself, and each address is a place
//! of its own ([`Seed`](super::seed::Seed)). It asks again while peers are missing, because nodes come and go.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::address::{self, Target};
use super::backoff::{Backoff, jitter};
use super::resolver::Answer;

/// Failed questions in a row from which on the log says so. A name may be younger than the node that asks for it.
const FAILURES_QUIET: u32 = 2;

/// A bootstrap name, with the state of the questions about it.
pub struct SeedName {
    /// The name as the operator wrote it, with its port if there was one.
    text: String,
    /// The host name alone.
    host: String,
    /// The addresses to dial, with the host name instead of an IP address.
    addresses: Vec<Multiaddr>,
    /// The wait before the next question; it grows while the answer stays the same.
    backoff: Backoff,
    /// Failed questions in a row.
    failures: u32,
    /// The reason why the last question had no answer; `None` if it had one.
    why: Option<String>,
    /// The addresses of the last answer, in order.
    found: Vec<IpAddr>,
    /// True while a question is under way.
    asking: bool,
}

impl SeedName {
    /// Reads the name out of a target. Returns `None` if the target has an IP address, or a peer id, which is one node's.
    pub fn new(text: &str, target: &Target, now: Instant) -> Option<Self> {
        let host = match target.addresses.first()?.iter().next()? {
            Protocol::Dns(host) | Protocol::Dns4(host) | Protocol::Dns6(host) => host.into_owned(),
            _ => return None,
        };
        target.peer.is_none().then(|| Self {
            text: text.to_owned(),
            host,
            addresses: target.addresses.clone(),
            backoff: Backoff::new(now),
            failures: 0,
            why: None,
            found: Vec::new(),
            asking: false,
        })
    }

    /// Returns the host name if a question is due, and notes that it is under way.
    pub fn ask(&mut self, now: Instant) -> Option<String> {
        if self.asking || !self.backoff.due(now) {
            return None;
        }
        self.asking = true;
        Some(self.host.clone())
    }

    /// Takes the answer to a question. Returns the places that the name stands for now, or `None` if that is not known. The
    /// next question is due after `min`, or later if nothing has changed: the wait doubles up to `max`.
    pub fn answered(
        &mut self,
        answer: Answer,
        min: Duration,
        max: Duration,
        now: Instant,
    ) -> Option<Vec<(IpAddr, Target)>> {
        self.asking = false;
        let places = answer.and_then(|found| {
            let places: Vec<_> = found.iter().filter_map(|ip| Some((*ip, self.place(*ip)?))).collect();
            if places.is_empty() {
                return Err("it has no address that can be dialled".to_owned());
            }
            Ok(places)
        });
        let places = match places {
            Ok(places) => places,
            Err(why) => {
                self.failures = self.failures.saturating_add(1);
                self.why = Some(why.clone());
                let wait = self.backoff.fail(min, max, jitter(), now);
                if self.failures > FAILURES_QUIET && (wait < max || self.failures.is_power_of_two()) {
                    let text = &self.text;
                    tracing::warn!(bootstrap = %text, "bootstrap node {text} cannot be reached ({why}): trying again");
                }
                return None;
            }
        };
        let mut found: Vec<IpAddr> = places.iter().map(|(ip, _)| *ip).collect();
        found.sort_unstable();
        if found != self.found {
            tracing::debug!(bootstrap = %self.text, addresses = ?found, "the name's addresses");
            self.backoff = Backoff::new(now);
            self.found = found;
        }
        self.failures = 0;
        self.why = None;
        self.backoff.fail(min, max, jitter(), now);
        Some(places)
    }

    /// Returns the name as the operator wrote it, and the reason why it has no address at the moment.
    pub fn problem(&self) -> Option<(&str, &str)> {
        Some((&self.text, self.why.as_deref()?))
    }

    /// Returns how the log names the place at this address.
    pub fn text_of(&self, ip: IpAddr) -> String {
        format!("{} ({ip})", self.text)
    }

    fn place(&self, ip: IpAddr) -> Option<Target> {
        let fits = |address: &Multiaddr| match address.iter().next() {
            Some(Protocol::Dns4(_)) => ip.is_ipv4(),
            Some(Protocol::Dns6(_)) => ip.is_ipv6(),
            _ => true,
        };
        let addresses: Vec<Multiaddr> = self
            .addresses
            .iter()
            .filter(|address| fits(address))
            .filter_map(|address| address.replace(0, |_| Some(Protocol::from(ip))))
            .filter(address::is_dialable)
            .collect();
        let peer = None;
        (!addresses.is_empty()).then_some(Target { peer, addresses })
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;

    use super::*;

    const MIN: Duration = Duration::from_secs(1);
    const MAX: Duration = Duration::from_secs(60);

    fn name(text: &str, now: Instant) -> Option<SeedName> {
        SeedName::new(text, &address::parse(text).unwrap(), now)
    }

    fn ips(texts: &[&str]) -> Answer {
        Ok(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn texts(places: Option<Vec<(IpAddr, Target)>>) -> Vec<String> {
        let places = places.unwrap();
        places
            .iter()
            .map(|(_, target)| target.addresses[0].to_string())
            .collect()
    }

    #[test]
    fn a_name_stands_for_all_its_addresses_of_the_family_asked_for() {
        let now = clock::now();
        let mut any = name("pods.example:5000", now).unwrap();
        let answer = ips(&["10.0.0.2", "10.0.0.1", "2001:db8::1", "0.0.0.0"]);
        assert_eq!(
            texts(any.answered(answer.clone(), MIN, MAX, now)),
            [
                "/ip4/10.0.0.2/tcp/5000",
                "/ip4/10.0.0.1/tcp/5000",
                "/ip6/2001:db8::1/tcp/5000"
            ]
        );
        let mut six = name("/dns6/pods.example/tcp/5000", now).unwrap();
        assert_eq!(
            texts(six.answered(answer, MIN, MAX, now)),
            ["/ip6/2001:db8::1/tcp/5000"]
        );
        assert_eq!(six.answered(ips(&["10.0.0.1"]), MIN, MAX, now), None);
    }

    #[test]
    fn an_address_is_no_name_and_a_name_with_a_peer_id_is_one_node() {
        let now = clock::now();
        let peer = libp2p::PeerId::random();
        assert!(name("10.0.0.1", now).is_none());
        assert!(name(&format!("/dns4/boot/tcp/4001/p2p/{peer}"), now).is_none());
    }

    #[test]
    fn questions_become_rarer_while_the_answer_stays_the_same() {
        let now = clock::now();
        let mut pods = name("pods", now).unwrap();
        assert_eq!(pods.ask(now).as_deref(), Some("pods"));
        assert_eq!(pods.ask(now), None, "one question at a time");
        pods.answered(ips(&["10.0.0.1", "10.0.0.2"]), MIN, MAX, now);
        assert_eq!(pods.ask(now), None);
        assert!(pods.ask(now + MIN).is_some(), "the name may be about to grow");
        let mut later = now + MIN;
        for _ in 0..10 {
            pods.answered(ips(&["10.0.0.2", "10.0.0.1"]), MIN, MAX, later);
            later += MAX;
            assert!(pods.ask(later).is_some());
        }
        assert!(pods.backoff.failures() > 6, "the order of the addresses is no news");
        pods.answered(ips(&["10.0.0.1", "10.0.0.3"]), MIN, MAX, later);
        assert!(pods.ask(later + MIN).is_some(), "a change may not be the last one");
    }
}
