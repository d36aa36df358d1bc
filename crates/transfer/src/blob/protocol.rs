//! The stream protocol for blobs, and its limits.

use libp2p::StreamProtocol;

/// The stream protocol for blobs.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/qres/blob/10");
/// Longest request frame, in bytes.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Longest answer frame in bytes, without the raw bytes that follow it.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Segments that one request may ask for.
pub(super) const SEGMENTS_PER_ASK_MAX: usize = 64;
