//! Publication and subscription of state embeddings.

use qres_api::pb::{self, WatchKind};
use qres_tests::weights::{raw, vector};
use qres_tests::{Daemon, Options, Swarm};
use tonic::Code;
use tonic_types::StatusExt;

use crate::rounds::node_ids;
use crate::vector_model;

fn publish(name: &str, codec: &str, data: Vec<u8>) -> pb::PublishStateRequest {
    pb::PublishStateRequest {
        model: "world".into(),
        name: name.into(),
        codec: Some(pb::Rule {
            id: codec.into(),
            ..Default::default()
        }),
        data: data.into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn states_reach_subscribers_live_and_late_joiners_by_sync() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let request = pb::CreateModelRequest {
        members: node_ids(&nodes).await,
        ..vector_model("world", &[0.0])
    };
    nodes[0].create(request).await.unwrap();
    nodes[1].join("world").await;
    let subscribe = |node: &qres_tests::Node| {
        let mut client = node.states();
        async move {
            let request = pb::SubscribeStateRequest {
                model: "world".into(),
                ..Default::default()
            };
            client.subscribe_state(request).await.unwrap().into_inner()
        }
    };
    let mut live = subscribe(&nodes[1]).await;
    assert_eq!(live.message().await.unwrap().unwrap().kind(), WatchKind::SnapshotEnd);
    let embedding = vector(&[0.25, -3.0, 1.5]);
    let published = nodes[0]
        .states()
        .publish_state(publish("scene", "bf16/1", embedding.clone()))
        .await
        .unwrap();
    let published = published.into_inner().state.unwrap();
    assert!(published.fidelity > 0.99);
    let message = tokio::time::timeout(qres_tests::wait::DEADLINE, live.message())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let state = message.state.unwrap();
    assert_eq!((state.name.as_str(), state.sequence), ("scene", published.sequence));
    assert_eq!(
        qres_tests::weights::read_vector(&state.data),
        [0.25, -3.0, 1.5],
        "these values are exact in bf16"
    );
    // The third node joins after the publication.
    nodes[2].join("world").await;
    let mut late = subscribe(&nodes[2]).await;
    loop {
        let next = tokio::time::timeout(qres_tests::wait::DEADLINE, late.message()).await;
        let message = next.unwrap().unwrap().unwrap();
        if let Some(state) = message.state {
            assert_eq!(state.sequence, published.sequence);
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_below_the_fidelity_is_refused_with_the_figure() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    node.create(vector_model("world", &[0.0])).await.unwrap();
    // int8/1 gives 256 elements one scale, and rounds away at most 1/254 of the largest: 0.996 for any ordinary numbers. It is
    // coarser only where f32 itself runs out of bits. In units of the smallest f32, one 128 and 255 ones need the scale 128/127.
    // The next f32 is 2, so the ones become 0. F = 128^4 / ((128^2 + 255) * 128^2) = 16384/16639 = 0.984675.
    let mut values = vec![f32::from_bits(1); 256];
    values[0] = f32::from_bits(128);
    let fine = node
        .states()
        .publish_state(publish("fine", "none/1", vector(&values)))
        .await
        .unwrap();
    assert_eq!(fine.into_inner().state.unwrap().fidelity, 1.0);
    let status = node
        .states()
        .publish_state(publish("coarse", "int8/1", vector(&values)))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("0.984675"), "{status:?}");
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "codec", "{status:?}");
    let nan = raw(&[("w", "F32", &[1], f32::NAN.to_le_bytes().to_vec())]);
    let status = node
        .states()
        .publish_state(publish("nan", "none/1", nan))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
}
