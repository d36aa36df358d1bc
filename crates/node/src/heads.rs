//! The heads that the heartbeats of this node name.

use std::sync::atomic::{AtomicUsize, Ordering};

use qres_fed::id::SpecId;
use qres_mesh::HeadClaim;
use tokio::sync::watch;

/// The most heads that one heartbeat names.
const HEADS_MAX: usize = 64;

/// The heads that the mesh is told, and the number of times that it was told.
pub struct NamedHeads {
    told: watch::Sender<Vec<HeadClaim>>,
    turn: AtomicUsize,
}

impl NamedHeads {
    /// Creates the heads that go out by `told`.
    pub fn new(told: watch::Sender<Vec<HeadClaim>>) -> Self {
        Self {
            told,
            turn: AtomicUsize::new(0),
        }
    }

    /// Tells the mesh the heads: the head of `first`, then the others in turn if there are more than [`HEADS_MAX`].
    pub fn tell(&self, claims: Vec<HeadClaim>, first: Option<SpecId>) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.told.send_replace(named(claims, first, turn));
    }
}

/// Returns the heads that one heartbeat names: all of them, or [`HEADS_MAX`] of them, beginning where the last heartbeat ended.
fn named(mut claims: Vec<HeadClaim>, first: Option<SpecId>, turn: usize) -> Vec<HeadClaim> {
    if claims.len() > HEADS_MAX {
        // The step is one less than the maximum, as `first` may take one place.
        let from = turn.wrapping_mul(HEADS_MAX - 1) % claims.len();
        claims.rotate_left(from);
        if let Some(at) = claims.iter().position(|claim| Some(claim.spec) == first) {
            claims[..=at].rotate_right(1);
        }
        claims.truncate(HEADS_MAX);
    }
    debug_assert!(claims.len() <= HEADS_MAX);
    claims
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use qres_fed::id::CheckpointId;

    use super::*;

    #[test]
    fn of_more_heads_than_a_heartbeat_names_all_have_their_turn_and_the_changed_one_comes_first() {
        let claim = |n: u8| HeadClaim {
            spec: SpecId([n; 32]),
            checkpoint: CheckpointId([n; 32]),
            round: 1,
        };
        let all: Vec<_> = (0..150).map(claim).collect();
        let mut told = BTreeSet::new();
        for turn in 7..10 {
            let named = named(all.clone(), Some(SpecId([149; 32])), turn);
            assert_eq!((named.len(), named[0]), (HEADS_MAX, claim(149)));
            told.extend(named.iter().map(|claim| claim.spec));
        }
        assert_eq!(told.len(), 150);
        assert_eq!(named(all[..9].to_vec(), None, 5), all[..9]);
    }
}
