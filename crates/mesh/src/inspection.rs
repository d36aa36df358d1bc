//! What the mesh knows about itself and its peers, for a diagnosis.

use qres_fed::id::NodeId;

/// The state of the mesh at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspection {
    /// Addresses that the swarm listens on, without the peer id.
    pub listening: Vec<String>,
    /// Addresses at which others can reach this node, as the operator stated them.
    pub announced: Vec<String>,
    /// The clocks of the admitted peers that have told the time.
    pub clocks: Vec<PeerClock>,
    /// The bootstrap addresses. A name that stands for several nodes has an entry for each of them.
    pub seeds: Vec<SeedView>,
}

/// A peer's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerClock {
    /// The peer.
    pub node: NodeId,
    /// Milliseconds by which the peer's clock is ahead of this node's; negative if it is behind.
    pub ahead_ms: i64,
}

/// A bootstrap address and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedView {
    /// The address as the operator wrote it; of a name, followed by the IP address of one of its places.
    pub text: String,
    /// The state of the [`SeedState`].
    pub state: SeedState,
}

/// What became of a bootstrap address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeedState {
    /// The node there is connected now.
    Connected,
    /// A node answered there earlier, and is not connected now.
    Reached,
    /// The address leads back to this node.
    Own,
    /// It was not tried yet, or not needed, since enough peers are connected.
    Untried,
    /// It could not be reached: the reason of the last failure.
    Failed(String),
}

/// The answer of one peer that was asked to dial this node back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReachReport {
    /// The peer that was asked.
    pub node: NodeId,
    /// Its answer.
    pub answer: ReachAnswer,
}

/// The answer of a peer that was asked to dial this node back. Its texts are the peer's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReachAnswer {
    /// The peer dialled these addresses.
    Dialled(Vec<AddressReach>),
    /// The peer dials no address at the moment: it was asked less than a minute ago, or dials for others.
    Busy,
    /// The peer gave no answer: the reason.
    Failed(String),
}

/// An address of this node, and whether a peer reached it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressReach {
    /// The address, without the peer id.
    pub address: String,
    /// True if this node answered there.
    pub reached: bool,
    /// Why it was not reached.
    pub reason: String,
}
