//! Places: how many calls of a kind may be under way, on the whole node and on one connection.

use std::sync::Arc;

use qres_node::error::{NodeError, Reason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits::Limits;

/// When a refused caller should try again.
const RETRY_MS: u64 = 500;
/// One connection gets one in so many places of each kind.
const SHARES: usize = 4;

/// A kind of place; see [`Limits`].
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

    /// As messages and metrics say it.
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

/// The places of a node, or of one connection.
#[derive(Debug)]
pub(super) struct Places {
    free: [Arc<Semaphore>; Place::ALL.len()],
    max: [usize; Place::ALL.len()],
}

impl Places {
    /// Those of the whole node.
    pub(super) fn of_node(limits: &Limits) -> Self {
        Self::new(Place::ALL.map(|place| place.of(limits)))
    }

    /// The share of one connection: a quarter, rounded up, and at least one.
    pub(super) fn of_connection(limits: &Limits) -> Self {
        Self::new(Place::ALL.map(|place| place.of(limits).div_ceil(SHARES).max(1)))
    }

    fn new(max: [usize; Place::ALL.len()]) -> Self {
        Self {
            free: max.map(|max| Arc::new(Semaphore::new(max))),
            max,
        }
    }

    /// One of the node's places and one of the connection's share.
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

    /// One, if one is free.
    fn try_take(&self, place: Place) -> Option<OwnedSemaphorePermit> {
        self.free[place as usize].clone().try_acquire_owned().ok()
    }

    /// One, in the order of asking.
    pub(super) async fn take(&self, place: Place) -> OwnedSemaphorePermit {
        let free = self.free[place as usize].clone();
        free.acquire_owned().await.expect("the semaphore is never closed")
    }
}
