//! Data sets of labelled rows.

use ndarray::{Array2, Axis};

use super::{Batch, Random};

/// Reason why rows and labels are no data set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExamplesError {
    /// The number of labels is not the number of rows, or the rows have no features.
    #[error("{labels} labels are given for {rows} rows of {inputs} features: a row has at least one, and one label")]
    Size {
        /// Number of labels that were given.
        labels: usize,
        /// Number of rows that were given.
        rows: usize,
        /// Number of features in a row.
        inputs: usize,
    },
    /// A feature is NaN or infinite.
    #[error("row {row}: feature {feature} is not finite; clean the data first")]
    NotFinite {
        /// Index of the row, from 0.
        row: usize,
        /// Index of the feature in that row, from 0.
        feature: usize,
    },
}

/// Labelled rows of finite features.
#[derive(Debug, Clone, PartialEq)]
pub struct Examples {
    features: Array2<f32>,
    labels: Vec<u32>,
}

impl Examples {
    /// Makes a data set of rows of finite features, with one label for each row.
    pub fn new(features: Array2<f32>, labels: Vec<u32>) -> Result<Self, ExamplesError> {
        let (rows, inputs) = features.dim();
        if inputs == 0 || labels.len() != rows {
            return Err(ExamplesError::Size {
                labels: labels.len(),
                rows,
                inputs,
            });
        }
        if let Some(((row, feature), _)) = features.indexed_iter().find(|(_, x)| !x.is_finite()) {
            return Err(ExamplesError::NotFinite { row, feature });
        }
        Ok(Self { features, labels })
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns true if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Returns the number of features in a row.
    pub fn inputs(&self) -> usize {
        self.features.ncols()
    }

    /// Returns the greatest label plus one, 0 without rows.
    pub fn classes(&self) -> usize {
        self.labels.iter().max().map_or(0, |&label| label as usize + 1)
    }

    /// Returns the labels, in row order.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Returns the same rows with other labels. An attack on a federation can begin with that.
    #[must_use]
    pub fn relabelled(mut self, label: impl Fn(u32) -> u32) -> Self {
        for old in &mut self.labels {
            *old = label(*old);
        }
        self
    }

    /// Returns a copy of these rows, in this order. Panics on an index that is not below [`Self::len`].
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        Self {
            features: self.features.select(Axis(0), rows),
            labels: rows.iter().map(|row| self.labels[*row]).collect(),
        }
    }

    /// Returns consecutive [`Batch`]es of `rows` rows (the last may be shorter).
    pub(super) fn chunks(&self, rows: usize) -> impl Iterator<Item = Batch<'_>> {
        let features = self.features.axis_chunks_iter(Axis(0), rows);
        features
            .into_iter()
            .zip(self.labels.chunks(rows))
            .map(|(features, labels)| Batch { features, labels })
    }

    /// Visits every row once, `rows` rows at a time, in an order drawn from `random`.
    pub(super) fn shuffled(&self, rows: usize, random: &mut Random, mut visit: impl FnMut(&Batch<'_>)) {
        let mut order: Vec<usize> = (0..self.len()).collect();
        random.shuffle(&mut order);
        for rows in order.chunks(rows) {
            let chosen = self.select(rows);
            visit(&chosen.as_batch());
        }
    }

    fn as_batch(&self) -> Batch<'_> {
        Batch {
            features: self.features.view(),
            labels: &self.labels,
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn rows_must_match_labels_and_be_finite() {
        let size = Examples::new(Array2::zeros((2, 3)), vec![0]).unwrap_err();
        assert!(
            size.to_string()
                .starts_with("1 labels are given for 2 rows of 3 features"),
            "{size}"
        );
        assert!(Examples::new(Array2::zeros((0, 0)), vec![]).is_err());
        let nan = Examples::new(array![[0.0, 1.0], [2.0, f32::NAN]], vec![0, 1]).unwrap_err();
        assert_eq!(nan, ExamplesError::NotFinite { row: 1, feature: 1 });
    }

    #[test]
    fn a_shuffled_pass_sees_every_row_once() {
        let data = Examples::new(
            Array2::from_shape_fn((7, 3), |(i, j)| (3 * i + j) as f32),
            (0..7).collect(),
        )
        .unwrap();
        let mut seen = Vec::new();
        let mut sizes = Vec::new();
        data.shuffled(3, &mut Random::new(1), |batch| {
            sizes.push(batch.labels.len());
            for (row, &label) in batch.features.rows().into_iter().zip(batch.labels) {
                assert_eq!(row[0], 3.0 * label as f32, "features stay with their label");
                seen.push(label);
            }
        });
        assert_eq!(sizes, [3, 3, 1]);
        assert_ne!(seen, (0..7).collect::<Vec<_>>(), "this seed does not draw the identity");
        seen.sort_unstable();
        assert_eq!(seen, (0..7).collect::<Vec<_>>());
    }
}
