//! The files that an aggregation writes.

use std::io::Write;

use crate::tensor::TensorError;

/// The files that an aggregation writes.
pub struct Outputs<'a> {
    /// The canonical file of the new weights.
    pub weights: &'a mut dyn Write,
    /// The canonical file of the server optimiser's new state; not used if the strategy has none.
    pub optimiser: Option<&'a mut dyn Write>,
}

impl<'a> Outputs<'a> {
    /// Takes the weights only, for a strategy without a server optimiser.
    pub fn of_weights(weights: &'a mut dyn Write) -> Self {
        Self {
            weights,
            optimiser: None,
        }
    }

    /// Returns the output of the state.
    pub(super) fn state(&mut self) -> Result<&mut (dyn Write + 'a), TensorError> {
        let missing = || TensorError::bad("the strategy has a server optimiser: its state needs an output, too");
        self.optimiser.as_deref_mut().ok_or_else(missing)
    }
}
