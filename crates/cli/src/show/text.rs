//! Formats the contract's values in a few characters, for people.

use qres_api::pb;

/// Number of digits of an id in a line, enough to tell two ids apart; `--json` prints the whole id.
const ID_DIGITS: usize = 8;

/// Returns the first [`ID_DIGITS`] digits of an id; `-` for an empty one.
pub fn short(id: &str) -> String {
    match id.is_empty() {
        true => "-".to_owned(),
        false => id.chars().take(ID_DIGITS).collect(),
    }
}

/// Returns the beginnings of ids as [`short`] does, with commas between them.
pub fn shorts<'a>(ids: impl IntoIterator<Item = &'a String>) -> String {
    ids.into_iter().map(|id| short(id)).collect::<Vec<_>>().join(", ")
}

/// Returns `yes` or `no`.
pub fn yes(value: bool) -> String {
    match value {
        true => "yes".to_owned(),
        false => "no".to_owned(),
    }
}

/// Formats bytes in the binary unit that keeps the number short, e.g. `1.5 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// Formats milliseconds as a length of time in its two largest units.
pub fn duration_ms(ms: u128) -> String {
    if ms < 1_000 {
        return format!("{ms} ms");
    }
    if ms < 60_000 {
        return format!("{:.1} s", ms as f64 / 1_000.0);
    }
    let seconds = ms / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} m {} s", seconds % 60),
        (0, _) => format!("{hours} h {minutes} m"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Formats a [`pb::Rule`] and its numbers: `fedprox/1 (mu = 0.1)`.
pub fn rule(rule: Option<&pb::Rule>) -> String {
    let Some(rule) = rule else {
        return "-".to_owned();
    };
    match rule.params.is_empty() {
        true => rule.id.clone(),
        false => format!("{} ({})", rule.id, numbers(&rule.params)),
    }
}

/// Formats rules that follow each other: `nnm/1 (f = 2), then trimmed-mean/1 (f = 2)`.
pub fn rules(rules: &[pb::Rule]) -> String {
    let each: Vec<_> = rules.iter().map(|given| rule(Some(given))).collect();
    each.join(", then ")
}

/// Formats what an aggregation made of a contribution: `weight 0.25 of 0.25 claimed, distance 0.013`.
pub fn verdict(verdict: &pb::ContributionVerdict) -> String {
    let mut parts = vec![format!(
        "weight {:.3} of {:.3} claimed",
        verdict.weight, verdict.claimed
    )];
    if verdict.clipped != 1.0 {
        parts.push(format!("length times {:.3}", verdict.clipped));
    }
    if let Some(distance) = verdict.distance {
        parts.push(format!("distance {}", short_number(distance)));
    }
    let rejected = match verdict.rejected() {
        pb::Rejection::Unspecified => None,
        pb::Rejection::NoSamples => Some("it has no samples"),
        pb::Rejection::NotSelected => Some("others lie closer together"),
        pb::Rejection::Trimmed => Some("each value was among the largest or smallest"),
        pb::Rejection::AgainstRoot => Some("it points away from the trusted update"),
        pb::Rejection::TooLong => Some("it is too long"),
    };
    parts.extend(rejected.map(|why| format!("REJECTED: {why}")));
    parts.join(", ")
}

/// Returns the name of a rejection as the contract writes it, without its prefix; empty if there is none.
pub fn rejection(rejected: pb::Rejection) -> &'static str {
    match rejected {
        pb::Rejection::Unspecified => "",
        other => other.as_str_name().trim_start_matches("REJECTION_"),
    }
}

/// Formats what a round measured on its parent: `loss 0.3512 (0.3001 to 0.4100, 3 members, 900 samples)`.
pub fn evaluation(evaluation: &pb::Evaluation) -> String {
    let name = evaluation.metric.as_ref().map_or("", |metric| metric.name.as_str());
    format!(
        "{name} {} ({} to {}, middle {}, {} members, {} samples)",
        short_number(evaluation.mean),
        short_number(evaluation.min),
        short_number(evaluation.max),
        short_number(evaluation.middle),
        evaluation.members,
        evaluation.samples
    )
}

