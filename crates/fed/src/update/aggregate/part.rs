//! The contributions of a round.

use crate::codec::Codec;
use crate::id::NodeId;
use crate::record::Spec;
use crate::tensor::TensorError;
use crate::update::Weighted;
use crate::update::reader::Reader;

/// Returns the factor for a late contribution's samples: `1 / sqrt(1 + staleness)`, as in FedBuff (Nguyen et al. 2022,
/// "Federated learning with buffered asynchronous aggregation"). Square root and quotient are those of IEEE 754, so they
/// are the same on every machine.
pub fn late_discount(staleness: u32) -> f64 {
    1.0 / (1.0 + f64::from(staleness)).sqrt()
}

/// An update in the order of the round: fresh ones first.
pub(super) struct Part<'a> {
    pub update: Reader<'a>,
    pub author: NodeId,
    /// Its samples, discounted if it is late.
    pub count: f64,
    pub staleness: u32,
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
        })
    };
    let fresh = fresh.iter().map(|weighted| part(weighted, 1.0));
    let late = late
        .iter()
        .map(|weighted| part(weighted, late_discount(weighted.staleness)));
    fresh.chain(late).collect()
}
