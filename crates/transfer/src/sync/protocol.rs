//! The stream protocol for records, and its limits.

use libp2p::StreamProtocol;

/// The stream protocol for records.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/qres/sync/10");
/// Longest request frame, in bytes.
pub(super) const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Longest item of an answer, in bytes: the largest item holds 4,096 keys with their rounds (164 KiB).
pub(super) const ITEM_BYTES_MAX: usize = 256 * 1024;
/// Buckets whose keys one request may ask for.
pub(super) const BUCKETS_PER_ASK_MAX: usize = 1024;
/// Keys that one request asks for at most (a larger bucket is asked for alone).
pub(super) const KEYS_AT_ONCE: usize = 16_384;
/// Keys in one item of an answer.
pub(super) const KEYS_PER_ITEM_MAX: usize = 4096;
/// Records that one request may ask for, and the largest size of a batch.
pub(super) const RECORDS_PER_ASK_MAX: usize = 256;
/// Models that a peer may offer.
pub(super) const SPECS_MAX: usize = 1024;
/// States of one model that a peer may send.
pub(super) const STATES_MAX: usize = 4096;
/// Longest state envelope, in bytes.
pub(super) const STATE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of all state envelopes of one model together (32 MiB).
pub(super) const STATES_BYTES_MAX: usize = 32 << 20;
