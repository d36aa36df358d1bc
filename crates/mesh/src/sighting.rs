//! The runs of their processes that the connected peers say they are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libp2p::PeerId;
use qres_wire::pb;

use super::limits::{TWIN_SILENT_PERIODS, TWINS_MAX};

/// Runs of one peer that are remembered.
const SIGHTINGS_MAX: usize = 4;

struct Sighting {
    boot: pb::Boot,
    first: Instant,
    last: Instant,
}

/// The runs that each connected peer said it is, one [`Sighting`] each.
#[derive(Default)]
pub struct Sightings {
    runs: BTreeMap<PeerId, Vec<Sighting>>,
    told: BTreeMap<PeerId, Instant>,
}

/// The next step about a peer's runs.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// There is nothing to do.
    Rest,
    /// A second run was seen. Ask both connections which run they are now; after a restart only one of the two runs answers.
    Ask,
    /// Two runs speak in turn: both must be told of each other.
    Tell(Vec<pb::Boot>),
}

impl Sightings {
    /// Notes the run that a connected peer says it is, and returns the [`Next`] step. A run silent for longer than
    /// `recent` is gone.
    pub fn note(&mut self, peer: &PeerId, mut boot: pb::Boot, address: String, recent: Duration, now: Instant) -> Next {
        let runs = self.runs.entry(*peer).or_default();
        runs.retain(|run| now.saturating_duration_since(run.last) <= recent);
        let Some(run) = runs.iter_mut().find(|run| run.boot.nonce == boot.nonce) else {
            if runs.len() >= SIGHTINGS_MAX {
                // A peer that makes numbers up must not cause a question for each.
                return Next::Rest;
            }
            boot.address = address;
            runs.push(Sighting {
                boot,
                first: now,
                last: now,
            });
            return if runs.len() > 1 { Next::Ask } else { Next::Rest };
        };
        if run.boot.signed_unix_ms >= boot.signed_unix_ms {
            return Next::Rest;
        }
        boot.address = if address.is_empty() {
            run.boot.address.clone()
        } else {
            address
        };
        run.boot = boot;
        run.last = now;
        self.tell(peer, recent / TWIN_SILENT_PERIODS, now)
    }

    /// Decides whether two runs are alive at once. A restart shows two runs as well, but there the first is silent once the
    /// second speaks; two that run at once speak in turn.
    fn tell(&mut self, peer: &PeerId, again: Duration, now: Instant) -> Next {
        let Some(runs) = self.runs.get(peer) else {
            return Next::Rest;
        };
        let newest_first = runs.iter().map(|run| run.first).max();
        let mut alive: Vec<&Sighting> = runs
            .iter()
            .filter(|run| newest_first.is_some_and(|at| run.last >= at))
            .collect();
        let told = self.told.get(peer);
        if alive.len() < 2 || told.is_some_and(|at| now.saturating_duration_since(*at) < again) {
            return Next::Rest;
        }
        alive.sort_by_key(|run| std::cmp::Reverse(run.last));
        let twins = alive.iter().take(TWINS_MAX).map(|run| run.boot.clone()).collect();
        self.told.insert(*peer, now);
        Next::Tell(twins)
    }

    /// Forgets a peer whose last connection closed.
    pub fn forget(&mut self, peer: &PeerId) {
        self.runs.remove(peer);
        self.told.remove(peer);
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;
    use qres_wire::identity::Identity;

    use super::super::twin::Boot;
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn two_runs_that_speak_in_turn_are_told_and_a_restart_is_not() {
        let me = Identity::ephemeral();
        let peer = me.keypair().public().to_peer_id();
        let (a, b) = (Boot::new(&me), Boot::new(&me));
        let now = clock::now();
        let mut sightings = Sightings::default();
        let mut note = |boot: &Boot, at: u64| {
            let where_ = format!("at {}", u8::from(std::ptr::eq(boot, &a)));
            sightings.note(&peer, boot.sign(at), where_, seconds(15), now + seconds(at))
        };
        assert_eq!(note(&a, 0), Next::Rest);
        assert_eq!(note(&a, 5), Next::Rest);
        assert_eq!(note(&b, 6), Next::Ask, "it may have been restarted");
        assert_eq!(note(&b, 7), Next::Rest, "then only the new run goes on");
        let Next::Tell(twins) = note(&a, 8) else {
            panic!("both run")
        };
        let addresses: Vec<_> = twins.iter().map(|twin| twin.address.as_str()).collect();
        assert_eq!(addresses, ["at 1", "at 0"]);
        assert_eq!(note(&b, 9), Next::Rest, "not more often than once a period");
        assert!(matches!(note(&b, 14), Next::Tell(_)));
        assert_eq!(note(&a, 2), Next::Rest, "a late copy of an old one");
        assert_eq!(note(&b, 40), Next::Rest, "the other one is long gone");
        let asked = (0..10).filter(|n| note(&Boot::new(&me), 41 + n) == Next::Ask).count();
        assert!(asked < SIGHTINGS_MAX, "a hostile peer with a new number each time");
        assert!(sightings.runs[&peer].len() <= SIGHTINGS_MAX);
        sightings.forget(&peer);
        assert!(sightings.runs.is_empty() && sightings.told.is_empty());
    }
}
