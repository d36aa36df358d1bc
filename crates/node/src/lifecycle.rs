//! The life of a node: its tasks, its drain, its stop, and its failure.
//!
//! A critical task is one without which a node does not do what it says: a panic in one ends the node, loudly.
//! A model whose task is gone would be listed as joined and would not answer. The supervisor of the process starts it again,
//! and the store makes that safe: acknowledged work is there.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::error::{NodeError, Reason};

/// The tasks of a node, and the tokens that end them.
pub struct Lifecycle {
    /// Ends every task of the node.
    pub stop: CancellationToken,
    /// All tasks of the node.
    pub tasks: TaskTracker,
    /// True while the node takes no new work before it stops.
    pub draining: AtomicBool,
    /// The reason why the node has failed, once it has failed.
    failure: watch::Sender<Option<String>>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            draining: AtomicBool::new(false),
            failure: watch::Sender::new(None),
        }
    }
}

impl Lifecycle {
    /// Runs `work` to its end even if the caller goes away: half a change of membership would leave a model that counts as
    /// joined and has no task.
    pub async fn to_the_end<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let span = tracing::Span::current();
        match self.tasks.spawn(work.instrument(span)).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Refuses new work with [`Reason::Draining`] while the node drains.
    pub fn refuse_if_draining(&self) -> Result<(), NodeError> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(NodeError::new(
                Reason::Draining,
                "this node drains: it takes no new work before it stops",
            )
            .retry_after(5000));
        }
        Ok(())
    }

    /// Spawns a task whose panic is the node's failure: [`Lifecycle::failed`] resolves then.
    pub fn spawn_critical(self: &Arc<Self>, what: impl Into<String>, work: impl Future<Output = ()> + Send + 'static) {
        let (life, what) = (self.clone(), what.into());
        self.tasks.spawn(async move {
            if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
                life.fail(format!("{what} panicked: {}", words(&*panic)));
            }
        });
    }

    /// Stops all work and keeps the reason; only the first reason counts.
    pub fn fail(&self, why: String) {
        tracing::error!(
            why,
            "the node ends: start it again; what was acknowledged is in its store"
        );
        self.failure.send_if_modified(|known| {
            let first = known.is_none();
            known.get_or_insert(why);
            first
        });
        self.stop.cancel();
    }

    /// Returns the reason why the node has failed, `None` while it has not.
    pub fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    /// Resolves when the node has failed, with the reason.
    pub fn failed(&self) -> impl Future<Output = String> + use<> {
        let mut failure = self.failure.subscribe();
        async move {
            match failure.wait_for(Option::is_some).await {
                Ok(why) => why.clone().unwrap_or_default(),
                // The node is gone without a failure.
                Err(_) => std::future::pending().await,
            }
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
