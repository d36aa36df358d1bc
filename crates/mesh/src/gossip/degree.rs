//! The number of neighbours that gossip is forwarded to.

/// Number of neighbours in the gossip mesh, to which a node forwards messages.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Degree {
    /// The wanted number of neighbours.
    pub n: usize,
    /// With fewer neighbours than this, gossipsub adds some (graft).
    pub low: usize,
    /// With more neighbours than this, gossipsub removes some (prune).
    pub high: usize,
    /// The least number of neighbours to which this node opened the connection.
    pub outbound_min: usize,
}

/// The default [`Degree`]: as in Lighthouse, with at least three neighbours dialled by this node, so an eclipse attack must win
/// those too.
pub const DEGREE: Degree = Degree {
    n: 8,
    low: 6,
    high: 12,
    outbound_min: 3,
};
