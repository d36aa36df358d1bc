//! Groups of coordinates that are worked on at once.

/// Coordinates in a group: two or more registers of every machine.
pub(super) const LANES: usize = 16;

/// One number of each coordinate of a group.
pub(super) type Lanes<E> = [E; LANES];