/// Formats the means of what a round measured on its parent: `loss 0.3512, accuracy 0.9300`.
pub fn measured(round: &pb::Round) -> String {
    let each = round.evaluation.iter().map(|evaluation| {
        let name = evaluation.metric.as_ref().map_or("", |metric| metric.name.as_str());
        format!("{name} {}", short_number(evaluation.mean))
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Formats a number with four digits, in powers of ten if it is very large or small.
fn short_number(x: f64) -> String {
    if x == 0.0 || (1e-3..1e5).contains(&x.abs()) {
        format!("{x:.4}")
    } else {
        format!("{x:.3e}")
    }
}

/// Formats named numbers: `mu = 0.1, learning_rate = 0.05`.
pub fn numbers<'a>(numbers: impl IntoIterator<Item = (&'a String, &'a f64)>) -> String {
    let each = numbers.into_iter().map(|(name, value)| format!("{name} = {value}"));
    each.collect::<Vec<_>>().join(", ")
}

/// Returns `confirmed` or `provisional`.
pub fn confirmed(confirmed: bool) -> &'static str {
    match confirmed {
        true => "confirmed",
        false => "provisional",
    }
}

/// Returns the name of a model's [`pb::ModelStanding`].
pub fn standing(model: &pb::Model) -> &'static str {
    match model.standing() {
        pb::ModelStanding::Unspecified => "unknown",
        pb::ModelStanding::Available => "available",
        pb::ModelStanding::Syncing => "syncing",
        pb::ModelStanding::Joined => "joined",
        pb::ModelStanding::Left => "left",
        pb::ModelStanding::Superseded => "superseded",
        pb::ModelStanding::Complete => "complete",
    }
}

/// Names the part that a tensor has in the rounds.
pub fn tensor_kind(kind: pb::TensorKind) -> &'static str {
    match kind {
        pb::TensorKind::Unspecified | pb::TensorKind::Shared => "shared",
        pb::TensorKind::Frozen => "frozen",
        pb::TensorKind::Personal => "personal",
    }
}

/// Returns which values of a [`pb::Metric`] are better.
pub fn goal(metric: &pb::Metric) -> &'static str {
    match metric.goal() {
        pb::MetricGoal::Unspecified => "unknown",
        pb::MetricGoal::Lowest => "lowest",
        pb::MetricGoal::Highest => "highest",
    }
}

/// Returns the name of a schedule's [`pb::ScheduleCurve`].
pub fn curve(schedule: &pb::Schedule) -> &'static str {
    match schedule.curve() {
        pb::ScheduleCurve::Unspecified => "unknown",
        pb::ScheduleCurve::Step => "step",
        pb::ScheduleCurve::Linear => "linear",
        pb::ScheduleCurve::Cosine => "cosine",
        pb::ScheduleCurve::Exponential => "exponential",
    }
}

/// Formats the privacy that a node has spent: `epsilon 2.5083 (delta 0.00001) with 7 updates`.
pub fn privacy_spent(spent: &pb::PrivacySpent) -> String {
    format!(
        "epsilon {:.4} (delta {}) with {} updates",
        spent.epsilon, spent.delta, spent.releases
    )
}

/// Returns the name of a condition's [`pb::ConditionKind`].
pub fn condition(condition: &pb::Condition) -> &'static str {
    match condition.kind() {
        pb::ConditionKind::Unspecified => "unknown",
        pb::ConditionKind::Convicted => "convicted",
        pb::ConditionKind::IdentityInUse => "identity in use",
        pb::ConditionKind::Comparing => "comparing",
        pb::ConditionKind::Unsettled => "unsettled",
        pb::ConditionKind::MembersChange => "members change",
    }
}

/// Returns the name of a peer's [`pb::PeerState`].
pub fn peer_state(peer: &pb::Peer) -> &'static str {
    match peer.state() {
        pb::PeerState::Unspecified => "unknown",
        pb::PeerState::Connecting => "connecting",
        pb::PeerState::Connected => "connected",
        pb::PeerState::Disconnected => "disconnected",
        pb::PeerState::Refused => "refused",
        pb::PeerState::Banned => "banned",
    }
}

/// Returns the name of a round's [`pb::RoundState`].
pub fn round_state(round: &pb::Round) -> &'static str {
    match round.state() {
        pb::RoundState::Unspecified => "unknown",
        pb::RoundState::Open => "open",
        pb::RoundState::Sealed => "sealed",
    }
}

/// Returns the name of a submission's [`pb::SubmissionState`].
pub fn submission_state(submission: &pb::Submission) -> &'static str {
    match submission.state() {
        pb::SubmissionState::Unspecified => "unknown",
        pb::SubmissionState::Pending => "pending",
        pb::SubmissionState::Merged => "merged",
        pb::SubmissionState::Sealed => "sealed",
        pb::SubmissionState::Carried => "carried",
        pb::SubmissionState::Rejected => "rejected",
        pb::SubmissionState::Superseded => "superseded",
    }
}

