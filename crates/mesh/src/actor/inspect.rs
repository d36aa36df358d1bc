//! The mesh's own state, for a diagnosis.

use std::time::Instant;

use super::Actor;
use crate::inspection::{Inspection, PeerClock, SeedState, SeedView};
use crate::seed::Seed;

impl Actor {
    /// Returns the [`Inspection`] of this moment.
    pub(super) fn inspect(&self, now: Instant) -> Inspection {
        let clock = |peer: &crate::peer_table::Peer| {
            Some(PeerClock {
                node: peer.node,
                ahead_ms: peer.clock.ahead_ms(now)?,
            })
        };
        let unknown = |(text, why): (&str, &str)| SeedView {
            text: text.to_owned(),
            state: SeedState::Failed(why.to_owned()),
        };
        let names = self.discovery.names.iter().filter_map(|name| name.problem());
        let seeds = self.discovery.seeds.iter().map(|seed| SeedView {
            text: seed.text.clone(),
            state: self.seed_state(seed),
        });
        Inspection {
            listening: self.listening.iter().map(ToString::to_string).collect(),
            announced: self.announced.iter().map(ToString::to_string).collect(),
            clocks: self.peers.admitted().filter_map(clock).collect(),
            seeds: seeds.chain(names.map(unknown)).collect(),
        }
    }

    fn seed_state(&self, seed: &Seed) -> SeedState {
        if seed.own {
            return SeedState::Own;
        }
        let connected = seed.learnt.is_some_and(|peer| self.peers.is_admitted(&peer));
        let refused = seed.learnt.and_then(|peer| self.peers.get(&peer)?.refused.clone());
        match (connected, refused, &seed.why) {
            (true, ..) => SeedState::Connected,
            (false, Some(why), _) => SeedState::Failed(why),
            (false, None, Some(why)) => SeedState::Failed(why.clone()),
            // A peer id in the address is known without a connection.
            (false, None, None) if seed.learnt.is_some() && seed.target.peer.is_none() => SeedState::Reached,
            (false, None, None) => SeedState::Untried,
        }
    }
}
