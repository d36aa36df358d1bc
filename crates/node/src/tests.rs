//! Tests of a whole node that is alone: one node is enough for everything. The file also has the helpers for the tests of the
//! engine's parts.

mod full_disk;
mod slow_disk;

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use qres_fed::id::{BlobId, CheckpointId, NodeId, SpecId, SubmissionId};
use qres_fed::record::{
    BlobRole, Content, Dtype, End, Membership, Report, RoundPolicy, Rule, Seal, Signed, Spec, TensorSpec,
};
use qres_fed::round::{Input, SubmissionState};
use qres_fed::tensor::to_safetensors;
use qres_mesh::{MeshConfig, Mode};
use qres_store::{Quota, StoredSubmission};
use qres_wire::identity::Identity;

use crate::catalog::command::ModelCommand;
use crate::config::NodeConfig;
use crate::error::NodeError;
use crate::handle::NodeHandle;
use crate::request::{CreateModel, Fetch, ModelRef, SubmissionKind, Submit, UploadOptions, WatchFilter};
use crate::view::{Event, JoinStatus, ModelView, SubmissionView, WatchItem};

/// The longest time that a test waits for anything.
const DEADLINE: Duration = Duration::from_secs(120);

/// A seal of nothing, in a model that does not exist.
pub(super) fn seal_by(me: &Identity) -> Signed<Seal> {
    me.sign(Seal {
        spec: SpecId([1; 32]),
        round: 1,
        parent: CheckpointId([2; 32]),
        fresh: vec![],
        late: vec![],
        proofs: vec![],
        result: Content::of_weights(BlobId([3; 32])),
        sealer: me.node(),
    })
}

/// A spec of one number, for tests of the engine's parts.
pub(super) fn spec(name: &str, membership: Membership, checkpoint0: u8, creator: NodeId) -> Spec {
    Spec {
        name: name.parse().unwrap(),
        tensors: vec![TensorSpec {
            name: "w".into(),
            dtype: Dtype::F32,
            shape: vec![1],
        }]
        .into(),
        strategy: Rule::new("fedavg/1"),
        aggregation: vec![],
        rounds: RoundPolicy::default(),
        codec: Rule::new("bf16/1"),
        privacy: Rule::new("none/1"),
        membership,
        checkpoint0: BlobId([checkpoint0; 32]),
        fixed: None,
        creator,
        succeeds: None,
        metrics: vec![],
        end: End::default(),
        schedules: Default::default(),
        earlier_rounds: 0,
    }
}

/// A pending submission by a trainer of its own.
pub(super) fn pending(spec: SpecId, n: u8) -> StoredSubmission {
    StoredSubmission {
        id: SubmissionId([n; 32]),
        spec,
        model: "m".parse().unwrap(),
        trainer: format!("t{n}"),
        base: CheckpointId([1; 32]),
        samples: 1,
        delta: false,
        metrics: [].into(),
        report: Report::default(),
        blob: BlobId([n; 32]),
        bytes: 1,
        personal: None,
        at_unix_ms: 1,
        final_unix_ms: None,
        state: SubmissionState::Pending,
        traceparent: None,
    }
}

fn config(dir: &std::path::Path) -> NodeConfig {
    let mesh = MeshConfig {
        listen: vec![std::net::Ipv4Addr::LOCALHOST.into()],
        port: 0,
        ..MeshConfig::new(Mode::Node, dir.join("hints"))
    };
    NodeConfig {
        data_dir: dir.to_owned(),
        identity_file: None,
        mesh,
        trainers: 1,
        join: vec![],
        creators: Default::default(),
        trust: [].into(),
        keep_rounds: Some(8),
        members: Default::default(),
        blob_bytes_max: Quota::Unlimited,
        header_bytes_max: crate::HEADER_BYTES_MAX,
    }
}

async fn node(dir: &std::path::Path) -> NodeHandle {
    NodeHandle::start(config(dir)).await.unwrap()
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work).await.expect("in time")
}

fn weights(value: f32) -> Bytes {
    to_safetensors([("w", qres_fed::ndarray::arr1(&[value; 4]).view())]).into()
}

fn model() -> ModelRef {
    ModelRef {
        name: "alone".parse().unwrap(),
        id: None,
    }
}

fn request(key: Option<&str>) -> CreateModel {
    CreateModel {
        seeded: None,
        name: model().name,
        strategy: Rule::new("fedavg/1"),
        aggregation: vec![],
        codec: Rule::new("none/1"),
        min_contributions: None,
        target: None,
        deadline_ms: None,
        deadline_ms_max: None,
        max_staleness: None,
        membership: None,
        metrics: vec![],
        end: End::default(),
        privacy: Rule::new("none/1"),
        schedules: Default::default(),
        personal: vec![],
        frozen: vec![],
        succeeds: None,
        upload: UploadOptions {
            key: key.map(str::to_owned),
            ..UploadOptions::default()
        },
    }
}

