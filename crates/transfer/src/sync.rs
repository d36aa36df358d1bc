//! Transfer of records over `/qres/sync/10`: two nodes compare the record ids of a model and fetch what is missing.

mod bucket;
mod client;
mod exchange;
#[doc(hidden)]
pub mod fuzzing;
mod held;
mod key;
mod protocol;
mod server;
#[cfg(test)]
pub(crate) mod tests;

pub use client::SyncClient;
pub use held::Held;
pub use server::serve_sync;