/// Formats the outcome of a submission: its contribution, its checkpoint, its next round or the reason of its rejection.
pub fn outcome(submission: &pb::Submission) -> String {
    match submission.state() {
        pb::SubmissionState::Merged => format!("in contribution {}", short(&submission.contribution)),
        pb::SubmissionState::Sealed => format!(
            "in checkpoint {} ({}), {:.1} % of it",
            short(&submission.checkpoint),
            match submission.r#final {
                true => "final",
                false => confirmed(submission.confirmed),
            },
            f64::from(submission.weight_ppm) / 10_000.0
        ),
        pb::SubmissionState::Carried => format!("late, offered to round {}", submission.carried_to_round),
        pb::SubmissionState::Rejected | pb::SubmissionState::Superseded => submission.reason.clone(),
        pb::SubmissionState::Unspecified | pb::SubmissionState::Pending => String::new(),
    }
}

/// Formats a [`pb::Round`] as one line: `round 8  open  2 in, 2 needed, waiting for 5e6f7a8b`.
pub fn round_line(round: &pb::Round) -> String {
    let mut parts = vec![format!(
        "{} in, {} needed",
        round.contributions.len(),
        round.min_contributions
    )];
    let late = round
        .contributions
        .iter()
        .filter(|contribution| contribution.late)
        .count();
    if late > 0 {
        parts.push(format!("{late} of them late"));
    }
    if let Some(checkpoint) = &round.checkpoint {
        parts.push(format!(
            "checkpoint {} {}",
            short(&checkpoint.id),
            confirmed(checkpoint.confirmed)
        ));
    } else if !round.missing.is_empty() {
        parts.push(format!("waiting for {}", shorts(&round.missing)));
    }
    if !round.evaluation.is_empty() {
        parts.push(format!("parent's {}", measured(round)));
    }
    if round.closing {
        parts.push("closing".to_owned());
    }
    if let Some(ms) = round.deadline_in_ms {
        parts.push(format!("deadline in {}", duration_ms(ms.into())));
    }
    format!("round {}  {}  {}", round.round, round_state(round), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_stay_short() {
        let sizes = [0, 1023, 1024, 1_500_000, u64::MAX].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.4 MiB", "16777216.0 TiB"]);
        let times = [0, 999, 1_500, 61_000, 3_660_000, 90_000_000].map(duration_ms);
        assert_eq!(times, ["0 ms", "999 ms", "1.5 s", "1 m 1 s", "1 h 1 m", "1 d 1 h"]);
    }

    #[test]
    fn an_id_is_cut_and_none_is_a_dash() {
        assert_eq!(short("0123456789abcdef"), "01234567");
        assert_eq!(short(""), "-");
    }

    #[test]
    fn a_rule_shows_its_numbers() {
        let mut fedprox = pb::Rule {
            id: "fedprox/1".into(),
            ..Default::default()
        };
        assert_eq!(rule(Some(&fedprox)), "fedprox/1");
        fedprox.params.insert("mu".into(), 0.1);
        assert_eq!(rule(Some(&fedprox)), "fedprox/1 (mu = 0.1)");
    }

    #[test]
    fn a_round_says_what_it_waits_for_or_what_it_made() {
        let mut round = pb::Round {
            round: 8,
            state: pb::RoundState::Open.into(),
            contributions: vec![pb::Contribution::default()],
            missing: vec!["5e6f7a8b99".into()],
            min_contributions: 2,
            deadline_in_ms: Some(1500),
            ..Default::default()
        };
        assert_eq!(
            round_line(&round),
            "round 8  open  1 in, 2 needed, waiting for 5e6f7a8b, deadline in 1.5 s"
        );
        round.state = pb::RoundState::Sealed.into();
        round.deadline_in_ms = None;
        round.checkpoint = Some(pb::Checkpoint {
            id: "1a2b3c4d55".into(),
            ..Default::default()
        });
        assert_eq!(
            round_line(&round),
            "round 8  sealed  1 in, 2 needed, checkpoint 1a2b3c4d provisional"
        );
    }

    #[test]
    fn an_outcome_names_what_belongs_to_its_state() {
        let submission = pb::Submission {
            state: pb::SubmissionState::Sealed.into(),
            checkpoint: "1a2b3c4d55".into(),
            weight_ppm: 250_000,
            confirmed: true,
            ..Default::default()
        };
        assert_eq!(outcome(&submission), "in checkpoint 1a2b3c4d (confirmed), 25.0 % of it");
        let last = pb::Submission {
            r#final: true,
            ..submission
        };
        assert_eq!(outcome(&last), "in checkpoint 1a2b3c4d (final), 25.0 % of it");
    }
}
