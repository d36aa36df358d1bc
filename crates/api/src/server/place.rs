//! Places: they limit the calls of each kind that run at the same time, on the whole node and on one connection.

use std::sync::Arc;

use qres_node::error::{NodeError, Reason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::Limits;

/// Milliseconds after which a refused caller should try again.
const RETRY_MS: u64 = 500;
/// A connection gets one in this many places of each kind.
const SHARES: usize = 4;

/// A kind of place. [`Limits`] has the number of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Upload,
    Watch,
    Wait,
    Send,
    Call,
    Probe,
    Reserved,
    Request,
}

impl Place {
    const ALL: [Self; 8] = [
        Self::Upload,
        Self::Watch,
        Self::Wait,
        Self::Send,
        Self::Call,
        Self::Probe,
        Self::Reserved,
        Self::Request,
    ];

    /// Returns the name of the kind in messages and metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Upload => "uploads",
            Self::Watch => "watches",
            Self::Wait => "waits",
            Self::Send => "sends",
            Self::Call => "calls",
            Self::Probe => "probes",
            Self::Reserved => "reserved",
            Self::Request => "requests",
        }
    }

    fn of(self, limits: &Limits) -> usize {
        match self {
            Self::Upload => limits.uploads,
            Self::Watch => limits.watches,
            Self::Wait => limits.waits,
            Self::Send => limits.sends,
            Self::Call => limits.calls,
            Self::Probe => limits.probes,
            Self::Reserved => limits.reserved,
            Self::Request => limits.requests,
        }
    }
}

/// The places of the whole node, or the share of one connection.
#[derive(Debug)]
pub(super) struct Places {
    free: [Arc<Semaphore>; Place::ALL.len()],
    max: [usize; Place::ALL.len()],
}

impl Places {
    /// Makes the places of the whole node.
    pub(super) fn of_node(limits: &Limits) -> Self {
        Self::new(Place::ALL.map(|place| place.of(limits)))
    }

    /// Makes the share of one connection: a quarter of the node's places of each kind, rounded up, and at least one.
    pub(super) fn of_connection(limits: &Limits) -> Self {
        Self::new(Place::ALL.map(|place| place.of(limits).div_ceil(SHARES).max(1)))
    }

    fn new(max: [usize; Place::ALL.len()]) -> Self {
        Self {
            free: max.map(|max| Arc::new(Semaphore::new(max))),
            max,
        }
    }

    /// Takes one of the node's places and one of the connection's `share`. Returns an error with [`Reason::ConnectionShare`] or
    /// [`Reason::Busy`] if there is none.
    pub(super) fn try_take_with(&self, share: &Self, place: Place) -> Result<[OwnedSemaphorePermit; 2], NodeError> {
        let (what, max) = (place.name(), self.max[place as usize]);
        let shared = share.try_take(place).ok_or_else(|| {
            let share = share.max[place as usize];
            let message = format!(
                "this connection has {share} {what} at the same time, its share of the node's {max}: end some of them first"
            );
            NodeError::new(Reason::ConnectionShare, message).retry_after(RETRY_MS)
        })?;
        let own = self.try_take(place).ok_or_else(|| {
            let message = format!("this node has {max} {what} at the same time, its limit: try again shortly");
            NodeError::new(Reason::Busy, message).retry_after(RETRY_MS)
        })?;
        Ok([shared, own])
    }

    /// Takes a place, if one is free.
    fn try_take(&self, place: Place) -> Option<OwnedSemaphorePermit> {
        self.free[place as usize].clone().try_acquire_owned().ok()
    }

    /// Waits for a place and takes it. Places are given in the order of the calls to this method.
    pub(super) async fn take(&self, place: Place) -> OwnedSemaphorePermit {
        let free = self.free[place as usize].clone();
        free.acquire_owned().await.expect("the semaphore is never closed")
    }
}
