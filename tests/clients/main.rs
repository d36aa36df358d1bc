//! Clients: `qres`, the demo, the grpcurl tour of the README, and the Python client. `scripts/test.sh` sets up the tools that
//! they need. If the machine cannot have a tool, the script names the tests that need it, skips them and counts them as not run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_types,
    reason = "a test that cannot go on fails"
)]

mod access;
mod backup;
mod cli;
mod demo;
mod doctor;
mod examples;
mod membership;
mod readme;
mod terminal;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use qres_tests::node::Fetched;
use qres_tests::{Daemon, Options, binaries};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the repository")
}

/// Returns the lines of the fenced block that follows a marker in the README.
fn readme_block(marker: &str) -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let after = readme
        .split_once(marker)
        .unwrap_or_else(|| panic!("README.md has no {marker}"))
        .1;
    let block = after.split("```").nth(1).expect("a fenced block follows");
    block.split_once('\n').expect("a language, then lines").1.to_owned()
}

fn bash(script: &str, address: &str) -> Output {
    let path = format!(
        "{}:{}:{}",
        root().join(".cache/bin").display(),
        binaries::folder().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let dir = tempfile::tempdir().expect("a temporary directory");
    let script = script.replace("127.0.0.1:4002", address);
    let mut command = Command::new("bash");
    command
        .args(["-euo", "pipefail", "-c", &script])
        .env("PATH", path)
        .current_dir(dir.path());
    command.output().expect("bash runs")
}

mod needs_go {
    use super::*;

    #[test]
    fn the_readmes_tour_works_line_by_line_with_grpcurl_and_no_proto_files() {
        let daemon = Daemon::start(Options::default());
        let output = bash(&readme_block("<!-- tour -->"), &daemon.grpc);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}\n{error}");
        for word in [
            "qres.v1.WeightsService",
            "grpc.health.v1.Health",
            "\"state\": \"SUBMISSION_STATE_SEALED\"",
            "\"checkpoint\"",
            "WATCH_KIND_SNAPSHOT",
        ] {
            assert!(said.contains(word), "{word} is not in:\n{said}\n{error}");
        }
    }

    #[test]
    fn an_error_shows_its_details_to_grpcurl() {
        let daemon = Daemon::start(Options::default());
        let script = r#"grpcurl -plaintext -d '{"model": "nothing"}' 127.0.0.1:4002 qres.v1.ModelService/GetModel"#;
        let output = bash(script, &daemon.grpc);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(
            error.contains("NotFound") && error.contains("google.rpc.ErrorInfo") && error.contains("MODEL_UNKNOWN"),
            "{error}"
        );
    }
}

mod needs_python {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn three_python_trainers_drive_three_daemons_to_one_model() {
        let swarm = qres_tests::Swarm::start(3).await;
        let python = root().join(".cache/venv/bin/python");
        let example = root().join("clients/python/examples/trainer.py");
        let rounds = 5;
        let trainers: Vec<_> = swarm
            .daemons
            .iter()
            .enumerate()
            .map(|(i, daemon)| {
                let mut command = Command::new(&python);
                command
                    .arg(&example)
                    .args(["--address", &daemon.grpc, "--rounds", &rounds.to_string()]);
                command.args(["--shard", &i.to_string(), "--members"]);
                command.args(swarm.daemons.iter().map(|daemon| &daemon.peer_id));
                command.env("PYTHONPATH", root().join("clients/python"));
                command
                    .stdout(std::process::Stdio::piped())
                    .stderr(std::process::Stdio::piped());
                command.spawn().expect("python runs")
            })
            .collect();
        for trainer in trainers {
            let output = trainer.wait_with_output().expect("it ends");
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                output.status.success(),
                "{}\n{error}",
                String::from_utf8_lossy(&output.stdout)
            );
        }
        qres_tests::wait::until("the heads to agree", || async {
            let mut heads = vec![];
            for node in swarm.nodes() {
                heads.push(node.wait_for_round("python-example", rounds).await);
            }
            let same = |w: &[Fetched]| w[0].id() == w[1].id() && w[0].file == w[1].file;
            heads.windows(2).all(same).then_some(())
        })
        .await;
    }
}
