//! Tests of the names that a spec may hold.

use super::super::schema::{Dtype, TENSOR_NAME_BYTES_MAX, TENSORS_MAX, TensorSpec};
use super::*;

/// A spec with one number, for tests of other modules.
pub(crate) fn test_spec() -> Spec {
    Spec {
        strategy: Rule::new("fedavg/1"),
        codec: Rule::new("none/1"),
        privacy: Rule::new("none/1"),
        ..spec("w", Rule::new("fedavg/1"))
    }
}

fn spec(tensor: &str, rule: Rule) -> Spec {
    Spec {
        name: "m".parse().unwrap(),
        tensors: vec![TensorSpec {
            name: tensor.into(),
            dtype: Dtype::F32,
            shape: vec![],
        }]
        .into(),
        strategy: rule.clone(),
        aggregation: vec![],
        rounds: RoundPolicy::default(),
        codec: rule.clone(),
        privacy: rule,
        membership: Membership::List([NodeId([1; 32])].into()),
        checkpoint0: BlobId([2; 32]),
        fixed: None,
        creator: NodeId([1; 32]),
        succeeds: None,
        metrics: vec![],
        end: End::default(),
        schedules: Default::default(),
        earlier_rounds: 0,
    }
}

fn rule(id: &str, number: &str) -> Rule {
    Rule {
        id: id.into(),
        params: [(number.to_owned(), 0.5)].into(),
    }
}

/// Names with characters that a terminal obeys, that change the direction of writing, that cannot be seen, or that end a
/// line.
const UNPRINTABLE: [&str; 8] = [
    "a\u{1b}[2J",
    "a\u{7f}",
    "a\u{9b}31m",
    "a\u{202e}b",
    "a\u{2067}b",
    "a\u{200b}b",
    "a\u{2028}b",
    "\u{feff}a",
];

fn refused(spec: &Spec, field: &str) {
    let error = spec.check().unwrap_err();
    assert_eq!(error.field, field);
    assert!(error.problem.contains("printable"), "{error}");
    assert!(error.to_string().chars().all(crate::record::is_printable), "{error:?}");
}

#[test]
fn a_tensors_name_is_printable_and_has_1_to_512_bytes() {
    for good in ["features.0.weight", "größe 重み", &"t".repeat(TENSOR_NAME_BYTES_MAX)] {
        spec(good, Rule::new("none/1")).check().unwrap();
    }
    for bad in UNPRINTABLE {
        refused(&spec(bad, Rule::new("none/1")), "tensors");
    }
    refused(&spec("", Rule::new("none/1")), "tensors");
    refused(&spec("__metadata__", Rule::new("none/1")), "tensors");
    refused(
        &spec(&"t".repeat(TENSOR_NAME_BYTES_MAX + 1), Rule::new("none/1")),
        "tensors",
    );
}

#[test]
fn a_rules_name_and_its_numbers_names_are_printable_and_have_1_to_64_bytes() {
    let longest = "r".repeat(RULE_NAME_BYTES_MAX);
    spec("w", rule(&longest, &longest)).check().unwrap();
    let longer = "r".repeat(RULE_NAME_BYTES_MAX + 1);
    for bad in UNPRINTABLE.into_iter().chain(["", &longer]) {
        refused(&spec("w", rule(bad, "mu")), "strategy");
        refused(&spec("w", rule("fedprox/1", bad)), "strategy");
    }
    let mut crowded = spec("w", Rule::new("none/1"));
    crowded.privacy.params = (0..RULE_PARAMS_MAX).map(|i| (i.to_string(), 0.0)).collect();
    crowded.check().unwrap();
    crowded.privacy.params.insert("one more".into(), 0.0);
    assert_eq!(crowded.check().unwrap_err().field, "privacy");
}

#[test]
fn a_list_of_tensors_that_is_too_long_is_refused_before_it_is_read() {
    let bytes = spec("w", Rule::new("none/1")).to_canonical();
    // The list's length stands behind the tag, the length of the name "m" and the name itself.
    let at = Spec::TAG.len() + 4 + 1;
    assert_eq!(bytes[at..at + 4], 1_u32.to_le_bytes());
    let with = |count: usize| {
        let count = u32::try_from(count).unwrap().to_le_bytes();
        let longer = [&bytes[..at], &count, &[0; 64]].concat();
        Spec::from_canonical(&longer).unwrap_err().to_string()
    };
    assert!(with(TENSORS_MAX + 1).contains("65537 tensors, at most 65536"));
    // The schema may have that many tensors; here the error is that they are missing.
    assert!(!with(TENSORS_MAX).contains("at most"));
}
