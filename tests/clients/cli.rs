//! The real `qres` against real daemons, as a person or a script uses it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use qres_tests::weights::{raw, read_vector, vector};
use qres_tests::{Daemon, Options, Swarm, binaries, wait};
use serde_json::Value;

/// Command line of `qres` for one daemon. The variable `QRES_ADDR` names the daemon.
fn command(address: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(binaries::cli());
    command.env("QRES_ADDR", address).args(arguments);
    command
}

pub fn run(address: &str, arguments: &[&str]) -> Output {
    command(address, arguments).output().expect("qres runs")
}

/// Runs `qres`, asserts that it succeeds, and returns its stdout.
fn text(address: &str, arguments: &[&str]) -> String {
    let output = run(address, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "qres {arguments:?}: {error}");
    String::from_utf8(output.stdout).expect("text")
}

/// Runs `qres --json`, asserts that it succeeds, and returns the one JSON object that it prints, as a [`Value`].
pub fn json(address: &str, arguments: &[&str]) -> Value {
    let said = text(address, &[arguments, &["--json"]].concat());
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("qres {arguments:?}: {error} in {said}"))
}

/// Runs `qres`, asserts that it fails with exit code 1 and prints no result, and returns its stderr.
pub fn fails(address: &str, arguments: &[&str]) -> String {
    let output = run(address, arguments);
    let error = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "qres {arguments:?}: {error}");
    assert!(
        output.stdout.is_empty(),
        "qres {arguments:?} printed a result and failed"
    );
    error
}

/// A `qres` process that keeps running. It is killed when this value is dropped.
struct Following {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Following {
    fn start(address: &str, arguments: &[&str]) -> Self {
        let mut command = command(address, arguments);
        let mut child = command.arg("--json").stdout(Stdio::piped()).spawn().expect("qres runs");
        let stdout = child.stdout.take().expect("stdout is piped");
        let lines = BufReader::new(stdout).lines();
        Self { child, lines }
    }

