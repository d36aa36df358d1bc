//! Evaluations: what the members of a round measured on the checkpoint from which they trained.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Goal, Measured};

/// The values of one metric over the fresh contributions of a round. They describe the round's **parent**.
#[derive(Debug, Clone, Copy, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Summary {
    /// Number of members that measured the metric.
    pub members: u32,
    /// Number of samples on which they measured it, together.
    pub samples: u64,
    /// The mean by these samples. A member that lies about its samples or its value can move it anywhere.
    pub mean: f64,
    /// The lowest value.
    pub min: f64,
    /// The highest value.
    pub max: f64,
    /// The middle value, by members and not by samples; of two in the middle the worse one. The best checkpoint goes by it: while
    /// most of those that measured are honest, it lies among the honest values.
    pub middle: f64,
}

impl Summary {
    /// Summarises the values of a metric, in the order of the contributions' ids; `None` if no member measured it.
    pub fn of(values: impl Iterator<Item = Measured>, goal: Goal) -> Option<Self> {
        let mut values: Vec<_> = values.collect();
        let total = values.iter().fold(0.0, |sum, measured| sum + measured.samples as f64);
        let sum = values
            .iter()
            .fold(0.0, |sum, measured| sum + measured.value * measured.samples as f64);
        let samples = values
            .iter()
            .fold(0u64, |sum, measured| sum.saturating_add(measured.samples));
        values.sort_by(|a, b| a.value.total_cmp(&b.value));
        let (min, max) = (values.first()?.value, values.last()?.value);
        let middle = match goal {
            Goal::Lowest => values.len() / 2,
            Goal::Highest => (values.len() - 1) / 2,
        };
        Some(Self {
            members: u32::try_from(values.len()).unwrap_or(u32::MAX),
            samples,
            mean: (sum / total).clamp(min, max),
            min,
            max,
            middle: values.get(middle)?.value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(values: &[(f64, u64)], goal: Goal) -> Option<Summary> {
        let values = values.iter().map(|&(value, samples)| Measured { value, samples });
        Summary::of(values, goal)
    }

    #[test]
    fn values_are_counted_by_samples_and_decided_by_members() {
        let four = [(0.4, 1), (0.1, 1), (0.2, 1), (0.3, 5)];
        let lowest = summary(&four, Goal::Lowest).unwrap();
        assert_eq!((lowest.members, lowest.samples), (4, 8));
        assert_eq!((lowest.min, lowest.max), (0.1, 0.4));
        assert!((lowest.mean - 2.2 / 8.0).abs() < 1e-15);
        assert_eq!(lowest.middle, 0.3, "the worse one of the two in the middle");
        assert_eq!(summary(&four, Goal::Highest).unwrap().middle, 0.2);
        assert_eq!(summary(&[], Goal::Lowest), None);
        // One liar of three: the mean is its own, the middle is not.
        let liar = summary(&[(0.5, 10), (0.6, 10), (-1e30, 1 << 40)], Goal::Lowest).unwrap();
        assert!(liar.mean < -1e29, "{liar:?}");
        assert_eq!(liar.middle, 0.5);
    }

    #[test]
    fn the_mean_of_equal_values_is_that_value() {
        let same = summary(&[(0.1, 3), (0.1, 7), (0.1, 11)], Goal::Highest).unwrap();
        assert_eq!((same.mean, same.min, same.max, same.middle), (0.1, 0.1, 0.1, 0.1));
    }
}
