//! The examples of `crates/api/examples` against a real node, as their first lines say how to run them.

use std::process::Stdio;

use qres_api::pb;
use qres_fed::ndarray::aview0;
use qres_fed::tensor::{read_safetensors, to_safetensors};
use qres_tests::{Daemon, Options, binaries};
use tokio::process::{Child, Command};

/// An example with its arguments; `cargo test` builds it beside the programs.
fn example(name: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new(binaries::folder().join("examples").join(name));
    command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command.spawn().expect("the example is built")
}

async fn ended(name: &str, child: Child) -> String {
    let output = child.wait_with_output().await.expect("it ends");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {error}");
    String::from_utf8(output.stdout).expect("text")
}

async fn create(daemon: &Daemon) {
    let request = pb::CreateModelRequest {
        name: "line".into(),
        data: to_safetensors(["offset", "slope"].map(|name| (name, aview0(&0.0f32)))).into(),
        ..Default::default()
    };
    daemon.node().create(request).await.expect("created");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_trainer_goes_on_after_its_node_was_killed() {
    // The same address after the restart: a free port, taken at once.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let daemon = Daemon::start(Options {
        arguments: vec!["--grpc-addr".into(), address.clone()],
        ..Options::default()
    });
    create(&daemon).await;
    let mut trainer = example("trainer", &[&address, "line"]);
    let before = daemon.node().wait_for_round("line", 3).await.round();
    let daemon = daemon.kill_and_restart();
    daemon.node().wait_for_round("line", before + 20).await;
    assert!(trainer.try_wait().expect("its state").is_none(), "the trainer ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_examples_train_watch_and_follow_a_model() {
    let daemon = Daemon::start(Options::default());
    create(&daemon).await;
    let file = daemon.data_dir().with_file_name("head.safetensors");
    let path = file.to_str().expect("UTF-8");
    let watch = example("watch", &[&daemon.grpc, "line", "5"]);
    let follow = example("follow", &[&daemon.grpc, "line", path, "5"]);
    let trainer = example("trainer", &[&daemon.grpc, "line", "5"]);

    assert!(ended("trainer", trainer).await.contains("round 4: loss"));
    assert!(
        ended("watch", watch)
            .await
            .contains("round 5: ROUND_STATE_SEALED, 1 contributions")
    );
    assert!(
        ended("follow", follow)
            .await
            .lines()
            .any(|line| line.starts_with("round 5: "))
    );
    let weights = read_safetensors(&std::fs::read(&file).expect("the file")).expect("weights");
    for (name, right) in [("offset", 1.0), ("slope", 2.0)] {
        let found = weights[name].array::<f32>().expect("f32").sum();
        assert!((found - right).abs() < 0.05, "{name}: {found:?} for {right}");
    }
}
