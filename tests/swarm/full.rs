//! A node that has no room left.

use qres_api::pb;
use qres_tests::weights::vector;
use qres_tests::{Daemon, Options};
use tonic::Code;

use crate::{head, vector_model};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_to_the_trainer_and_the_daemon_lives() {
    let daemon = Daemon::start(Options {
        arguments: vec!["--blob-bytes-max".into(), "100000".into()],
        ..Options::default()
    });
    let node = daemon.node();
    let small = head(&node.create(vector_model("small", &[0.0])).await.unwrap());
    // 48 KB: there is room for the first weights and one submission, but then neither for its update nor for other weights.
    let large_of = |value| vector(&vec![value; 12_000]);
    let large = head(&node.create(vector_model("large", &vec![1.0; 12_000])).await.unwrap());
    let acknowledged = node.submit("large", &large, 1, &large_of(2.0)).await.unwrap();
    let second = pb::SubmitWeightsRequest {
        model: "large".into(),
        base: large.clone(),
        trainer: "second".into(),
        samples: 1,
        ..Default::default()
    };
    let refused = node.submit_with(second, &large_of(3.0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("blob_bytes_max"), "{refused:?}");
    let refused = node
        .create(vector_model("another", &vec![4.0; 12_000]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");

    // Data that fits is still taken, and stored data is still served.
    assert_eq!(node.fetch("large", "").await.unwrap().id(), large);
    node.submit("small", &small, 1, &vector(&[2.0])).await.unwrap();
    assert_eq!(node.fetch("small", &small).await.unwrap().file, vector(&[2.0]));
    let answer = node.models().list_models(pb::ListModelsRequest::default()).await;
    assert_eq!(answer.unwrap().into_inner().models.len(), 2);
    let (stopped, code) = daemon.terminate();
    assert_eq!(code, Some(0));
    let daemon = stopped.start();
    let node = daemon.node();
    assert_eq!(node.fetch("large", "").await.unwrap().id(), large);
    // The acknowledged submission waits for room.
    let kept = node.submission(&acknowledged.id, false).await.unwrap();
    assert_eq!(kept.state(), pb::SubmissionState::Pending, "{kept:?}");
}
