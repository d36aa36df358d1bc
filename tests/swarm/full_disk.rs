//! A real disk without room: at the first start of a node, while the node works, and when it starts again.

use qres_api::pb;
use qres_tests::daemon::command;
use qres_tests::small_disk::SmallDisk;
use qres_tests::weights::vector;
use qres_tests::{Daemon, Node, wait};
use tonic::Code;

use crate::process::fails;
use crate::{head, vector_model};

/// Numbers of free blocks of 4 KiB: from none up to enough for all of a first start except the reserve.
const LEFT: std::ops::RangeInclusive<usize> = 0..=40;

/// Number of f32 values of a model: 800 KB, which fit into one message.
const VALUES: usize = 200_000;
const ROUNDS: u64 = 20;

/// Fills a [`SmallDisk`] and creates models until the [`Node`] refuses weights. Unfinished work may free some room first.
async fn exhaust(disk: &SmallDisk, node: &Node, name: &str) {
    let tries = std::cell::Cell::new(0);
    let refused = wait::until("weights to be refused", || async {
        tries.set(tries.get() + 1);
        disk.fill(0);
        let model = format!("{name}{}", tries.get());
        node.create(vector_model(&model, &vec![0.5; VALUES])).await.err()
    })
    .await;
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("full"), "{refused:?}");
}

#[test]
fn needs_namespaces_a_first_start_without_room_is_made_good_by_the_next_one() {
    let mut failed = 0;
    for left in LEFT {
        let disk = SmallDisk::new(20);
        disk.fill(left);
        let dir = tempfile::tempdir().unwrap();
        // Whether the daemon starts or not, it has met the end of the disk somewhere.
        let mut first = command(dir.path(), &disk.options(), "0");
        let said = crate::process::start_and_end(&mut first);
        if let Some(said) = said {
            assert!(
                said.contains("full") || said.contains("No space"),
                "{left} blocks: {said}"
            );
            failed += 1;
        }
        let key = disk.path().join("data/identity.key");
        assert!(
            std::fs::read(&key).map_or(true, |key| key.len() == 32),
            "{left} blocks: an identity is whole or not there"
        );
        disk.empty();
        drop(Daemon::start(disk.options()));
    }
    assert!(failed >= 3, "some starts met the end of the disk: {failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn needs_namespaces_a_node_starts_on_a_full_disk_and_serves_what_frees_it() {
    let disk = SmallDisk::new(48);
    let daemon = Daemon::start(disk.options());
    let node = daemon.node();
    let kept = head(&node.create(vector_model("kept", &vec![1.0; VALUES])).await.unwrap());
    let mut left = head(&node.create(vector_model("left", &vec![2.0; VALUES])).await.unwrap());
    // Many rounds make many records. Leaving the model rewrites their pages.
    for round in 1..=ROUNDS {
        node.submit("left", &left, 1, &vector(&vec![round as f32; VALUES]))
            .await
            .unwrap();
        left = node.fetch("left", &left).await.unwrap().id();
    }
    exhaust(&disk, &node, "before").await;
    let stopped = daemon.kill();
    // The machine starts anew, too: the node checks files that were never flushed, and then writes down the new boot.
    std::fs::write(disk.path().join("data/boot"), "another boot\n").unwrap();
    // This fills the room that the killed daemon still had.
    disk.fill(0);
    let daemon = stopped.start();
    disk.fill(0);
    let node = daemon.node();

    // The node shows its use of the disk, and serves the weights that it has.
    let shown = node.node().get_node(pb::GetNodeRequest {}).await.unwrap().into_inner();
    let shown = shown.node.unwrap().disk.unwrap();
    assert!(
        shown.used_bytes > 8 * VALUES as u64 && shown.free_bytes < Some(4 << 20),
        "{shown:?}"
    );
    assert_eq!(node.fetch("kept", "").await.unwrap().id(), kept);
    exhaust(&disk, &node, "after").await;

    // Leaving a model frees its room, and then the node takes new weights.
    let leave = pb::LeaveModelRequest { model: "left".into() };
    node.models().leave_model(leave).await.unwrap();
    wait::until("what the model took to be free", || async {
        let shown = node.node().get_node(pb::GetNodeRequest {}).await.unwrap().into_inner();
        let disk = shown.node.unwrap().disk.unwrap();
        (disk.free_bytes > Some(4 * VALUES as u64)).then_some(())
    })
    .await;
    disk.empty();
    let submitted = wait::until("room again", || async {
        node.submit("kept", &kept, 1, &vector(&vec![4.0; VALUES])).await.ok()
    })
    .await;
    let merged = node.wait_for_round("kept", 1).await;
    assert_eq!(merged.file, vector(&vec![4.0; VALUES]));
    // All of this is there after the next start, too.
    let daemon = daemon.kill_and_restart();
    let node = daemon.node();
    assert_eq!(node.fetch("kept", "").await.unwrap().id(), merged.id());
    node.submission(&submitted.id, false).await.unwrap();
    let refused = node.submit("left", &left, 1, &vector(&[1.0])).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "it was left: {refused:?}");
}

#[test]
fn needs_namespaces_a_data_directory_on_a_disk_without_room_names_the_disk() {
    let disk = SmallDisk::new(1);
    disk.fill(0);
    let dir = tempfile::tempdir().unwrap();
    let said = fails(dir.path(), &disk.options(), "0");
    assert!(said.contains("disk is full") && said.contains("data"), "{said}");
}
