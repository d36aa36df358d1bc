//! Dials: their options, and their errors in words.

use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError};
use libp2p::{Multiaddr, PeerId, Swarm};

use super::behaviour::Behaviour;
use super::hello;

/// Returns options that dial a peer by id, from a fresh port. If two nodes dialled each other from their listening ports,
/// they could meet in one TCP connection that both think they opened, and both handshakes would fail.
pub fn known_peer(peer: PeerId, addresses: Vec<Multiaddr>) -> DialOpts {
    DialOpts::peer_id(peer)
        .condition(PeerCondition::DisconnectedAndNotDialing)
        .addresses(addresses)
        .allocate_new_port()
        .build()
}

/// Dials an address without knowing the peer there. Returns the dial's id, and the reason if it could not begin.
pub fn unknown_peer(swarm: &mut Swarm<Behaviour>, address: Multiaddr) -> (ConnectionId, Result<(), String>) {
    let options = DialOpts::unknown_peer_id().address(address).allocate_new_port().build();
    (
        options.connection_id(),
        swarm.dial(options).map_err(|error| words(&error)),
    )
}

/// Returns the error of a dial in words.
pub fn words(error: &DialError) -> String {
    match error {
        DialError::LocalPeerId { .. } => "this node's own identity answers there".to_owned(),
        DialError::NoAddresses => "no address known".to_owned(),
        DialError::WrongPeerId { obtained, .. } => format!("another node answers there: {obtained}"),
        DialError::Transport(errors) => {
            let first = errors.first().map(|(address, error)| {
                let mut cause: &dyn std::error::Error = error;
                while let Some(source) = cause.source() {
                    cause = source;
                }
                format!("{address}: {cause}")
            });
            hello::cut(&first.unwrap_or_else(|| "no answer".to_owned()), 200)
        }
        DialError::Denied { cause } => format!("connection limit or ban: {cause}"),
        DialError::DialPeerConditionFalse(_) | DialError::Aborted => error.to_string(),
    }
}
