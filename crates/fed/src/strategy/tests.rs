use super::*;
use crate::optimiser::Second;

fn rule(id: &str, params: &[(&str, f64)]) -> Rule {
    Rule {
        id: id.into(),
        params: params.iter().map(|(name, value)| (name.to_string(), *value)).collect(),
    }
}

#[test]
fn known_strategies_and_their_numbers_are_taken() {
    for good in [
        rule("fedavg/1", &[]),
        rule(
            "fedavg/1",
            &[("learning_rate", 0.1), ("local_epochs", 5.0), ("batch_size", 10.0)],
        ),
        rule("fedprox/1", &[("mu", 0.0)]),
        rule("fedprox/1", &[("mu", 1.0), ("batch_size", 1.0)]),
        rule("fedavgm/1", &[]),
        rule(
            "diloco/1",
            &[("server_learning_rate", 0.5), ("momentum", 0.0), ("mu", 0.1)],
        ),
        rule("fedadagrad/1", &[("beta1", 0.5), ("tau", 1e-8)]),
        rule("fedadam/1", &[("beta2", 0.999)]),
        rule("fedyogi/1", &[("beta1", 0.0), ("beta2", 0.0), ("tau", 1.0)]),
        rule("fednova/1", &[("mu", 0.1), ("server_learning_rate", 0.9)]),
        rule("qfedavg/1", &[("q", 0.2), ("learning_rate", 0.1)]),
        rule("fedbuff/1", &[("staleness_exponent", 1.5)]),
    ] {
        assert_eq!(check(&good, &BTreeMap::new()), Ok(()), "{good:?}");
    }
}

#[test]
fn what_is_unknown_is_named_with_what_is_known() {
    for (bad, names) in [
        (rule("krum/1", &[]), vec!["\"krum/1\"", "fedavg/1", "fedprox/1"]),
        (rule("fedavg", &[]), vec!["\"fedavg\""]),
        (rule("fedavg/2", &[]), vec!["\"fedavg/2\""]),
        (
            rule("fedavg/1", &[("mu", 0.1)]),
            vec!["\"mu\"", "batch_size, learning_rate, local_epochs"],
        ),
        (rule("fedprox/1", &[]), vec!["needs the number mu"]),
        (rule("fedprox/1", &[("mu", -0.1)]), vec!["mu = -0.1", "at least 0"]),
        (rule("fedprox/1", &[("mu", f64::NAN)]), vec!["mu = NaN"]),
        (rule("fedprox/1", &[("mu", f64::INFINITY)]), vec!["mu = inf"]),
        (
            rule("fedavg/1", &[("learning_rate", 0.0)]),
            vec!["learning_rate = 0", "above 0"],
        ),
        (
            rule("fedavg/1", &[("local_epochs", 1.5)]),
            vec!["local_epochs = 1.5", "whole"],
        ),
        (rule("fedavg/1", &[("batch_size", 0.0)]), vec!["batch_size = 0"]),
        (
            rule("fedadam/1", &[("momentum", 0.9)]),
            vec!["\"momentum\"", "beta1, beta2"],
        ),
        (rule("fedadagrad/1", &[("beta2", 0.9)]), vec!["\"beta2\""]),
        (rule("fedadam/1", &[("beta1", 1.0)]), vec!["beta1 = 1", "below 1"]),
        (rule("fedyogi/1", &[("tau", 0.0)]), vec!["tau = 0", "1e-15"]),
        (rule("qfedavg/1", &[("q", 1.0)]), vec!["needs the number learning_rate"]),
        (
            rule("qfedavg/1", &[("q", -1.0), ("learning_rate", 0.1)]),
            vec!["q = -1", "0 to 20"],
        ),
        (
            rule("fedbuff/1", &[("staleness_exponent", 0.3)]),
            vec!["0.3", "multiple of 0.5"],
        ),
        (
            rule("diloco/1", &[("server_learning_rate", 0.0)]),
            vec!["server_learning_rate = 0", "above 0"],
        ),
    ] {
        let error = check(&bad, &BTreeMap::new()).expect_err("taken");
        assert_eq!(error.field, "strategy");
        for name in names {
            assert!(error.problem.contains(name), "{name} is not in {error}");
        }
    }
}

fn spec(strategy: Rule) -> Spec {
    Spec {
        strategy,
        ..crate::record::test_spec()
    }
}

fn schedule(curve: Curve, points: &[(u64, f64)]) -> Schedule {
    let points = points.iter().map(|&(round, value)| Point { round, value }).collect();
    Schedule { curve, points }
}

#[test]
fn trainers_get_what_the_rule_gives() {
    let config = |strategy| trainer_config(&spec(strategy), 1);
    assert_eq!(
        config(rule("fedprox/1", &[("mu", 0.5), ("local_epochs", 2.0)])),
        rule("", &[("local_epochs", 2.0), ("mu", 0.5)]).params
    );
    assert_eq!(config(rule("fedavg/1", &[])), rule("", &[("mu", 0.0)]).params);
    assert_eq!(config(rule("other/1", &[("mu", 0.5)])), BTreeMap::new());
    let server = rule(
        "fedadam/1",
        &[("mu", 0.5), ("beta1", 0.5), ("server_learning_rate", 1.0)],
    );
    assert_eq!(config(server), rule("", &[("mu", 0.5)]).params);
}

