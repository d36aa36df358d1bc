//! Transfer of blobs over `/qres/blob/10`.

mod assembly;
mod crowd;
mod downloads;
mod event;
#[doc(hidden)]
pub mod fuzzing;
mod key;
mod limits;
pub(super) mod manager;
pub(crate) mod places;
mod pool;
pub(crate) mod protocol;
mod request;
mod scheduler;
mod server;
mod session;
#[cfg(test)]
mod tests;

pub use downloads::Downloads;
pub use event::DownloadEvent;
pub use request::DownloadRequest;
pub use server::{BlobServer, serve_blobs};
