//! A node's data directory as one file and back, with real daemons.

use std::fs;

use qres_tests::weights::vector;
use qres_tests::{Daemon, Options, wait};

use super::cli::{fails, json, run};

#[tokio::test]
async fn a_restored_node_is_the_same_member_and_goes_on() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let at = |name: &str| root.path().join(name).display().to_string();
    let started = |dir: &str| {
        Daemon::start(Options {
            data_dir: Some(dir.into()),
            ..Options::default()
        })
    };
    let (before, weights) = (at("before"), at("w.safetensors"));
    fs::write(&weights, vector(&[1.0, 2.0])).expect("written");
    let round = |daemon: &Daemon| {
        json(&daemon.grpc, &["fetch", "m", "--out", &at("base.safetensors")]);
        json(&daemon.grpc, &["submit", "m", &weights, "--samples", "1", "--wait"]);
    };
    let daemon = started(&before);
    json(
        &daemon.grpc,
        &["model", "create", "m", "--weights", &weights, "--codec", "none/1"],
    );
    round(&daemon);
    let head = json(&daemon.grpc, &["model", "show", "m"])["model"]["head"]["id"].clone();
    let peer = daemon.peer_id.clone();

    let error = fails(&daemon.grpc, &["backup", "--data-dir", &before, "--out", &at("b.tar")]);
    assert!(error.contains("stop the node first"), "{error}");
    drop(daemon);
    assert!(
        run("127.0.0.1:1", &["backup", "--data-dir", &before, "--out", &at("b.tar")])
            .status
            .success()
    );
    let after = at("after");
    assert!(
        run(
            "127.0.0.1:1",
            &["restore", "--file", &at("b.tar"), "--data-dir", &after]
        )
        .status
        .success()
    );

    let daemon = started(&after);
    assert_eq!(daemon.peer_id, peer);
    let known = async || {
        let model = json(&daemon.grpc, &["model", "show", "m"]);
        (model["model"]["head"]["id"] == head).then_some(())
    };
    wait::until("the restored node has its head", known).await;
    round(&daemon);
}
