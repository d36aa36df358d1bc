//! Figures that the documentation of ByzFL 0.0.11 prints for x = [[1, 2, 3], [4, 5, 6], [7, 8, 9]].

use qres_fed::record::Rule;

use crate::round::{Round, assert_near, rule, with_f};

fn x() -> Vec<Vec<f64>> {
    vec![vec![1.0, 2.0, 3.0], vec![4.0, 5.0, 6.0], vec![7.0, 8.0, 9.0]]
}

fn result(rules: &[Rule]) -> Vec<f64> {
    Round::of(rules, &x()).result()
}

#[test]
fn means_and_medians() {
    for rules in [
        vec![],
        vec![Rule::new("mean/1")],
        vec![Rule::new("median/1")],
        vec![with_f("trimmed-mean/1", 1)],
    ] {
        assert_near(&format!("{rules:?}"), &result(&rules), &[4.0, 5.0, 6.0], 1e-14);
    }
    let geometric = rule("geometric-median/1", &[("nu", 0.1), ("iterations", 3.0)]);
    assert_near(
        "geometric median",
        &result(&[geometric]),
        &[3.787_887_64, 4.787_887_64, 5.787_887_64],
        1e-8,
    );
}

#[test]
fn the_subset_of_least_diameter() {
    assert_near("MDA", &result(&[with_f("mda/1", 1)]), &[2.5, 3.5, 4.5], 1e-12);
}

#[test]
fn clipping_and_mixing() {
    // Each vector's own image, found by giving it the whole weight: the mean then is this vector alone.
    let image = |rule: &Rule, i: usize| {
        let mut round = Round::of(std::slice::from_ref(rule), &x());
        for (at, part) in round.parts.iter_mut().enumerate() {
            part.2 = u64::from(at == i);
        }
        round.result()
    };
    let clipped = [
        [0.534_522_48, 1.069_044_97, 1.603_567_45],
        [0.911_684_61, 1.139_605_76, 1.367_526_92],
        [1.005_141_42, 1.148_733_05, 1.292_324_69],
    ];
    for (i, row) in clipped.iter().enumerate() {
        assert_near("clipping", &image(&rule("clip/1", &[("norm", 2.0)]), i), row, 1e-8);
    }
    let arc = with_f("arc/1", 1);
    assert_near("ARC", &image(&arc, 0), &[1.0, 2.0, 3.0], 0.0);
    assert_near("ARC", &image(&arc, 1), &[4.0, 5.0, 6.0], 0.0);
    assert_near(
        "ARC",
        &image(&arc, 2),
        &[4.410_040_09, 5.040_045_82, 5.670_051_55],
        1e-8,
    );
    // The vectors mixed by NNM(1) are [2.5, 3.5, 4.5] twice and [5.5, 6.5, 7.5]: their mean is [3.5, 4.5, 5.5].
    let mean = result(&[with_f("nnm/1", 1)]);
    assert_near("NNM, mean", &mean, &[3.5, 4.5, 5.5], 1e-12);
    let median = result(&[with_f("nnm/1", 1), Rule::new("median/1")]);
    assert_near("NNM, median", &median, &[2.5, 3.5, 4.5], 1e-12);
}

#[test]
fn krum_and_its_other_definition_differ_where_they_must() {
    // Scores with n - f - 2 = 2 neighbours: the third vector wins (1 + 1), with 3 neighbours the second does.
    let line = |at: &[f64]| at.iter().map(|x| vec![*x]).collect::<Vec<_>>();
    let vectors = line(&[0.0, 1.0, 2.0, 2.9, 9.0]);
    let krum = Round::of(&[with_f("krum/1", 1)], &vectors).result();
    let wider = Round::of(&[with_f("krum-n-f-1/1", 1)], &vectors).result();
    // By hand: distances squared of 2.0 are 4, 1, 0.81, 49; of 1.0 are 1, 1, 3.61, 64; of 2.9 are 8.41, 3.61, 0.81, 37.21.
    assert_eq!(krum, [2.0], "1 + 0.81 is the least sum of two");
    assert_eq!(wider, [1.0], "1 + 1 + 3.61 is the least sum of three: 2.0 has 5.81");
    let multi = Round::of(&[rule("multi-krum/1", &[("f", 1.0), ("keep", 2.0)])], &vectors).result();
    assert_eq!(multi, [1.5], "2.0 (1.81) and 1.0 (2.0) have the least sums");
}
