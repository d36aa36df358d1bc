//! Learning curves: what the rounds of a model measured, drawn in one line.

use std::collections::BTreeMap;

use qres_api::pb;

/// Rounds of a curve that are drawn: the newest ones.
const ROUNDS_MAX: usize = 24;
/// The heights of a curve, from the lowest value to the highest one.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The mean of each metric by round.
#[derive(Debug, Default)]
pub struct Curves(BTreeMap<String, BTreeMap<u64, f64>>);

impl Curves {
    /// Notes what a sealed round measured, and returns the curves of its metrics: `loss ▇▅▃▂▁, accuracy ▁▃▅▇█`. Empty for an open
    /// round and for one that measured nothing; a round that comes again replaces its value.
    pub fn drawn(&mut self, round: &pb::Round) -> String {
        if round.checkpoint.is_none() {
            return String::new();
        }
        let curves = round.evaluation.iter().filter_map(|evaluation| {
            let name = &evaluation.metric.as_ref()?.name;
            let curve = self.0.entry(name.clone()).or_default();
            curve.insert(round.round, evaluation.mean);
            while curve.len() > ROUNDS_MAX {
                curve.pop_first();
            }
            Some(format!("{name} {}", line(curve.values().copied())))
        });
        curves.collect::<Vec<_>>().join(", ")
    }
}

/// Draws values between the lowest and the highest of them; equal ones are at half height.
fn line(values: impl Iterator<Item = f64> + Clone) -> String {
    let lowest = values.clone().fold(f64::INFINITY, f64::min);
    let highest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    let height = |value: f64| {
        // Halves, because a difference of two large numbers may be beyond f64.
        let part = (value / 2.0 - lowest / 2.0) / (highest / 2.0 - lowest / 2.0);
        let part = if part.is_finite() { part } else { 0.5 };
        HEIGHTS[(part * (HEIGHTS.len() - 1) as f64).round() as usize]
    };
    values.map(height).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(number: u64, mean: f64) -> pb::Round {
        pb::Round {
            round: number,
            checkpoint: Some(pb::Checkpoint::default()),
            evaluation: vec![pb::Evaluation {
                metric: Some(pb::Metric {
                    name: "loss".into(),
                    ..Default::default()
                }),
                mean,
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn a_curve_grows_with_its_rounds() {
        let mut curves = Curves::default();
        assert_eq!(curves.drawn(&round(1, 0.8)), "loss ▅", "half of seven steps is four");
        assert_eq!(curves.drawn(&round(2, 0.4)), "loss █▁");
        assert_eq!(curves.drawn(&round(3, 0.1)), "loss █▄▁");
        assert_eq!(curves.drawn(&round(3, 0.65)), "loss █▁▅", "another branch won");
        let open = pb::Round {
            checkpoint: None,
            ..round(4, 0.0)
        };
        assert_eq!(curves.drawn(&open), "");
    }

    #[test]
    fn the_newest_rounds_are_drawn_and_no_value_breaks_the_line() {
        let mut curves = Curves::default();
        for number in 1..100 {
            curves.drawn(&round(number, 1.0));
        }
        let flat = curves.drawn(&round(100, 1.0));
        assert_eq!(flat.chars().filter(|c| *c == '▅').count(), ROUNDS_MAX, "{flat}");
        for extreme in [f64::MAX, f64::MIN, f64::NAN, f64::INFINITY, 0.0] {
            let drawn = curves.drawn(&round(101, extreme));
            assert_eq!(drawn.chars().count(), "loss ".len() + ROUNDS_MAX, "{extreme}");
        }
    }
}
