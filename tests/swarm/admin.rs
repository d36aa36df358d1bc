//! The admin port: liveness, readiness and their reasons.

use qres_api::pb;
use qres_tests::http::{self, Answer};
use qres_tests::{Daemon, Options, wait};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

fn daemon() -> Daemon {
    Daemon::start(Options {
        arguments: ["--admin-addr", "127.0.0.1:0"].map(str::to_owned).to_vec(),
        ..Options::default()
    })
}

fn ask(daemon: &Daemon, path: &str) -> Answer {
    http::get(&format!("{}{path}", daemon.admin.as_ref().unwrap())).unwrap()
}

fn not_ready(why: &str) -> Answer {
    Answer {
        status: 503,
        body: format!("{why}\n"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_peers_is_ready_until_it_drains() {
    let daemon = daemon();
    let ready = Answer {
        status: 200,
        body: "ready\n".into(),
    };
    assert_eq!(ask(&daemon, "/readyz"), ready);
    assert_eq!(ask(&daemon, "/livez").status, 200);
    assert!(ask(&daemon, "/metrics").body.contains("\nqres_ready 1\n"));
    daemon.node().node().drain_node(pb::DrainNodeRequest {}).await.unwrap();
    assert_eq!(
        ask(&daemon, "/readyz"),
        not_ready("draining: this node takes no new work")
    );
    assert_eq!(
        ask(&daemon, "/livez").status,
        200,
        "a node that drains is not started again"
    );
    assert!(ask(&daemon, "/metrics").body.contains("\nqres_ready 0\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_signal_on_a_node_is_not_ready_and_goes_on_to_say_so() {
    let mut daemon = daemon();
    // A watch of the health has no end: it keeps the process for the time that running calls get.
    let channel = Channel::from_shared(format!("http://{}", daemon.grpc)).unwrap();
    let mut health = HealthClient::new(channel.connect_lazy());
    let watch = health.watch(HealthCheckRequest::default()).await;
    let mut watch = watch.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    daemon.ask_to_stop();
    daemon.log_has("SIGTERM: shutting down").await;
    let mut told = 0;
    wait::until("the process to end", || {
        let ended = daemon.has_ended();
        // The port closes with the process, so an answer may fail to come at the very end.
        let answer = http::get(&format!("{}/readyz", daemon.admin.as_ref().unwrap()));
        if let Ok(answer) = answer {
            assert_eq!(answer, not_ready("stopping"));
            told += 1;
        }
        async move { ended.then_some(()) }
    })
    .await;
    assert!(told > 0, "the port answers while the process stops");
}
