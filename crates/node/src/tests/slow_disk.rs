//! A node whose disk answers to nothing for a while.

use std::sync::mpsc;

use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::handle::PublishState;

/// The threads on which the node under test may use its disk.
const THREADS: usize = 4;

/// A runtime whose disk can be stalled: all threads that may block are given a task that waits.
struct SlowDisk {
    runtime: Runtime,
}

impl SlowDisk {
    fn new() -> Self {
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(2).max_blocking_threads(THREADS).enable_all();
        Self {
            runtime: builder.build().unwrap(),
        }
    }

    /// Stalls the disk until the senders are dropped; returns when no thread is left.
    fn stall(&self) -> Vec<mpsc::Sender<()>> {
        let (held, is_held) = mpsc::channel();
        let stall = |_| {
            let (release, released) = mpsc::channel::<()>();
            let held = held.clone();
            self.runtime.spawn_blocking(move || {
                held.send(()).unwrap();
                // The wait ends with an error: the sender is dropped, and never used.
                let _ = released.recv();
            });
            release
        };
        let senders = (0..THREADS).map(stall).collect();
        for _ in 0..THREADS {
            is_held.recv_timeout(DEADLINE).unwrap();
        }
        senders
    }
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.expect(what);
}

async fn make(node: &NodeHandle, name: &str) -> ModelView {
    let open = CreateModel {
        name: name.parse().unwrap(),
        membership: Some(Membership::Open),
        min_contributions: Some(1),
        target: Some(1),
        ..request(None)
    };
    let mut upload = node.create_model(open).await.unwrap();
    upload.write(weights(0.0)).await.unwrap();
    upload.finish().await.unwrap()
}

#[test]
fn one_state_that_waits_for_the_disk_keeps_no_other_model_s_gossip_waiting() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (slow, quick) = (SlowDisk::new(), Runtime::new().unwrap());
    let listener = slow.runtime.block_on(node(dirs[0].path()));
    let publisher = quick.block_on(node(dirs[1].path()));
    let of = |model: &ModelView| ModelRef {
        name: model.spec.name.clone(),
        id: Some(model.id),
    };
    let first = quick.block_on(async {
        let first = make(&publisher, "first").await;
        let address = listener.node().await.unwrap().listen[0].clone();
        within(publisher.dial(&address)).await.unwrap();
        first
    });
    let context = listener.context.clone();
    slow.runtime.block_on(async {
        until("the first model to be heard of", || context.catalog.knows(&first.id)).await;
        within(listener.join_model(of(&first), None)).await.unwrap();
    });
    let stalled = slow.stall();
    quick.block_on(async {
        let state = PublishState {
            model: of(&first),
            name: "s".into(),
            timestamp_unix_ms: None,
            tensors: weights(1.0),
            codec: None,
        };
        let published = within(publisher.publish_state(state)).await.unwrap();
        let key = (first.id, published.publisher, published.name.clone());
        until("the state to wait for the disk", || {
            context.states.pending().states.contains_key(&key)
        })
        .await;
        let second = make(&publisher, "second").await;
        until("the second model's announcement to be taken", || {
            context.offers.pending().offers.contains_key(&second.id)
        })
        .await;
        assert_eq!(context.states.newest(&key), None, "the disk is stalled");
        drop(stalled);
        until("both to be stored", || {
            context.states.newest(&key).is_some() && context.catalog.knows(&second.id)
        })
        .await;
        within(publisher.stop()).await;
    });
    slow.runtime.block_on(within(listener.stop()));
}
