//! Data sets of labelled rows.

use super::{Batch, Random};

/// Reason why rows and labels are no data set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExamplesError {
    /// The number of features is not `rows × inputs`.
    #[error("{features} features are not {rows} rows (one a label) of {inputs}")]
    Size {
        /// Number of features that were given.
        features: usize,
        /// Number of labels that were given.
        rows: usize,
        /// Number of features that a row should have.
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

/// Labelled rows of finite features, row-major.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Examples {
    features: Vec<f32>,
    labels: Vec<u32>,
    inputs: usize,
}

impl Examples {
    /// Makes a data set of rows of `inputs` finite features, with one label for each row.
    pub fn new(features: Vec<f32>, labels: Vec<u32>, inputs: usize) -> Result<Self, ExamplesError> {
        if inputs == 0 || labels.len().checked_mul(inputs) != Some(features.len()) {
            return Err(ExamplesError::Size {
                features: features.len(),
                rows: labels.len(),
                inputs,
            });
        }
        if let Some(at) = features.iter().position(|x| !x.is_finite()) {
            return Err(ExamplesError::NotFinite {
                row: at / inputs,
                feature: at % inputs,
            });
        }
        Ok(Self {
            features,
            labels,
            inputs,
        })
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
        self.inputs
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
        let mut chosen = Self {
            features: Vec::with_capacity(rows.len() * self.inputs),
            labels: Vec::with_capacity(rows.len()),
            inputs: self.inputs,
        };
        for &row in rows {
            chosen.push(self, row);
        }
        chosen
    }

    /// Returns consecutive [`Batch`]es of `rows` rows (the last may be shorter).
    pub(super) fn chunks(&self, rows: usize) -> impl Iterator<Item = Batch<'_>> {
        // An empty set yields no chunk, so its width of 0 does no harm.
        let features = self.features.chunks(rows * self.inputs.max(1));
        features
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
            features: &self.features,
            labels: &self.labels,
        }
    }

    fn push(&mut self, from: &Self, row: usize) {
        self.features
            .extend_from_slice(&from.features[row * self.inputs..][..self.inputs]);
        self.labels.push(from.labels[row]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_must_match_labels_and_be_finite() {
        let size = Examples::new(vec![0.0; 5], vec![0, 1], 3).unwrap_err();
        assert_eq!(size.to_string(), "5 features are not 2 rows (one a label) of 3");
        assert!(Examples::new(vec![], vec![], 0).is_err());
        let nan = Examples::new(vec![0.0, 1.0, 2.0, f32::NAN], vec![0, 1], 2).unwrap_err();
        assert_eq!(nan, ExamplesError::NotFinite { row: 1, feature: 1 });
    }

    #[test]
    fn a_shuffled_pass_sees_every_row_once() {
        let data = Examples::new((0..21).map(|i| i as f32).collect(), (0..7).collect(), 3).unwrap();
        let mut seen = Vec::new();
        let mut sizes = Vec::new();
        data.shuffled(3, &mut Random::new(1), |batch| {
            sizes.push(batch.labels.len());
            for (row, &label) in batch.features.chunks(3).zip(batch.labels) {
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
