//! Aggregation of contributions into a checkpoint's weights.

mod coordinates;
mod distance;
mod integers;
mod making;
mod members;
mod outcome;
mod outputs;
mod parent;
mod part;
mod products;
mod rows;
mod step;
mod sum;

pub use outputs::Outputs;
pub use parent::Parent;

use coordinates::Coordinates;
use integers::Integers;
use members::Members;
use part::parts;
use step::Step;
use sum::Sum;

use super::{Weighted, codec_of};
use crate::aggregation::{Aggregation, Plan, Verdict, fair};
use crate::record::{Spec, SpecError};
use crate::strategy;
use crate::tensor::TensorError;

/// Aggregates updates (fresh ones ascending by id, then late ones ascending by id) onto the parent's canonical weights,
/// writes the result's files, and returns a [`Verdict`] for each update, in the order given. The bits are the same
/// on every machine and with any number of threads.
///
/// Floats: `result = parent + aggregated update`, or, with a server optimiser ([`crate::optimiser`]), `parent + its step`. How the update is aggregated is the matter of the spec's rules
/// ([`crate::aggregation`]). By default it is `sum of p_i * update_i` with `p_i = n_i / (sum of all n)`. For a fresh
/// contribution `n_i` is its sample count (FedAvg: McMahan et al. 2017, algorithm 1, in the form of differences). For a late
/// one `n_i` is its sample count times [`late_discount`](strategy::late_discount); its update is added as a difference, although it was trained on an
/// older checkpoint. The strategy's number `max_share` limits what one member has. With `fednova/1` each update is first divided
/// by its local steps and multiplied by those of the round; with `qfedavg/1` the losses decide, see
/// [`Fairness`](strategy::Fairness). Each coordinate's sum runs in f64 in the
/// order given. Product and sum are rounded separately (no fused multiply-add). The parent is added last, in f64, and the
/// result is rounded once to the tensor's dtype, ties to even. A value beyond the largest finite value becomes that value: an
/// aggregate is never infinite.
///
/// Integers: with the mean, the elementwise maximum of the fresh contributions' values (BatchNorm's counters only grow, and a
/// maximum does not depend on the order); booleans: "or". With every other rule the middle value and the majority. Late
/// contributions' integers and booleans are ignored, because they belong to an older parent.
///
/// # Errors
/// Returns an error if the strategy, a rule or the codec is unknown, if the parent is not the canonical file, if an update
/// has not the length that the spec determines, or if no fresh contribution has samples.
pub fn aggregate(
    spec: &Spec,
    parent: Parent<'_>,
    fresh: &[Weighted<'_>],
    late: &[Weighted<'_>],
    mut out: Outputs<'_>,
) -> Result<Vec<Verdict>, TensorError> {
    let bad = |error: SpecError| TensorError::bad(error.to_string());
    strategy::check_spec(spec).map_err(bad)?;
    let rules = Aggregation::of(spec).map_err(bad)?;
    let codec = codec_of(spec)?;
    let step = Step::new(spec, parent)?;
    let parts = parts(spec, codec, fresh, late)?;
    let mut members = Members::of(&parts, strategy::max_share(&spec.strategy));
    if strategy::normalises(&spec.strategy) {
        members.normalise(&parts, !rules.is_mean())?;
    }
    let fairness = strategy::fairness(&spec.strategy);
    let products = match rules.needs_products() || fairness.is_some() {
        true => products::of_members(spec, codec, &parts, &members)?,
        false => vec![],
    };
    let planned = match fairness {
        Some(fairness) => {
            let losses = members.losses(&parts);
            let losses = losses.ok_or_else(|| TensorError::bad("a contribution does not say its loss"))?;
            fair(fairness, &members.shares(), products, &losses)
        }
        None => {
            let root = members.index_of(spec.creator);
            rules.plan(&members.shares(), products, &parent.id.0, root)
        }
    };
    let integers = match rules.is_mean() {
        true => Integers::Largest,
        false => Integers::Middle,
    };
    let outcome = match &planned.plan {
        Plan::Sum(coefficients) => {
            let weights = members.weights_of_parts(coefficients, parts.len());
            let sum = Sum {
                spec,
                codec,
                step: &step,
                parts: &parts,
                weights: &weights,
                integers,
            };
            sum.write(&mut out)?;
            None
        }
        Plan::Coordinates { rule, vectors } => {
            let (model, rule) = ((spec, codec), (*rule, vectors.as_slice()));
            Some(Coordinates::new(model, &step, &parts, &members, rule, integers).write(&mut out)?)
        }
    };
    Ok(members.verdicts(&parts, &planned, outcome.as_ref()))
}
