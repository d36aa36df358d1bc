//! The doctor: the real `qres doctor` against real daemons, and `qres-daemon --doctor`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use qres_tests::collector::Collector;
use qres_tests::daemon::{command, without_settings};
use qres_tests::{Daemon, Options, binaries, wait};
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;

/// The checks of a running node, each of which has a finding.
const CHECKS: [&str; 17] = [
    "admin-port",
    "bootstrap",
    "callers",
    "clock",
    "collector",
    "data-dir",
    "descriptors",
    "disk-space",
    "disk-speed",
    "grpc-port",
    "identity",
    "identity-key",
    "mesh-port",
    "network-key",
    "reachability",
    "tls",
    "versions",
];

fn qres(arguments: &[&str]) -> Output {
    let mut command = Command::new(binaries::cli());
    without_settings(&mut command);
    command.args(arguments).output().expect("qres runs")
}

fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).expect("text")
}

/// The findings of `qres doctor --json`, and its exit code.
struct Diagnosis {
    findings: Vec<Value>,
    code: Option<i32>,
}

impl Diagnosis {
    fn of(address: &str) -> Self {
        let output = qres(&["doctor", "--json", "--addr", address]);
        let error = text(&output.stderr);
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("JSON, not {error}"));
        assert_eq!(said["healthy"], output.status.success());
        Self {
            findings: said["findings"].as_array().expect("a list").clone(),
            code: output.status.code(),
        }
    }

    /// Verdict and text of the worst finding of a check.
    fn worst(&self, check: &str) -> (String, String) {
        let of_check = self.findings.iter().filter(|finding| finding["check"] == check);
        let rank = |finding: &&Value| {
            ["ok", "skipped", "warning", "failed"]
                .iter()
                .position(|v| finding["verdict"] == *v)
        };
        let worst = of_check.max_by_key(rank).unwrap_or_else(|| panic!("no {check}"));
        let said = |key: &str| worst[key].as_str().expect("text").to_owned();
        (said("verdict"), said("text"))
    }

    fn assert(&self, check: &str, verdict: &str, words: &str) {
        let (got, said) = self.worst(check);
        assert!(got == verdict && said.contains(words), "{check}: {got}: {said}");
    }
}