    /// Reads lines until one is as wanted, and returns it as a [`Value`].
    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.lines.next().expect("it goes on").expect("text");
            let value: Value = serde_json::from_str(&line).expect("a JSON object a line");
            if wanted(&value) {
                return value;
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // The process may have ended already, so errors are ignored.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect()
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no string"))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A [`Swarm`] of two daemons, and a directory of files.
struct Desk {
    swarm: Swarm,
    dir: tempfile::TempDir,
}

impl Desk {
    async fn start() -> Self {
        Self {
            swarm: Swarm::start(2).await,
            dir: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    fn address(&self, node: usize) -> &str {
        &self.swarm.daemons[node].grpc
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        std::fs::write(self.file(name), bytes).expect("written");
        path(&self.file(name)).to_owned()
    }

    /// Creates a model of both nodes and joins it on the second one. Returns the id of the first checkpoint.
    async fn model(&self, name: &str, k: &str) -> String {
        let weights = self.write("first.safetensors", &vector(&[0.0, 0.0]));
        let peers: Vec<_> = self
            .swarm
            .daemons
            .iter()
            .map(|daemon| daemon.peer_id.as_str())
            .collect();
        let mut create = vec!["model", "create", name, "--weights", &weights, "--codec", "none/1"];
        create.extend(["--member", peers[0], "--member", peers[1], "--min-contributions", k]);
        create.extend(["--deadline", "1h", "--deadline-max", "2h"]);
        let made = json(self.address(0), &create);
        self.join(name).await;
        // A node can submit only on a base that has arrived there.
        let first = path(&self.file("arrived.safetensors")).to_owned();
        text(self.address(1), &["fetch", name, "--out", &first, "--timeout", "60s"]);
        string(&made["model"]["head"]["id"]).to_owned()
    }

    async fn join(&self, name: &str) {
        wait::until("the model to be available", || async {
            let listed = json(self.address(1), &["model", "list"]);
            let mut models = listed["models"].as_array().expect("a list").iter();
            models
                .any(|model| model["name"] == name && model["standing"] == "available")
                .then_some(())
        })
        .await;
        let joined = json(
            self.address(1),
            &["model", "join", name, "--creator", &self.swarm.daemons[0].peer_id],
        );
        assert_eq!(joined["model"]["member"], true);
    }

    /// Submits on both nodes at once, waits for the seal, and returns the two answers.
    fn both_submit(&self, model: &str, base: &str, file: &str) -> Vec<Value> {
        let start = |node| {
            let mut command = command(self.address(node), &["submit", model, file, "--samples", "10"]);
            command.args(["--base", base, "--wait", "--timeout", "60s", "--json"]);
            command.stdout(Stdio::piped()).spawn().expect("qres runs")
        };
        let running: Vec<_> = (0..2).map(start).collect();
        let ended = running
            .into_iter()
            .map(|child| child.wait_with_output().expect("it ends"));
        let parsed = ended.map(|output| {
            assert!(output.status.success(), "{output:?}");
            serde_json::from_slice(&output.stdout).expect("one JSON object")
        });
        parsed.collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_round_by_hand() {
    let desk = Desk::start().await;
    let base = desk.model("by/hand", "2").await;
    let shown = json(desk.address(1), &["model", "show", "by/hand"]);
    assert_eq!(shown["model"]["head"]["id"], base.as_str());
    assert_eq!(shown["model"]["rounds"]["min_contributions"], 2);
    assert_eq!(shown["model"]["tensors"][0]["name"], "w");
    let out = desk.file("base.safetensors");
    let fetched = json(desk.address(0), &["fetch", "by/hand", "--out", path(&out)]);
    assert_eq!(fetched["checkpoint"]["id"], base.as_str());
    assert_eq!(std::fs::read(&out).unwrap(), vector(&[0.0, 0.0]));

    let trained = desk.write("trained.safetensors", &vector(&[1.5, -2.0]));
    for answer in desk.both_submit("by/hand", &base, &trained) {
        let submission = &answer["submission"];
        assert_eq!(submission["state"], "sealed", "{submission}");
        assert_eq!(
            (&submission["base"], &submission["samples"]),
            (&Value::from(base.as_str()), &Value::from(10))
        );
    }
    let mut fetched = vec![];
    for node in 0..2 {
        let out = desk.file(&format!("{node}.safetensors"));
        let wait = [
            "fetch",
            "by/hand",
            "--after",
            &base,
            "--wait",
            "--timeout",
            "60s",
            "--out",
            path(&out),
        ];
        let said = json(desk.address(node), &wait);
        assert_eq!(said["checkpoint"]["round"], 1);
        fetched.push((said["checkpoint"]["id"].clone(), std::fs::read(&out).unwrap()));
    }
    assert_eq!(fetched[0], fetched[1]);
    assert_eq!(read_vector(&fetched[0].1), [1.5, -2.0]);

    let all = json(desk.address(0), &["submissions", "by/hand"]);
    assert_eq!(all["submissions"].as_array().unwrap().len(), 1);
    let id = string(&all["submissions"][0]["id"]);
    let one = json(desk.address(0), &["submissions", "--id", id]);
    assert_eq!(one["submission"]["checkpoint"], fetched[0].0);
    let rounds = json(desk.address(1), &["round", "list", "by/hand"]);
    let sealed = rounds["rounds"]
        .as_array()
        .unwrap()
        .iter()
        .find(|round| round["round"] == 1);
    assert_eq!(sealed.unwrap()["contributions"].as_array().unwrap().len(), 2);
    // `--base-from` finds the base by the bytes of the file.
    let head = desk.file("0.safetensors");
    let base_from = [
        "submit",
        "by/hand",
        &trained,
        "--samples",
        "3",
        "--base-from",
        path(&head),
    ];
    assert_eq!(json(desk.address(0), &base_from)["submission"]["base"], fetched[0].0);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_programs_see_the_node_its_peers_and_models() {
    let desk = Desk::start().await;
    desk.model("looked/at", "2").await;
    let (address, daemons) = (desk.address(0), &desk.swarm.daemons);
    let status = json(address, &["status"]);
    assert_eq!(keys(&status), ["models", "node"]);
    assert_eq!(status["node"]["peer_id"], daemons[0].peer_id.as_str());
    assert!(status["node"]["connected_peers"].as_u64().unwrap() >= 2);
    assert_eq!(status["models"][0]["model"]["name"], "looked/at");
    let peers = json(address, &["peers"]);
    let of_other = |peer: &&Value| peer["peer_id"] == daemons[1].peer_id.as_str();
    let other = peers["peers"]
        .as_array()
        .unwrap()
        .iter()
        .find(of_other)
        .expect("the other node");
    assert_eq!(
        (&other["state"], &other["score"]),
        (&Value::from("connected"), &Value::from(0.0))
    );
    for field in [
        "addresses",
        "agent",
        "banned_until",
        "connected_at",
        "heads",
        "node_id",
        "reason",
        "rtt_ms",
    ] {
        assert!(keys(other).contains(&field), "{field} is not in {other}");
    }
    for (arguments, words) in [
        (
            &["status"][..],
            &[daemons[0].peer_id.as_str(), "looked/at", "joined"][..],
        ),
        (&["peers"], &[daemons[1].peer_id.as_str(), "connected"]),
        (&["model", "list"], &["looked/at", "joined"]),
        (&["model", "show", "looked/at"], &["k = 2", "none/1", "F32"]),
        (&["submissions"], &[]),
        (&["--version"], &["qres"]),
    ] {
        let said = text(address, arguments);
        for word in words {
            assert!(
                said.contains(word),
                "{word} is not in what qres {arguments:?} says:\n{said}"
            );
        }
    }
    let left = json(desk.address(1), &["model", "leave", "looked/at"]);
    assert_eq!(left, serde_json::json!({}));
    let listed = json(desk.address(1), &["model", "list"]);
    assert_ne!(listed["models"][0]["standing"], "joined");
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_follow_rounds_and_states_live() {
    let desk = Desk::start().await;
    let base = desk.model("live", "2").await;
    let mut rounds = Following::start(desk.address(1), &["watch", "rounds", "live"]);
    rounds.until(|line| line["kind"] == "snapshot_end");
    let states = desk.file("states");
    let subscribe = ["state", "subscribe", "live", "scene", "--out", path(&states)];
    let mut subscribed = Following::start(desk.address(1), &subscribe);
    subscribed.until(|line| line["kind"] == "snapshot_end");

    let trained = desk.write("trained.safetensors", &vector(&[1.0, 2.0]));
    desk.both_submit("live", &base, &trained);
    let sealed = rounds.until(|line| line["round"]["state"] == "sealed");
    assert_eq!(keys(&sealed), ["kind", "revision", "round"]);
    assert_eq!(
        (&sealed["kind"], &sealed["round"]["round"]),
        (&Value::from("change"), &Value::from(1))
    );
    // A second watcher that starts from an earlier revision hears of the same round again.
    let before = (sealed["revision"].as_u64().unwrap() - 1).to_string();
    let mut again = Following::start(desk.address(1), &["watch", "rounds", "live", "--from", &before]);
    let replayed = again.until(|line| line["round"]["state"] == "sealed");
    assert_eq!(replayed["revision"], sealed["revision"]);

    let embedding = vector(&[0.5, -1.0]);
    let file = desk.write("scene.safetensors", &embedding);
    let published = json(
        desk.address(0),
        &["state", "publish", "live", "scene", &file, "--codec", "none/1"],
    );
    assert_eq!(published["state"]["fidelity"], 1.0);
    let heard = subscribed.until(|line| !line["state"].is_null());
    assert_eq!(heard["state"]["name"], "scene");
    assert_eq!(heard["state"]["sequence"], published["state"]["sequence"]);
    let written: Vec<_> = std::fs::read_dir(&states)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(written.len(), 1, "{written:?}");
    assert_eq!(std::fs::read(&written[0]).unwrap(), embedding);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_seals_a_round_that_has_enough() {
    let desk = Desk::start().await;
    let base = desk.model("now", "1").await;
    let refused = fails(desk.address(0), &["round", "seal", "now"]);
    assert!(refused.contains("0 of the 1"), "{refused}");
    let trained = desk.write("trained.safetensors", &vector(&[4.0, 4.0]));
    json(
        desk.address(0),
        &["submit", "now", &trained, "--samples", "1", "--base", &base],
    );
    wait::until("the round to be sealed on demand", || async {
        run(desk.address(0), &["round", "seal", "now"])
            .status
            .success()
            .then_some(())
    })
    .await;
    let out = desk.file("sealed.safetensors");
    let wait = [
        "fetch",
        "now",
        "--after",
        &base,
        "--wait",
        "--timeout",
        "60s",
        "--out",
        path(&out),
    ];
    text(desk.address(1), &wait);
    assert_eq!(read_vector(&std::fs::read(&out).unwrap()), [4.0, 4.0]);
    let shown = json(desk.address(1), &["round", "show", "now", "1"]);
    assert_eq!(
        (&shown["round"]["state"], &shown["round"]["round"]),
        (&Value::from("sealed"), &Value::from(1))
    );
}

#[test]
fn what_fails_says_why_in_words_and_in_json() {
    let daemon = Daemon::start(Options::default());
    let address = daemon.grpc.as_str();
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(dir.path().join(name), bytes).unwrap();
        path(&dir.path().join(name)).to_owned()
    };
    let good = write("good.safetensors", &vector(&[1.0]));
    let wide = write("wide.safetensors", &vector(&[1.0, 2.0]));
    let other = write("other.safetensors", &raw(&[("w", "F64", &[1], vec![0; 8])]));
    let none = write("none.safetensors", b"these are no tensors");
    let absent = path(&dir.path().join("absent.safetensors")).to_owned();
    let nowhere = path(&dir.path().join("no-such-folder/w")).to_owned();
    text(address, &["model", "create", "m", "--weights", &good]);
    let shown = json(address, &["model", "show", "m"]);
    // Another model can be created with the tensors that `model show` prints.
    let schema = write("schema.json", shown["model"]["tensors"].to_string().as_bytes());
    let seeded = json(address, &["model", "create", "s", "--seed", "7", "--tensors", &schema]);
    assert_eq!(seeded["model"]["tensors"], shown["model"]["tensors"]);
    for (arguments, words) in [
        (&["model", "show", "nothing"][..], &["nothing", "qres model list"][..]),
        (&["model", "create", "Not a name", "--weights", &good], &["name"]),
        (&["model", "create", "n", "--weights", &none], &["header"]),
        (
            &["model", "create", "n", "--seed", "7", "--tensors", &none],
            &["none.safetensors", "no list of tensors"],
        ),
        (
            &["model", "create", "n", "--weights", &good, "--strategy", "magic/7"],
            &["magic/7", "fedavg/1"],
        ),
        (&["submit", "m", &wide, "--samples", "1"], &["w", "[1]", "[2]"]),
        (&["submit", "m", &other, "--samples", "1"], &["F32", "F64"]),
        (&["submit", "m", &absent, "--samples", "1"], &["absent.safetensors"]),
        (
            &["submit", "m", &good, "--samples", "1", "--base", &"ab".repeat(32)],
            &["base"],
        ),
        (&["fetch", "m", "--out", &nowhere], &["no-such-folder"]),
        (&["peers", "dial", "not an address"], &["not an address"]),
        (&["submissions", "--id", &"ab".repeat(32)], &["submission"]),
    ] {
        let said = fails(address, arguments);
        assert!(said.starts_with("qres: "), "{said}");
        for word in words {
            assert!(
                said.contains(word),
                "{word} is not in what qres {arguments:?} says:\n{said}"
            );
        }
    }
    let said = fails(address, &["model", "show", "nothing", "--json"]);
    let error: Value = serde_json::from_str(&said).expect("one JSON object");
    assert_eq!(
        keys(&error["error"]),
        ["code", "field", "message", "reason", "retry_after_ms"]
    );
    let (code, reason) = (&error["error"]["code"], &error["error"]["reason"]);
    assert_eq!(
        (code, reason),
        (&Value::from("NOT_FOUND"), &Value::from("MODEL_UNKNOWN"))
    );
    // A wrong command line has another exit code.
    assert_eq!(run(address, &["fetch", "m"]).status.code(), Some(2));
    assert_eq!(run(address, &["nonsense"]).status.code(), Some(2));
}

#[test]
fn the_address_comes_from_the_flag_then_the_environment() {
    let daemons = [(); 2].map(|()| Daemon::start(Options::default()));
    let peer_of = |address: &str, arguments: &[&str]| json(address, arguments)["node"]["peer_id"].clone();
    assert_eq!(peer_of(&daemons[0].grpc, &["status"]), daemons[0].peer_id.as_str());
    let flag = ["--addr", daemons[1].grpc.as_str(), "status"];
    assert_eq!(peer_of(&daemons[0].grpc, &flag), daemons[1].peer_id.as_str());
    let [first, _second] = daemons;
    let address = first.grpc.clone();
    drop(first.kill());
    let said = fails(&address, &["status"]);
    assert!(said.contains(&address) && said.contains("QRES_ADDR"), "{said}");
    let said = fails(&address, &["status", "--json"]);
    let error: Value = serde_json::from_str(&said).expect("one JSON object");
    assert_eq!(error["error"]["reason"], "UNREACHABLE");
}
