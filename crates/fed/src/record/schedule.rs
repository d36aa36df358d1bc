//! Schedules: numbers for trainers that change from round to round.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use super::{SpecError, is_name};

/// Largest number of points of a schedule.
pub const SCHEDULE_POINTS_MAX: usize = 64;
/// Largest number of schedules of a model: more than there are numbers that can have one.
pub const SCHEDULES_MAX: usize = 16;
/// Largest length of the name of a schedule's number, in bytes.
const NUMBER_NAME_BYTES_MAX: usize = 64;

/// The way from one point of a schedule to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Curve {
    /// Each value holds until the next point.
    Step,
    /// A straight line.
    Linear,
    /// Half a wave of the cosine, flat at both ends (Loshchilov & Hutter 2017, "SGDR").
    Cosine,
    /// The same factor in each round; all values are above 0.
    Exponential,
}

/// A point of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Point {
    /// The round, from 1.
    pub round: u64,
    /// The number's value in that round.
    pub value: f64,
}

// `value` is never NaN: borsh refuses to read or write one.
impl Eq for Point {}

/// The values of one number by round: those of the points, and between two points those of the curve. Before the first point
/// and after the last one the value stays.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Schedule {
    /// The way from each point to the next.
    pub curve: Curve,
    /// The points, ascending by round, 1 to [`SCHEDULE_POINTS_MAX`].
    pub points: Vec<Point>,
}

impl Schedule {
    /// Returns the value in a round; NaN without points. Trainers apply it, and nodes never agree on it, so the last bit may
    /// differ between machines.
    pub fn value(&self, round: u64) -> f64 {
        let after = self.points.partition_point(|point| point.round <= round);
        let before = after.checked_sub(1).and_then(|at| self.points.get(at));
        match (before, self.points.get(after)) {
            (Some(from), Some(to)) => self.between(*from, *to, round),
            (Some(only), None) | (None, Some(only)) => only.value,
            (None, None) => f64::NAN,
        }
    }

    fn between(&self, from: Point, to: Point, round: u64) -> f64 {
        let part = (round - from.round) as f64 / (to.round - from.round) as f64;
        let rise = to.value - from.value;
        match self.curve {
            Curve::Step => from.value,
            Curve::Linear => from.value + rise * part,
            Curve::Cosine => from.value + rise * (1.0 - (std::f64::consts::PI * part).cos()) / 2.0,
            // The quotient of the two may be beyond f64, the difference of their logarithms is not.
            Curve::Exponential => (from.value.ln() + (to.value.ln() - from.value.ln()) * part).exp(),
        }
    }

    fn fault(&self) -> Option<String> {
        let count = self.points.len();
        if count == 0 || count > SCHEDULE_POINTS_MAX {
            return Some(format!(
                "{count} points are given, a schedule has 1 to {SCHEDULE_POINTS_MAX}"
            ));
        }
        let ascending = |pair: &[Point]| matches!(pair, [a, b] if a.round < b.round);
        if self.points.first().is_some_and(|first| first.round == 0) || !self.points.windows(2).all(ascending) {
            return Some("the rounds of its points must begin at 1 or later, and ascend".into());
        }
        let bad = |point: &&Point| !point.value.is_finite() || point.value <= 0.0 && self.curve == Curve::Exponential;
        let bad = self.points.iter().find(bad)?;
        let must = match self.curve {
            Curve::Exponential => "finite and above 0",
            _ => "finite",
        };
        Some(format!("{} in round {} must be {must}", bad.value, bad.round))
    }
}

/// Checks the schedules of a spec. The strategy checks which numbers they are of.
pub(super) fn check_schedules(schedules: &BTreeMap<String, Schedule>) -> Result<(), SpecError> {
    let fail = |problem: String| {
        Err(SpecError {
            field: "schedules",
            problem,
        })
    };
    if schedules.len() > SCHEDULES_MAX {
        return fail(format!(
            "{} schedules given, a model has at most {SCHEDULES_MAX}",
            schedules.len()
        ));
    }
    for (name, schedule) in schedules {
        if !is_name(name, NUMBER_NAME_BYTES_MAX) {
            let start: String = name.chars().take(160).collect();
            return fail(format!(
                "{start:?} is no name of a number: 1 to {NUMBER_NAME_BYTES_MAX} bytes, printable characters only"
            ));
        }
        if let Some(fault) = schedule.fault() {
            return fail(format!("{name}: {fault}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(curve: Curve, points: &[(u64, f64)]) -> Schedule {
        let points = points.iter().map(|&(round, value)| Point { round, value }).collect();
        Schedule { curve, points }
    }

    #[test]
    fn values_are_those_of_the_curve() {
        let values = |curve| [1, 10, 15, 20, 40].map(|round| schedule(curve, &[(10, 0.4), (20, 0.1)]).value(round));
        assert_eq!(values(Curve::Step), [0.4, 0.4, 0.4, 0.1, 0.1]);
        assert_eq!(values(Curve::Linear), [0.4, 0.4, 0.25, 0.1, 0.1]);
        let falls = values(Curve::Exponential);
        assert!((falls[2] - 0.2).abs() < 1e-12 && falls[3..] == [0.1, 0.1], "{falls:?}");
        let wide = schedule(Curve::Exponential, &[(1, 1e-300), (11, 1e300)]);
        assert!((1..20).all(|round| (1e-301..1e301).contains(&wide.value(round))));
        let cosine = values(Curve::Cosine);
        assert!((cosine[2] - 0.25).abs() < 1e-12, "{cosine:?}");
        // A quarter of the way: half of 1 - cos(45 degrees) of the fall is done.
        let quarter = schedule(Curve::Cosine, &[(1, 1.0), (5, 0.0)]).value(2);
        assert!((quarter - 0.853_553_390_593_273_8).abs() < 1e-12, "{quarter}");
        assert_eq!(schedule(Curve::Linear, &[(3, 0.5)]).value(9), 0.5);
    }

    #[test]
    fn three_points_are_two_ways() {
        let warm = schedule(Curve::Linear, &[(1, 0.0), (5, 1.0), (9, 0.5)]);
        assert_eq!(
            [1, 3, 5, 7, 9, 10].map(|round| warm.value(round)),
            [0.0, 0.5, 1.0, 0.75, 0.5, 0.5]
        );
    }

    #[test]
    fn bad_points_are_refused_with_the_number_s_name() {
        let problem = |curve, points: &[(u64, f64)]| {
            let all = [("mu".to_owned(), schedule(curve, points))].into();
            check_schedules(&all).err().map(|error| error.problem)
        };
        assert_eq!(problem(Curve::Linear, &[(1, 0.0), (2, -1.0)]), None);
        for (curve, points, says) in [
            (Curve::Step, vec![], "0 points"),
            (Curve::Step, vec![(1, 0.5); 65], "65 points"),
            (Curve::Step, vec![(0, 0.5)], "begin at 1"),
            (Curve::Step, vec![(2, 0.5), (2, 0.6)], "ascend"),
            (Curve::Step, vec![(1, f64::INFINITY)], "inf in round 1"),
            (
                Curve::Exponential,
                vec![(1, 1.0), (7, 0.0)],
                "0 in round 7 must be finite and above 0",
            ),
        ] {
            let problem = problem(curve, &points).expect("taken");
            assert!(problem.starts_with("mu: ") && problem.contains(says), "{problem}");
        }
        let bad = [("a\nb".to_owned(), schedule(Curve::Step, &[(1, 1.0)]))].into();
        assert!(check_schedules(&bad).is_err());
    }
}
