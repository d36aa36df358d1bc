//! Cross-entropy after softmax.

/// Returns the index of the greatest number, the first of equal ones.
pub(super) fn greatest(row: &[f32]) -> usize {
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
pub(super) fn cross_entropy(scores: &mut [f32], labels: &[u32]) -> f32 {
    let classes = scores.len() / labels.len();
    let share = 1.0 / labels.len() as f32;
    let mut loss = 0.0;
    for (row, &label) in scores.chunks_exact_mut(classes).zip(labels) {
        // Subtracting the greatest score keeps exp from overflowing and does not change the softmax.
        let top = row[greatest(row)];
        let own = row[label as usize] - top;
        let mut sum = 0.0;
        for x in row.iter_mut() {
            *x = (*x - top).exp();
            sum += *x;
        }
        loss += (sum.ln() - own) * share;
        for x in row.iter_mut() {
            *x *= share / sum;
        }
        row[label as usize] -= share;
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_scores_cost_ln_classes_and_great_ones_do_not_overflow() {
        let mut scores = [0.5, 0.5, 0.5, 0.5];
        let loss = cross_entropy(&mut scores, &[2]);
        assert!((loss - 4f32.ln()).abs() < 1e-6, "{loss}");
        assert_eq!(scores, [0.25, 0.25, -0.75, 0.25]);
        let mut scores = [1e4, -1e4];
        assert!((cross_entropy(&mut scores, &[1]) - 2e4).abs() < 1.0);
        assert_eq!(scores, [1.0, -1.0]);
    }
}
