//! File descriptors: the daemon raises their limit, and its connections leave some of them to the store.

use std::net::TcpStream;

use qres_api::pb;
use qres_tests::scrape::scrape;
use qres_tests::weights::vector;
use qres_tests::{Daemon, Node, Options, wait};

use crate::{head, vector_model};

/// Returns the [`Options`] of a daemon that starts with this soft and this hard limit of file descriptors.
fn limited(soft: u32, hard: u32) -> Options {
    let script = format!(r#"ulimit -S -n {soft} && ulimit -H -n {hard} && exec "$0" "$@""#);
    Options {
        wrapper: ["sh".into(), "-c".into(), script].to_vec(),
        arguments: ["--admin-addr", "127.0.0.1:0"].map(str::to_owned).to_vec(),
        ..Options::default()
    }
}

async fn descriptors(node: &Node) -> pb::Descriptors {
    let answer = node.node().get_node(pb::GetNodeRequest {}).await.unwrap();
    answer.into_inner().node.unwrap().descriptors.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_soft_limit_is_raised_to_the_hard_one_and_shown() {
    let daemon = Daemon::start(limited(200, 5000));
    let found = descriptors(&daemon.node()).await;
    assert_eq!(found.limit, 5000);
    assert!(found.used > 5 && found.used < 200, "{found:?}");
    let page = scrape(&daemon.metrics.clone().unwrap());
    assert!(page.contains("qres_descriptors_max 5000\n"), "{page}");
    assert!(!daemon.log().contains("few file descriptors"));
    let daemon = Daemon::start(limited(200, 300));
    assert!(daemon.log().contains("few file descriptors"), "{}", daemon.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_leave_descriptors_to_the_store() {
    let daemon = Daemon::start(limited(240, 240));
    let node = daemon.node();
    let base = head(&node.create(vector_model("flooded", &[0.0])).await.unwrap());
    // This opens idle connections, far more than there are descriptors, to both ports at once.
    let mesh = format!("127.0.0.1:{}", daemon.mesh_port());
    let mut flood = vec![];
    for _ in 0..400 {
        for address in [&daemon.grpc, &mesh] {
            // A connection that is refused at once counts, too.
            flood.extend(TcpStream::connect(address).ok());
        }
    }
    let rounds = async {
        let mut last = base;
        for value in [1.0, 2.0, 3.0] {
            // A submission opens files for the upload, the merged update and the aggregate, and reads them.
            // The daemon may close an idle connection for the sake of another one. Then the call is made again.
            let header = pb::SubmitWeightsRequest {
                model: "flooded".into(),
                base: last.clone(),
                samples: 1,
                idempotency_key: value.to_string(),
                ..Default::default()
            };
            let file = vector(&[value]);
            wait::until("a submission", || async {
                node.submit_with(header.clone(), &file).await.ok()
            })
            .await;
            let next = wait::until("the next head", || async { node.fetch("flooded", &last).await.ok() }).await;
            assert_eq!(next.file, vector(&[value]));
            last = next.id();
        }
    };
    tokio::time::timeout(wait::DEADLINE, rounds)
        .await
        .expect("rounds go on while connections are refused");
    let found = descriptors(&node).await;
    assert!(found.used < found.limit, "{found:?}");
    drop(flood);
    // When descriptors are free again, new callers are accepted.
    wait::until("a new connection", || async {
        let fresh = daemon.node();
        fresh.node().get_node(pb::GetNodeRequest {}).await.ok()
    })
    .await;
}
