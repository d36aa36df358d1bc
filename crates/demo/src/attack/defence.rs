//! What the nodes do against liars.

/// What the nodes do with the updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defence {
    /// The mean by samples, without a limit on shares.
    Mean,
    /// What a new list of eight members gets when its creator names nothing.
    Default,
}

impl Defence {
    /// Returns a name for tables and model names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mean => "mean",
            Self::Default => "default",
        }
    }
}
