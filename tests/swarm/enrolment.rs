//! A node is never a member by accident: neither because it is connected, nor because of the name that another node gave a model.

use qres_api::pb;
use qres_tests::{Daemon, Node, Options, Swarm, wait};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::rounds::node_ids;
use crate::vector_model;

fn open_model(name: &str, value: f32) -> pb::CreateModelRequest {
    pb::CreateModelRequest {
        open: true,
        min_contributions: Some(1),
        target: Some(1),
        ..vector_model(name, &[value])
    }
}

async fn join(node: &Node, model: &str, creator: &str) -> Result<pb::Model, Status> {
    let request = pb::JoinModelRequest {
        model: model.into(),
        creator: creator.into(),
    };
    let answer = node.models().join_model(request).await?;
    Ok(answer.into_inner().model.expect("the model"))
}

fn reason(status: &Status) -> String {
    status
        .get_error_details()
        .error_info()
        .expect("a reason")
        .reason
        .clone()
}

/// Waits until a [`Node`] knows this model, joined or not.
async fn known(node: &Node, model: &pb::Model) {
    let name = format!("{}@{}", model.name, model.id);
    wait::until("the model to be known", || async { node.model(&name).await.ok() }).await;
}

/// Waits until a [`Node`] knows this model, and returns its standing.
async fn standing(node: &Node, model: &pb::Model) -> pb::ModelStanding {
    known(node, model).await;
    let name = format!("{}@{}", model.name, model.id);
    node.model(&name).await.expect("known").standing()
}

/// Waits until a [`Node`] has joined this model and holds its weights.
async fn joined(node: &Node, model: &pb::Model) {
    wait::until("the model to be joined", || async {
        (standing(node, model).await == pb::ModelStanding::Joined).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_merely_connected_is_no_member() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let made = nodes[0].create(vector_model("mine", &[1.0])).await.unwrap();
    let own = node_ids(&nodes[..1]).await;
    assert_eq!((&made.members, made.quorum), (&own, 1), "two strangers are connected");
    // The two other nodes cannot join or read the model, and do not count as members.
    for node in &nodes[1..] {
        known(node, &made).await;
        let refused = join(node, &format!("mine@{}", made.id), "").await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused:?}");
    }
    let base = crate::head(&made);
    nodes[0]
        .submit("mine", &base, 1, &qres_tests::weights::vector(&[2.0]))
        .await
        .unwrap();
    assert_eq!(nodes[0].wait_for_round("mine", 1).await.round(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_name_means_only_a_model_of_a_creator_that_this_node_knows() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let ids = node_ids(&nodes).await;
    let stranger = nodes[2].create(open_model("wanted", 1.0)).await.unwrap();
    known(&nodes[0], &stranger).await;
    // The node knows only one model of that name, but any node may give this name to a model.
    let refused = join(&nodes[0], "wanted", "").await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::FailedPrecondition, "CREATOR_UNKNOWN")
    );
    for part in [&stranger.id, &stranger.creator] {
        assert!(refused.message().contains(part.as_str()), "{refused:?}");
    }
    let right = nodes[1].create(open_model("wanted", 2.0)).await.unwrap();
    known(&nodes[0], &right).await;
    // A join may name the creator, by node id or by peer id. With another creator the node refuses it.
    let refused = join(&nodes[0], "wanted", &ids[0]).await.unwrap_err();
    assert_eq!(
        (reason(&refused).as_str(), crate::field(&refused).as_str()),
        ("CREATOR_UNKNOWN", "creator")
    );
    let refused = join(&nodes[0], &format!("wanted@{}", right.id), &ids[2])
        .await
        .unwrap_err();
    assert_eq!(reason(&refused), "CREATOR_DIFFERS");
    let refused = join(&nodes[0], "wanted", "nobody").await.unwrap_err();
    assert_eq!(
        (refused.code(), crate::field(&refused).as_str()),
        (Code::InvalidArgument, "creator")
    );
    assert_eq!(
        join(&nodes[0], "wanted", &swarm.daemons[1].peer_id).await.unwrap().id,
        right.id
    );
    // After the join, the bare name means this model, and a second join changes nothing.
    assert_eq!(join(&nodes[0], "wanted", "").await.unwrap().id, right.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_name_may_mean_a_fellow_member_s_model() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let ids = node_ids(&nodes).await;
    let request = pb::CreateModelRequest {
        members: ids[..2].to_vec(),
        ..vector_model("team", &[1.0])
    };
    let team = nodes[0].create(request).await.unwrap();
    known(&nodes[1], &team).await;
    let fellow = nodes[0].create(open_model("second", 2.0)).await.unwrap();
    let stranger = nodes[2].create(open_model("second", 3.0)).await.unwrap();
    for model in [&fellow, &stranger] {
        known(&nodes[1], model).await;
    }
    let refused = join(&nodes[1], "second", "").await.unwrap_err();
    assert_eq!(reason(&refused), "CREATOR_UNKNOWN", "no list is shared yet");
    join(&nodes[1], &format!("team@{}", team.id), "").await.unwrap();
    assert_eq!(
        join(&nodes[1], "second", "").await.unwrap().id,
        fellow.id,
        "the stranger's is passed over"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_bare_name_waits_for_a_creator_that_is_known() {
    let [creator, stranger] = [(); 2].map(|()| Daemon::start(Options::default()));
    let bad = stranger.node().create(open_model("configured", 9.0)).await.unwrap();
    let joiner = |extra: &[&str]| Options {
        bootstrap: vec![creator.mesh.clone(), stranger.mesh.clone()],
        arguments: ["--join", "configured"]
            .iter()
            .chain(extra)
            .map(ToString::to_string)
            .collect(),
        ..Options::default()
    };
    let knows_nobody = Daemon::start(joiner(&[]));
    let by_creator = Daemon::start(joiner(&["--creator", &creator.peer_id]));
    let by_trust = Daemon::start(joiner(&["--trust", &creator.peer_id]));
    for daemon in [&knows_nobody, &by_creator, &by_trust] {
        known(&daemon.node(), &bad).await;
        daemon.log_has("not joined by its bare name").await;
    }
    let good = creator.node().create(open_model("configured", 5.0)).await.unwrap();
    joined(&by_creator.node(), &good).await;
    joined(&by_trust.node(), &good).await;
    known(&knows_nobody.node(), &good).await;
    for daemon in [&knows_nobody, &by_creator, &by_trust] {
        assert_eq!(standing(&daemon.node(), &bad).await, pb::ModelStanding::Available);
    }
    assert_eq!(
        standing(&knows_nobody.node(), &good).await,
        pb::ModelStanding::Available
    );
}
