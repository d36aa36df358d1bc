//! The contributions of a round.

use crate::codec::Codec;
use crate::id::NodeId;
use crate::record::{Figures, Spec};
use crate::strategy::late_discount;
use crate::tensor::TensorError;
use crate::update::Weighted;
use crate::update::reader::Reader;

/// An update in the order of the round: fresh ones first.
pub(super) struct Part<'a> {
    pub update: Reader<'a>,
    pub author: NodeId,
    /// Its samples, discounted if it is late.
    pub count: f64,
    pub staleness: u32,
    pub figures: Figures,
}

impl Part<'_> {
    pub fn is_fresh(&self) -> bool {
        self.staleness == 0
    }
}

/// Returns the updates with their weights in the order given. Counts of up to 2^40 of up to 1,024 contributions add up
/// exactly in f64; discounted counts are rounded, in that order.
pub(super) fn parts<'a>(
    spec: &Spec,
    codec: Codec,
    fresh: &[Weighted<'a>],
    late: &[Weighted<'a>],
) -> Result<Vec<Part<'a>>, TensorError> {
    if fresh.iter().all(|part| part.samples == 0) {
        return Err(TensorError::bad(format!(
            "samples: 0 over {} fresh contributions, at least 1 is needed: they are the weights",
            fresh.len()
        )));
    }
    let part = |weighted: &Weighted<'a>, discount: f64| {
        Ok(Part {
            update: Reader::open(spec, codec, weighted.update)?,
            author: weighted.author,
            count: weighted.samples as f64 * discount,
            staleness: weighted.staleness,
            figures: weighted.figures,
        })
    };
    let fresh = fresh.iter().map(|weighted| part(weighted, 1.0));
    let late = late
        .iter()
        .map(|weighted| part(weighted, late_discount(&spec.strategy, weighted.staleness)));
    fresh.chain(late).collect()
}
