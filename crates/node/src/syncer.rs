//! The comparisons and greetings that wait or run, in the order of their turns.

pub mod greetings;
pub mod queue;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use qres_fed::id::{NodeId, SpecId};
use qres_mesh::HeadClaim;
use tokio::sync::{Notify, Semaphore};

use greetings::Greetings;
use queue::{Pair, SyncQueue};

/// The most comparisons at a time, and the most greetings, one of which is for members of joined lists.
const PARALLEL_MAX: usize = 4;

/// The comparisons and greetings that wait or run: bounded by peers × models, each [`Pair`] at most once.
pub struct Syncer {
    pub sync_queue: Mutex<SyncQueue>,
    pub slots: Arc<Semaphore>,
    pub greeters: Arc<Semaphore>,
    pub anyone: Mutex<BTreeSet<SpecId>>,
    pub greetings: Mutex<Greetings>,
    pub greeted: Mutex<BTreeSet<NodeId>>,
    pub claims: Mutex<BTreeMap<NodeId, Vec<HeadClaim>>>,
    pub wake: Notify,
}

impl Default for Syncer {
    fn default() -> Self {
        Self {
            sync_queue: Mutex::default(),
            slots: Arc::new(Semaphore::new(PARALLEL_MAX)),
            greeters: Arc::new(Semaphore::new(PARALLEL_MAX)),
            anyone: Mutex::default(),
            greetings: Mutex::default(),
            greeted: Mutex::default(),
            claims: Mutex::default(),
            wake: Notify::new(),
        }
    }
}

impl Syncer {
    /// Asks for a comparison of this model with these nodes, or with a random one when none is given.
    pub fn request(&self, spec: SpecId, nodes: Vec<NodeId>) {
        if nodes.is_empty() {
            self.anyone.lock().insert(spec);
        }
        self.want(nodes.into_iter().map(|node| (node, spec)));
        self.wake.notify_one();
    }

    /// Queues comparisons; a pair that waits already keeps its place.
    pub fn want(&self, pairs: impl IntoIterator<Item = Pair>) {
        let mut sync_queue = self.sync_queue.lock();
        pairs.into_iter().for_each(|pair| sync_queue.want(pair));
    }

    /// Asks for a comparison of everything with a peer that has connected.
    pub fn connected(&self, node: NodeId) {
        self.greeted.lock().insert(node);
        self.wake.notify_one();
    }

    /// Takes the heads that a peer's heartbeat names.
    pub fn heads(&self, node: NodeId, claims: Vec<HeadClaim>) {
        self.claims.lock().insert(node, claims);
        self.wake.notify_one();
    }
}
