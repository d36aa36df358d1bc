//! The work to verify checkpoints: blobs that are fetched, and results that are computed.

use crate::round::table::blobs::Blobs;
use crate::round::table::jobs::Jobs;
use crate::round::table::path::Path;
use crate::round::table::pursuits::Pursuits;

/// The work to verify checkpoints, and what is here for it.
#[derive(Debug, Default)]
pub(in crate::round) struct Fetching {
    pub blobs: Blobs,
    pub jobs: Jobs,
    /// The blobs needed to verify checkpoints that would be the head.
    pub pursuits: Pursuits,
    /// The way of the best leaf, kept from one choice of the head to the next.
    pub cached_path: Option<Path>,
}