async fn create(node: &NodeHandle, key: Option<&str>) -> Result<ModelView, NodeError> {
    let mut upload = node.create_model(request(key)).await?;
    upload.write(weights(0.0)).await?;
    upload.finish().await
}

async fn submit(node: &NodeHandle, key: Option<&str>, value: f32) -> Result<SubmissionView, NodeError> {
    submit_on(node, "", key, None, value).await
}

async fn submit_on(
    node: &NodeHandle,
    trainer: &str,
    key: Option<&str>,
    base: Option<CheckpointId>,
    value: f32,
) -> Result<SubmissionView, NodeError> {
    let submit = Submit {
        model: model(),
        base,
        trainer: trainer.into(),
        samples: 3,
        kind: SubmissionKind::Weights,
        metrics: [].into(),
        evaluation_samples: None,
        steps: None,
        upload: UploadOptions {
            key: key.map(str::to_owned),
            ..UploadOptions::default()
        },
    };
    let mut upload = node.submit(submit).await?;
    upload.write(weights(value)).await?;
    upload.finish().await
}

fn after(after: Option<CheckpointId>) -> Fetch {
    Fetch {
        model: model(),
        after,
        checkpoint: None,
        best: None,
        confirmed_only: false,
        every_head: false,
        trainer: None,
        personal: None,
        offset: 0,
    }
}

async fn head(node: &NodeHandle, last: Option<CheckpointId>) -> crate::handle::Fetched {
    let fetching = async { node.fetch(after(last)).await?.open().await };
    within(fetching).await.unwrap()
}

async fn fetched(node: &NodeHandle, fetch: Fetch) -> CheckpointId {
    let fetching = async { node.fetch(fetch).await?.open().await };
    within(fetching).await.unwrap().checkpoint.id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trainer_s_loop_goes_round_and_a_key_keeps_its_answer_though_the_head_moves() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(dir.path()).await;
    within(create(&node, None)).await.unwrap();
    let mut after = None;
    let mut first: Option<SubmissionId> = None;
    for round in 1..=4u8 {
        let fetched = head(&node, after).await;
        after = Some(fetched.checkpoint.id);
        let key = format!("round {round}");
        let submitted = within(submit(&node, Some(&key), f32::from(round))).await.unwrap();
        first.get_or_insert(submitted.id);
        let settled = within(node.submission(submitted.id, true)).await.unwrap();
        assert!(matches!(settled.state, SubmissionState::Sealed { .. }), "{settled:?}");
    }
    let last = head(&node, after).await;
    assert_eq!(last.checkpoint.round, 4);
    let bytes: Vec<_> = last.chunks.map(Result::unwrap).collect().await;
    assert_eq!(bytes.concat(), weights(4.0));
    // Without a base the request meant checkpoint 0 then, and means it still.
    let again = within(submit(&node, Some("round 1"), 1.0)).await.unwrap();
    assert_eq!(Some(again.id), first);
    let other = within(submit(&node, Some("round 1"), 9.0)).await.unwrap_err();
    assert_eq!(other.reason.name(), "KEY_TAKEN");
    within(node.stop()).await;
    drop(node);
    // After the restart the node has handed out nothing: without the key, it could infer no base.
    let node = self::node(dir.path()).await;
    let again = within(submit(&node, Some("round 1"), 1.0)).await.unwrap();
    assert_eq!(Some(again.id), first);
    let unknown = within(submit(&node, Some("new"), 1.0)).await.unwrap_err();
    assert_eq!(unknown.reason.name(), "BASE_AMBIGUOUS");
    within(node.stop()).await;
}

