//! Formats a model for people: its identity, its members and the rule by which a round closes.

use qres_api::pb;

use super::lines::Lines;
use super::table::facts;
use super::text;

/// Most tensors that are shown; of further ones only the number is.
const TENSORS_SHOWN: usize = 20;

/// Formats all details of a [`pb::Model`].
pub fn model_text(model: &pb::Model) -> Lines {
    let head = model.head.as_ref().map(|head| {
        let size = text::bytes(head.total_bytes);
        format!(
            "{} (round {}, {}, {size})",
            head.id,
            head.round,
            text::confirmed(head.confirmed)
        )
    });
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let mut text = facts([
        ("name", Some(model.name.clone())),
        ("id", Some(model.id.clone())),
        ("standing", Some(text::standing(model).to_owned())),
        ("head", head),
        ("strategy", Some(text::rule(model.strategy.as_ref()))),
        ("aggregation", some(text::rules(&model.aggregation))),
        ("codec", Some(text::rule(model.codec.as_ref()))),
        ("privacy", noise(model)),
        ("trainers apply", some(text::numbers(&model.trainer_config))),
        ("schedules", some(schedules(model))),
        ("rounds", model.rounds.as_ref().map(policy)),
        ("metrics", some(metrics(model))),
        ("ends", some(end(model))),
        ("creator", some(model.creator.clone())),
        ("succeeds", some(model.succeeds.clone())),
        ("successor", some(model.successor.clone())),
    ]);
    membership(model, &mut text);
    for change in &model.changes {
        proposed(model, change, &mut text);
    }
    tensors(model, &mut text);
    text
}

/// Formats the noise of a model and what this node has spent; `None` without noise.
fn noise(model: &pb::Model) -> Option<String> {
    let rule = model.privacy.as_ref().filter(|rule| rule.id != "none/1")?;
    let spent = model.privacy_spent.as_ref();
    let spent = spent.map(|spent| format!("; this node has spent {}", text::privacy_spent(spent)));
    Some(text::rule(Some(rule)) + &spent.unwrap_or_default())
}

/// Formats the schedules: `mu (linear: 0.5 in round 1, 0 in round 10)`.
fn schedules(model: &pb::Model) -> String {
    let each = model.schedules.iter().map(|(name, schedule)| {
        let point = |point: &pb::SchedulePoint| format!("{} in round {}", point.value, point.round);
        let points: Vec<_> = schedule.points.iter().map(point).collect();
        format!("{name} ({}: {})", text::curve(schedule), points.join(", "))
    });
    let each: Vec<_> = each.collect();
    match model.earlier_rounds {
        0 => each.join("; "),
        _ if each.is_empty() => String::new(),
        earlier => format!("{}; the rounds here count from {}", each.join("; "), earlier + 1),
    }
}

fn metrics(model: &pb::Model) -> String {
    let each = model.metrics.iter();
    let each = each.map(|metric| format!("{} ({} is best)", metric.name, text::goal(metric)));
    each.collect::<Vec<_>>().join(", ")
}

/// Formats the conditions that end the run; empty if it has no end.
fn end(model: &pb::Model) -> String {
    let rounds = model.max_rounds.map(|last| format!("with round {last}"));
    let until = model.until.as_ref();
    let until = until.map(|target| {
        format!(
            "when the members measure {} = {} or better",
            target.metric, target.value
        )
    });
    rounds.into_iter().chain(until).collect::<Vec<_>>().join(", or ")
}

/// Adds the members, their number n, the contributions k that make a checkpoint and the number that confirms it.
fn membership(model: &pb::Model, text: &mut Lines) {
    let k = model.rounds.as_ref().map_or(0, |rounds| rounds.min_contributions);
    let numbers = format!(
        "k = {k} contributions make a checkpoint, {} on top of it confirm it",
        model.quorum
    );
    if model.open {
        text.push(&format!("members: open, anyone may contribute; {numbers}"));
        return;
    }
    text.push(&format!("members: n = {}; {numbers}", model.members.len()));
    for member in &model.members {
        text.push(&format!("  {member}"));
    }
    if !model.member {
        text.push("  (not this node: it follows)");
    }
}

/// Adds a proposed change of members, and the members that agree to it.
fn proposed(model: &pb::Model, change: &pb::MemberChange, text: &mut Lines) {
    let agreed = format!("{} of the {} that are needed agree", change.agreed.len(), model.quorum);
    text.push(&format!("proposed by {}: {agreed}", change.proposer));
    for node in &change.add {
        text.push(&format!("  add     {node}"));
    }
    for node in &change.remove {
        text.push(&format!("  remove  {node}"));
    }
    for node in &change.agreed {
        text.push(&format!("  agrees  {node}"));
    }
}