#[test]
fn a_schedule_gives_the_number_of_each_round_and_goes_on_in_a_successor() {
    let mut spec = spec(rule("fedprox/1", &[("local_epochs", 2.0)]));
    let fall = schedule(Curve::Linear, &[(1, 0.5), (11, 0.0)]);
    spec.schedules = [("mu".to_owned(), fall)].into();
    assert_eq!(
        check_spec(&spec),
        Ok(()),
        "the schedule gives the number that fedprox needs"
    );
    let mu = |spec: &Spec, round| trainer_config(spec, round)["mu"];
    assert_eq!([1, 6, 11, 90].map(|round| mu(&spec, round)), [0.5, 0.25, 0.0, 0.0]);
    assert_eq!(trainer_config(&spec, 6)["local_epochs"], 2.0);
    spec.earlier_rounds = 5;
    assert_eq!(mu(&spec, 1), 0.25);
}

#[test]
fn a_schedule_that_does_not_fit_its_number_is_refused() {
    let problem = |strategy: Rule, name: &str, curve, points: &[(u64, f64)]| {
        let schedules = [(name.to_owned(), schedule(curve, points))].into();
        let error = check(&strategy, &schedules).expect_err("taken");
        assert_eq!(error.field, "schedules");
        error.problem
    };
    let falls = [(1, 0.5), (9, 0.1)];
    for (strategy, name, curve, says) in [
        (
            rule("fedavg/1", &[]),
            "mu",
            Curve::Linear,
            "no number \"mu\" for trainers: batch_size, learning_rate",
        ),
        (
            rule("fedavgm/1", &[]),
            "momentum",
            Curve::Linear,
            "no number \"momentum\"",
        ),
        (
            rule("fedprox/1", &[("mu", 0.1)]),
            "mu",
            Curve::Linear,
            "also a number of the strategy",
        ),
        (rule("fedavg/1", &[]), "local_epochs", Curve::Linear, "goes in steps"),
        (
            rule("fedavg/1", &[]),
            "local_epochs",
            Curve::Step,
            "0.5 in round 1 must be a whole number",
        ),
    ] {
        let problem = problem(strategy, name, curve, &falls);
        assert!(problem.contains(says), "{problem}");
    }
    let zero = problem(
        rule("fedavg/1", &[]),
        "learning_rate",
        Curve::Linear,
        &[(1, 0.5), (9, 0.0)],
    );
    assert!(zero.contains("0 in round 9 must be finite and above 0"), "{zero}");
    let fair = rule("qfedavg/1", &[("q", 1.0)]);
    let aggregated = problem(fair, "learning_rate", Curve::Linear, &falls);
    assert!(
        aggregated.contains("nodes aggregate with learning_rate"),
        "{aggregated}"
    );
}

#[test]
fn the_numbers_of_a_strategy_make_its_optimiser() {
    assert_eq!(optimiser(&rule("fedprox/1", &[("mu", 0.5)])), None);
    assert_eq!(
        optimiser(&rule("diloco/1", &[])),
        Some(Optimiser::Momentum {
            rate: 0.7,
            momentum: 0.9,
            nesterov: true
        })
    );
    let numbers = [
        ("server_learning_rate", 0.5),
        ("beta1", 0.4),
        ("beta2", 0.3),
        ("tau", 0.2),
    ];
    assert_eq!(
        optimiser(&rule("fedyogi/1", &numbers)),
        Some(Optimiser::Adaptive {
            rate: 0.5,
            beta1: 0.4,
            tau: 0.2,
            second: Second::Yogi(0.3)
        })
    );
}

#[test]
fn fednova_and_fedbuff_have_an_optimiser_if_its_numbers_are_given() {
    assert_eq!(optimiser(&rule("fednova/1", &[])), None);
    let momentum = rule("fedbuff/1", &[("momentum", 0.5)]);
    assert_eq!(
        optimiser(&momentum),
        Some(Optimiser::Momentum {
            rate: 1.0,
            momentum: 0.5,
            nesterov: false
        })
    );
}

#[test]
fn late_work_is_discounted_by_the_exponent() {
    let discount = |id: &str, exponent: f64, behind| {
        let numbers = [("staleness_exponent", exponent)];
        late_discount(&rule(id, &numbers), behind)
    };
    assert_eq!(late_discount(&rule("fedavg/1", &[]), 3), 0.5);
    assert_eq!(late_discount(&rule("fedavg/1", &[]), 0), 1.0);
    assert_eq!(discount("fedbuff/1", 0.0, 9), 1.0);
    assert_eq!(discount("fedbuff/1", 1.0, 3), 0.25);
    assert_eq!(discount("fedbuff/1", 2.5, 3), 1.0 / 32.0);
}