/// Starts a node of two trainers, of which only one is there: what that one submits stays in the open round.
async fn node_of_two_trainers(dir: &std::path::Path) -> NodeHandle {
    let trainers = 2;
    NodeHandle::start(NodeConfig {
        trainers,
        ..config(dir)
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trainer_that_begins_anew_gets_its_answer_again_and_no_base_twice() {
    let dir = tempfile::tempdir().unwrap();
    let node = node_of_two_trainers(dir.path()).await;
    within(create(&node, None)).await.unwrap();
    let zero = head(&node, None).await.checkpoint.id;
    let first = within(submit_on(&node, "", None, Some(zero), 1.0)).await.unwrap();
    let again = within(submit_on(&node, "", None, Some(zero), 1.0)).await.unwrap();
    assert_eq!(again.id, first.id, "the same work, without a key");
    let other = within(submit_on(&node, "", None, Some(zero), 2.0)).await.unwrap_err();
    assert_eq!(other.reason.name(), "BASE_SUBMITTED");
    // The head is used up for this trainer, but not for this node.
    let wish = |trainer: &str| Fetch {
        trainer: Some(trainer.to_owned()),
        ..after(None)
    };
    assert_eq!(fetched(&node, wish("other")).await, zero);
    let mut waiting = Box::pin(fetched(&node, wish("")));
    assert!(futures::poll!(&mut waiting).is_pending());
    within(submit_on(&node, "other", None, Some(zero), 3.0)).await.unwrap();
    assert_ne!(waiting.await, zero);
    // The round is over, which makes other work too late and changes nothing for the same work.
    let again = within(submit_on(&node, "", None, Some(zero), 1.0)).await.unwrap();
    assert_eq!(again.id, first.id);
    let other = within(submit_on(&node, "", Some("key"), Some(zero), 2.0))
        .await
        .unwrap_err();
    assert_eq!(other.reason.name(), "BASE_SUBMITTED");
    within(node.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_model_made_many_times_at_once_is_one_model() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(dir.path()).await;
    let made = within(futures::future::join_all((0..6).map(|_| create(&node, None)))).await;
    let ids: std::collections::BTreeSet<_> = made.into_iter().map(|made| made.unwrap().id).collect();
    assert_eq!(ids.len(), 1);
    let submitted = within(submit(&node, None, 1.0)).await.unwrap();
    within(node.submission(submitted.id, true)).await.unwrap();
    let round = node.round(model(), Some(1)).await.unwrap();
    assert_eq!((round.contributions.len(), round.losing_seals.len()), (1, 0));
    within(node.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_left_model_answers_for_its_submissions_and_can_be_made_again_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(dir.path()).await;
    let made = within(create(&node, Some("k"))).await.unwrap();
    let submitted = within(submit(&node, None, 1.0)).await.unwrap();
    within(node.submission(submitted.id, true)).await.unwrap();
    within(node.leave_model(model())).await.unwrap();
    assert_eq!(node.model(model()).await.unwrap().standing, JoinStatus::Available);
    let again = within(create(&node, Some("k"))).await.unwrap();
    assert_eq!((again.id, again.standing), (made.id, JoinStatus::Joined));
    // The node's own contribution on checkpoint 0 is still known, so no second one is signed.
    let second = within(submit(&node, None, 2.0)).await.unwrap_err();
    assert_eq!(second.field.as_deref(), Some("base"), "{second}");
    within(node.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_after_the_last_revision_that_was_handled() {
    let dir = tempfile::tempdir().unwrap();
    let node = node(dir.path()).await;
    within(create(&node, None)).await.unwrap();
    let mut live = node.watch(WatchFilter::Submissions(None), 0).await.unwrap();
    let Some(Ok(WatchItem::SnapshotEnd(start))) = within(live.next()).await else {
        panic!("no submission yet")
    };
    let submitted = within(submit(&node, None, 1.0)).await.unwrap();
    within(node.submission(submitted.id, true)).await.unwrap();
    let mut told = vec![];
    while told.len() < 3 {
        let Some(Ok(WatchItem::Change(revision, Event::Submission(view)))) = within(live.next()).await else {
            panic!("a submission changes")
        };
        assert!(revision > start);
        told.push((revision, view.state));
    }
    let mut replay = node.watch(WatchFilter::Submissions(None), told[0].0).await.unwrap();
    for expected in &told[1..] {
        let Some(Ok(WatchItem::Change(revision, Event::Submission(view)))) = within(replay.next()).await else {
            panic!("a replay")
        };
        assert_eq!((revision, view.state), *expected);
    }
    let ahead = node.node().await.unwrap().revision + 1_000;
    let refused = node.watch(WatchFilter::Peers, ahead).await.err().unwrap();
    assert_eq!(refused.field.as_deref(), Some("from_revision"));
    within(node.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_the_machine_has_no_use_for_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let context = crate::startup::start(config(dir.path())).await.unwrap();
    let mut upload = within(crate::service::create::begin(&context, request(None)))
        .await
        .unwrap();
    upload.write(weights(0.0)).await.unwrap();
    within(upload.finish()).await.unwrap();
    let (_, joined) = context.catalog.find_joined(&model()).unwrap();
    let done = ModelCommand::Done {
        input: Input::BlobHere {
            blob: BlobId([9; 32]),
            role: BlobRole::Update,
        },
        judged: None,
        guard: context.disk.keep_new_blobs().await,
        traceparent: None,
    };
    joined.inbox.send(done).await.ok().unwrap();
    // The collector takes this lock: while it waits, every upload and job waits behind it.
    drop(within(context.disk.in_flight.write()).await);
    within(crate::startup::stop(&context)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_disk_is_full_a_model_answers_and_the_collector_runs() {
    let dir = tempfile::tempdir().unwrap();
    let context = crate::startup::start(config(dir.path())).await.unwrap();
    let node = NodeHandle {
        context: context.clone(),
    };
    within(create(&node, None)).await.unwrap();
    context.disk.store.fill(true);
    let refused = within(submit(&node, None, 1.0)).await.unwrap_err();
    assert_eq!(refused.reason.name(), "DISK_FULL", "{refused}");
    // The collector needs the lock for itself, and the model's answer.
    let exclusive = within(context.disk.in_flight.clone().write_owned()).await;
    let (_, joined) = context.catalog.find_joined(&model()).unwrap();
    within(joined.ask(|machine| machine.live_blobs())).await.unwrap();
    let blob = BlobId::of(&weights(1.0));
    assert!(joined.unstored.lock().contains(&blob), "it may be stored yet");
    drop(exclusive);
    context.disk.garbage.notify_one();
    within(node.round(model(), None)).await.unwrap();
    let another = within(submit(&node, Some("k"), 2.0)).await.unwrap_err();
    assert_eq!(another.reason.name(), "DISK_FULL", "{another}");
    context.disk.store.fill(false);
    let again = async {
        loop {
            // The submission is refused until the model has tried again.
            match submit(&node, None, 1.0).await {
                Ok(submitted) => return submitted,
                Err(error) => assert_eq!(error.reason.name(), "DISK_FULL", "{error}"),
            }
        }
    };
    let submitted = within(again).await;
    let settled = within(node.submission(submitted.id, true)).await.unwrap();
    assert!(matches!(settled.state, SubmissionState::Sealed { .. }), "{settled:?}");
    assert!(joined.unstored.lock().is_empty());
    within(crate::startup::stop(&context)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_model_s_task_is_the_node_s_failure() {
    let dir = tempfile::tempdir().unwrap();
    let context = crate::startup::start(config(dir.path())).await.unwrap();
    let node = NodeHandle {
        context: context.clone(),
    };
    within(create(&node, None)).await.unwrap();
    let (_, joined) = context.catalog.find_joined(&model()).unwrap();
    let asked = within(joined.ask::<()>(|_| panic!("a test's"))).await;
    assert_eq!(asked.unwrap_err().reason.name(), "STOPPING");
    let why = within(node.failed()).await;
    assert!(why.contains("model alone") && why.contains("a test's"), "{why}");
    within(node.stopping()).await;
    within(node.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_merges_what_was_acknowledged_though_trainers_are_missing() {
    let dir = tempfile::tempdir().unwrap();
    let config = NodeConfig {
        trainers: 2,
        ..config(dir.path())
    };
    let node = NodeHandle::start(config).await.unwrap();
    within(create(&node, None)).await.unwrap();
    let submitted = within(submit(&node, None, 1.0)).await.unwrap();
    assert_eq!(submitted.state, SubmissionState::Pending);
    assert!(within(node.drain()).await.unwrap().draining);
    let after = within(node.submission(submitted.id, false)).await.unwrap();
    assert!(
        matches!(
            after.state,
            SubmissionState::Merged { .. } | SubmissionState::Sealed { .. }
        ),
        "{after:?}"
    );
    assert_eq!(
        within(submit(&node, None, 2.0)).await.unwrap_err().reason.name(),
        "DRAINING"
    );
    within(node.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_is_answered_when_the_peer_is_admitted_or_with_why_not() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (one, two) = (node(dirs[0].path()).await, node(dirs[1].path()).await);
    let other = two.node().await.unwrap();
    let named = other.listen[0].clone();
    let bare = named.split("/p2p/").next().unwrap().to_owned();
    within(one.dial(&bare)).await.unwrap();
    assert_eq!(one.node().await.unwrap().peers, 1, "it is admitted by then");
    within(one.dial(&named)).await.unwrap();
    within(one.ban(&other.peer_id, "rude", Duration::from_secs(60)))
        .await
        .unwrap();
    for address in [&bare, &named] {
        let banned = within(one.dial(address)).await.unwrap_err();
        assert_eq!(banned.reason.kind(), crate::error::Kind::Unavailable, "{banned}");
    }
    within(two.stop()).await;
    within(one.unban(&other.peer_id)).await.unwrap();
    for address in [bare, named] {
        let gone = within(one.dial(&address)).await.unwrap_err();
        assert_eq!(gone.reason.name(), "PEER_NOT_REACHED", "{gone}");
    }
    let wrong = within(one.dial("no such address!")).await.unwrap_err();
    assert_eq!(wrong.field.as_deref(), Some("address"));
    within(one.stop()).await;
}
