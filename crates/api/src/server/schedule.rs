//! Reads and converts schedules: numbers for trainers that change from round to round.

use std::collections::BTreeMap;

use qres_fed::record::{Curve, Point, SCHEDULE_POINTS_MAX, SCHEDULES_MAX, Schedule};
use tonic::Status;

use super::field::{NAME_BYTES_MAX, invalid, text};
use crate::pb;

/// Reads the schedules of a new model. The spec's own check does the rest.
pub(super) fn schedules(
    field: &str,
    schedules: BTreeMap<String, pb::Schedule>,
) -> Result<BTreeMap<String, Schedule>, Status> {
    if schedules.len() > SCHEDULES_MAX {
        return Err(invalid(
            field,
            format!("{} given, a model has at most {SCHEDULES_MAX}", schedules.len()),
        ));
    }
    let read = |(name, schedule)| {
        let name = text(field, name, NAME_BYTES_MAX)?;
        Ok((name.clone(), read(&format!("{field}[{name}]"), schedule)?))
    };
    schedules.into_iter().map(read).collect()
}

fn read(field: &str, schedule: pb::Schedule) -> Result<Schedule, Status> {
    let curve = match schedule.curve() {
        pb::ScheduleCurve::Step => Curve::Step,
        pb::ScheduleCurve::Linear => Curve::Linear,
        pb::ScheduleCurve::Cosine => Curve::Cosine,
        pb::ScheduleCurve::Exponential => Curve::Exponential,
        pb::ScheduleCurve::Unspecified => {
            return Err(invalid(
                &format!("{field}.curve"),
                "missing or unknown: 1 is step, 2 linear, 3 cosine, 4 exponential",
            ));
        }
    };
    let field = format!("{field}.points");
    if schedule.points.len() > SCHEDULE_POINTS_MAX {
        return Err(invalid(
            &field,
            format!("{} given, at most {SCHEDULE_POINTS_MAX}", schedule.points.len()),
        ));
    }
    let point = |(i, pb::SchedulePoint { round, value }): (usize, pb::SchedulePoint)| {
        // The records hold no NaN.
        if value.is_finite() {
            return Ok(Point { round, value });
        }
        Err(invalid(
            &format!("{field}[{i}].value"),
            format!("{value} is not finite"),
        ))
    };
    Ok(Schedule {
        curve,
        points: schedule
            .points
            .into_iter()
            .enumerate()
            .map(point)
            .collect::<Result<_, _>>()?,
    })
}

/// Converts a schedule to its message.
pub(super) fn message(schedule: Schedule) -> pb::Schedule {
    let curve = match schedule.curve {
        Curve::Step => pb::ScheduleCurve::Step,
        Curve::Linear => pb::ScheduleCurve::Linear,
        Curve::Cosine => pb::ScheduleCurve::Cosine,
        Curve::Exponential => pb::ScheduleCurve::Exponential,
    };
    let point = |Point { round, value }| pb::SchedulePoint { round, value };
    pb::Schedule {
        curve: curve.into(),
        points: schedule.points.into_iter().map(point).collect(),
    }
}
