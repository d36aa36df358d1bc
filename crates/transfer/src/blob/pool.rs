//! Streams to holders that rest between two downloads: a stream that has been used has a grown window, and costs no round
//! trip to open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use qres_fed::id::NodeId;

use super::board::SESSIONS_PER_HOLDER_MAX;
use crate::link::Link;

/// Streams that rest longer are not used again: the holder closes them after a minute.
const REST_MAX: Duration = Duration::from_secs(30);

/// A stream, since when it rests.
type Resting<S> = (Link<S>, Instant);

/// Resting streams, at most as many a holder as may be used at once.
pub(crate) struct Pool<S> {
    resting: Arc<Mutex<BTreeMap<NodeId, Vec<Resting<S>>>>>,
}

impl<S> Clone for Pool<S> {
    fn clone(&self) -> Self {
        Self {
            resting: self.resting.clone(),
        }
    }
}

impl<S> Default for Pool<S> {
    fn default() -> Self {
        Self {
            resting: Arc::default(),
        }
    }
}

impl<S> Pool<S> {
    /// A stream to this holder that rests, if there is one.
    pub(crate) fn take(&self, holder: &NodeId) -> Option<Link<S>> {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.get_mut(holder)?.pop().map(|(link, _)| link)
    }

    /// Puts a stream to rest.
    pub(crate) fn put(&self, holder: NodeId, link: Link<S>) {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        let links = resting.entry(holder).or_default();
        if links.len() < SESSIONS_PER_HOLDER_MAX {
            links.push((link, Instant::now()));
        }
    }

    /// Drops streams that have rested too long; answers whether some are left.
    pub(crate) fn collect(&self) -> bool {
        let mut resting = self.resting.lock().unwrap_or_else(PoisonError::into_inner);
        resting.retain(|_, links| {
            links.retain(|(_, since)| since.elapsed() < REST_MAX);
            !links.is_empty()
        });
        !resting.is_empty()
    }
}
