//! Streams to holders that rest between two downloads: a stream that has been used has a grown window, and costs no round
//! trip to open.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use qres_fed::id::NodeId;
use qres_wire::clock;

use super::limits::SESSIONS_PER_HOLDER_MAX;
use crate::link::Link;

/// Longest rest of a stream that is used again: the holder closes a resting stream after a minute.
const REST_MAX: Duration = Duration::from_secs(30);

/// A stream, and the time since which it rests.
type Resting<S> = (Link<S>, Instant);

/// Resting streams, for each holder at most [`SESSIONS_PER_HOLDER_MAX`], as many as are used at once.
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
    /// Takes a resting stream to this holder, if there is one.
    pub(crate) fn take(&self, holder: &NodeId) -> Option<Link<S>> {
        let mut resting = self.resting.lock();
        resting.get_mut(holder)?.pop().map(|(link, _)| link)
    }

    /// Puts a stream to rest, or drops it if enough streams to this holder rest.
    pub(crate) fn put(&self, holder: NodeId, link: Link<S>) {
        let mut resting = self.resting.lock();
        let links = resting.entry(holder).or_default();
        if links.len() < SESSIONS_PER_HOLDER_MAX {
            links.push((link, clock::now()));
        }
    }

    /// Drops the streams that have rested for [`REST_MAX`] or longer; returns true if some streams are left.
    pub(crate) fn collect(&self) -> bool {
        let mut resting = self.resting.lock();
        resting.retain(|_, links| {
            links.retain(|(_, since)| clock::now() - *since < REST_MAX);
            !links.is_empty()
        });
        !resting.is_empty()
    }
}
