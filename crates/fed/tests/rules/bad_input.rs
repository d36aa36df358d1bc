//! Contributions that no honest member makes, or only by chance.

use qres_fed::record::{Dtype, Rule};

use crate::round::{Round, assert_near, rule, with_f};

/// Every rule for seven members, two of which may lie (for Bulyan one).
pub fn every_rule() -> Vec<Vec<Rule>> {
    let alone = vec![
        vec![],
        vec![Rule::new("median/1")],
        vec![with_f("trimmed-mean/1", 2)],
        vec![with_f("mean-around-median/1", 2)],
        vec![with_f("krum/1", 2)],
        vec![with_f("krum-n-f-1/1", 2)],
        vec![with_f("multi-krum/1", 2)],
        vec![with_f("mda/1", 2)],
        vec![with_f("bulyan/1", 1)],
        vec![Rule::new("geometric-median/1")],
        vec![Rule::new("centred-clipping/1")],
        vec![Rule::new("fltrust/1")],
    ];
    let mut all = alone.clone();
    for before in [
        with_f("nnm/1", 2),
        with_f("arc/1", 2),
        Rule::new("clip/1"),
        rule("bucketing/1", &[("size", 2.0)]),
    ] {
        for rules in &alone {
            let tight = rules
                .iter()
                .any(|rule| matches!(rule.id.as_str(), "krum/1" | "bulyan/1" | "mda/1"));
            let many = rules.iter().any(|rule| rule.params.contains_key("f"));
            if before.id != "bucketing/1" || !(tight || many) {
                all.push([std::slice::from_ref(&before), rules].concat());
            }
        }
    }
    all
}

/// Seven vectors around [1, -2, 0.5, ...].
pub fn seven(elements: usize) -> Vec<Vec<f64>> {
    let noise = |i: usize, j: usize| ((i * 31 + j * 17) % 13) as f64 / 130.0 - 0.05;
    let centre = |j: usize| [1.0, -2.0, 0.5][j % 3];
    (0..7)
        .map(|i| (0..elements).map(|j| centre(j) + noise(i, j)).collect())
        .collect()
}

#[test]
fn identical_vectors_aggregate_to_themselves() {
    for rules in every_rule() {
        let x = vec![0.25, -4.0, 1e-3];
        let result = Round::of(&rules, &vec![x.clone(); 7]).result();
        assert_near(&format!("{rules:?}"), &result, &x, 1e-12);
    }
}

#[test]
fn zeros_aggregate_to_zero() {
    for rules in every_rule() {
        assert_eq!(
            Round::of(&rules, &vec![vec![0.0, -0.0]; 7]).result(),
            [0.0, 0.0],
            "{rules:?}"
        );
    }
}

#[test]
fn one_contribution_of_1e30_or_of_the_largest_number_moves_no_robust_rule() {
    for dtype in [Dtype::F32, Dtype::F64] {
        let largest = if dtype == Dtype::F32 {
            f64::from(f32::MAX)
        } else {
            f64::MAX
        };
        for bad in [1e30, -1e30, largest, -largest] {
            for rules in every_rule() {
                let mean = |rule: &Rule| {
                    matches!(
                        rule.id.as_str(),
                        "mean/1" | "bucketing/1" | "arc/1" | "clip/1" | "nnm/1"
                    )
                };
                if rules.iter().all(mean) || rules.iter().any(|rule| rule.id == "bucketing/1") {
                    continue;
                }
                let mut vectors = seven(40);
                vectors[3] = vec![bad; 40];
                let mut round = Round::of(&rules, &vectors);
                round.dtype = dtype;
                let (result, verdicts) = round.run().unwrap();
                for (j, x) in result.iter().enumerate() {
                    let centre = [1.0, -2.0, 0.5][j % 3];
                    // Clipping leaves the liar a vector of ordinary length.
                    assert!((x - centre).abs() < 1.0, "{rules:?}, {bad}: element {j} is {x}");
                }
                assert!(
                    verdicts.iter().all(|verdict| verdict.weight.is_finite()),
                    "{verdicts:?}"
                );
                assert!(verdicts[3].weight <= 1.0 / 7.0 + 1e-6, "{rules:?}: {verdicts:?}");
            }
        }
    }
}

#[test]
fn one_member_alone_is_the_result() {
    for rules in [
        vec![],
        vec![Rule::new("median/1")],
        vec![Rule::new("geometric-median/1")],
    ] {
        let result = Round::of(&rules, &[vec![3.0, -1.0]]).result();
        assert_near(&format!("{rules:?}"), &result, &[3.0, -1.0], 1e-12);
    }
}