fn policy(policy: &pb::RoundPolicy) -> String {
    let closes = match policy.target {
        Some(target) => format!("close at {target} contributions"),
        None => "close when all expected members are in".to_owned(),
    };
    let longest = text::duration_ms(policy.deadline_max_ms.into());
    let deadline = match policy.deadline_ms {
        Some(ms) => format!("or {} after the first", text::duration_ms(ms.into())),
        None => format!("or at 3 times the median pace (at most {longest})"),
    };
    let late = match policy.max_staleness {
        0 => "late work is not taken".to_owned(),
        rounds => format!("work up to {rounds} rounds late is taken, discounted"),
    };
    format!("{closes}, {deadline}; {late}")
}

fn tensors(model: &pb::Model, text: &mut Lines) {
    text.push(&format!("tensors: {}", model.tensor_count));
    for tensor in model.tensors.iter().take(TENSORS_SHOWN) {
        let shape = tensor
            .shape
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" x ");
        let kind = match tensor.kind() {
            pb::TensorKind::Unspecified | pb::TensorKind::Shared => String::new(),
            kind => format!("  {}", text::tensor_kind(kind)),
        };
        text.push(&format!("  {}  {} [{shape}]{kind}", tensor.name, tensor.dtype));
    }
    if model.tensors.len() > TENSORS_SHOWN {
        text.push(&format!(
            "  and {} more (--json has them)",
            model.tensors.len() - TENSORS_SHOWN
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_created_model_lists_members_n_and_k() {
        let model = pb::Model {
            name: "digits-mlp".into(),
            id: "ab".into(),
            standing: pb::ModelStanding::Joined.into(),
            member: true,
            members: vec!["aa".into(), "bb".into(), "cc".into()],
            quorum: 2,
            rounds: Some(pb::RoundPolicy {
                min_contributions: 2,
                deadline_max_ms: 600_000,
                max_staleness: 2,
                ..Default::default()
            }),
            strategy: Some(pb::Rule {
                id: "fedprox/1".into(),
                params: [("mu".to_owned(), 0.1)].into(),
            }),
            aggregation: ["nnm/1", "median/1"]
                .map(|id| pb::Rule {
                    id: id.into(),
                    ..Default::default()
                })
                .into(),
            trainer_config: [("mu".to_owned(), 0.1)].into(),
            tensor_count: 1,
            tensors: vec![pb::TensorSpec {
                name: "w".into(),
                dtype: "F32".into(),
                shape: vec![64, 10],
                kind: pb::TensorKind::Personal.into(),
            }],
            ..Default::default()
        };
        assert_eq!(
            model_text(&model).to_string(),
            "name            digits-mlp\n\
             id              ab\n\
             standing        joined\n\
             strategy        fedprox/1 (mu = 0.1)\n\
             aggregation     nnm/1, then median/1\n\
             codec           -\n\
             trainers apply  mu = 0.1\n\
             rounds          close when all expected members are in, or at 3 times the median pace (at most 10 m 0 s); \
             work up to 2 rounds late is taken, discounted\n\
             members: n = 3; k = 2 contributions make a checkpoint, 2 on top of it confirm it\n  aa\n  bb\n  cc\n\
             tensors: 1\n  w  F32 [64 x 10]  personal"
        );
    }

    #[test]
    fn a_follower_and_an_open_model_say_so() {
        let mut model = pb::Model {
            members: vec!["aa".into()],
            ..Default::default()
        };
        assert!(model_text(&model).to_string().contains("(not this node: it follows)"));
        model.open = true;
        assert!(model_text(&model).to_string().contains("open, anyone may contribute"));
    }

    #[test]
    fn a_hostile_spec_forges_no_line() {
        let model = pb::Model {
            name: "m\nstanding  joined".into(),
            members: vec!["aa\u{1b}[1A".into()],
            strategy: Some(pb::Rule {
                id: "fedavg/1\u{202e}".into(),
                params: [("mu\n".to_owned(), 0.1)].into(),
            }),
            tensors: vec![pb::TensorSpec {
                name: "w\u{9b}2J\nb".into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let text = model_text(&model).to_string();
        assert!(text.chars().all(|c| c == '\n' || qres_api::is_printable(c)), "{text:?}");
        assert!(
            text.lines()
                .all(|line| !line.starts_with("standing  joined") && line != "b"),
            "{text}"
        );
        assert!(
            text.contains("fedavg/1\\u202e (mu\\n = 0.1)") && text.contains("w\\u009b2J\\nb"),
            "{text}"
        );
    }
}
