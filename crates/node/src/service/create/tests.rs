//! Tests of the refusals before a byte is sent, and of the requests that a key stands for.

use qres_fed::record::{End, Goal, Metric, Rule};

use super::*;
use crate::error::Kind;
use crate::request::UploadOptions;

pub(super) fn request() -> CreateModel {
    CreateModel {
        seeded: None,
        name: "m".parse().unwrap(),
        strategy: Rule::new("fedavg/1"),
        aggregation: vec![],
        codec: Rule::new("bf16/1"),
        min_contributions: None,
        target: None,
        deadline_ms: None,
        deadline_ms_max: None,
        max_staleness: None,
        membership: Some(Membership::List([NodeId([1; 32])].into())),
        metrics: vec![],
        end: End::default(),
        privacy: Rule::new("none/1"),
        schedules: Default::default(),
        personal: vec![],
        frozen: vec![],
        succeeds: None,
        upload: UploadOptions::default(),
    }
}

fn blamed(create: &CreateModel) -> String {
    let error = check_early(&NodeId([1; 32]), create).expect_err("must be refused");
    assert_eq!(error.reason.kind(), Kind::InvalidArgument);
    error.field.expect("names its field")
}

#[test]
fn a_spec_that_contradicts_itself_is_refused_before_a_byte_is_sent_by_its_field() {
    let good = request();
    check_early(&NodeId([1; 32]), &good).unwrap();
    let open = |k, target| CreateModel {
        membership: Some(Membership::Open),
        min_contributions: k,
        target,
        ..request()
    };
    check_early(&NodeId([1; 32]), &open(Some(1), Some(2))).unwrap();
    let cases = [
        (
            "strategy",
            CreateModel {
                strategy: Rule::new("fedavg/9"),
                ..request()
            },
        ),
        (
            "codec",
            CreateModel {
                codec: Rule::new("zip/1"),
                ..request()
            },
        ),
        (
            "min_contributions",
            CreateModel {
                min_contributions: Some(0),
                ..request()
            },
        ),
        (
            "min_contributions",
            CreateModel {
                min_contributions: Some(2),
                ..request()
            },
        ),
        ("min_contributions", open(None, Some(2))),
        ("target", open(Some(2), None)),
        ("target", open(Some(2), Some(1))),
        (
            "members",
            CreateModel {
                membership: Some(Membership::List([].into())),
                ..request()
            },
        ),
        (
            "deadline_ms",
            CreateModel {
                deadline_ms: Some(0),
                ..request()
            },
        ),
        (
            "deadline_ms",
            CreateModel {
                deadline_ms: Some(10),
                deadline_ms_max: Some(5),
                ..request()
            },
        ),
        (
            "deadline_max_ms",
            CreateModel {
                deadline_ms_max: Some(u64::MAX),
                ..request()
            },
        ),
        (
            "max_staleness",
            CreateModel {
                max_staleness: Some(1000),
                ..request()
            },
        ),
    ];
    for (field, bad) in cases {
        assert_eq!(blamed(&bad), field);
    }
}

#[test]
fn qfedavg_needs_the_loss_and_takes_no_other_rule() {
    let node = |n: u8| NodeId([n; 32]);
    let fair = CreateModel {
        strategy: Rule {
            id: "qfedavg/1".into(),
            params: [("q".to_owned(), 1.0), ("learning_rate".to_owned(), 0.1)].into(),
        },
        membership: Some(Membership::List((1..8).map(node).collect())),
        metrics: vec![Metric {
            name: "loss".into(),
            goal: Goal::Lowest,
        }],
        min_contributions: None,
        ..request()
    };
    assert!(
        check_early(&node(1), &fair).is_ok(),
        "a list of seven gets no robust rule by default"
    );
    let silent = CreateModel {
        metrics: vec![],
        ..fair.clone()
    };
    assert_eq!(blamed(&silent), "metrics");
    let robust = CreateModel {
        aggregation: vec![Rule::new("median/1")],
        ..fair
    };
    assert_eq!(blamed(&robust), "aggregation");
}

#[test]
fn a_key_stands_for_the_request_and_not_for_how_it_is_sent() {
    let weights = Some(First::of_weights(BlobId([7; 32])));
    let alone = CreateModel {
        membership: None,
        ..request()
    };
    let digest = request_digest(&alone, weights);
    let keyed = CreateModel {
        upload: UploadOptions {
            key: Some("k".into()),
            offset: 3,
            ..UploadOptions::default()
        },
        ..alone.clone()
    };
    assert_eq!(
        request_digest(&keyed, weights),
        digest,
        "how it is sent does not matter"
    );
    let others = [
        request_digest(&alone, Some(First::of_weights(BlobId([8; 32])))),
        request_digest(&request(), weights),
        request_digest(
            &alone,
            weights.map(|first| First {
                fixed: Some(BlobId([8; 32])),
                ..first
            }),
        ),
        request_digest(
            &CreateModel {
                frozen: vec!["w".into()],
                ..alone.clone()
            },
            weights,
        ),
        request_digest(
            &CreateModel {
                name: "n".parse().unwrap(),
                ..alone.clone()
            },
            weights,
        ),
        request_digest(
            &CreateModel {
                target: Some(1),
                ..alone.clone()
            },
            weights,
        ),
        request_digest(
            &CreateModel {
                deadline_ms: Some(1),
                ..alone.clone()
            },
            weights,
        ),
        request_digest(
            &CreateModel {
                deadline_ms_max: Some(1),
                ..alone
            },
            weights,
        ),
    ];
    assert!(others.iter().all(|other| *other != digest));
}
