//! Cross-entropy after softmax.

use ndarray::{Array2, ArrayView1};

/// Returns the index of the greatest number, the first of equal ones.
pub(super) fn greatest(row: ArrayView1<'_, f32>) -> usize {
    let mut best = 0;
    for (i, x) in row.iter().enumerate() {
        if *x > row[best] {
            best = i;
        }
    }
    best
}

/// Returns the mean cross-entropy of rows of scores and **replaces the scores by its gradient**: (softmax(s) −
/// onehot(label)) / rows.
pub(super) fn cross_entropy(scores: &mut Array2<f32>, labels: &[u32]) -> f32 {
    let share = 1.0 / labels.len() as f32;
    let mut loss = 0.0;
    for (mut row, &label) in scores.rows_mut().into_iter().zip(labels) {
        // Subtracting the greatest score keeps exp from overflowing and does not change the softmax.
        let top = row[greatest(row.view())];
        let own = row[label as usize] - top;
        row.mapv_inplace(|x| (x - top).exp());
        let sum = row.sum();
        loss += (sum.ln() - own) * share;
        row *= share / sum;
        row[label as usize] -= share;
    }
    loss
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn even_scores_cost_ln_classes_and_great_ones_do_not_overflow() {
        let mut scores = array![[0.5, 0.5, 0.5, 0.5]];
        let loss = cross_entropy(&mut scores, &[2]);
        assert!((loss - 4f32.ln()).abs() < 1e-6, "{loss}");
        assert_eq!(scores, array![[0.25, 0.25, -0.75, 0.25]]);
        let mut scores = array![[1e4, -1e4]];
        assert!((cross_entropy(&mut scores, &[1]) - 2e4).abs() < 1.0);
        assert_eq!(scores, array![[1.0, -1.0]]);
    }
}
