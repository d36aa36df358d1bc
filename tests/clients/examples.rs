//! The examples of `crates/api/examples` against a real node, as their first lines say how to run them.

use std::process::{Child, Command, Stdio};

use qres_api::pb;
use qres_fed::tensor::{f32_from_safetensors, to_safetensors};
use qres_tests::{Daemon, Options, binaries};

/// An example with its arguments; `cargo test` builds it beside the programs.
fn example(name: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new(binaries::folder().join("examples").join(name));
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the example is built")
}

fn ended(name: &str, child: Child) -> String {
    let output = child.wait_with_output().expect("it ends");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {error}");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_examples_train_watch_and_follow_a_model() {
    let daemon = Daemon::start(Options::default());
    let scalar = |name: &str| (name.to_owned(), vec![], vec![0.0]);
    let request = pb::CreateModelRequest {
        name: "line".into(),
        data: to_safetensors(&[scalar("offset"), scalar("slope")]).into(),
        ..Default::default()
    };
    daemon.node().create(request).await.expect("created");
    let file = daemon.data_dir().with_file_name("head.safetensors");
    let path = file.to_str().expect("UTF-8");
    let watch = example("watch", &[&daemon.grpc, "line", "5"]);
    let follow = example("follow", &[&daemon.grpc, "line", path, "5"]);
    let trainer = example("trainer", &[&daemon.grpc, "line", "5"]);

    assert!(ended("trainer", trainer).contains("round 4: loss"));
    assert!(ended("watch", watch).contains("round 5: ROUND_STATE_SEALED, 1 contributions"));
    assert!(
        ended("follow", follow)
            .lines()
            .any(|line| line.starts_with("round 5: "))
    );
    let weights = f32_from_safetensors(&std::fs::read(&file).expect("the file")).expect("weights");
    for ((name, _, found), right) in weights.iter().zip([1.0, 2.0]) {
        assert!((found[0] - right).abs() < 0.05, "{name}: {found:?} for {right}");
    }
}
