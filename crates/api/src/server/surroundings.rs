//! The checks of the process around the node, which its owner makes for a diagnosis: ports, files, the disk.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use qres_node::finding::Finding;

type Check = dyn Fn() -> BoxFuture<'static, Vec<Finding>> + Send + Sync;

/// The checks that the owner of the node makes; by default none. A clone is cheap.
#[derive(Clone, Default)]
pub struct Surroundings(Option<Arc<Check>>);

impl Surroundings {
    /// Makes the checks of a function, which is called for each diagnosis and should end within 15 s.
    pub fn new<F>(check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Vec<Finding>> + Send + 'static,
    {
        Self(Some(Arc::new(move || Box::pin(check()))))
    }

    /// Makes all checks.
    pub(super) async fn findings(&self) -> Vec<Finding> {
        match &self.0 {
            Some(check) => check().await,
            None => vec![],
        }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}
