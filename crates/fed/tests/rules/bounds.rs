//! How few contributions a rule takes, and what it says of fewer.

use qres_fed::aggregation::Aggregation;
use qres_fed::record::{Membership, Rule};

use crate::round::{Round, rule, with_f};

#[test]
fn a_rule_says_how_many_contributions_it_needs() {
    for (id, f, least) in [
        ("trimmed-mean/1", 2, 5),
        ("mean-around-median/1", 2, 5),
        ("nnm/1", 2, 5),
        ("arc/1", 2, 5),
        ("mda/1", 2, 5),
        ("krum/1", 2, 7),
        ("krum-n-f-1/1", 2, 7),
        ("multi-krum/1", 2, 7),
        ("bulyan/1", 2, 11),
    ] {
        let rules = [with_f(id, f)];
        assert!(Aggregation::new(&rules, least, 20).is_ok(), "{id}");
        let error = Aggregation::new(&rules, least - 1, 20).unwrap_err();
        let words = [id, "f = 2", &format!("= {least} contributions"), "lower f"];
        assert_eq!(error.field, "aggregation");
        for word in words {
            assert!(error.problem.contains(word), "{word:?} is not in {error}");
        }
        // Without liars one contribution is enough for most, and Krum compares at least three.
        assert!(Aggregation::new(&[with_f(id, 0)], 3, 20).is_ok(), "{id}");
    }
}

#[test]
fn what_stands_before_a_rule_counts() {
    // 9 contributions in buckets of 2 are 5.
    let after = |f| {
        Aggregation::new(
            &[rule("bucketing/1", &[("size", 2.0)]), with_f("trimmed-mean/1", f)],
            9,
            9,
        )
    };
    assert!(after(2).is_ok());
    assert!(after(3).unwrap_err().problem.contains("may have 5"));
    assert!(Aggregation::new(&[with_f("nnm/1", 1), with_f("krum/1", 1)], 5, 5).is_ok());
}

#[test]
fn what_is_unknown_or_impossible_is_named() {
    let refused = |rules: &[Rule], words: &[&str]| {
        let error = Aggregation::new(rules, 9, 512).unwrap_err();
        for word in words {
            assert!(error.problem.contains(word), "{word:?} is not in {error}");
        }
    };
    refused(&[Rule::new("zeno/1")], &["\"zeno/1\"", "krum/1", "trimmed-mean/1"]);
    refused(&[Rule::new("krum/1")], &["krum/1 needs the number f"]);
    refused(
        &[rule("krum/1", &[("f", 1.0), ("g", 1.0)])],
        &["takes no number \"g\"", "it takes f"],
    );
    refused(&[rule("median/1", &[("f", 1.0)])], &["it takes no numbers"]);
    for f in [-1.0, 0.5, f64::NAN, f64::INFINITY, 513.0] {
        refused(&[rule("krum/1", &[("f", f)])], &["f = ", "whole number"]);
    }
    refused(&[rule("clip/1", &[("norm", 0.0)])], &["norm = 0", "above 0"]);
    refused(&[rule("bucketing/1", &[("size", 1.0)])], &["size = 1", "from 2"]);
    refused(&[rule("bucketing/1", &[("size", 10.0)])], &["size = 10", "lower size"]);
    refused(
        &[rule("multi-krum/1", &[("f", 1.0), ("keep", 9.0)])],
        &["keep = 9", "lower keep"],
    );
    refused(&[Rule::new("median/1"), with_f("nnm/1", 1)], &["median/1", "last"]);
    refused(&[Rule::new("median/1"), Rule::new("mean/1")], &["median/1", "last"]);
    refused(&vec![with_f("arc/1", 1); 5], &["5 rules", "at most 4"]);
    refused(&[with_f("mda/1", 4)], &["subsets", "multi-krum/1"]);
}

#[test]
fn a_spec_is_checked_with_its_smallest_round() {
    let mut spec = Round::of(&[with_f("krum/1", 1)], &vec![vec![0.0]; 9]).spec();
    assert!(Aggregation::of(&spec).is_ok());
    spec.rounds.min_contributions = 4;
    assert!(Aggregation::of(&spec).unwrap_err().problem.contains("may have 4"));
    spec.membership = Membership::Open;
    spec.rounds.min_contributions = 5;
    assert!(Aggregation::of(&spec).is_ok());
}
