//! One trace shows the way of a submission: from the trainer's call, over two nodes, to the new head.

use opentelemetry_proto::tonic::trace::v1::Span;
use qres_api::pb;
use qres_tests::collector::{Collector, environment, links_to};
use qres_tests::weights::vector;
use qres_tests::{Daemon, Options, Swarm, wait};
use tonic::Request;

use crate::rounds::node_ids;
use crate::{head, vector_model};

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_can_be_followed_from_the_trainers_call_to_another_nodes_head() {
    let (collector, endpoint) = Collector::start().await;
    let options = Options {
        environment: environment(&endpoint),
        ..Options::default()
    };
    let swarm = Swarm::start_with(2, &options).await;
    let nodes = swarm.nodes();
    let request = pb::CreateModelRequest {
        members: node_ids(&nodes).await,
        ..vector_model("traced", &[0.0])
    };
    let base = head(&nodes[0].create(request).await.unwrap());
    nodes[1].join("traced").await;
    nodes[1].wait_for_round("traced", 0).await;
    nodes[1].submit("traced", &base, 1, &vector(&[1.0])).await.unwrap();
    // The trace context of the trainer, in the format of the W3C recommendation.
    let header = pb::SubmitWeightsRequest {
        model: "traced".into(),
        base: base.clone(),
        samples: 1,
        data: vector(&[3.0]).into(),
        ..Default::default()
    };
    let mut request = Request::new(tokio_stream::once(header));
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request
        .metadata_mut()
        .insert("traceparent", traceparent.parse().unwrap());
    nodes[0].weights().submit_weights(request).await.unwrap();
    nodes[1].wait_for_round("traced", 1).await;

    let trace: Vec<u8> = hex::decode("0af7651916cd43dd8448eb211c80319c").unwrap();
    let [here, there] = [0, 1].map(|node: usize| swarm.daemons[node].pid());
    let within = |span: &Span| span.trace_id == trace;
    let call = collector
        .wait_for("qres.v1.WeightsService/SubmitWeights", here, within)
        .await;
    assert_eq!(hex::encode(&call.parent_span_id), "b7ad6b7169203331");
    let store = collector.wait_for("store", here, within).await;
    assert_eq!(store.parent_span_id, call.span_id);
    let encode = collector.wait_for("encode", here, within).await;
    let publish = collector.wait_for("publish qres/v1/epiphany", here, within).await;
    assert_eq!(publish.parent_span_id, encode.span_id);
    // The other node starts a trace of its own that links to this one. It never joins the trace of the sender.
    let process = collector
        .wait_for("process qres/v1/epiphany", there, |span| links_to(span, &trace))
        .await;
    assert_ne!(process.trace_id, trace);
    assert!(process.links.iter().any(|link| link.span_id == publish.span_id));
    collector
        .wait_for("fetch blob", there, |span| {
            span.trace_id == process.trace_id || links_to(span, &process.trace_id)
        })
        .await;
    let of_aggregation = |pid, name: &'static str| {
        let aggregations = collector.find("aggregate", pid, |span| links_to(span, &trace));
        let spans = aggregations
            .iter()
            .map(|a| collector.find(name, pid, |span| span.trace_id == a.trace_id));
        spans.flatten().find(|span| !span.parent_span_id.is_empty())
    };
    wait::until("the other node's head to move in its aggregation's trace", || async {
        of_aggregation(there, "head")
    })
    .await;
    wait::until("a seal in an aggregation's trace", || async {
        of_aggregation(here, "seal").or_else(|| of_aggregation(there, "seal"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_collector_changes_nothing_but_one_log_line() {
    let options = Options {
        environment: vec![
            // No program listens on the discard port (9) of this loopback address.
            ("OTEL_EXPORTER_OTLP_ENDPOINT".into(), "http://127.0.0.9:9".into()),
            ("OTEL_BSP_SCHEDULE_DELAY".into(), "20".into()),
        ],
        ..Options::default()
    };
    let daemon = Daemon::start(options);
    let node = daemon.node();
    let mut base = head(&node.create(vector_model("dead", &[0.0])).await.unwrap());
    for round in 1..=5 {
        node.submit("dead", &base, 1, &vector(&[1.0])).await.unwrap();
        base = node.wait_for_round("dead", round).await.id();
    }
    let complaints = || {
        daemon
            .log()
            .lines()
            .filter(|line| line.contains("takes no traces"))
            .count()
    };
    wait::until("one complaint", || async { (complaints() >= 1).then_some(()) }).await;
    for round in 6..=8 {
        node.submit("dead", &base, 1, &vector(&[1.0])).await.unwrap();
        base = node.wait_for_round("dead", round).await.id();
    }
    assert_eq!(complaints(), 1, "{}", daemon.log());
    let others = |line: &&str| line.contains("opentelemetry") && !line.contains("takes no traces");
    assert_eq!(
        daemon.log().lines().find(others),
        None,
        "its libraries say nothing besides"
    );
}
