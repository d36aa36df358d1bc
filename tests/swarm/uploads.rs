//! Idempotency keys, and uploads that break off.

use bytes::Bytes;
use futures::StreamExt;
use qres_api::pb;
use qres_tests::weights::{read_vector, vector};
use qres_tests::{Daemon, Options, wait};
use tonic::Code;

use crate::{field, head, vector_model};

fn keyed(base: &str, key: &str) -> pb::SubmitWeightsRequest {
    pb::SubmitWeightsRequest {
        model: "keyed".into(),
        base: base.into(),
        samples: 1,
        idempotency_key: key.into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_gets_the_same_answer_and_other_bytes_are_refused() {
    let daemon = Daemon::start(Options {
        arguments: vec!["--trainers".into(), "2".into()],
        ..Options::default()
    });
    let node = daemon.node();
    let base = head(&node.create(vector_model("keyed", &[0.0])).await.unwrap());
    let first = node.submit_with(keyed(&base, "k"), &vector(&[1.0])).await.unwrap();
    let again = node.submit_with(keyed(&base, "k"), &vector(&[1.0])).await.unwrap();
    assert_eq!(again.id, first.id);
    let other = node.submit_with(keyed(&base, "k"), &vector(&[2.0])).await.unwrap_err();
    assert_eq!(other.code(), Code::AlreadyExists, "{other:?}");
    // The key lives as long as the submission, across a crash, too.
    let daemon = daemon.kill_and_restart();
    let again = daemon
        .node()
        .submit_with(keyed(&base, "k"), &vector(&[1.0]))
        .await
        .unwrap();
    assert_eq!(again.id, first.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_uploads_have_a_quota_and_the_oldest_make_room() {
    let daemon = Daemon::start(Options {
        arguments: ["--blob-bytes-max", "1000000"].map(str::to_owned).to_vec(),
        ..Options::default()
    });
    let node = daemon.node();
    let base = head(&node.create(vector_model("keyed", &vec![0.0; 75_000])).await.unwrap());
    // The announced length is larger than the file: the node keeps the received bytes, and no caller continues the upload.
    let leave = async |key: &str, announced: u64, bytes: usize| {
        let header = pb::SubmitWeightsRequest {
            total_bytes: Some(announced),
            ..keyed(&base, key)
        };
        node.submit_with(header, &vec![0; bytes]).await.unwrap_err()
    };
    let kept = async |key: &str| {
        let request = pb::GetUploadRequest {
            idempotency_key: key.into(),
        };
        node.weights()
            .get_upload(request)
            .await
            .unwrap()
            .into_inner()
            .kept_bytes
    };
    for key in ["a", "b"] {
        assert_eq!(leave(key, 200_000, 100_000).await.code(), Code::InvalidArgument);
        assert_eq!(kept(key).await, 100_000);
    }
    leave("c", 200_000, 100_000).await;
    assert_eq!(
        (kept("a").await, kept("b").await, kept("c").await),
        (0, 100_000, 100_000)
    );
    // An upload that is larger than the quota by itself is refused: when it is announced, or when it grows.
    for (announced, sent) in [(Some(250_001), 1), (None, 260_000)] {
        let header = pb::SubmitWeightsRequest {
            total_bytes: announced,
            ..keyed(&base, "large")
        };
        let refused = node.submit_with(header, &vec![0; sent]).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        assert_eq!(field(&refused), "idempotency_key");
        let expected = ["250000 bytes", "without a key", "--blob-bytes-max"];
        assert!(
            expected.iter().all(|part| refused.message().contains(part)),
            "{refused:?}"
        );
    }
    // An upload without a key needs none of this quota.
    let plain = pb::SubmitWeightsRequest {
        idempotency_key: String::new(),
        ..keyed(&base, "")
    };
    node.submit_with(plain, &vector(&vec![1.0; 75_000])).await.unwrap();
    let shown = node.node().get_node(pb::GetNodeRequest {}).await.unwrap().into_inner();
    let disk = shown.node.unwrap().disk.unwrap();
    assert_eq!((disk.quota_bytes, disk.upload_quota_bytes), (Some(1_000_000), 250_000));
    assert!(disk.upload_bytes <= 250_000 && disk.used_bytes <= 1_000_000, "{disk:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_goes_on_where_it_broke() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let values: Vec<f32> = (0..700_000u32).map(|i| i as f32).collect();
    let file = vector(&values);
    let mut messages = file.chunks(1 << 20).map(|chunk| pb::CreateModelRequest {
        data: Bytes::copy_from_slice(chunk),
        ..Default::default()
    });
    let begin = pb::CreateModelRequest {
        data: messages.next().unwrap().data,
        ..vector_model("keyed", &[])
    };
    let stream = tokio_stream::iter(std::iter::once(begin).chain(messages).collect::<Vec<_>>());
    let model = node
        .models()
        .create_model(stream)
        .await
        .unwrap()
        .into_inner()
        .model
        .unwrap();
    let base = head(&model);
    // The node receives two chunks, then the trainer dies.
    let chunks: Vec<_> = file.chunks(1 << 20).map(Bytes::copy_from_slice).collect();
    let sent = [
        pb::SubmitWeightsRequest {
            data: chunks[0].clone(),
            ..keyed(&base, "cut")
        },
        pb::SubmitWeightsRequest {
            data: chunks[1].clone(),
            ..Default::default()
        },
    ];
    let (dies, dead) = futures::channel::oneshot::channel::<()>();
    let stream = tokio_stream::iter(sent).chain(futures::stream::once(async move {
        // This message is never sent, because the call is dropped first.
        let _ = dead.await;
        pb::SubmitWeightsRequest::default()
    }));
    let mut client = node.weights();
    let call = tokio::spawn(async move { client.submit_weights(stream).await });
    let kept = || async {
        let request = pb::GetUploadRequest {
            idempotency_key: "cut".into(),
        };
        node.weights()
            .get_upload(request)
            .await
            .unwrap()
            .into_inner()
            .kept_bytes
    };
    wait::until("two chunks to be kept", || async {
        (kept().await == 2 << 20).then_some(())
    })
    .await;
    call.abort();
    drop(dies);
    let daemon = daemon.kill_and_restart();
    let node = daemon.node();
    let offset = node
        .weights()
        .get_upload(pb::GetUploadRequest {
            idempotency_key: "cut".into(),
        })
        .await
        .unwrap();
    let offset = offset.into_inner().kept_bytes;
    assert!(offset > 0, "what was written before the crash is kept");
    let past = pb::SubmitWeightsRequest {
        offset: offset + 1,
        ..keyed(&base, "cut")
    };
    let status = node.submit_with(past, b"").await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    let header = pb::SubmitWeightsRequest {
        offset,
        ..keyed(&base, "cut")
    };
    node.submit_with(header, &file[usize::try_from(offset).unwrap()..])
        .await
        .unwrap();
    let sealed = node.wait_for_round("keyed", 1).await;
    assert_eq!(read_vector(&sealed.file), values);
    // A fetch can go on from an offset, too.
    let request = pb::FetchWeightsRequest {
        model: "keyed".into(),
        checkpoint: sealed.id(),
        offset: 1_000_003,
        ..Default::default()
    };
    assert_eq!(node.fetch_with(request).await.unwrap().file, sealed.file[1_000_003..]);
}
