//! An attempt to reach a place: dials of its addresses, one after another, while the peer there is not known yet.
//!
//! A person writes `host:port`, which stands for a TCP and a QUIC address. A firewall that drops one of the two gives no
//! answer, so waiting for the end of the first dial would cost its whole deadline. The second dial therefore begins
//! [`NEXT_AFTER`] after the first one, or as soon as the first one has failed (RFC 8305, "Happy Eyeballs", does the same
//! between IPv6 and IPv4).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use libp2p::swarm::ConnectionId;

/// Time from the begin of one dial to the begin of the next. RFC 8305 names 250 ms ("Connection Attempt Delay").
pub const NEXT_AFTER: Duration = Duration::from_millis(250);

/// The dials of one place.
#[derive(Debug)]
pub struct Attempt {
    /// Addresses that are not dialled yet.
    rest: VecDeque<Multiaddr>,
    /// Dials that are under way.
    dialing: Vec<ConnectionId>,
    /// The time at which the next address is dialled.
    next: Instant,
    /// The error of the first dial that failed.
    why: Option<String>,
}

impl Attempt {
    /// Makes an attempt whose dials begin with the next [`pursue`](Self::pursue).
    pub fn new(addresses: impl IntoIterator<Item = Multiaddr>, now: Instant) -> Self {
        Self {
            rest: addresses.into_iter().collect(),
            dialing: Vec::new(),
            next: now,
            why: None,
        }
    }

    /// Makes an attempt of one dial, which is under way already.
    pub fn under_way(id: ConnectionId, now: Instant) -> Self {
        Self {
            dialing: vec![id],
            ..Self::new([], now)
        }
    }

    /// Begins the dials that are due. `dial` returns the id of a dial, or the reason why it could not begin.
    pub fn pursue(&mut self, now: Instant, mut dial: impl FnMut(Multiaddr) -> (ConnectionId, Result<(), String>)) {
        while (now >= self.next || self.dialing.is_empty())
            && let Some(address) = self.rest.pop_front()
        {
            let (id, begun) = dial(address);
            match begun {
                Ok(()) => {
                    self.dialing.push(id);
                    self.next = now + NEXT_AFTER;
                }
                Err(why) => self.note(why),
            }
        }
    }

    /// Returns true if the dial `id` is one of the attempt's.
    pub fn owns(&self, id: ConnectionId) -> bool {
        self.dialing.contains(&id)
    }

    /// Notes that the dial `id` failed.
    pub fn failed(&mut self, id: ConnectionId, why: String) {
        self.dialing.retain(|dial| *dial != id);
        self.note(why);
    }

    fn note(&mut self, why: String) {
        self.why.get_or_insert(why);
    }

    /// Returns the reason of the failure once every address has been dialled in vain.
    pub fn lost(&self) -> Option<&str> {
        let over = self.rest.is_empty() && self.dialing.is_empty();
        over.then(|| self.why.as_deref().unwrap_or("no address"))
    }

    /// Ends the attempt, since the dial `id` reached a peer. Returns the other dials, whose connections are not needed.
    pub fn won(self, id: ConnectionId) -> Vec<ConnectionId> {
        self.dialing.into_iter().filter(|dial| *dial != id).collect()
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;

    use super::*;

    fn addresses() -> Vec<Multiaddr> {
        ["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.1/udp/1/quic-v1"]
            .iter()
            .map(|a| a.parse().unwrap())
            .collect()
    }

    /// Pursues the attempt with dials that all begin, and returns them.
    fn pursue(attempt: &mut Attempt, now: Instant) -> Vec<(ConnectionId, String)> {
        let mut begun = Vec::new();
        attempt.pursue(now, |address| {
            let id = ConnectionId::new_unchecked(begun.len() + 10 * address.to_string().contains("udp") as usize);
            begun.push((id, address.to_string()));
            (id, Ok(()))
        });
        begun
    }

    #[test]
    fn the_second_address_is_dialled_while_the_first_says_nothing() {
        let now = clock::now();
        let mut attempt = Attempt::new(addresses(), now);
        let tcp = pursue(&mut attempt, now);
        assert_eq!(tcp.len(), 1);
        assert!(tcp[0].1.contains("tcp"));
        assert_eq!(pursue(&mut attempt, now + NEXT_AFTER / 2), [], "not yet");
        let quic = pursue(&mut attempt, now + NEXT_AFTER);
        assert_eq!(quic.len(), 1);
        assert!(attempt.owns(tcp[0].0) && attempt.owns(quic[0].0) && attempt.lost().is_none());
        assert_eq!(
            attempt.won(quic[0].0),
            [tcp[0].0],
            "the dial over TCP is not needed any more"
        );
    }

    #[test]
    fn a_dial_that_fails_makes_room_for_the_next_at_once_and_the_first_reason_is_told() {
        let now = clock::now();
        let mut attempt = Attempt::new(addresses(), now);
        let tcp = pursue(&mut attempt, now)[0].0;
        attempt.failed(tcp, "refused".into());
        assert_eq!(attempt.lost(), None);
        let quic = pursue(&mut attempt, now)[0].0;
        attempt.failed(quic, "no answer".into());
        assert_eq!(attempt.lost(), Some("refused"));
    }

    #[test]
    fn dials_that_cannot_begin_end_the_attempt() {
        let now = clock::now();
        let mut attempt = Attempt::new(addresses(), now);
        let id = ConnectionId::new_unchecked(1);
        attempt.pursue(now, |_| (id, Err("too many dials".into())));
        assert_eq!(attempt.lost(), Some("too many dials"));
        assert_eq!(Attempt::new([], now).lost(), Some("no address"));
    }
}
