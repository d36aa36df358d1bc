//! Callers that take what they can and give nothing. The other callers, and the operator, are served all the same.

mod connections;
mod floods;
pub(crate) mod raw;
mod served;

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use qres_api::pb;
use qres_api::server::Limits;
use qres_tests::weights::vector;
use qres_tests::{Daemon, Node, Options, wait};
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

use crate::{head, vector_model};
use raw::{Call, Raw};
use served::Served;

const SUBMIT: &str = "/qres.v1.WeightsService/SubmitWeights";
const FETCH: &str = "/qres.v1.WeightsService/FetchWeights";
const WATCH: &str = "/qres.v1.ModelService/WatchModels";
const GET_NODE: &str = "/qres.v1.NodeService/GetNode";
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECT: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
/// Time that an answer may stay unread in these tests. A loaded machine still has the time to begin every call and to read a
/// first answer.
const UNREAD: Duration = Duration::from_secs(10);
/// Default flow-control window of HTTP/2, in bytes.
const WINDOW: u32 = 65_535;
/// The gRPC status RESOURCE_EXHAUSTED: the call is above the share of its connection.
const SHARE: u32 = 8;
/// The gRPC status UNAVAILABLE: the call is above the limit of the node, or the node has ended it.
const BUSY: u32 = 14;

fn header(base: &str) -> pb::SubmitWeightsRequest {
    pb::SubmitWeightsRequest {
        model: "m".into(),
        base: base.into(),
        samples: 1,
        ..Default::default()
    }
}

/// Begins this many submits that send a header and nothing more. Returns all calls once one of them is answered, and the
/// status of that answer.
async fn idle_submits(raw: &mut Raw, base: &str, count: usize) -> (Vec<Call>, u32) {
    let mut calls = vec![];
    for _ in 0..count {
        let mut call = raw.begin(SUBMIT).await;
        call.send(&header(base), false);
        calls.push(call);
    }
    first_status(calls).await
}

/// Waits until one of the calls is answered. Returns all calls, so that the others stay open, and the status of that answer.
async fn first_status(mut calls: Vec<Call>) -> (Vec<Call>, u32) {
    let mut answers: FuturesUnordered<_> = calls.iter_mut().map(|call| &mut call.answer).collect();
    let answer = raw::within(answers.next()).await.expect("an answer").expect("a status");
    drop(answers);
    (calls, raw::status(&answer))
}

