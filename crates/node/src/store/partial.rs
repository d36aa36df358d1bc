//! A blob that arrives in segments.

use super::StoreError;

/// A blob on its way in, segment by segment, in any order. Dropped, it keeps what it has, over restarts, until
/// [`super::Blobs::collect_partials`] removes it.
pub struct Partial {}

#[allow(unused_variables, missing_docs, clippy::unused_self)]
impl Partial {
    /// Segments that are not here, ascending.
    pub fn missing(&self) -> Vec<u64> {
        todo!()
    }
    /// Takes a segment in; `false`, and nothing written, when these are not its bytes.
    pub fn write(&self, index: u64, bytes: &[u8]) -> Result<bool, StoreError> {
        todo!()
    }
    /// Makes a blob of it; every segment must be here. `sync` = fsynced before it returns.
    pub fn finish(self, sync: bool) -> Result<(), StoreError> {
        todo!()
    }
    /// Leaves nothing behind.
    pub fn discard(self) -> Result<(), StoreError> {
        todo!()
    }
}
