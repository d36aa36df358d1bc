//! Members come and go: a quorum agrees, the model ends, and its successor goes on by itself.

use std::process::Command;

use qres_api::pb;
use qres_tests::scrape::scrape;
use qres_tests::weights::vector;
use qres_tests::{Daemon, Node, Options, Swarm, binaries, wait};
use tonic::Code;

use crate::rounds::node_ids;
use crate::{head, vector_model};

const MODEL: &str = "moving";

async fn change(node: &Node, add: &[&str], remove: &[&str]) -> Result<pb::Model, tonic::Status> {
    let list = |ids: &[&str]| ids.iter().map(ToString::to_string).collect();
    let request = pb::ChangeMembersRequest {
        model: MODEL.into(),
        add: list(add),
        remove: list(remove),
    };
    let answer = node.models().change_members(request).await?;
    Ok(answer.into_inner().model.expect("a model"))
}

async fn accept(node: &Node) -> pb::Model {
    // The proposal is on its way.
    wait::until("the proposal", || async {
        let request = pb::AcceptMembersRequest {
            model: MODEL.into(),
            ..Default::default()
        };
        let answer = node.models().accept_members(request).await.ok()?;
        answer.into_inner().model
    })
    .await
}

/// Waits until a node stands on the model that succeeds `old`, and returns it.
async fn successor(node: &Node, old: &str) -> pb::Model {
    wait::until("the successor", || async {
        let model = node.model(MODEL).await.ok()?;
        (model.succeeds == old && model.standing() == pb::ModelStanding::Joined).then_some(model)
    })
    .await
}

/// Makes a list model of the first `n` nodes, and joins all of them.
async fn founded(swarm: &Swarm, n: usize) -> pb::Model {
    let nodes = swarm.nodes();
    let request = pb::CreateModelRequest {
        members: node_ids(&nodes[..n]).await,
        ..vector_model(MODEL, &[0.0])
    };
    let model = nodes[0].create(request).await.unwrap();
    for node in &nodes[1..n] {
        node.join(MODEL).await;
        node.wait_for_round(MODEL, 0).await;
    }
    model
}

