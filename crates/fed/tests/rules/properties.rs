//! Properties of the rules on random vectors.

use proptest::prelude::*;
use qres_fed::record::{Dtype, Rule};

use crate::bad_input::every_rule;
use crate::round::{Round, assert_near, with_f};

fn vectors() -> impl Strategy<Value = Vec<Vec<f64>>> {
    // In one or two dimensions distances are the same too often, and then rules choose any.
    (3usize..40).prop_flat_map(|d| proptest::collection::vec(proptest::collection::vec(-4.0f64..4.0, d), 7))
}

fn has(rules: &[Rule], id: &str) -> bool {
    rules.iter().any(|rule| rule.id.starts_with(id))
}

/// Mixed vectors with the same neighbours are equal but for rounding: rules that choose one then choose any of them.
fn ties(rules: &[Rule]) -> bool {
    has(rules, "nnm/") && ["krum", "multi-krum", "mda", "bulyan"].iter().any(|id| has(rules, id))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The order of the members changes nothing (buckets are drawn by place, so those rules are left out).
    #[test]
    fn the_order_of_the_members_does_not_matter(vectors in vectors(), turn in 1usize..7, samples in 1u64..50) {
        for rules in every_rule().into_iter().filter(|rules| !has(rules, "bucketing") && !ties(rules)) {
            let mut round = Round::of(&rules, &vectors);
            round.parts.iter_mut().enumerate().for_each(|(i, part)| part.2 = 1 + i as u64 * samples % 7);
            let straight = round.result();
            round.parts.rotate_left(turn);
            round.parts.swap(1, 4);
            assert_near(&format!("{rules:?}"), &round.result(), &straight, 1e-9);
        }
    }

    /// A median or trimmed mean of shifted vectors is shifted by the same.
    #[test]
    fn shifts_and_scales_pass_through(vectors in vectors(), shift in -3.0f64..3.0, scale in 0.1f64..9.0) {
        let fixed = |rule: &Rule| matches!(rule.id.as_str(), "geometric-median/1" | "centred-clipping/1" | "fltrust/1" | "clip/1" | "arc/1");
        for rules in every_rule().into_iter().filter(|rules| !rules.iter().any(fixed) && !ties(rules)) {
            let plain = Round::of(&rules, &vectors).result();
            let moved: Vec<Vec<f64>> =
                vectors.iter().map(|x| x.iter().map(|x| x * scale + shift).collect()).collect();
            let expected: Vec<f64> = plain.iter().map(|x| x * scale + shift).collect();
            assert_near(&format!("{rules:?}"), &Round::of(&rules, &moved).result(), &expected, 1e-6);
        }
    }

    /// Scaling passes through the rules that begin at the parent's weights, too.
    #[test]
    fn scales_pass_through_clipping(vectors in vectors(), scale in 0.1f64..9.0) {
        for rules in every_rule().into_iter().filter(|rules| !ties(rules)) {
            let plain = Round::of(&rules, &vectors).result();
            let moved: Vec<Vec<f64>> = vectors.iter().map(|x| x.iter().map(|x| x * scale).collect()).collect();
            let expected: Vec<f64> = plain.iter().map(|x| x * scale).collect();
            assert_near(&format!("{rules:?}"), &Round::of(&rules, &moved).result(), &expected, 1e-6);
        }
    }

    /// With f liars at any place the result stays within the honest members' range, coordinate by coordinate.
    #[test]
    fn f_liars_do_not_break_the_coordinate_rules(mut vectors in vectors(), a in -1e12f64..1e12, b in -1e12f64..1e12) {
        let d = vectors[0].len();
        vectors[2] = vec![a; d];
        vectors[5] = vec![b; d];
        for rules in [vec![Rule::new("median/1")], vec![with_f("trimmed-mean/1", 2)], vec![with_f("nnm/1", 2), with_f("trimmed-mean/1", 2)]] {
            for x in Round::of(&rules, &vectors).result() {
                assert!(x.abs() <= 4.0 + 1e-9, "{rules:?}: {x}");
            }
        }
    }

    /// With more liars than f the trimmed mean does break: the bound is not looser than it must be.
    #[test]
    fn one_liar_more_breaks_a_trimmed_mean(mut vectors in vectors()) {
        let d = vectors[0].len();
        for liar in [1, 2, 5] {
            vectors[liar] = vec![1e12; d];
        }
        let result = Round::of(&[with_f("trimmed-mean/1", 2)], &vectors).result();
        prop_assert!(result.iter().all(|x| *x > 1e9), "{result:?}");
    }

    /// The median and the trimmed mean are those of a sort.
    #[test]
    fn the_network_agrees_with_a_sort(vectors in proptest::collection::vec(proptest::collection::vec(-9i32..9, 700), 1..24)) {
        let vectors: Vec<Vec<f64>> = vectors.into_iter().map(|x| x.into_iter().map(f64::from).collect()).collect();
        let n = vectors.len();
        let f = (n - 1) / 2 / 2;
        let sorted: Vec<Vec<f64>> = (0..vectors[0].len())
            .map(|j| {
                let mut column: Vec<f64> = vectors.iter().map(|x| x[j]).collect();
                column.sort_by(f64::total_cmp);
                column
            })
            .collect();
        for dtype in [Dtype::F32, Dtype::F64] {
            let run = |rule: Rule| {
                let mut round = Round::of(&[rule], &vectors);
                round.dtype = dtype;
                round.result()
            };
            let median: Vec<f64> = sorted.iter().map(|c| (c[(n - 1) / 2] + c[n / 2]) / 2.0).collect();
            assert_near("median", &run(Rule::new("median/1")), &median, 0.0);
            let trimmed: Vec<f64> = sorted.iter().map(|c| c[f..n - f].iter().sum::<f64>() / (n - 2 * f) as f64).collect();
            assert_near("trimmed mean", &run(with_f("trimmed-mean/1", f)), &trimmed, 1e-5);
        }
    }

    /// A member with weight w counts like w members in a weighted median.
    #[test]
    fn a_weight_is_like_as_many_members(values in proptest::collection::vec((-9i32..9, 1u64..5), 1..9)) {
        let vectors: Vec<Vec<f64>> = values.iter().map(|(x, _)| vec![f64::from(*x)]).collect();
        let mut round = Round::of(&[Rule::new("median/1")], &vectors);
        round.parts.iter_mut().zip(&values).for_each(|(part, (_, weight))| part.2 = *weight);
        let mut many: Vec<f64> = values.iter().flat_map(|(x, weight)| vec![f64::from(*x); *weight as usize]).collect();
        many.sort_by(f64::total_cmp);
        let n = many.len();
        assert_near("weighted median", &round.result(), &[(many[(n - 1) / 2] + many[n / 2]) / 2.0], 0.0);
    }
}
