//! Rows: the numbers of one vector in a short run of coordinates.

/// Coordinates in a run: the rows of 20 members (21 KiB in f32) stay in the first-level cache. A multiple of the blocks of
/// every codec.
pub(crate) const RUN: usize = 256;

/// The numbers of a run. They are followed by room that is never read: rows at a distance of a power of two would all lie in
/// the same few lines of the first-level cache, and sorting 20 of them took three times as long.
pub(crate) type Row<E> = [E; RUN + 16];
