//! Moves bytes between two nodes: blobs (`/qres/blob/10`) and records (`/qres/sync/10`), each on its own stream protocol.
//!
//! ```text
//!  asking node                                                                  answering node
//!  engine ── want, cancel, nudge ──► Downloads                                  BlobServer ◄── may_read ── ContentProvider
//!     ▲                                │ schedule: which peer, which blob          │ upload places
//!     └── DownloadEvent::Here ──────── │ sessions ═══════ /qres/blob/10 ═════════► │
//!                                      ▼                                           ▼
//!                                   BlobStore, segment by segment               BlobStore
//!  engine ── specs, missing, states ──► SyncClient ════ /qres/sync/10 ════════► serve_sync ◄── records ── ContentProvider
//!     ◄── batches of records ──────────┘
//! ```
//!
//! The engine implements [`ContentProvider`], so it decides what a peer may read. The messages, in `proto/qres/mesh/v1`:
//!
//! | request | answer |
//! | --- | --- |
//! | `BlobGet` | `BlobAnswer`: the whole blob if it has one segment, else the chaining values of its segments |
//! | `BlobSegments` | the bytes of these segments, in the order asked |
//! | `BlobDone` | none; the upload place is free again |
//! | `SyncSpecs` | the models that the peer knows |
//! | `SyncDigest`, `SyncKeys`, `SyncRecords` | a digest for each 64 rounds; the keys in some of them; the records of some keys |
//! | `SyncStates` | the signed state envelopes of a model |
//!
//! A node fetches one blob, then all records that a peer has and this node lacks:
//!
//! ```text
//! let (downloads, mut arrivals) = Downloads::start(mesh.clone(), store.blobs().clone());
//! downloads.want(DownloadRequest { spec, blob, bytes: Some(length), bytes_max: length, holders: vec![author], .. });
//! let Some(DownloadEvent::Here { blob, from, .. }) = arrivals.recv().await else { return };
//! let count = SyncClient::new(mesh, counters).missing(peer, spec, Held::from(records), batches).await?;
//! ```
//!
//! Invariants:
//!
//! - The server sends no byte of a blob before [`ContentProvider::may_read`] has returned true. It looks only among the blobs
//!   that its store keeps for the named model.
//! - Every received segment is compared with its chaining value before it is written, and the values with the blob's id. So a
//!   wrong byte is noticed within one segment, and the peer that sent it is at fault ([`qres_mesh::Fault::Forged`]).
//! - A [`DownloadRequest`] stays until the blob is here or [`Downloads::cancel`] is called. A broken download goes on where it
//!   stopped, from any holder.
//! - A received [`Record`] is decoded and no more: the engine verifies its signatures. The engine also checks the tensors of a
//!   received blob, of which this crate knows only the digest.
//! - Every frame has a largest length, every read and write a deadline, and every peer a share of the places.

#[doc(hidden)]
pub mod blob;
mod counters;
mod digest;
mod fault;
mod link;
#[cfg(test)]
mod memory_network;
mod provider;
mod quota;
mod record;
mod spec_offer;
#[doc(hidden)]
pub mod sync;
#[cfg(test)]
mod tests;

pub use blob::{BlobServer, DownloadEvent, DownloadRequest, Downloads, serve_blobs};
pub use counters::{FetchResult, StreamKind, TransferCounters};
pub use provider::ContentProvider;
pub use record::Record;
pub use spec_offer::SpecOffer;
pub use sync::{Held, SyncClient, serve_sync};
