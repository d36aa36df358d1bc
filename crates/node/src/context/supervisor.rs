//! Tasks without which a node does not do what it says: a panic in one ends the node, loudly.
//!
//! A model whose task is gone would be listed as joined and would not answer. The supervisor of the process starts it again,
//! and the store makes that safe: acknowledged work is there.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;

use crate::context::NodeContext;

impl NodeContext {
    /// Spawns a task whose panic is the node's failure: [`NodeContext::failed`] resolves then.
    pub fn spawn_critical(self: &Arc<Self>, what: impl Into<String>, work: impl Future<Output = ()> + Send + 'static) {
        let (context, what) = (self.clone(), what.into());
        self.tasks.spawn(async move {
            if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
                context.fail(format!("{what} panicked: {}", words(&*panic)));
            }
        });
    }

    /// Stops all work and keeps the reason; only the first reason counts.
    fn fail(&self, why: String) {
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
