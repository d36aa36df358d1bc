//! The admin port: liveness, readiness and their reasons.

use qres_api::pb;
use qres_tests::http::{self, Answer};
use qres_tests::weights::vector;
use qres_tests::{Daemon, Options, wait};
use tokio_stream::wrappers::ReceiverStream;

use crate::{head, vector_model};

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
    let node = daemon.node();
    let base = head(&node.create(vector_model("held", &[0.0])).await.unwrap());
    // An upload that does not end keeps the process from ending at once.
    let (upload, requests) = tokio::sync::mpsc::channel(1);
    let file = vector(&[1.0]);
    let header = pb::SubmitWeightsRequest {
        model: "held".into(),
        base,
        samples: 1,
        total_bytes: Some(file.len() as u64),
        data: file[..20].to_vec().into(),
        ..Default::default()
    };
    upload.send(header).await.unwrap();
    let mut weights = node.weights();
    let call = tokio::spawn(async move { weights.submit_weights(ReceiverStream::new(requests)).await });
    wait::until("the upload to be under way", || async {
        assert!(!call.is_finished(), "the upload was refused");
        let active = "\nrpc_server_active_calls 1\n";
        ask(&daemon, "/metrics").body.contains(active).then_some(())
    })
    .await;
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
    assert!(call.await.unwrap().is_err());
}
