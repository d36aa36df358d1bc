//! Wrong input is refused with a message that names the field and the remedy. Nothing else is disturbed.

use qres_api::pb;
use qres_tests::weights::{raw, vector};
use qres_tests::{Daemon, Node, Options, Swarm};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::rounds::node_ids;
use crate::{field, head, vector_model};

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

async fn refused(node: &Node, base: &str, file: &[u8], code: Code, words: &[&str]) {
    let status = node.submit("bad", base, 1, file).await.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    for word in words {
        assert!(
            status.message().contains(word),
            "{word:?} is not in {:?}",
            status.message()
        );
    }
    assert!(status.get_error_details().error_info().is_some(), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tensors_off_the_schema_are_refused_and_the_round_goes_on() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let base = head(&node.create(vector_model("bad", &[0.0, 0.0])).await.unwrap());
    let invalid = Code::InvalidArgument;
    refused(&node, &base, &vector(&[1.0, 2.0, 3.0]), invalid, &["w", "[2]", "[3]"]).await;
    refused(
        &node,
        &base,
        &raw(&[("w", "F64", &[2], vec![0; 16])]),
        invalid,
        &["w", "F32", "F64"],
    )
    .await;
    refused(
        &node,
        &base,
        &raw(&[("v", "F32", &[2], f32s(&[1.0, 2.0]))]),
        invalid,
        &["w"],
    )
    .await;
    let two = raw(&[("v", "F32", &[1], f32s(&[1.0])), ("w", "F32", &[2], f32s(&[1.0, 2.0]))]);
    refused(&node, &base, &two, invalid, &["v"]).await;
    refused(&node, &base, &vector(&[1.0, f32::NAN]), invalid, &["w", "NaN"]).await;
    refused(&node, &base, &vector(&[f32::INFINITY, 1.0]), invalid, &["w", "inf"]).await;
    let good = vector(&[1.0, 2.0]);
    refused(&node, &base, &good[..good.len() - 3], invalid, &[]).await;
    refused(&node, &base, &[&good[..], b"x"].concat(), invalid, &[]).await;
    refused(&node, &base, &u64::MAX.to_le_bytes(), invalid, &["header"]).await;
    refused(&node, &base, b"", invalid, &[]).await;
    refused(&node, &base, b"\x02\0\0\0\0\0\0\0[]", invalid, &[]).await;
    node.submit("bad", &base, 1, &good).await.unwrap();
    assert_eq!(node.fetch("bad", &base).await.unwrap().round(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_out_of_their_limits_are_refused_by_name() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let base = head(&node.create(vector_model("bad", &[0.0])).await.unwrap());
    let header = || pb::SubmitWeightsRequest {
        model: "bad".into(),
        base: base.clone(),
        samples: 1,
        ..Default::default()
    };
    let file = vector(&[1.0]);
    let cases: Vec<(&str, Code, pb::SubmitWeightsRequest)> = vec![
        (
            "samples",
            Code::InvalidArgument,
            pb::SubmitWeightsRequest { samples: 0, ..header() },
        ),
        (
            "samples",
            Code::InvalidArgument,
            pb::SubmitWeightsRequest {
                samples: u64::MAX,
                ..header()
            },
        ),
        (
            "model",
            Code::NotFound,
            pb::SubmitWeightsRequest {
                model: "other".into(),
                ..header()
            },
        ),
        (
            "model",
            Code::InvalidArgument,
            pb::SubmitWeightsRequest {
                model: "UPPER case".into(),
                ..header()
            },
        ),
        (
            "base",
            Code::InvalidArgument,
            pb::SubmitWeightsRequest {
                base: "zz".into(),
                ..header()
            },
        ),
        (
            "base",
            Code::FailedPrecondition,
            pb::SubmitWeightsRequest {
                base: "00".repeat(32),
                ..header()
            },
        ),
        (
            "trainer",
            Code::InvalidArgument,
            pb::SubmitWeightsRequest {
                trainer: "t".repeat(200),
                ..header()
            },
        ),
        (
            "total_bytes",
            Code::InvalidArgument,
            pb::SubmitWeightsRequest {
                total_bytes: Some(7_000),
                ..header()
            },
        ),
        (
            "digest",
            Code::InvalidArgument,
            pb::SubmitWeightsRequest {
                digest: "00".repeat(32),
                ..header()
            },
        ),
        (
            "offset",
            Code::InvalidArgument,
            pb::SubmitWeightsRequest { offset: 3, ..header() },
        ),
    ];
    for (name, code, header) in cases {
        let status = node.submit_with(header, &file).await.unwrap_err();
        assert_eq!((status.code(), field(&status).as_str()), (code, name), "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_terminal_would_obey_is_refused_by_its_field() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let base = head(&node.create(vector_model("bad", &[0.0])).await.unwrap());
    let header = || pb::SubmitWeightsRequest {
        model: "bad".into(),
        base: base.clone(),
        samples: 1,
        ..Default::default()
    };
    let cases = [
        (
            "trainer",
            pb::SubmitWeightsRequest {
                trainer: "t\u{1b}[2J".into(),
                ..header()
            },
        ),
        (
            "idempotency_key",
            pb::SubmitWeightsRequest {
                idempotency_key: "k\u{202e}".into(),
                ..header()
            },
        ),
        (
            "metrics",
            pb::SubmitWeightsRequest {
                metrics: [("loss\n".to_owned(), 0.5)].into(),
                ..header()
            },
        ),
    ];
    for (name, header) in cases {
        let status = node.submit_with(header, &vector(&[1.0])).await.unwrap_err();
        let said = (status.code(), field(&status));
        assert_eq!(said, (Code::InvalidArgument, name.to_owned()), "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_contradicts_itself_makes_no_model() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let good = || vector_model("spec", &[0.0]);
    let rule = |id: &str| {
        Some(pb::Rule {
            id: id.into(),
            ..Default::default()
        })
    };
    let cases: Vec<(&str, pb::CreateModelRequest)> = vec![
        (
            "name",
            pb::CreateModelRequest {
                name: "a//b".into(),
                ..good()
            },
        ),
        (
            "strategy",
            pb::CreateModelRequest {
                strategy: rule("krum/9"),
                ..good()
            },
        ),
        (
            "codec",
            pb::CreateModelRequest {
                codec: rule("zip/1"),
                ..good()
            },
        ),
        (
            "min_contributions",
            pb::CreateModelRequest {
                min_contributions: Some(2),
                ..good()
            },
        ),
        (
            "min_contributions",
            pb::CreateModelRequest {
                min_contributions: Some(0),
                ..good()
            },
        ),
        (
            "target",
            pb::CreateModelRequest {
                open: true,
                min_contributions: Some(1),
                ..good()
            },
        ),
        (
            // The target is larger than the number of members in the list.
            "target",
            pb::CreateModelRequest {
                target: Some(400),
                ..good()
            },
        ),
        (
            "deadline_ms",
            pb::CreateModelRequest {
                deadline_ms: Some(5_000),
                deadline_max_ms: Some(1_000),
                ..good()
            },
        ),
        (
            "max_staleness",
            pb::CreateModelRequest {
                max_staleness: Some(1_000),
                ..good()
            },
        ),
        (
            "members",
            pb::CreateModelRequest {
                members: vec!["nobody".into()],
                ..good()
            },
        ),
        (
            "data",
            pb::CreateModelRequest {
                data: vec![1, 2, 3].into(),
                ..good()
            },
        ),
    ];
    for (name, request) in cases {
        let status = node.create(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{name}: {status:?}");
        assert!(field(&status).starts_with(name), "{name}: {status:?}");
    }
    node.create(good()).await.unwrap();
    let other = node.create(vector_model("spec", &[1.0])).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists, "{other:?}");
    let same = node.create(good()).await;
    assert!(same.is_ok(), "the same spec again is the same model: {same:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_that_is_stale_says_how_far_behind_it_is() {
    let swarm = Swarm::start(2).await;
    let nodes = swarm.nodes();
    let request = pb::CreateModelRequest {
        members: node_ids(&nodes).await,
        min_contributions: Some(1),
        deadline_ms: Some(500),
        max_staleness: Some(0),
        ..vector_model("bad", &[0.0])
    };
    let zero = head(&nodes[0].create(request).await.unwrap());
    nodes[1].join("bad").await;
    nodes[0].submit("bad", &zero, 1, &vector(&[1.0])).await.unwrap();
    for node in &nodes {
        node.wait_for_round("bad", 1).await;
    }
    let reason = |status: &Status| status.get_error_details().error_info().unwrap().reason.clone();
    // The first node has contributed on this base, the second node has only missed the round.
    let other = pb::SubmitWeightsRequest {
        model: "bad".into(),
        base: zero.clone(),
        trainer: "other".into(),
        samples: 1,
        ..Default::default()
    };
    let contributed = nodes[0].submit_with(other, &vector(&[2.0])).await.unwrap_err();
    assert_eq!(reason(&contributed), "BASE_CONTRIBUTED", "{contributed:?}");
    let stale = nodes[1].submit("bad", &zero, 1, &vector(&[2.0])).await.unwrap_err();
    assert_eq!(reason(&stale), "BASE_STALE", "{stale:?}");
    assert!(
        stale.message().contains("1 rounds behind") && field(&stale) == "base",
        "{stale:?}"
    );
    assert_eq!(stale.code(), Code::FailedPrecondition);
}

/// Returns a small file with a header of this many bytes.
fn padded(header_bytes: usize) -> Vec<u8> {
    let json = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let mut file = (header_bytes as u64).to_le_bytes().to_vec();
    file.extend_from_slice(json.as_bytes());
    file.resize(8 + header_bytes, b' ');
    file.extend_from_slice(&1f32.to_le_bytes());
    file
}

/// Creates a model of a file on a [`Node`], in messages of 1 MiB.
async fn create_of(node: &Node, name: &str, file: &[u8]) -> Result<pb::Model, Status> {
    let mut messages: Vec<_> = file
        .chunks(1 << 20)
        .map(|chunk| pb::CreateModelRequest {
            data: chunk.to_vec().into(),
            ..Default::default()
        })
        .collect();
    let data = std::mem::take(&mut messages[0].data);
    messages[0] = pb::CreateModelRequest {
        data,
        ..vector_model(name, &[])
    };
    let answer = node.models().create_model(tokio_stream::iter(messages)).await?;
    Ok(answer.into_inner().model.expect("the model"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_far_longer_than_it_needs_to_be_is_refused() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    // If the node knows no schema yet, the limit is the setting `header_bytes_max`: 16 MiB.
    let bound = 16 << 20;
    let error = create_of(&node, "long", &padded(bound + 1)).await.unwrap_err();
    assert_eq!(
        (error.code(), field(&error).as_str()),
        (Code::InvalidArgument, "data"),
        "{error:?}"
    );
    assert!(error.message().contains("header_bytes_max"), "{error:?}");
    // Eight files with headers of the largest length come at once. The node takes them one after the other.
    let files: Vec<_> = (0..8).map(|n| (format!("long{n}"), padded(bound))).collect();
    let made = files.iter().map(|(name, file)| create_of(&node, name, file));
    for made in futures::future::join_all(made).await {
        made.unwrap();
    }
    // If the node knows the schema, the limit follows from the header that this schema needs.
    let base = head(&node.model("long0").await.unwrap());
    let submit = |file: Vec<u8>| {
        let (node, base) = (node.clone(), base.clone());
        async move { node.submit("long0", &base, 1, &file).await }
    };
    let error = submit(padded(3 << 20)).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
    assert!(error.message().contains("the model's own header"), "{error:?}");
    submit(padded(1 << 20)).await.unwrap();
    assert_eq!(node.fetch("long0", &base).await.unwrap().round(), 1);
}
