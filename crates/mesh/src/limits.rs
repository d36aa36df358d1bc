//! Limits that several files of the mesh share.

/// The largest message that may be published, in bytes: gossip carries envelopes, never models.
pub const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// Largest gossipsub frame in bytes. The library measures its whole read buffer against this, up to 8 KiB of the next frame
/// included, and a frame adds some 130 bytes to its payload, so a payload near the limit breaks the link at random (measured:
/// payloads of 62 to 63 KiB under a limit of 64 KiB). With 256 KiB above envelopes of 64 KiB no payload is that near.
pub const GOSSIP_FRAME_BYTES_MAX: usize = 256 * 1024;

/// Events that may wait for the layer above. With gossip of the largest size they take 64 MiB. Gossip that finds the
/// queue full is ignored and counted; connects and disconnects wait in the [`Outbox`](crate::outbox::Outbox).
pub const EVENTS_MAX: usize = 1024;

/// Largest length in bytes of an address in a hello.
pub const TWIN_ADDRESS_BYTES_MAX: usize = 256;

/// Largest number of twins that one hello may name.
pub const TWINS_MAX: usize = 2;

/// A twin counts as gone after it has been silent for this many of this node's heartbeat periods.
pub const TWIN_SILENT_PERIODS: u32 = 3;
