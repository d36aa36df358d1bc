//! Error of bytes that are not a model's tensors.

/// Reason why bytes are not a model's tensors.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// The file is broken, or a tensor does not match the schema or is not finite. The text names the tensor, the expected
    /// and the found value, and the remedy.
    #[error("{0}")]
    Bad(String),
    /// The bytes could not be read.
    #[error("the tensors cannot be read: {0}")]
    Io(#[from] std::io::Error),
}

impl TensorError {
    /// Makes a [`TensorError::Bad`] from a description of the problem.
    pub(crate) fn bad(problem: impl Into<String>) -> Self {
        Self::Bad(problem.into())
    }
}
