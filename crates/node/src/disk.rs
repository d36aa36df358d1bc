//! The disk of a node: the store, work on it off the async threads, and the lock between writers and the collector.

use std::sync::Arc;

use qres_store::Store;
use tokio::sync::{Notify, OwnedRwLockReadGuard, RwLock};

/// The store and what guards it.
pub struct Disk {
    /// The records and blobs of the node.
    pub store: Store,
    /// A lock that is held for reading from the `finish` of a new blob until something refers to the blob. The collector holds
    /// it for writing, so that it removes no such blob.
    pub in_flight: Arc<RwLock<()>>,
    /// Wakes the collector before its period ends.
    pub garbage: Notify,
}

impl Disk {
    /// Creates the disk of a node that has this store.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            in_flight: Arc::default(),
            garbage: Notify::new(),
        }
    }

    /// Runs work that blocks (disk, hashing, aggregating) off the async threads.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Store) -> T + Send + 'static) -> T {
        let store = self.store.clone();
        let span = tracing::Span::current();
        let work = move || span.in_scope(|| work(&store));
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Keeps the collector away while a new blob has no record that refers to it, until the guard is dropped.
    pub async fn keep_new_blobs(&self) -> OwnedRwLockReadGuard<()> {
        self.in_flight.clone().read_owned().await
    }
}
