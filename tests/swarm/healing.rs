//! Nodes that go and come back: late work, lost majorities, a power cut, and the checkpoints that are confirmed meanwhile.

use qres_api::pb::{self, SubmissionState};
use qres_tests::node::Fetched;
use qres_tests::weights::vector;
use qres_tests::{Node, Swarm, wait};

use crate::rounds::node_ids;
use crate::{head, vector_model};

/// Creates a model of all these nodes and joins it on each. Returns the id of its first checkpoint.
async fn model_of_all(nodes: &[Node], name: &str, deadline_ms: u64) -> String {
    let request = pb::CreateModelRequest {
        members: node_ids(nodes).await,
        deadline_ms: Some(deadline_ms),
        ..vector_model(name, &[0.0])
    };
    let model = nodes[0].create(request).await.unwrap();
    for node in &nodes[1..] {
        node.join(name).await;
    }
    head(&model)
}

/// Submits on this base at each node, and returns the [`same_head`] of the nodes after that.
async fn round(nodes: &[Node], name: &str, base: &str, number: u64) -> Fetched {
    for node in nodes {
        node.wait_for_round(name, number - 1).await;
        node.submit(name, base, 1, &vector(&[number as f32])).await.unwrap();
    }
    same_head(nodes, name, number).await
}

/// Waits until the nodes agree on one head of at least this round, and returns it.
pub async fn same_head(nodes: &[Node], name: &str, number: u64) -> Fetched {
    wait::until("the heads to agree", || async {
        let mut heads = vec![];
        for node in nodes {
            heads.push(node.fetch(name, "").await.ok()?);
        }
        let same = heads.iter().all(|h| h.id() == heads[0].id() && h.file == heads[0].file);
        (same && heads[0].round() >= number).then(|| heads.remove(0))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn late_work_is_carried_and_sealed_with_a_discount() {
    let swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let first = model_of_all(&nodes, "late", 2_000).await;
    let mut base = round(&nodes[..2], "late", &first, 1).await;
    nodes[2].wait_for_round("late", 1).await;
    // The third node missed the round, and submits the weights that it trained on the old base.
    let late = nodes[2].submit("late", &first, 1, &vector(&[5.0])).await.unwrap();
    let carried = wait::until("the late submission to be carried", || async {
        let now = nodes[2].submission(&late.id, false).await.unwrap();
        assert!(now.state() != SubmissionState::Rejected, "{now:?}");
        (now.state() == SubmissionState::Carried).then_some(now)
    })
    .await;
    assert!(carried.carried_to_round >= 2, "{carried:?}");
    // The next sealer may not have heard of the late contribution yet. Below the staleness limit, a seal must list it.
    let mut sealed = carried;
    for number in 2..=4 {
        round(&nodes[..2], "late", &base.id(), number).await;
        base = same_head(&nodes, "late", number).await;
        sealed = nodes[2].submission(&late.id, false).await.unwrap();
        if sealed.state() == SubmissionState::Sealed {
            break;
        }
    }
    assert_eq!(sealed.state(), SubmissionState::Sealed, "{sealed:?}");
    assert_eq!(sealed.checkpoint, base.id());
    assert!((1..1_000_000).contains(&sealed.weight_ppm), "{sealed:?}");
    let made = nodes[0].round("late", Some(base.round())).await.unwrap();
    let late: Vec<_> = made.contributions.iter().filter(|c| c.late).collect();
    assert_eq!(late.len(), 1, "{made:?}");
    assert_eq!(late[0].author, node_ids(&nodes[2..]).await[0]);
    assert_eq!(same_head(&nodes, "late", base.round()).await.id(), base.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn below_k_a_round_waits_names_the_missing_and_ends_when_they_are_back() {
    let mut swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let base = model_of_all(&nodes, "split", 3_000).await;
    let base = round(&nodes, "split", &base, 1).await;
    let missing = node_ids(&nodes[1..]).await;
    let gone: Vec<_> = swarm.daemons.drain(1..).map(qres_tests::Daemon::kill).collect();
    let alone = nodes[0].submit("split", &base.id(), 1, &vector(&[2.0])).await.unwrap();
    // The deadline passes, and the round still waits.
    wait::until("the deadline to pass", || async {
        let open = nodes[0].round("split", None).await.unwrap();
        let named = missing.iter().all(|id| open.missing.contains(id));
        (open.contributions.len() == 1 && named && open.deadline_in_ms.is_none_or(|ms| ms == 0)).then_some(())
    })
    .await;
    assert_eq!(nodes[0].fetch("split", "").await.unwrap().id(), base.id());
    let seal = pb::SealRoundRequest { model: "split".into() };
    let refused = nodes[0].rounds().seal_round(seal).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused:?}");

    let back: Vec<_> = gone.into_iter().map(qres_tests::daemon::Stopped::start).collect();
    let all = [
        &nodes[..1],
        &back.iter().map(qres_tests::Daemon::node).collect::<Vec<_>>(),
    ]
    .concat();
    for node in &all[1..] {
        node.submit("split", &base.id(), 1, &vector(&[2.0])).await.unwrap();
    }
    let healed = same_head(&all, "split", 2).await;
    assert_eq!(healed.file, vector(&[2.0]));
    // The acknowledged submission of the lone node is in the chain, or still on its way into it.
    let outcome = wait::until("the lone submission's end", || async {
        let now = nodes[0].submission(&alone.id, false).await.unwrap();
        (now.state() == SubmissionState::Sealed || now.state() == SubmissionState::Carried).then_some(now)
    })
    .await;
    assert!(outcome.reason.is_empty(), "{outcome:?}");
    assert!(round(&all, "split", &healed.id(), healed.round() + 1).await.round() > healed.round());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_of_all_daemons_keeps_the_head_and_the_run_goes_on() {
    let mut swarm = Swarm::start(3).await;
    let nodes = swarm.nodes();
    let mut base = model_of_all(&nodes, "power", 20_000).await;
    for number in 1..=2 {
        base = round(&nodes, "power", &base, number).await.id();
    }
    // One node has submitted for round 3 when the power is cut.
    let promised = nodes[0].submit("power", &base, 1, &vector(&[3.0])).await.unwrap();
    let off: Vec<_> = swarm.daemons.drain(..).map(qres_tests::Daemon::kill).collect();
    let on: Vec<_> = off.into_iter().map(qres_tests::daemon::Stopped::start).collect();
    let nodes: Vec<_> = on.iter().map(qres_tests::Daemon::node).collect();
    for node in &nodes {
        let head = node.fetch("power", "").await.unwrap();
        assert_eq!((head.id(), head.round()), (base.clone(), 2));
    }
    for node in &nodes[1..] {
        node.submit("power", &base, 1, &vector(&[3.0])).await.unwrap();
    }
    let next = same_head(&nodes, "power", 3).await;
    assert_eq!(next.file, vector(&[3.0]));
    let kept = nodes[0].submission(&promised.id, true).await.unwrap();
    assert_eq!(
        (kept.state(), &kept.checkpoint),
        (SubmissionState::Sealed, &next.id()),
        "{kept:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn confirmed_only_serves_what_a_quorum_has_built_on() {
    let swarm = Swarm::start(2).await;
    let nodes = swarm.nodes();
    let first = model_of_all(&nodes, "sure", 20_000).await;
    let confirmed = |node: Node, after: String| async move {
        let request = pb::FetchWeightsRequest {
            model: "sure".into(),
            after,
            confirmed_only: true,
            ..Default::default()
        };
        let fetched = tokio::time::timeout(wait::DEADLINE, node.fetch_with(request)).await;
        fetched.expect("a confirmed checkpoint").unwrap()
    };
    let one = round(&nodes, "sure", &first, 1).await;
    let header = one.header.checkpoint.as_ref().unwrap();
    assert!(!header.confirmed, "nobody has built on it yet");
    let zero = confirmed(nodes[0].clone(), String::new()).await;
    assert_eq!((zero.id(), zero.round()), (first.clone(), 0));
    // The fetch waits for the next confirmed checkpoint, not for the next head.
    let waiting: Vec<_> = nodes
        .iter()
        .map(|node| tokio::spawn(confirmed(node.clone(), first.clone())))
        .collect();
    let two = round(&nodes, "sure", &one.id(), 2).await;
    assert_eq!(two.round(), 2);
    for fetched in waiting {
        let fetched = fetched.await.unwrap();
        assert_eq!((fetched.id(), &fetched.file), (one.id(), &one.file));
        assert!(fetched.header.checkpoint.unwrap().confirmed);
    }
}
