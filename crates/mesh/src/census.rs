//! The number of known peers by state and transport, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use libp2p::multiaddr::Protocol;

use super::peer_table::{Link, Peer, PeerTable};

/// The states of a peer, as a peer list names them.
const STATES: [&str; 5] = ["connecting", "connected", "disconnected", "refused", "banned"];
/// The transports of a peer's connections; `none` is for a peer without a connection.
const TRANSPORTS: [&str; 3] = ["tcp", "quic", "none"];

/// The number of known peers by state and transport, as the actor counted them last.
#[derive(Debug, Default)]
pub struct Census {
    cells: [[AtomicU64; TRANSPORTS.len()]; STATES.len()],
}

impl Census {
    /// Returns the number of peers of each state and transport: state, transport, peers.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let of_state = |(state, cells): (&'static str, &[AtomicU64; TRANSPORTS.len()])| {
            let counts = cells.each_ref().map(|cell| cell.load(Ordering::Relaxed));
            let named = TRANSPORTS.into_iter().zip(counts);
            named.map(move |(transport, count)| (state, transport, count))
        };
        STATES.into_iter().zip(&self.cells).flat_map(of_state)
    }

    /// Counts the peers of a table.
    pub(crate) fn take(&self, peers: &PeerTable) {
        let mut counts = [[0; TRANSPORTS.len()]; STATES.len()];
        for peer in peers.iter() {
            let of_state = counts.get_mut(state(peers, peer));
            if let Some(cell) = of_state.and_then(|cells| cells.get_mut(transport(peer))) {
                *cell += 1;
            }
        }
        for (cells, counts) in self.cells.iter().zip(counts) {
            for (cell, count) in cells.iter().zip(counts) {
                cell.store(count, Ordering::Relaxed);
            }
        }
    }
}

/// Returns the place of a peer's state in [`STATES`], by the same rule as [`PeerTable::view`].
fn state(peers: &PeerTable, peer: &Peer) -> usize {
    match (peers.ban_of(&peer.id), peer.link, &peer.refused) {
        (Some(_), ..) => 4,
        (None, Link::Admitted { .. }, _) => 1,
        (None, _, Some(_)) => 3,
        (None, Link::Dialing | Link::Greeting { .. }, None) => 0,
        (None, Link::Idle | Link::Parting { .. }, None) => 2,
    }
}

/// Returns the place of a peer's transport in [`TRANSPORTS`]: of two connections the newer one counts.
fn transport(peer: &Peer) -> usize {
    match peer.connections.last() {
        Some(connection) => usize::from(connection.address.iter().any(|part| part == Protocol::QuicV1)),
        None => 2,
    }
}

#[cfg(test)]
mod tests {
    use qres_wire::clock;
    use qres_wire::identity::Identity;

    use super::*;

    #[test]
    fn every_peer_is_counted_in_one_cell() {
        let now = clock::now();
        let census = Census::default();
        let mut peers = PeerTable::default();
        let new = || Identity::ephemeral().keypair().public().to_peer_id();
        let known = new();
        peers.entry(known, now).unwrap();
        peers.entry(new(), now).unwrap().link = Link::Admitted { since: now };
        census.take(&peers);
        let count = |state, transport| {
            census
                .rows()
                .find(|row| (row.0, row.1) == (state, transport))
                .unwrap()
                .2
        };
        assert_eq!(count("disconnected", "none"), 1);
        assert_eq!(census.rows().map(|row| row.2).sum::<u64>(), 2);
        assert_eq!(census.rows().count(), STATES.len() * TRANSPORTS.len());
        peers.get_mut(&known).unwrap().refused = Some("version".into());
        census.take(&peers);
        assert_eq!((count("disconnected", "none"), count("refused", "none")), (0, 1));
    }
}