#[test]
fn samples_of_zero_have_no_weight_and_a_reason() {
    for rules in every_rule() {
        let mut round = Round::of(&rules, &seven(6));
        round.parts[2].2 = 0;
        let (result, verdicts) = round.run().unwrap();
        assert!(result.iter().all(|x| x.is_finite()));
        let unweighted = rules.last().is_some_and(|rule| rule.id.starts_with("krum"));
        assert!(unweighted || verdicts[2].claimed == 0.0, "{rules:?}");
        for part in &mut round.parts {
            part.2 = 0;
        }
        let error = round.run().unwrap_err().to_string();
        assert!(error.contains("samples") && error.contains("at least 1"), "{error}");
    }
}

#[test]
fn the_largest_sample_counts_stay_finite() {
    for rules in every_rule() {
        let mut round = Round::of(&rules, &seven(6));
        for part in &mut round.parts {
            part.2 = 1 << 40;
        }
        let equal = round.result();
        for part in &mut round.parts {
            part.2 = 1;
        }
        assert_near(&format!("{rules:?}"), &equal, &round.result(), 0.0);
    }
}

#[test]
fn lengths_at_the_ends_of_f64_make_no_number_that_is_none() {
    // The root is very long, the other very short: the quotient of the lengths is beyond f64.
    let mut vectors = vec![vec![1e150, 0.0], vec![1e-160, 0.0], vec![1.0, 0.0], vec![0.0, 1.0]];
    for _ in 0..2 {
        for rules in [
            vec![Rule::new("fltrust/1")],
            vec![Rule::new("clip/1"), Rule::new("fltrust/1")],
            vec![Rule::new("geometric-median/1")],
            vec![Rule::new("centred-clipping/1")],
        ] {
            let (result, verdicts) = Round::of(&rules, &vectors).run().unwrap();
            assert!(result.iter().all(|x| x.abs() <= 2e150), "{rules:?}: {result:?}");
            let finite = |x: f32| x.is_finite();
            for verdict in verdicts {
                assert!(finite(verdict.weight) && finite(verdict.clipped) && verdict.distance.is_none_or(finite));
            }
        }
        vectors.rotate_left(1);
    }
}

#[test]
fn a_short_vector_with_the_root_s_direction_gets_no_more_than_the_root_s_length() {
    let mut vectors = vec![
        vec![1.0; 2000],
        vec![1.5e-162; 2000],
        vec![1e-42; 2000],
        vec![0.5; 2000],
    ];
    vectors[1][0] = 3e-162;
    let (result, verdicts) = Round::of(&[Rule::new("fltrust/1")], &vectors).run().unwrap();
    assert!(result.iter().all(|x| *x <= 1.0 + 1e-9), "{:?}", result[0]);
    assert!(verdicts.iter().all(|verdict| verdict.weight <= 1.0), "{verdicts:?}");
    assert_eq!(verdicts[1].weight, 0.0);
}

#[test]
fn the_largest_numbers_in_one_bucket_are_trimmed() {
    let rules = [rule("bucketing/1", &[("size", 3.0)]), with_f("trimmed-mean/1", 1)];
    for seed in 0..40 {
        let mut vectors = seven(20);
        vectors.extend(seven(20).into_iter().take(2));
        for liar in &mut vectors[..3] {
            *liar = vec![f64::from(f32::MAX); 20];
        }
        let mut round = Round::of(&rules, &vectors);
        (round.dtype, round.seed) = (Dtype::F32, [seed; 32]);
        for (part, samples) in round.parts.iter_mut().zip([59, 58, 16, 7, 23, 31, 44, 12, 5]) {
            part.2 = samples;
        }
        let result = round.result();
        // With all liars in one bucket nothing is left of them; in several they own the result, but it stays a number.
        assert!(result.iter().all(|x| *x > -3.0), "seed {seed}: {result:?}");
    }
}

#[test]
fn liars_at_zero_do_not_hold_the_geometric_median_there() {
    let honest = |i: usize| (0..64).map(|j| f64::from(u8::from(j / 8 == i))).collect::<Vec<f64>>();
    let mut vectors: Vec<Vec<f64>> = (0..6).map(honest).collect();
    vectors.extend([vec![0.0; 64], vec![0.0; 64]]);
    let result = Round::of(&[Rule::new("geometric-median/1")], &vectors).result();
    let length = result.iter().map(|x| x * x).sum::<f64>().sqrt();
    // The minimum lies at a (x_1 + … + x_6) with 2 √6 = 6 (1 - 6 a) / √(1 - 2 a + 6 a²): a = 0.0346, and the length is 0.24.
    assert!((length - 0.24).abs() < 0.01, "{length}");
}
