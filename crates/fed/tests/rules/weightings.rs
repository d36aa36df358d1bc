//! Strategies that weight contributions by more than their samples: FedNova, q-FedAvg, FedBuff.

use qres_fed::record::{Figures, Rule};
use qres_fed::strategy;

use crate::round::{Round, rule, with_f};

/// The updates of three members.
fn three() -> Vec<Vec<f64>> {
    vec![vec![1.0, 2.0, 3.0], vec![4.0, -5.0, 6.0], vec![0.5, 0.25, -1.0]]
}

fn near(result: &[f64], expected: &[f64]) -> bool {
    result.iter().zip(expected).all(|(x, y)| (x - y).abs() < 1e-12)
}

/// A round of these updates in which each member says its steps.
fn with_steps(rules: &[Rule], vectors: &[Vec<f64>], steps: &[f64]) -> Round {
    Round {
        strategy: Rule::new("fednova/1"),
        figures: steps
            .iter()
            .map(|steps| Figures {
                steps: Some(*steps),
                loss: None,
            })
            .collect(),
        ..Round::of(rules, vectors)
    }
}

fn with_losses(q: f64, losses: &[f64]) -> Round {
    Round {
        strategy: rule("qfedavg/1", &[("q", q), ("learning_rate", 0.1)]),
        figures: losses
            .iter()
            .map(|loss| Figures {
                steps: None,
                loss: Some(*loss),
            })
            .collect(),
        ..Round::of(&[], &three())
    }
}

/// Expected: the sum of p u / steps, times the sum of p steps, in exact fractions (Python's `fractions`).
#[test]
fn fednova_divides_by_the_steps() {
    let mut round = with_steps(&[], &three(), &[2.0, 8.0, 5.0]);
    for (part, samples) in round.parts.iter_mut().zip([10, 30, 60]) {
        part.2 = samples;
    }
    let (result, verdicts) = round.run().unwrap();
    assert!(near(&result, &[1.456, -0.322, 1.428]), "{result:?}");
    let factors: Vec<_> = verdicts.iter().map(|v| (v.weight, v.clipped)).collect();
    assert_eq!(factors, [(0.1, 2.8), (0.3, 0.7), (0.6, 1.12)]);
}

#[test]
fn members_with_the_same_steps_make_the_plain_mean() {
    let plain = Round::of(&[], &three()).run().unwrap();
    for steps in [1.0, 7.0, 4096.0] {
        assert_eq!(with_steps(&[], &three(), &[steps; 3]).run().unwrap(), plain);
    }
}

#[test]
fn a_claim_of_steps_owns_the_mean_and_moves_no_robust_rule() {
    let vectors = vec![vec![1.0, -2.0]; 5];
    let honest = [4.0, 4.0, 4.0, 4.0];
    for (claim, most) in [(1.0, 5.0), (2f64.powi(40), 1.5)] {
        let steps = [&honest[..], &[claim]].concat();
        for rules in [vec![Rule::new("median/1")], vec![with_f("trimmed-mean/1", 1)]] {
            let (result, _) = with_steps(&rules, &vectors, &steps).run().unwrap();
            assert_eq!(result, [1.0, -2.0], "{rules:?} with {claim} steps");
        }
        let nearest = vec![with_f("nnm/1", 1), with_f("trimmed-mean/1", 1)];
        let (result, _) = with_steps(&nearest, &vectors, &steps).run().unwrap();
        assert!((result[0] - 1.0).abs() <= most, "{result:?}");
    }
    let steps = [&honest[..], &[2f64.powi(40)]].concat();
    let (result, _) = with_steps(&[], &vectors, &steps).run().unwrap();
    assert!(result[0] > 1e10, "the mean is the paper's: {result:?}");
}

/// Expected: `aggregate_qffl` of Flower 1.41 with each member's own loss, a learning rate of 0.1 and weights of 0.
#[test]
fn qfedavg_makes_what_flower_makes_of_the_same_losses() {
    for (q, expected) in [
        (
            0.0,
            [
                1.833_333_333_333_333_3,
                -0.916_666_666_666_666_6,
                2.666_666_666_666_666_5,
            ],
        ),
        (
            0.2,
            [
                0.042_033_606_524_071_26,
                -0.026_259_621_413_776_354,
                0.059_371_914_376_097_165,
            ],
        ),
        (
            1.0,
            [
                0.009_844_908_968_307_486,
                -0.009_372_892_784_895_483,
                0.013_216_453_135_536_075,
            ],
        ),
        (
            5.0,
            [
                0.002_095_069_835_200_574,
                -0.002_574_013_666_005_047_5,
                0.003_057_000_249_711_056,
            ],
        ),
    ] {
        let (result, verdicts) = with_losses(q, &[0.5, 2.0, 1.25]).run().unwrap();
        assert!(near(&result, &expected), "q = {q}: {result:?}");
        assert!(verdicts.iter().all(|verdict| verdict.rejected.is_none()));
        if q > 0.0 {
            assert!(verdicts[1].weight > verdicts[2].weight && verdicts[2].weight > verdicts[0].weight);
        }
    }
}

#[test]
fn losses_of_zero_and_the_largest_ones_leave_the_result_finite() {
    for losses in [[0.0; 3], [0.0, 1e30, 1.0], [1e30; 3]] {
        for q in [0.0, 0.5, 1.0, 20.0] {
            let (result, _) = with_losses(q, &losses).run().unwrap();
            let longest = three().iter().flatten().fold(0.0f64, |most, x| most.max(x.abs()));
            assert!(
                result.iter().all(|x| x.abs() <= longest),
                "q = {q}, {losses:?}: {result:?}"
            );
        }
    }
}

#[test]
fn a_round_without_the_figures_that_its_strategy_needs_is_refused() {
    for (mut round, word) in [
        (with_steps(&[], &three(), &[1.0; 3]), "steps"),
        (with_losses(1.0, &[1.0; 3]), "loss"),
    ] {
        round.figures.pop();
        let error = round.run().unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let mut robust = with_losses(1.0, &[1.0; 3]);
    robust.rules = vec![Rule::new("median/1")];
    let error = robust.run().unwrap_err().to_string();
    assert!(error.contains("aggregation") && error.contains("mean/1"), "{error}");
    let mut spec = with_losses(1.0, &[1.0; 3]).spec();
    spec.metrics.clear();
    assert_eq!(strategy::check_spec(&spec).unwrap_err().field, "metrics");
}

#[test]
fn fedbuff_discounts_late_work_by_its_exponent() {
    for (exponent, weight) in [(0.0, 0.5), (0.5, 1.0 / 3.0), (1.0, 0.2), (1.5, 1.0 / 9.0)] {
        let mut round = Round::of(&[], &[vec![0.0], vec![9.0]]);
        round.strategy = rule("fedbuff/1", &[("staleness_exponent", exponent)]);
        // Three rounds late: the discount is 4^-a.
        round.parts[1].3 = 3;
        let (result, verdicts) = round.run().unwrap();
        assert!((result[0] - 9.0 * weight).abs() < 1e-12, "a = {exponent}: {result:?}");
        assert!((f64::from(verdicts[1].weight) - weight).abs() < 1e-6);
    }
}
