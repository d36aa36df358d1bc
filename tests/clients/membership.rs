//! `qres model create` and `join` show the nodes that become members, and a person must agree.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use qres_tests::weights::vector;
use qres_tests::{Swarm, binaries};

use super::cli::{fails, json, run};

struct Desk {
    swarm: Swarm,
    weights: String,
    _dir: tempfile::TempDir,
}

impl Desk {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let weights = dir.path().join("first.safetensors");
        std::fs::write(&weights, vector(&[0.0])).expect("written");
        Self {
            swarm: Swarm::start(2).await,
            weights: weights.to_str().expect("UTF-8").to_owned(),
            _dir: dir,
        }
    }

    fn address(&self, node: usize) -> &str {
        &self.swarm.daemons[node].grpc
    }

    fn create<'a>(&'a self, name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["model", "create", name, "--weights", &self.weights], more].concat()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_without_members_is_its_creator_s_alone_and_says_how_others_get_in() {
    let desk = Desk::start().await;
    let output = run(desk.address(0), &desk.create("mine", &[]));
    assert!(output.status.success());
    let (said, note) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(said.contains("members: n = 1"), "{said}");
    assert!(note.contains("only member") && note.contains("--succeeds"), "{note}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connected_peers_become_members_once_a_person_has_seen_them() {
    let desk = Desk::start().await;
    let connected = desk.create("ours", &["--members-connected"]);
    // A pipe has no person who can agree: no model is created, and `qres` shows the model that would be created.
    let refused = fails(desk.address(0), &connected);
    for daemon in &desk.swarm.daemons {
        assert!(refused.contains(&daemon.peer_id), "{refused}");
    }
    assert!(
        !refused.contains(&desk.swarm.bootstrap.peer_id),
        "a bootstrap node trains nothing: {refused}"
    );
    assert!(refused.contains("--yes"), "{refused}");
    assert_eq!(
        json(desk.address(0), &["model", "list"])["models"]
            .as_array()
            .map(Vec::len),
        Some(0)
    );
    let made = json(desk.address(0), &[&connected[..], &["--yes"]].concat());
    assert_eq!(made["model"]["members"].as_array().map(Vec::len), Some(2), "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_by_a_bare_name_shows_creator_members_and_id_first() {
    let desk = Desk::start().await;
    let made = json(desk.address(0), &desk.create("ours", &["--members-connected", "--yes"]));
    let id = made["model"]["id"].as_str().expect("an id").to_owned();
    qres_tests::wait::until("the model to be known", || async {
        let listed = json(desk.address(1), &["model", "list"]);
        (listed["models"].as_array().map(Vec::len) == Some(1)).then_some(())
    })
    .await;
    let refused = fails(desk.address(1), &["model", "join", "ours"]);
    let creator = made["model"]["creator"].as_str().expect("a creator");
    for part in [id.as_str(), creator, "--yes"] {
        assert!(refused.contains(part), "{part} is not in {refused}");
    }
    for member in made["model"]["members"].as_array().expect("members") {
        assert!(refused.contains(member.as_str().expect("an id")), "{refused}");
    }
    assert_eq!(
        json(desk.address(1), &["model", "show", "ours"])["model"]["standing"],
        "available"
    );
    let other = &desk.swarm.daemons[1].peer_id;
    // The other node's own model of that name may still be announced.
    let (mut waits, said) = join(desk.address(1), &["ours", "--creator", other]);
    assert!(
        said.contains("waiting for an announcement of ours") && said.contains("created by"),
        "{said}"
    );
    waits.kill().and_then(|()| waits.wait()).expect("it waits still");
    let joined = json(desk.address(1), &["model", "join", "ours", "--yes"]);
    assert_eq!(joined["model"]["id"], id.as_str());
    // After the join, the bare name means this model.
    assert_eq!(
        json(desk.address(1), &["model", "join", "ours"])["model"]["id"],
        id.as_str()
    );
}

/// Starts `qres model join`, and returns the process as a [`Child`] with its first line on stderr.
fn join(address: &str, arguments: &[&str]) -> (Child, String) {
    let mut command = Command::new(binaries::cli());
    command
        .args(["--addr", address, "--timeout", "60s", "model", "join"])
        .args(arguments);
    let mut join = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("qres runs");
    let mut said = BufReader::new(join.stderr.take().expect("piped")).lines();
    let line = said.next().expect("a line").expect("text");
    (join, line)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_waits_until_the_model_is_announced() {
    let desk = Desk::start().await;
    let (waits, said) = join(desk.address(1), &["later", "--yes"]);
    assert!(said.contains("waiting for an announcement of later"), "{said}");
    json(
        desk.address(0),
        &desk.create("later", &["--members-connected", "--yes"]),
    );
    let output = waits.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("later"), "{said}");
}
