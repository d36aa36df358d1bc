//! Averages of updates in memory.

use rayon::prelude::*;

use super::batch::BATCH_ELEMENTS;
use crate::codec::float;

/// Averages updates of f32 in memory by [`aggregate`]'s rule for floats: `out = base + sum of n_i / n * update_i`, with the
/// same bits, on all threads. If all samples are 0, `out` becomes `base`.
///
/// # Panics
/// Panics if the lengths differ, which is a mistake in the calling code.
pub fn average(base: &[f32], updates: &[(&[f32], u64)], out: &mut [f32]) {
    let same = |slice: &[f32]| slice.len() == base.len();
    assert!(
        same(out) && updates.iter().all(|(x, _)| same(x)),
        "updates, base and result have one length"
    );
    let total: f64 = updates.iter().fold(0.0, |sum, (_, samples)| sum + *samples as f64);
    let weight = |samples: u64| if total > 0.0 { samples as f64 / total } else { 0.0 };
    let batch = |sum: &mut Vec<f64>, (i, out): (usize, &mut [f32])| {
        let range = i * BATCH_ELEMENTS..i * BATCH_ELEMENTS + out.len();
        sum.clear();
        sum.resize(out.len(), 0.0);
        let part = |i: usize| (&updates[i].0[range.clone()], weight(updates[i].1));
        float::accumulate_elements(sum, updates.len(), part, f64::from);
        for (out, (base, sum)) in out.iter_mut().zip(base[range].iter().zip(&*sum)) {
            *out = float::to_f32(f64::from(*base) + sum);
        }
    };
    out.par_chunks_mut(BATCH_ELEMENTS)
        .enumerate()
        .for_each_init(Vec::new, batch);
}
