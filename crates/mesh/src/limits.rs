//! Limits that several files of the mesh share.

/// The largest message that may be published, in bytes: gossip carries envelopes, never models.
pub const ENVELOPE_BYTES_MAX: usize = 64 * 1024;
