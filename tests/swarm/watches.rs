//! Watches deliver every change without a gap.

use qres_api::pb::{self, WatchKind};
use qres_tests::weights::vector;
use qres_tests::{Daemon, Options};
use tonic::Code;

use crate::hostile_callers::raw::Raw;
use crate::{head, vector_model};

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_starts_with_a_snapshot_and_goes_on_from_any_revision() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    let mut base = head(&node.create(vector_model("seen", &[0.0])).await.unwrap());
    let open = |from_revision| {
        let mut client = node.rounds();
        async move {
            let request = pb::WatchRoundsRequest {
                model: "seen".into(),
                from_revision,
            };
            client.watch_rounds(request).await.map(tonic::Response::into_inner)
        }
    };
    let mut live = open(0).await.unwrap();
    let mut kinds = vec![];
    let revision = loop {
        let message = live.message().await.unwrap().unwrap();
        kinds.push(message.kind());
        if message.kind() == WatchKind::SnapshotEnd {
            break message.revision;
        }
    };
    assert_eq!(kinds, [WatchKind::Snapshot, WatchKind::SnapshotEnd]);
    for round in 1..=3 {
        node.submit("seen", &base, 1, &vector(&[round as f32])).await.unwrap();
        base = node.wait_for_round("seen", round).await.id();
    }
    // The live watch tells every sealed round, and its revisions ascend.
    let sealed = |message: &pb::WatchRoundsResponse| {
        let round = message.round.as_ref()?;
        round.checkpoint.as_ref().map(|_| round.round)
    };
    let mut seen = vec![];
    let mut last = revision;
    while !seen.contains(&3) {
        let message = live.message().await.unwrap().unwrap();
        assert!(message.revision > last, "{} after {last}", message.revision);
        last = message.revision;
        seen.extend(sealed(&message));
    }
    seen.dedup();
    assert_eq!(seen, [1, 2, 3]);
    // A replay from the revision after the snapshot tells the same rounds.
    let mut replay = open(revision + 1).await.unwrap();
    let mut again = vec![];
    while !again.contains(&3) {
        let message = replay.message().await.unwrap().unwrap();
        assert_eq!(message.kind(), WatchKind::Change);
        again.extend(sealed(&message));
    }
    again.dedup();
    assert_eq!(again, [1, 2, 3]);
    let ahead = open(last + 1_000_000_000).await.unwrap_err();
    assert_eq!(ahead.code(), Code::OutOfRange, "{ahead:?}");
    // Revisions go on across a restart. The watch says that the old changes are no longer kept, then sends a snapshot.
    let daemon = daemon.kill_and_restart();
    let request = pb::WatchRoundsRequest {
        model: "seen".into(),
        from_revision: last,
    };
    let mut old = daemon.node().rounds().watch_rounds(request).await.unwrap().into_inner();
    let first = old.message().await.unwrap().unwrap();
    assert_eq!(first.kind(), WatchKind::TooOld);
    assert!(first.revision > last);
    assert_eq!(old.message().await.unwrap().unwrap().kind(), WatchKind::Snapshot);
}

/// Resident memory of a process, in MiB.
fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of ours");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a line");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_that_are_not_read_hold_one_state_each_and_not_all() {
    let daemon = Daemon::start(Options::default());
    let node = daemon.node();
    node.create(vector_model("m", &[0.0])).await.unwrap();
    let (states, watches) = (32, 16);
    let data: bytes::Bytes = vector(&vec![1.0; 250_000]).into();
    for n in 0..states {
        let publish = pb::PublishStateRequest {
            model: "m".into(),
            name: format!("state {n}"),
            data: data.clone(),
            ..Default::default()
        };
        node.states().publish_state(publish).await.unwrap();
    }
    let before = resident_mib(daemon.pid());
    let mut raw = Raw::connect(&daemon.grpc, 100).await;
    let subscribe = pb::SubscribeStateRequest {
        model: "m".into(),
        ..Default::default()
    };
    let (statuses, mut open) = raw
        .statuses("/qres.v1.StateService/SubscribeState", &subscribe, watches)
        .await;
    assert!(statuses.iter().all(|status| *status == 0), "{statuses:?}");
    for body in &mut open {
        // The first item has arrived, so the server has made everything that comes before it.
        body.data().await.unwrap().unwrap();
    }
    let after = resident_mib(daemon.pid());
    // A watch may hold one state of 1 MiB as tensors, as a message and as sent bytes. All states for all watches are 512 MiB.
    let most = before + 6 * watches as u64;
    assert!(after < most, "{before} MiB before, {after} with {watches} watches");
}
