//! Parsers of values on the command line that several commands share.

use std::time::Duration;

use qres_api::pb;

/// Parses a length of time: a whole number and `ms`, `s`, `m`, `h` or `d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("{text:?} needs a unit: 500ms, 30s, 5m, 2h or 1d")),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is no whole number and a unit, e.g. 30s"))?;
    number
        .checked_mul(ms)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is too long"))
}

/// Parses `name=number`. The number must be finite.
pub fn named_number(text: &str) -> Result<(String, f64), String> {
    match metric(text) {
        Ok((name, number)) if number.is_finite() => Ok((name, number)),
        _ => Err(format!("{text:?} is not NAME=NUMBER, e.g. mu=0.1")),
    }
}

/// A rule with its numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    id: String,
    numbers: Vec<(String, f64)>,
}

impl Rule {
    /// Returns the rule as a message.
    pub fn message(&self) -> pb::Rule {
        pb::Rule {
            id: self.id.clone(),
            params: self.numbers.iter().cloned().collect(),
        }
    }
}

/// Parses a rule with its numbers, e.g. `trimmed-mean/1:f=2`.
pub fn rule(text: &str) -> Result<Rule, String> {
    let (id, numbers) = text.split_once(':').unwrap_or((text, ""));
    let numbers = numbers.split(',').filter(|number| !number.is_empty()).map(named_number);
    match numbers.collect::<Result<_, _>>() {
        Ok(numbers) if !id.is_empty() => Ok(Rule {
            id: id.to_owned(),
            numbers,
        }),
        _ => Err(format!(
            "{text:?} is not NAME/VERSION[:NAME=NUMBER,…], e.g. trimmed-mean/1:f=2"
        )),
    }
}

/// Parses a schedule: `learning_rate=cosine:1=0.1,100=0.001`.
pub fn schedule(text: &str) -> Result<(String, pb::Schedule), String> {
    let fail = || format!("{text:?} is not NAME=CURVE:ROUND=NUMBER,…, e.g. learning_rate=cosine:1=0.1,100=0.001");
    let (name, rest) = text.split_once('=').ok_or_else(fail)?;
    let (curve, points) = rest.split_once(':').ok_or_else(fail)?;
    let curve = match curve {
        "step" => pb::ScheduleCurve::Step,
        "linear" => pb::ScheduleCurve::Linear,
        "cosine" => pb::ScheduleCurve::Cosine,
        "exponential" => pb::ScheduleCurve::Exponential,
        _ => return Err(format!("{curve:?} is no curve: step, linear, cosine or exponential")),
    };
    let point = |text: &str| {
        let (round, value) = named_number(text).ok()?;
        Some(pb::SchedulePoint {
            round: round.parse().ok()?,
            value,
        })
    };
    let points: Option<_> = points.split(',').map(point).collect();
    let schedule = pb::Schedule {
        curve: curve.into(),
        points: points.ok_or_else(fail)?,
    };
    Ok((name.to_owned(), schedule))
}

/// Parses a metric of a model and which values are better: `loss=lowest`, `accuracy=highest`.
pub fn metric_goal(text: &str) -> Result<pb::Metric, String> {
    let (name, goal) = text.split_once('=').unwrap_or((text, ""));
    let goal = match goal {
        "lowest" => pb::MetricGoal::Lowest,
        "highest" => pb::MetricGoal::Highest,
        _ => return Err(format!("{text:?} is not NAME=lowest or NAME=highest, e.g. loss=lowest")),
    };
    Ok(pb::Metric {
        name: name.to_owned(),
        goal: goal.into(),
    })
}

/// Parses `name=number`, where `nan` and `inf` are numbers, too.
pub fn metric(text: &str) -> Result<(String, f64), String> {
    let fail = || format!("{text:?} is not NAME=NUMBER, e.g. loss=0.1");
    let (name, number) = text.split_once('=').ok_or_else(fail)?;
    match number.parse::<f64>() {
        Ok(number) if !name.is_empty() => Ok((name.to_owned(), number)),
        _ => Err(fail()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_of_a_model_has_a_goal() {
        let metric = metric_goal("accuracy=highest").unwrap();
        assert_eq!(
            (metric.name.as_str(), metric.goal()),
            ("accuracy", pb::MetricGoal::Highest)
        );
        for bad in ["loss", "loss=", "loss=0.5", "=up"] {
            assert!(metric_goal(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rule_has_a_name_and_perhaps_numbers() {
        let message = |text| rule(text).unwrap().message();
        assert_eq!(
            (message("median/1").id, message("median/1").params.len()),
            ("median/1".to_owned(), 0)
        );
        assert_eq!(message("multi-krum/1:f=2,keep=3").params["keep"], 3.0);
        for bad in ["", ":f=1", "nnm/1:f", "nnm/1:f=x", "nnm/1:f=inf"] {
            let error = rule(bad).unwrap_err();
            assert!(error.contains("trimmed-mean/1:f=2"), "{error}");
        }
    }

    #[test]
    fn a_schedule_has_a_curve_and_points() {
        let (name, falls) = schedule("learning_rate=cosine:1=0.1,100=1e-3").unwrap();
        assert_eq!(
            (name.as_str(), falls.curve()),
            ("learning_rate", pb::ScheduleCurve::Cosine)
        );
        let points: Vec<_> = falls.points.iter().map(|point| (point.round, point.value)).collect();
        assert_eq!(points, [(1, 0.1), (100, 0.001)]);
        for bad in [
            "mu",
            "mu=0.1",
            "mu=linear",
            "mu=linear:",
            "mu=linear:1",
            "mu=linear:x=1",
            "mu=linear:1=nan",
        ] {
            let error = schedule(bad).unwrap_err();
            assert!(error.contains("learning_rate=cosine:1=0.1,100=0.001"), "{error}");
        }
        assert!(
            schedule("mu=cubic:1=1")
                .unwrap_err()
                .contains("step, linear, cosine or exponential")
        );
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "99999999999999999999d",
            "18446744073709551615d",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
