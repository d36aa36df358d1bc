//! The noisy updates that this node made in one model: their number, on which the ε of its data depends.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use qres_fed::privacy::Gaussian;

/// The count of noisy updates, and the turn of the job that makes the next one.
#[derive(Debug, Default)]
pub struct Releases {
    made: AtomicU64,
    turn: Mutex<()>,
}

/// The turn in which one noisy update is made: two jobs at once would take the same number.
pub struct Turn<'a> {
    releases: &'a Releases,
    _alone: MutexGuard<'a, ()>,
}

impl Releases {
    /// Creates the count of a model in which this node has made so many.
    pub fn new(made: u64) -> Self {
        Self {
            made: AtomicU64::new(made),
            turn: Mutex::default(),
        }
    }

    /// Returns the number of updates so far.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Waits for the turn; `None` if the model's budget is spent. Blocks while another job has the turn.
    pub fn turn(&self, gaussian: &Gaussian) -> Option<Turn<'_>> {
        let alone = self.turn.lock();
        gaussian.may_release(self.made()).then_some(Turn {
            releases: self,
            _alone: alone,
        })
    }
}

impl Turn<'_> {
    /// Counts the update once `store` has stored its number. Returns the number.
    ///
    /// # Errors
    /// Returns the error of `store`; the update is then not counted, and must not be signed.
    pub fn count<E>(self, store: impl FnOnce(u64) -> Result<(), E>) -> Result<u64, E> {
        let number = self.releases.made() + 1;
        store(number)?;
        self.releases.made.store(number, Ordering::Relaxed);
        Ok(number)
    }
}
