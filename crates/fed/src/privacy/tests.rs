use super::*;
use crate::record::{Goal, Metric};

fn rule(id: &str, params: &[(&str, f64)]) -> Rule {
    Rule {
        id: id.into(),
        params: params.iter().map(|(name, value)| (name.to_string(), *value)).collect(),
    }
}

const SOUND: &[(&str, f64)] = &[("clip", 2.0), ("noise_multiplier", 1.5)];

fn spec(id: &str, params: &[(&str, f64)]) -> Spec {
    let mut spec = crate::record::test_spec();
    spec.privacy = rule(id, params);
    spec.rounds.min_contributions = 4;
    spec.rounds.max_staleness = 0;
    spec
}

fn problem(spec: &Spec, field: &str) -> String {
    let error = check_spec(spec).expect_err("taken");
    assert_eq!(error.field, field, "{error}");
    error.problem
}

#[test]
fn mechanisms_are_known_by_name_and_number() {
    for good in [
        spec("none/1", &[]),
        spec(GAUSSIAN, SOUND),
        spec(DISTRIBUTED, SOUND),
        spec(GAUSSIAN, &[SOUND, &[("delta", 1e-6), ("epsilon_max", 8.0)]].concat()),
    ] {
        assert_eq!(check_spec(&good), Ok(()), "{:?}", good.privacy);
    }
    for (bad, says) in [
        (
            spec("dp/1", &[]),
            "\"dp/1\" is not known here: distributed-gaussian/1, gaussian/1, none/1",
        ),
        (spec("none/1", &[("epsilon", 1.0)]), "takes no numbers"),
        (spec(GAUSSIAN, &[("clip", 1.0)]), "needs the number noise_multiplier"),
        (spec(GAUSSIAN, &[("clip", 0.0), ("noise_multiplier", 1.0)]), "clip = 0"),
        (spec(GAUSSIAN, &[SOUND, &[("delta", 1.0)]].concat()), "delta = 1"),
        (spec(GAUSSIAN, &[SOUND, &[("sigma", 1.0)]].concat()), "\"sigma\""),
        (
            spec(GAUSSIAN, &[SOUND, &[("epsilon_max", 0.5)]].concat()),
            "epsilon_max is below the",
        ),
    ] {
        let problem = problem(&bad, "privacy");
        assert!(problem.contains(says), "{problem}");
    }
}

#[test]
fn what_would_undo_the_noise_is_refused() {
    let mut with = spec(GAUSSIAN, SOUND);
    with.metrics = vec![Metric {
        name: "loss".into(),
        goal: Goal::Lowest,
    }];
    assert!(problem(&with, "metrics").contains("loss would travel without noise"));
    let mut with = spec(GAUSSIAN, SOUND);
    with.strategy = Rule::new("fednova/1");
    assert!(problem(&with, "strategy").contains("local steps"));
    let mut with = spec(DISTRIBUTED, SOUND);
    with.rounds.max_staleness = 1;
    assert!(problem(&with, "max_staleness").contains("set it to 0"));
    let mut with = spec(DISTRIBUTED, SOUND);
    with.aggregation = vec![Rule::new("median/1")];
    assert!(problem(&with, "aggregation").contains("mean/1"));
    let mut open = spec(DISTRIBUTED, SOUND);
    open.membership = Membership::Open;
    open.rounds.target = Some(4);
    assert!(problem(&open, "privacy").contains("open model"));
    with.privacy.id = GAUSSIAN.into();
    assert_eq!(check_spec(&with), Ok(()), "each contribution has all of the noise");
}

#[test]
fn k_members_share_the_distributed_noise() {
    assert_eq!(gaussian(&spec("none/1", &[])), None);
    assert_eq!(gaussian(&spec(GAUSSIAN, SOUND)).unwrap().deviation(), 3.0);
    assert_eq!(gaussian(&spec(DISTRIBUTED, SOUND)).unwrap().deviation(), 1.5);
}

#[test]
fn the_budget_ends_with_the_release_that_would_exceed_it() {
    let numbers = [SOUND, &[("epsilon_max", 8.0)]].concat();
    let gaussian = gaussian(&spec(GAUSSIAN, &numbers)).unwrap();
    let releases = (0..).find(|releases| !gaussian.may_release(*releases)).unwrap();
    assert!(
        gaussian.epsilon(releases) <= 8.0 && gaussian.epsilon(releases + 1) > 8.0,
        "{releases}"
    );
    assert!(releases > 1);
}

#[test]
fn contributions_with_noise_count_as_one_sample() {
    let (plain, noisy) = (spec("none/1", &[]), spec(GAUSSIAN, SOUND));
    assert_eq!(contribution_fault(&plain, 900, 0), None);
    assert_eq!(contribution_fault(&noisy, 1, 7), None);
    for (spec, samples, releases) in [(&plain, 1, 1), (&noisy, 2, 1), (&noisy, 1, u64::MAX)] {
        assert!(
            contribution_fault(spec, samples, releases).is_some(),
            "{samples} {releases}"
        );
    }
}
