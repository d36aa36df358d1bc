//! Slots for work of which only so much may run at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// The most jobs at a time: rayon is parallel within one, a second keeps the disk busy meanwhile.
const JOBS_MAX: usize = 2;
/// The most uploads at a time: tokio's blocking pool has 512 threads, and commits need some of them.
const UPLOADS_MAX: usize = 128;

/// The slots of a node.
pub struct Slots {
    /// Slots for the uploads under way: each upload holds one thread of the blocking pool.
    pub uploads: Arc<Semaphore>,
    /// A semaphore with one permit, so that the specs of announced models are decoded one at a time.
    pub specs: Semaphore,
    /// Slots for jobs on tensors. rayon is parallel within one job, so two jobs keep every core busy.
    pub jobs: Arc<Semaphore>,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
            specs: Semaphore::new(1),
            jobs: Arc::new(Semaphore::new(JOBS_MAX)),
        }
    }
}