/// Starts a daemon that dials another one, and waits until that one knows its addresses.
async fn beside(other: &Daemon, arguments: &[&str]) -> Daemon {
    let daemon = Daemon::start(Options {
        bootstrap: vec![other.mesh.clone()],
        arguments: arguments.iter().map(ToString::to_string).collect(),
        ..Options::default()
    });
    let listens = format!("/ip4/127.0.0.1/tcp/{}", daemon.mesh_port());
    wait::until("the other node to know the addresses", || async {
        let said = text(&qres(&["peers", "--addr", &other.grpc, "--json"]).stdout);
        said.contains(&listens).then_some(())
    })
    .await;
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn two_healthy_daemons_are_well_and_every_check_is_there() {
    let first = Daemon::start(Options::default());
    let second = beside(&first, &["--admin-addr", "127.0.0.1:0"]).await;
    let found = Diagnosis::of(&second.grpc);
    assert_eq!(found.code, Some(0), "{:#?}", found.findings);
    let mut checks: Vec<_> = found
        .findings
        .iter()
        .map(|finding| finding["check"].as_str().unwrap())
        .collect();
    checks.sort_unstable();
    checks.dedup();
    assert_eq!(checks, CHECKS);
    found.assert(
        "reachability",
        "ok",
        &format!("/ip4/127.0.0.1/tcp/{}", second.mesh_port()),
    );
    found.assert("reachability", "ok", "over loopback");
    found.assert("clock", "ok", "the clocks of 1 connected peer and");
    found.assert("bootstrap", "ok", "1 of 1");
    found.assert("versions", "ok", "1 with qres-daemon/");
    found.assert("identity-key", "ok", "0600");
    found.assert("collector", "skipped", "no collector is configured");
    // The visits of the peer that dialled back are gone from the list of peers.
    wait::until("one peer", || async {
        let said: Value = serde_json::from_slice(&qres(&["peers", "--addr", &second.grpc, "--json"]).stdout).ok()?;
        (said["peers"].as_array()?.len() == 1).then_some(())
    })
    .await;
    let people = text(&qres(&["doctor", "--addr", &second.grpc]).stdout);
    assert!(
        people.contains("OK    disk-speed") && people.contains("SKIP  reachability"),
        "busy within a minute: {people}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_address_at_which_nothing_listens_is_not_reached() {
    let first = Daemon::start(Options::default());
    let second = beside(&first, &["--announce", "/ip4/127.0.0.1/tcp/1"]).await;
    let found = Diagnosis::of(&second.grpc);
    assert_eq!(found.code, Some(1));
    found.assert(
        "reachability",
        "failed",
        "no peer reaches the announced address /ip4/127.0.0.1/tcp/1",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_another_network_is_named() {
    let first = Daemon::start(Options::default());
    let _second = Daemon::start(Options {
        bootstrap: vec![first.mesh.clone()],
        arguments: vec!["--network".into(), "bank".into()],
        ..Options::default()
    });
    wait::until("the refusal", || async {
        let found = Diagnosis::of(&first.grpc);
        let (verdict, said) = found.worst("versions");
        let named = verdict == "failed" && said.contains("bank");
        (named && found.worst("reachability").0 == "skipped").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_collector_of_a_running_node_answers_or_not() {
    let (_collector, endpoint) = Collector::start().await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nowhere = format!("http://{}", gone.local_addr().expect("an address"));
    drop(gone);
    for (endpoint, verdict, words) in [
        (endpoint, "ok", "takes traces"),
        (nowhere, "warning", "takes no traces"),
    ] {
        let daemon = Daemon::start(Options {
            environment: vec![("OTEL_EXPORTER_OTLP_ENDPOINT".into(), endpoint)],
            ..Options::default()
        });
        let found = Diagnosis::of(&daemon.grpc);
        found.assert("collector", verdict, words);
        found.assert("bootstrap", "warning", "this node is alone");
    }
}

#[test]
fn without_a_node_the_doctor_says_what_to_try_next() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = gone.local_addr().expect("an address").to_string();
    drop(gone);
    let output = qres(&["doctor", "--addr", &address]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    assert!(
        said.contains(&address) && said.contains("qres-daemon --doctor"),
        "{said}"
    );
    assert_eq!(text(&output.stderr), "", "all of it is in the findings");
    let found = Diagnosis::of(&address);
    assert_eq!(found.code, Some(1));
    found.assert("node", "failed", "no node answers");
}

/// Runs `qres-daemon --doctor` with further arguments in a directory. Returns its output and its exit code.
fn before_start(dir: &Path, port: &str, arguments: &[&str]) -> (String, Option<i32>) {
    let options = Options {
        arguments: arguments.iter().map(ToString::to_string).collect(),
        ..Options::default()
    };
    let output = command(dir, &options, port).arg("--doctor").output().expect("it runs");
    (text(&output.stdout) + &text(&output.stderr), output.status.code())
}

#[test]
fn before_a_start_the_doctor_changes_nothing_and_finds_nothing_wrong() {
    let dir = tempfile::tempdir().expect("a directory");
    let (said, code) = before_start(dir.path(), "0", &[]);
    assert_eq!(code, Some(0), "{said}");
    for check in [
        "configuration",
        "mesh-port",
        "grpc-port",
        "data-dir",
        "disk-speed",
        "tls",
        "descriptors",
    ] {
        assert!(said.contains(&format!("OK    {check} ")), "{check}: {said}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0);
    let (said, code) = before_start(dir.path(), "0", &["--trainers", "0"]);
    assert!(code == Some(2) && said.contains("trainers"), "{said}");
}

#[test]
fn before_a_start_a_port_in_use_and_an_open_directory_are_named() {
    let running = Daemon::start(Options::default());
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    fs::create_dir(&data).expect("made");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).expect("set");
    let (said, code) = before_start(dir.path(), &running.mesh_port(), &["--grpc-addr", &running.grpc]);
    assert_eq!(code, Some(1), "{said}");
    for words in [
        &format!("TCP 127.0.0.1:{} is in use by another process", running.mesh_port()),
        &format!("UDP 127.0.0.1:{} is in use", running.mesh_port()),
        &format!("gRPC cannot listen: TCP {} is in use", running.grpc),
        "has mode 0777",
        "chmod 700",
        "choose another with --port",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(fs::metadata(&data).expect("there").permissions().mode() & 0o777, 0o777);
    assert_eq!(fs::read_dir(&data).expect("a directory").count(), 0);
    // On the directory of a running node the doctor says so.
    let own = running.data_dir();
    let (said, code) = before_start(own.parent().expect("above"), &running.mesh_port(), &[]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("another qres-daemon runs on") && said.contains("`qres doctor`"),
        "{said}"
    );
}

#[test]
fn before_a_start_a_certificate_that_has_ended_and_a_bootstrap_node_that_is_gone_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let pair = KeyPair::generate().expect("a key");
    let mut ended = CertificateParams::new(vec!["localhost".into()]).expect("a name");
    ended.not_before = rcgen::date_time_ymd(2000, 1, 1);
    ended.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let at = |name: &str| dir.path().join(name).display().to_string();
    fs::write(at("a.crt"), ended.self_signed(&pair).expect("signed").pem()).expect("written");
    fs::write(at("a.key"), pair.serialize_pem()).expect("written");
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nowhere = gone.local_addr().expect("an address").to_string();
    drop(gone);
    let arguments = [
        "--grpc-tls-cert",
        &at("a.crt"),
        "--grpc-tls-key",
        &at("a.key"),
        "--bootstrap",
        &nowhere,
    ];
    let (said, code) = before_start(dir.path(), "0", &arguments);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("FAIL  tls") && said.contains("a.crt ended"), "{said}");
    assert!(
        said.contains("FAIL  bootstrap") && said.contains(&nowhere) && said.contains("refused"),
        "{said}"
    );
}
