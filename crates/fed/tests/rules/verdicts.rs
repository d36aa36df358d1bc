//! Verdicts name what became of each contribution.

use qres_fed::aggregation::Rejection;
use qres_fed::record::Rule;

use crate::bad_input::{every_rule, seven};
use crate::round::{Round, with_f};

#[test]
fn weights_add_up_to_the_length_of_the_result() {
    for rules in every_rule() {
        let (_, verdicts) = Round::of(&rules, &seven(50)).run().unwrap();
        let sum: f32 = verdicts.iter().map(|verdict| verdict.weight).sum();
        let claimed: f32 = verdicts.iter().map(|verdict| verdict.claimed).sum();
        assert!((claimed - 1.0).abs() < 1e-5);
        let shortens = rules.iter().any(|rule| {
            matches!(
                rule.id.as_str(),
                "clip/1" | "arc/1" | "centred-clipping/1" | "fltrust/1"
            )
        });
        assert!(sum <= 1.0 + 1e-5 || shortens, "{rules:?}: {sum}");
        assert!(sum > 0.5 && (shortens || sum > 1.0 - 1e-5), "{rules:?}: {sum}");
    }
}

#[test]
fn a_liar_is_named_with_the_reason() {
    let mut vectors = seven(50);
    vectors[4] = vec![1e6; 50];
    for (rule, reason) in [
        (with_f("krum/1", 2), Rejection::NotSelected),
        (with_f("multi-krum/1", 2), Rejection::NotSelected),
        (with_f("mda/1", 2), Rejection::NotSelected),
        (with_f("bulyan/1", 1), Rejection::NotSelected),
        (with_f("trimmed-mean/1", 2), Rejection::Trimmed),
        (Rule::new("median/1"), Rejection::Trimmed),
    ] {
        let (_, verdicts) = Round::of(std::slice::from_ref(&rule), &vectors).run().unwrap();
        let verdict = verdicts[4];
        assert_eq!((verdict.weight, verdict.rejected), (0.0, Some(reason)), "{rule:?}");
        // The liar's distance is that of the vector, and far above all others.
        let distance = |i: usize| verdicts[i].distance.unwrap();
        assert!(
            (distance(4) / (1e6 * 50f32.sqrt()) - 1.0).abs() < 1e-3,
            "{rule:?}: {}",
            distance(4)
        );
        assert!((0..7).all(|i| i == 4 || distance(i) < 2.0), "{rule:?}");
    }
    let (_, verdicts) = Round::of(&[Rule::new("clip/1")], &vectors).run().unwrap();
    assert!(verdicts[4].clipped < 1e-4 && verdicts[0].clipped > 0.9, "{verdicts:?}");
    let (_, verdicts) = Round::of(&[], &vectors).run().unwrap();
    assert!(
        verdicts
            .iter()
            .all(|verdict| verdict.distance.is_none() && verdict.rejected.is_none())
    );
}

#[test]
fn a_member_with_all_the_samples_has_the_limit() {
    for rules in every_rule() {
        let mut round = Round::of(&rules, &seven(30));
        round.parts[1].2 = 1 << 40;
        round.max_share = Some(2.0 / 7.0);
        let (_, verdicts) = round.run().unwrap();
        assert!(verdicts[1].claimed > 0.999);
        let chosen_alone = rules.iter().any(|rule| rule.id.starts_with("krum"));
        let mixed = rules.iter().any(|rule| rule.id == "nnm/1" || rule.id == "bucketing/1");
        let least = if mixed { 0.6 } else { 2.0 / 7.0 + 0.25 };
        assert!(
            chosen_alone || verdicts[1].weight < least,
            "{rules:?}: {}",
            verdicts[1].weight
        );
    }
    let mut round = Round::of(&[], &seven(30));
    round.parts[1].2 = 1 << 40;
    round.max_share = Some(2.0 / 7.0);
    let (_, verdicts) = round.run().unwrap();
    assert_eq!(verdicts[1].weight, 2.0 / 7.0);
}

#[test]
fn a_member_with_fresh_and_late_work_is_one_member() {
    // A liar with two contributions still is one of the f = 1 that may lie, and not two.
    let mut vectors = seven(20);
    vectors[0] = vec![100.0; 20];
    let mut round = Round::of(&[with_f("trimmed-mean/1", 1)], &vectors[..4]);
    round.parts.push((0, vec![100.0; 20], 1, 3));
    let (result, verdicts) = round.run().unwrap();
    assert!(result.iter().all(|x| x.abs() < 3.0), "{result:?}");
    assert_eq!(verdicts.len(), 5);
    assert!((verdicts[4].weight, verdicts[0].weight) == (0.0, 0.0), "{verdicts:?}");
}
