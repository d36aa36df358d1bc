//! A WARN in the log means that someone should look: healthy daemons write none.

use qres_api::pb;
use qres_tests::weights::vector;
use qres_tests::{Daemon, Options, Swarm};

use crate::rounds::node_ids;
use crate::{head, vector_model};

/// Returns the lines of a log that ask for attention.
fn loud(log: &str) -> Vec<&str> {
    let asks = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ") || line.contains("panicked");
    log.lines().filter(asks).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn healthy_daemons_write_no_warning_from_the_start_to_a_clean_stop() {
    let options = Options {
        arguments: ["--admin-addr", "127.0.0.1:0"].map(str::to_owned).to_vec(),
        ..Options::default()
    };
    let Swarm { bootstrap, daemons } = Swarm::start_with(3, &options).await;
    let nodes: Vec<_> = daemons.iter().map(Daemon::node).collect();
    let request = pb::CreateModelRequest {
        members: node_ids(&nodes).await,
        ..vector_model("quiet", &[0.0])
    };
    let mut base = head(&nodes[0].create(request).await.unwrap());
    for node in &nodes[1..] {
        node.join("quiet").await;
        node.wait_for_round("quiet", 0).await;
    }
    for round in 1..=5 {
        for (node, value) in nodes.iter().zip([1.0, 2.0, 3.0]) {
            node.submit("quiet", &base, 1, &vector(&[value + round as f32]))
                .await
                .unwrap();
        }
        for node in &nodes {
            base = node.wait_for_round("quiet", round).await.id();
        }
    }
    let mut logs = vec![];
    for daemon in daemons.into_iter().chain([bootstrap]) {
        let (stopped, code) = daemon.terminate();
        assert_eq!(code, Some(0));
        logs.push(std::fs::read_to_string(stopped.data_dir().with_file_name("log")).unwrap());
    }
    for log in &logs {
        assert!(log.contains(" INFO "), "the log is there:\n{log}");
        assert_eq!(loud(log), Vec::<&str>::new(), "in:\n{log}");
    }
}