async fn is_healthy(address: &str) {
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    let mut health = HealthClient::new(channel.connect().await.unwrap());
    health.check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_hold_every_place_leave_the_operator_its_calls() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let base = head(&node.create(vector_model("m", &[0.0])).await.unwrap());
    let mut raws = vec![];
    for _ in 0..4 {
        raws.push(Raw::connect(&daemon.grpc, WINDOW).await);
    }
    let (mut submits, mut watches) = (vec![], vec![]);
    let watch = pb::WatchModelsRequest { from_revision: 0 };
    for raw in &mut raws {
        // One connection may have a quarter of the places: 16 of 64 submits, and 128 of 512 watches.
        let (calls, refused) = idle_submits(raw, &base, 17).await;
        assert_eq!(refused, SHARE);
        submits.push(calls);
        let (statuses, open) = raw.statuses(WATCH, &watch, 129).await;
        assert_eq!((statuses[127], statuses[128]), (0, SHARE));
        watches.push(open);
        let (statuses, open) = raw.statuses(HEALTH_WATCH, &HealthCheckRequest::default(), 17).await;
        assert_eq!((statuses[15], statuses[16]), (0, SHARE));
        watches.push(open);
    }
    let mut fifth = Raw::connect(&daemon.grpc, WINDOW).await;
    assert_eq!(idle_submits(&mut fifth, &base, 1).await.1, BUSY);
    assert_eq!(fifth.statuses(WATCH, &watch, 1).await.0, [BUSY]);
    assert_eq!(
        fifth.statuses(HEALTH_WATCH, &HealthCheckRequest::default(), 1).await.0,
        [BUSY]
    );
    // An operator and a probe call on connections of their own.
    let operator = Node::new(&daemon.grpc);
    operator.node().get_node(pb::GetNodeRequest {}).await.unwrap();
    operator
        .models()
        .list_models(pb::ListModelsRequest::default())
        .await
        .unwrap();
    operator
        .peers()
        .list_peers(pb::ListPeersRequest::default())
        .await
        .unwrap();
    is_healthy(&daemon.grpc).await;
    assert_eq!(operator.fetch("m", "").await.unwrap().id(), base);
    // A call that ends gives its place back.
    submits.pop();
    wait::until("the places of a caller that went", || async {
        operator.submit("m", &base, 1, &vector(&[1.0])).await.ok()
    })
    .await;
    let leave = pb::LeaveModelRequest { model: "m".into() };
    operator.models().leave_model(leave).await.unwrap();
    operator.node().drain_node(pb::DrainNodeRequest {}).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_request_holds_no_place_and_is_ended() {
    let served = Served::start(Limits {
        calls: 4,
        reserved: 4,
        probes: 4,
        request: Duration::from_secs(2),
        ..Limits::default()
    })
    .await;
    let mut raw = Raw::connect(&served.address, WINDOW).await;
    let mut halves = vec![];
    for path in [GET_NODE, WATCH, FETCH, "/grpc.health.v1.Health/Check"] {
        for _ in 0..20 {
            halves.push(raw.begin(path).await);
        }
    }
    served.node().node().get_node(pb::GetNodeRequest {}).await.unwrap();
    is_healthy(&served.address).await;
    for half in halves {
        assert_eq!(raw::status(&raw::within(half.answer).await.unwrap()), BUSY);
    }
    // The server ends a reflection stream that asks nothing as well.
    let reflection = raw.begin(REFLECT).await.answer;
    let reflection = raw::within(reflection).await.unwrap();
    let trailers = raw::within(async move { reflection.into_body().trailers().await });
    assert!(trailers.await.unwrap().is_some());
}

/// Begins this many requests above 1 KiB that do not end. Returns the same as [`idle_submits`].
async fn large_halves(raw: &mut Raw, count: usize) -> (Vec<Call>, u32) {
    let mut calls = vec![];
    for _ in 0..count {
        let mut call = raw.begin(GET_NODE).await;
        call.messages.send_data(vec![0; 2000].into(), false).unwrap();
        calls.push(call);
    }
    first_status(calls).await
}

#[tokio::test(flavor = "multi_thread")]
async fn large_halves_of_requests_have_places_of_their_own() {
    let served = Served::start(Limits {
        requests: 8,
        ..Limits::default()
    })
    .await;
    let mut raws = vec![];
    for _ in 0..5 {
        raws.push(Raw::connect(&served.address, WINDOW).await);
    }
    let mut fifth = raws.pop().unwrap();
    let mut held = vec![];
    for raw in &mut raws {
        // One connection may have a quarter of the 8 places.
        let (calls, refused) = large_halves(raw, 3).await;
        assert_eq!(refused, SHARE);
        held.push(calls);
    }
    assert_eq!(large_halves(&mut fifth, 1).await.1, BUSY);
    // Small requests are read all the same, complete or not.
    served.node().node().get_node(pb::GetNodeRequest {}).await.unwrap();
    is_healthy(&served.address).await;
    // A large complete request is answered once there is a place. A field that the node does not know makes it large.
    let large = HealthCheckRequest {
        service: "x".repeat(2000),
    };
    drop(held);
    wait::until("the places of callers that went", || async {
        let mut raw = Raw::connect(&served.address, WINDOW).await;
        let call = raw.call(GET_NODE, &large).await;
        (raw::status(&raw::within(call.answer).await.unwrap()) == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_brings_no_data_is_ended_and_a_keyed_one_goes_on_later() {
    let served = Served::start(Limits {
        upload_window: Duration::from_secs(2),
        upload_bytes: 1,
        ..Limits::default()
    })
    .await;
    let node = served.node();
    let base = head(&node.create(vector_model("m", &[0.0, 1.0])).await.unwrap());
    let file = vector(&[2.0, 3.0]);
    let mut raw = Raw::connect(&served.address, WINDOW).await;
    // This call sends nothing at all, not even a header.
    let nothing = raw.begin(SUBMIT).await;
    // This call sends a header with 10 bytes of data, and then a message without data every millisecond.
    let mut empty = raw.begin(SUBMIT).await;
    empty.send(
        &pb::SubmitWeightsRequest {
            idempotency_key: "kept".into(),
            data: file[..10].to_vec().into(),
            ..header(&base)
        },
        false,
    );
    let Call { answer, mut messages } = empty;
    let chatter = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        while messages.send_data(bytes::Bytes::from_static(&[0; 5]), false).is_ok() {
            tick.tick().await;
        }
    });
    for answer in [nothing.answer, answer] {
        let answer = raw::within(answer).await.unwrap();
        assert_eq!(raw::status(&answer), BUSY);
        let message = answer.headers()["grpc-message"].to_str().unwrap();
        assert!(message.contains("idempotency_key"), "{message}");
    }
    chatter.await.unwrap();
    let request = pb::GetUploadRequest {
        idempotency_key: "kept".into(),
    };
    let kept = node
        .weights()
        .get_upload(request)
        .await
        .unwrap()
        .into_inner()
        .kept_bytes;
    assert_eq!(kept, 10);
    let rest = pb::SubmitWeightsRequest {
        idempotency_key: "kept".into(),
        offset: kept,
        ..header(&base)
    };
    node.submit_with(rest, &file[10..]).await.unwrap();
    assert_eq!(node.wait_for_round("m", 1).await.file, file);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_is_not_read_gives_its_file_back_and_loses_its_connection() {
    let served = Served::start(Limits {
        sends: 8,
        unread: UNREAD,
        read_bytes_per_s: u32::MAX,
        ..Limits::default()
    })
    .await;
    let node = served.node();
    let base = head(&node.create(vector_model("m", &vec![1.0; 50_000])).await.unwrap());
    assert_eq!(node.fetch("m", "").await.unwrap().id(), base);
    let mut raw = Raw::connect(&served.address, WINDOW).await;
    let request = pb::FetchWeightsRequest {
        model: "m".into(),
        ..Default::default()
    };
    // Two calls, a quarter of 8, may send at once. The others wait: any of the six may be the first to get its turn.
    let mut calls = vec![];
    for _ in 0..6 {
        calls.push(raw.call(FETCH, &request).await);
    }
    let mut answers: FuturesUnordered<_> = calls.iter_mut().map(|call| &mut call.answer).collect();
    let first = answers.next().await.expect("six calls").unwrap();
    assert_eq!(raw::status(&first), 0);
    // Another connection has its own share.
    assert_eq!(node.fetch("m", "").await.unwrap().id(), base);
    raw.closed().await;
    wait::until("the weights to be closed", || async {
        (served.open_weights() == 0).then_some(())
    })
    .await;
    assert_eq!(node.fetch("m", "").await.unwrap().id(), base);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_reads_again_hears_why_its_answer_ended() {
    let served = Served::start(Limits {
        unread: UNREAD,
        read_bytes_per_s: u32::MAX,
        ..Limits::default()
    })
    .await;
    let node = served.node();
    node.create(vector_model("m", &vec![1.0; 200_000])).await.unwrap();
    let mut raw = Raw::connect(&served.address, WINDOW).await;
    let request = pb::FetchWeightsRequest {
        model: "m".into(),
        ..Default::default()
    };
    let call = raw.call(FETCH, &request).await;
    let mut body = call.answer.await.unwrap().into_body();
    wait::until("the weights to be opened", || async {
        (served.open_weights() > 0).then_some(())
    })
    .await;
    wait::until("the weights to be closed", || async {
        (served.open_weights() == 0).then_some(())
    })
    .await;
    while let Some(data) = body.data().await {
        let bytes = data.unwrap().len();
        body.flow_control().release_capacity(bytes).unwrap();
    }
    let trailers = body.trailers().await.unwrap().expect("trailers");
    let status = tonic::Status::from_header_map(&trailers).unwrap();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.get_details_error_info().unwrap().reason, "ANSWER_NOT_READ");
    assert!(status.message().contains("offset"), "{status:?}");
    assert!(!raw.is_closed());
}
