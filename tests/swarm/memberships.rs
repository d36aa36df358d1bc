//! Models that a node knows, joins and follows, and the change of members.

use qres_api::pb;
use qres_tests::weights::{read_vector, vector};
use qres_tests::{Daemon, Node, Options, Swarm, wait};
use tonic::Code;

use crate::rounds::node_ids;
use crate::{head, vector_model};

fn open_model(name: &str, value: f32, k: u32) -> pb::CreateModelRequest {
    pb::CreateModelRequest {
        open: true,
        min_contributions: Some(k),
        target: Some(k),
        ..vector_model(name, &[value])
    }
}

async fn models(node: &Node) -> Vec<pb::Model> {
    let answer = node.models().list_models(pb::ListModelsRequest::default()).await;
    answer.unwrap().into_inner().models
}

/// Waits until a [`Node`] knows this many models, and returns them.
async fn wait_for_models(node: &Node, count: usize) -> Vec<pb::Model> {
    wait::until("the models to be known", || async {
        let found = models(node).await;
        (found.len() == count).then_some(found)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_two_specs_bear_is_refused_with_both_creators_and_works_with_an_id() {
    // The two creators do not know each other.
    let creators = [(); 2].map(|()| Daemon::start(Options::default()));
    let nodes: Vec<_> = creators.iter().map(Daemon::node).collect();
    let mut made = vec![];
    for (i, node) in nodes.iter().enumerate() {
        made.push(node.create(open_model("same", i as f32 + 1.0, 1)).await.unwrap());
    }
    assert_ne!(made[0].id, made[1].id);
    // A third node knows both creators and brings them together.
    let third = Daemon::start(Options {
        bootstrap: creators.iter().map(|daemon| daemon.mesh.clone()).collect(),
        ..Options::default()
    });
    let third = third.node();
    for model in wait_for_models(&third, 2).await {
        assert_eq!(
            (model.name.as_str(), model.standing()),
            ("same", pb::ModelStanding::Available)
        );
    }
    let refused = third
        .models()
        .join_model(pb::JoinModelRequest {
            model: "same".into(),
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    for part in made.iter().flat_map(|model| [&model.id, &model.creator]) {
        assert!(
            refused.message().contains(part.as_str()),
            "{part} is not in {refused:?}"
        );
    }
    let which = format!("same@{}", made[1].id);
    assert_eq!(third.join(&which).await.id, made[1].id);
    let fetched = wait::until("the joined model's weights", || async {
        third.fetch(&which, "").await.ok()
    })
    .await;
    assert_eq!(read_vector(&fetched.file), [2.0]);
    // A name is an alias on each node: each creator still means its own model, and the third node means the joined one.
    for (node, own) in [(&nodes[0], &made[0]), (&nodes[1], &made[1]), (&third, &made[1])] {
        wait_for_models(node, 2).await;
        assert_eq!(node.model("same").await.unwrap().id, own.id);
    }
    // While a name is in use, a node does not join another spec of that name.
    let other = format!("same@{}", made[0].id);
    let refused = third
        .models()
        .join_model(pb::JoinModelRequest {
            model: other,
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert!(refused.message().contains("leave"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_of_an_open_model_holds_every_head_without_contributing() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let model = nodes[0].create(open_model("followed", 0.0, 2)).await.unwrap();
    assert!(model.open && !model.warnings.is_empty(), "{model:?}");
    for node in &nodes[1..] {
        node.join("followed").await;
    }
    let mut base = head(&model);
    for round in 1..=3u64 {
        for node in &nodes[..2] {
            node.wait_for_round("followed", round - 1).await;
            let weights = vector(&[round as f32]);
            node.submit("followed", &base, 1, &weights).await.unwrap();
        }
        let followed = nodes[2].wait_for_round("followed", round).await;
        let trained = nodes[0].wait_for_round("followed", round).await;
        assert_eq!((followed.id(), &followed.file), (trained.id(), &trained.file));
        base = followed.id();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_change_by_a_successor_that_begins_with_the_old_head() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let names = node_ids(&nodes).await;
    let request = pb::CreateModelRequest {
        members: names[..2].to_vec(),
        ..vector_model("team", &[0.0])
    };
    let old = nodes[0].create(request).await.unwrap();
    nodes[1].join("team").await;
    nodes[1].wait_for_round("team", 0).await;
    for node in &nodes[..2] {
        node.submit("team", &head(&old), 1, &vector(&[4.0])).await.unwrap();
    }
    nodes[1].wait_for_round("team", 1).await;
    let old_head = nodes[0].wait_for_round("team", 1).await;
    let request = pb::CreateModelRequest {
        name: "team".into(),
        members: names.clone(),
        succeeds: old.id.clone(),
        codec: vector_model("team", &[]).codec,
        ..Default::default()
    };
    let new = nodes[0].create(request).await.unwrap();
    assert_ne!(new.id, old.id);
    assert_eq!((&new.succeeds, new.members.len()), (&old.id, 3));
    let new_name = format!("team@{}", new.id);
    for node in &nodes[1..] {
        node.join(&new_name).await;
        assert_eq!(node.model("team").await.unwrap().id, new.id);
    }
    for node in &nodes {
        let first = node.wait_for_round(&new_name, 0).await;
        assert_eq!((first.round(), &first.file), (0, &old_head.file));
        node.submit("team", &first.id(), 1, &vector(&[7.0])).await.unwrap();
    }
    let heads = futures::future::join_all(nodes.iter().map(|node| node.wait_for_round("team", 1))).await;
    for head in &heads {
        assert_eq!((head.id(), read_vector(&head.file)), (heads[0].id(), vec![7.0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_model_is_joined_once_it_is_known_and_stays_joined() {
    let creator = Daemon::start(Options::default());
    let model = creator.node().create(open_model("configured/a", 3.0, 1)).await.unwrap();
    let joiner = |wanted: String| Options {
        bootstrap: vec![creator.mesh.clone()],
        arguments: vec!["--join".into(), wanted],
        ..Options::default()
    };
    let mut named = joiner("configured/a,configured/b".into());
    named.arguments.extend(["--creator".into(), creator.peer_id.clone()]);
    let by_name = Daemon::start(named);
    let by_id = Daemon::start(joiner(format!("configured/a@{}", model.id)));
    let joined = |node: Node, count: usize| async move {
        wait::until("the configured models to be joined", || async {
            let found = models(&node).await;
            let joined = found.iter().filter(|m| m.standing() == pb::ModelStanding::Joined);
            (joined.count() == count).then_some(())
        })
        .await;
    };
    joined(by_name.node(), 1).await;
    joined(by_id.node(), 1).await;
    let fetched = by_id.node().fetch("configured/a", "").await.unwrap();
    assert_eq!(read_vector(&fetched.file), [3.0]);
    // This model is created later. The node that was configured with an id alone does not join it.
    creator.node().create(open_model("configured/b", 5.0, 1)).await.unwrap();
    joined(by_name.node(), 2).await;
    wait_for_models(&by_id.node(), 2).await;
    joined(by_id.node(), 1).await;
    let by_name = by_name.kill_and_restart();
    joined(by_name.node(), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bootstrap_node_creates_and_joins_no_model() {
    let swarm = Swarm::start(1).await;
    swarm.nodes()[0].create(open_model("helped", 0.0, 1)).await.unwrap();
    let bootstrap = swarm.bootstrap.node();
    wait_for_models(&bootstrap, 1).await;
    let join = pb::JoinModelRequest {
        model: "helped".into(),
        ..Default::default()
    };
    let joined = bootstrap.models().join_model(join).await.unwrap_err();
    let created = bootstrap.create(open_model("own", 0.0, 1)).await.unwrap_err();
    for refused in [joined, created] {
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        assert!(refused.message().contains("--mode node"), "{refused:?}");
    }
}
