//! The daemon as a process: the conditions under which it refuses to start, and its messages.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use qres_api::pb;
use qres_tests::daemon::command;
use qres_tests::weights::vector;
use qres_tests::{Daemon, Options};
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::{head, vector_model};

/// Asserts that a daemon with these [`Options`] does not start, and returns its text on stderr.
pub fn fails(dir: &Path, options: &Options, port: &str) -> String {
    start_and_end(&mut command(dir, options, port)).expect("it started")
}

/// Starts a daemon and kills it as soon as it is ready. If it does not start, returns its text on stderr.
pub fn start_and_end(command: &mut Command) -> Option<String> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the daemon runs");
    let stdout = child.stdout.take().expect("stdout is piped");
    // The end of the process closes stdout, so this search ends.
    let started = BufReader::new(stdout)
        .lines()
        .any(|line| line.is_ok_and(|line| line == "ready"));
    let _ = child.kill();
    let Output { status, stderr, .. } = child.wait_with_output().expect("it ends");
    assert!(!status.success());
    (!started).then(|| String::from_utf8(stderr).expect("text"))
}

#[test]
fn a_port_or_data_directory_in_use_names_the_flags_for_a_second_node() {
    let daemon = Daemon::start(Options::default());
    let same_dir = fails(daemon.data_dir().parent().unwrap(), &Options::default(), "0");
    assert!(
        same_dir.contains("in use") && same_dir.contains("--data-dir"),
        "{same_dir}"
    );
    let other = tempfile::tempdir().unwrap();
    let same_port = fails(other.path(), &Options::default(), &daemon.mesh_port());
    assert!(
        same_port.contains("in use") && same_port.contains("--port"),
        "{same_port}"
    );
}

#[test]
fn a_data_directory_of_a_newer_version_is_refused() {
    let daemon = Daemon::start(Options::default());
    let (stopped, code) = daemon.terminate();
    assert_eq!(code, Some(0));
    std::fs::write(stopped.data_dir().join("format"), "999\n").unwrap();
    let said = fails(stopped.data_dir().parent().unwrap(), &Options::default(), "0");
    assert!(said.contains("999") && said.contains("upgrade"), "{said}");
}

#[test]
fn a_data_directory_that_others_may_write_to_is_refused_with_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o777)).unwrap();
    let said = fails(dir.path(), &Options::default(), "0");
    assert!(said.contains("mode 0777") && said.contains("chmod 700"), "{said}");
}

#[test]
fn a_link_in_the_data_directory_is_refused_and_nothing_behind_it_is_removed() {
    let daemon = Daemon::start(Options::default());
    let (stopped, code) = daemon.terminate();
    assert_eq!(code, Some(0));
    let outside = tempfile::tempdir().unwrap();
    let precious = outside.path().join("precious");
    std::fs::write(&precious, "").unwrap();
    let tmp = stopped.data_dir().join("tmp");
    std::fs::remove_dir_all(&tmp).unwrap();
    std::os::unix::fs::symlink(outside.path(), &tmp).unwrap();
    let said = fails(stopped.data_dir().parent().unwrap(), &Options::default(), "0");
    assert!(said.contains("symbolic link") && said.contains("tmp"), "{said}");
    assert!(precious.exists());
}

#[test]
fn an_empty_identity_of_a_first_start_is_made_anew_and_later_it_is_refused() {
    use std::os::unix::fs::OpenOptionsExt;
    let daemon = Daemon::start(Options::default());
    let peer_id = daemon.peer_id.clone();
    let (stopped, _) = daemon.terminate();
    let key = stopped.data_dir().join("identity.key");
    let empty = || {
        let _ = std::fs::remove_file(&key);
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&key)
            .unwrap();
    };
    empty();
    let said = fails(stopped.data_dir().parent().unwrap(), &Options::default(), "0");
    assert!(said.contains("is empty") && said.contains("copy of the key"), "{said}");
    // The same as after a first start that was killed between creating the key file and writing it: its store had no records.
    std::fs::remove_file(stopped.data_dir().join("records.redb")).unwrap();
    empty();
    let daemon = stopped.start();
    assert_ne!(daemon.peer_id, peer_id);
    assert_eq!(std::fs::read(&key).unwrap().len(), 32);
}

#[test]
fn anything_but_loopback_needs_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options {
        arguments: vec!["--grpc-addr".into(), "0.0.0.0:0".into()],
        ..Options::default()
    };
    let mut run = command(dir.path(), &options, "0");
    let output = run.args(["--check-config"]).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--grpc-insecure"), "{said}");
    options.arguments.push("--grpc-insecure".into());
    let output = command(dir.path(), &options, "0")
        .args(["--check-config"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_identity_is_made_private_and_kept() {
    use std::os::unix::fs::PermissionsExt;
    let daemon = Daemon::start(Options::default());
    let key = daemon.data_dir().join("identity.key");
    assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    let peer_id = daemon.peer_id.clone();
    let daemon = daemon.kill_and_restart();
    assert_eq!(daemon.peer_id, peer_id);
    let (_, code) = daemon.terminate();
    assert_eq!(code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_node_merges_what_it_has_and_says_that_it_takes_no_more() {
    let daemon = Daemon::start(Options {
        // The node waits for a second trainer, which never comes.
        arguments: vec!["--trainers".into(), "2".into()],
        ..Options::default()
    });
    let node = daemon.node();
    let channel = Channel::from_shared(format!("http://{}", daemon.grpc)).unwrap();
    let mut health = HealthClient::new(channel.connect_lazy());
    let mut is = async |service: &str| {
        let request = HealthCheckRequest {
            service: service.into(),
        };
        health.check(request).await.unwrap().into_inner().status()
    };
    let request = pb::CreateModelRequest {
        deadline_ms: Some(3_600_000),
        deadline_max_ms: Some(3_600_000),
        ..vector_model("drained", &[0.0])
    };
    let base = head(&node.create(request).await.unwrap());
    let submitted = node.submit("drained", &base, 1, &vector(&[1.0])).await.unwrap();
    assert_eq!(is("qres.v1.WeightsService").await, ServingStatus::Serving);
    let drained = node.node().drain_node(pb::DrainNodeRequest {}).await.unwrap();
    assert!(drained.into_inner().node.unwrap().draining);
    assert_eq!(is("qres.v1.WeightsService").await, ServingStatus::NotServing);
    assert_eq!(is("").await, ServingStatus::Serving);
    let merged = node.wait_for_round("drained", 1).await;
    assert_ne!(
        node.submission(&submitted.id, false).await.unwrap().state(),
        pb::SubmissionState::Pending
    );
    let refused = node
        .submit("drained", &merged.id(), 1, &vector(&[2.0]))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
}
