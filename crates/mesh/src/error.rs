//! Reasons why a call to the mesh fails.

use qres_fed::id::NodeId;

/// Reasons why a call to the mesh failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum MeshError {
    #[error("{0} is not connected")]
    NotConnected(NodeId),
    #[error("{0:?} is no peer id, host, IP address or multiaddr")]
    Address(String),
    #[error("{0}:{1} is an IPv6 address, with or without a port: write [{0}]:{1} or [{0}:{1}]")]
    AddressOrPort(std::net::Ipv6Addr, u16),
    #[error("port {port} is in use ({error}): give this node another with --port")]
    PortInUse { port: u16, error: String },
    #[error("a message of {bytes} bytes is above the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("the peer does not answer: {0}")]
    Stream(String),
    #[error("dial failed: {0}")]
    Dial(String),
    #[error("the mesh has stopped")]
    Stopped,
    #[error("the mesh cannot start: {0}")]
    Setup(String),
}