/// Runs `qres model join` with the bare name, as a person does.
async fn join_by_hand(daemon: &Daemon) {
    let mut command = Command::new(binaries::cli());
    command.args(["--addr", &daemon.grpc, "model", "join", MODEL, "--yes"]);
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.expect("no panic").expect("qres runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn round(nodes: &[Node], base: &str, value: f32) -> String {
    for node in nodes {
        node.submit(MODEL, base, 1, &vector(&[value])).await.unwrap();
    }
    let mut next = String::new();
    for node in nodes {
        next = node.fetch(MODEL, base).await.unwrap().id();
    }
    next
}

/// Asserts that a member that was removed learns it, reads nothing newer, and tells its trainers.
async fn reads_nothing_newer(node: &Node, old: &str, new: &str, last: &str) {
    let gone = wait::until("the removed member to learn it", || async {
        let model = node.model(&format!("{MODEL}@{}", old)).await.ok()?;
        (model.standing() == pb::ModelStanding::Superseded).then_some(model)
    })
    .await;
    assert_eq!(gone.successor, new);
    let refused = node
        .models()
        .join_model(pb::JoinModelRequest {
            model: format!("{MODEL}@{}", new),
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert!(
        matches!(refused.code(), Code::PermissionDenied | Code::NotFound),
        "{refused:?}"
    );
    let refused = node.submit(MODEL, last, 1, &vector(&[5.0])).await.unwrap_err();
    assert!(refused.message().contains("goes on as"), "{refused:?}");
}

/// Leaves the successor, and asserts that the ended model is left, too.
async fn leaves_for_good(node: &Node, ids: [&String; 2]) {
    let request = pb::LeaveModelRequest { model: MODEL.into() };
    node.models().leave_model(request).await.unwrap();
    for id in ids {
        let left = node.model(&format!("{MODEL}@{id}")).await.unwrap();
        assert_eq!(left.standing(), pb::ModelStanding::Available, "{left:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_comes_and_another_goes_while_trainers_use_the_bare_name() {
    let swarm = Swarm::start(4).await;
    let nodes = swarm.nodes();
    let old = founded(&swarm, 3).await;
    let ids = node_ids(&nodes).await;
    let mut base = round(&nodes[..3], &head(&old), 1.0).await;
    // Nothing changes before a quorum agrees.
    let proposed = change(&nodes[0], &[&ids[3]], &[&ids[2]]).await.unwrap();
    assert_eq!(proposed.changes.len(), 1, "{proposed:?}");
    assert_eq!(proposed.changes[0].agreed, [ids[0].clone()]);
    base = round(&nodes[..3], &base, 2.0).await;
    let asked = wait::until("the operator to be asked", || async {
        let model = nodes[1].model(MODEL).await.unwrap();
        let kinds: Vec<_> = model.conditions.iter().map(pb::Condition::kind).collect();
        kinds.contains(&pb::ConditionKind::MembersChange).then_some(model)
    })
    .await;
    assert!(
        asked.conditions[0].text.contains("qres model member accept"),
        "{asked:?}"
    );
    // One trainer's work is under way while the model ends.
    let request = pb::SubmitWeightsRequest {
        model: MODEL.into(),
        base: base.clone(),
        samples: 1,
        idempotency_key: "once".into(),
        ..Default::default()
    };
    let carried = nodes[0].submit_with(request.clone(), &vector(&[3.0])).await.unwrap();
    accept(&nodes[1]).await;
    let mut moved = vec![];
    for node in &nodes[..2] {
        moved.push(successor(node, &old.id).await);
    }
    assert_eq!(moved[0].id, moved[1].id);
    let mut members = vec![ids[0].clone(), ids[1].clone(), ids[3].clone()];
    members.sort();
    assert_eq!(moved[0].members, members);
    // The newcomer hears of both models, and joins by the bare name: it means the newest one.
    wait::until("the newcomer to hear of both", || async {
        let answer = nodes[3].models().list_models(pb::ListModelsRequest::default()).await;
        (answer.unwrap().into_inner().models.len() == 2).then_some(())
    })
    .await;
    join_by_hand(&swarm.daemons[3]).await;
    assert_eq!(nodes[3].model(MODEL).await.unwrap().id, moved[0].id);
    nodes[3].wait_for_round(MODEL, 0).await;
    // The old model is shown as superseded, and the carried work is in the successor.
    let ended = nodes[0].model(&format!("{MODEL}@{}", old.id)).await.unwrap();
    assert_eq!(ended.standing(), pb::ModelStanding::Superseded, "{ended:?}");
    assert_eq!(ended.successor, moved[0].id);
    let fate = nodes[0].submission(&carried.id, false).await.unwrap();
    let sealed = fate.state() == pb::SubmissionState::Sealed;
    assert!(sealed || fate.reason.contains("goes on in the successor"), "{fate:?}");
    // The trainer that lost the answer sends the same again, and gets the answer that holds now.
    let again = nodes[0].submit_with(request, &vector(&[3.0])).await.unwrap();
    assert!(
        again.id == carried.id || fate.reason.contains(&again.id),
        "{again:?}, {fate:?}"
    );
    // The trainers go on with the base that they fetched from the old model.
    let last = ended.head.unwrap().id;
    for node in [&nodes[1], &nodes[3]] {
        let base = match node.fetch(MODEL, "").await {
            Ok(fetched) => fetched.id(),
            Err(_) => last.clone(),
        };
        node.submit(MODEL, &base, 1, &vector(&[4.0])).await.unwrap();
    }
    if sealed {
        nodes[0].submit(MODEL, &last, 1, &vector(&[4.0])).await.unwrap();
    }
    let heads: Vec<_> = {
        let mut heads = vec![];
        for node in [&nodes[0], &nodes[1], &nodes[3]] {
            heads.push(node.wait_for_round(MODEL, 1).await);
        }
        heads
    };
    assert!(
        heads.iter().all(|head| head.file == heads[0].file),
        "bit-identical weights"
    );
    reads_nothing_newer(&nodes[2], &old.id, &moved[0].id, &last).await;
    leaves_for_good(&nodes[1], [&old.id, &moved[0].id]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_follow_agree_by_themselves_and_a_restart_in_between_changes_nothing() {
    let options = Options {
        arguments: ["--members-change", "follow", "--admin-addr", "127.0.0.1:0"]
            .map(str::to_owned)
            .to_vec(),
        ..Options::default()
    };
    let mut swarm = Swarm::start_with(4, &options).await;
    let old = founded(&swarm, 3).await;
    let nodes = swarm.nodes();
    let ids = node_ids(&nodes).await;
    round(&nodes[..3], &head(&old), 1.0).await;
    let away = swarm.daemons.remove(2).kill();
    change(&nodes[0], &[&ids[3]], &[]).await.unwrap();
    let moved = successor(&nodes[0], &old.id).await;
    assert_eq!(moved.members.len(), 4);
    assert_eq!(moved.rounds.unwrap().min_contributions, 3, "a majority of four");
    let page = scrape(swarm.daemons[0].metrics.as_deref().unwrap());
    let series = page.lines().filter(|line| !line.starts_with('#'));
    let mut series: Vec<_> = series.filter_map(|line| Some(line.rsplit_once(' ')?.0)).collect();
    series.sort_unstable();
    let twice = series.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(twice, None, "the ended model and its successor have one name");
    let back = away.start();
    let node = back.node();
    assert_eq!(
        successor(&node, &old.id).await.id,
        moved.id,
        "a member that was away follows"
    );
    let fetched = node.wait_for_round(MODEL, 0).await;
    let same = nodes[0].wait_for_round(MODEL, 0).await;
    assert_eq!(fetched.file, same.file);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_does_not_fit_or_comes_from_a_stranger_is_refused() {
    let swarm = Swarm::start(2).await;
    let nodes = swarm.nodes();
    founded(&swarm, 2).await;
    let ids = node_ids(&nodes).await;
    let cases: [(&[&str], &[&str], Code, &str); 5] = [
        (&[], &[], Code::FailedPrecondition, "0 nodes"),
        (&[&ids[1]], &[], Code::FailedPrecondition, "a member already"),
        (&[], &[&ids[0], &ids[1]], Code::FailedPrecondition, "0 members"),
        (&["nobody"], &[], Code::InvalidArgument, "add"),
        (&[&ids[0], &ids[0]], &[], Code::InvalidArgument, "twice"),
    ];
    for (add, remove, code, words) in cases {
        let refused = change(&nodes[0], add, remove).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused:?}");
        assert!(refused.message().contains(words), "{refused:?}");
    }
    let stranger = Daemon::start(Options {
        bootstrap: vec![swarm.daemons[0].mesh.clone()],
        ..Options::default()
    });
    let refused = change(&stranger.node(), &[&ids[0]], &[]).await.unwrap_err();
    assert!(
        matches!(refused.code(), Code::NotFound | Code::FailedPrecondition),
        "{refused:?}"
    );
}
