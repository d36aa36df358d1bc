//! Aggregation rules: how the updates of a round become one.
//!
//! A spec's `aggregation` is a list of rules. The last one combines the updates; those before it prepare them, in their order.
//! An empty list, or one without a rule that combines, means the mean by samples. Every rule works on the members' updates,
//! one a member: a member's fresh and late contributions are first joined by their weights, so that no member is counted twice.
//!
//! n is the number of members in the round and f the number that may lie. `docs/strategies.md` says when to use which.
//!
//! | rule | numbers | needs | result |
//! | --- | --- | --- | --- |
//! | `clip/1` | `norm` | | no update is longer than `norm` (or than the median length) |
//! | `arc/1` | `f` | n > 2 f | the ⌊2 f (n − f) / n⌋ longest updates are clipped to the length of the longest other one |
//! | `bucketing/1` | `size` | n ≥ size | means of `size` updates each, drawn by the parent's id |
//! | `nnm/1` | `f` | n > 2 f | each update becomes the mean of itself and its n − f − 1 nearest ones |
//! | `mean/1` | | | mean |
//! | `median/1` | | | weighted median of each coordinate |
//! | `trimmed-mean/1` | `f` | n > 2 f | mean of each coordinate without the f largest and the f smallest values |
//! | `mean-around-median/1` | `f` | n > 2 f | mean of the n − f values next to the median, for each coordinate |
//! | `krum/1`, `krum-n-f-1/1` | `f` | n ≥ 2 f + 3 | the update next to its n − f − 2 (n − f − 1) nearest ones |
//! | `multi-krum/1`, `multi-krum-n-f-1/1` | `f`, `keep` | n ≥ 2 f + 3 | mean of the `keep` (n − f) updates with the best scores of Krum |
//! | `mda/1` | `f` | n > 2 f | mean of the n − f updates that lie closest together |
//! | `bulyan/1` | `f` | n ≥ 4 f + 3 | n − 2 f updates by Krum; then, for each coordinate, the mean of the n − 4 f next to their median |
//! | `geometric-median/1` | `nu`, `iterations` | | smoothed Weiszfeld |
//! | `centred-clipping/1` | `radius`, `iterations` | | mean with differences to the centre clipped to `radius` (or to their median) |
//! | `fltrust/1` | | | mean by the cosine with the creator's update, all at its length |
//!
//! Means go by the members' shares of the samples, which the strategy's number `max_share` limits.

mod centre;
mod coordinate;
pub mod defaults;
mod fairness;
mod gram;
mod plan;
mod preparation;
mod row;
mod rule;
mod rules;
mod selection;
mod share;
mod span;
mod verdict;

pub use rules::Aggregation;
pub use verdict::{Rejection, Verdict};

pub(crate) use coordinate::{Buffers, Kernel, Number};
pub(crate) use fairness::fair;
pub(crate) use gram::Gram;
pub(crate) use plan::{CoordinateRule, Plan, Planned};
pub(crate) use row::{RUN, Row};
pub(crate) use share::shares;
pub(crate) use span::Vector;

#[cfg(test)]
mod tests;
