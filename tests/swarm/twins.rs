//! Two daemons with one key.

use qres_api::pb;
use qres_tests::weights::vector;
use qres_tests::{Daemon, Node, Options, Swarm, wait};
use tonic::Code;
use tonic_types::StatusExt;

use crate::{head, vector_model};

async fn until_refused(node: &Node, base: &str) {
    let refused = || async {
        let status = node.submit("m", base, 1, &vector(&[1.0])).await.err()?;
        let reason = status.get_error_details().error_info().map(|info| info.reason.clone());
        let refused = reason.as_deref() == Some("IDENTITY_IN_USE");
        if refused {
            assert_eq!(status.code(), Code::FailedPrecondition);
            assert!(status.message().contains("/ip4/127.0.0.1/"), "{}", status.message());
        }
        refused.then_some(())
    };
    wait::until("the submission to be refused", refused).await;
}

async fn conditions(node: &Node) -> Vec<pb::Condition> {
    node.model("m").await.expect("a model").conditions
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_of_two_daemons_with_one_key_takes_work_until_the_other_is_gone() {
    // The two daemons know only a bootstrap node. They cannot reach each other, because both have the same peer id.
    let swarm = Swarm::start(1).await;
    let first = &swarm.daemons[0];
    let node = first.node();
    let model = node.create(vector_model("m", &[0.0])).await.expect("a model");
    let base = head(&model);
    let options = Options {
        bootstrap: vec![format!("127.0.0.1:{}", swarm.bootstrap.mesh_port())],
        ..Options::default()
    };
    let second = Daemon::start_with_key_of(first, options);
    assert_eq!(second.peer_id, first.peer_id);
    let said = "another process runs with this node's identity";
    for daemon in [first, &second] {
        wait::until("both to say so", || async { daemon.log().contains(said).then_some(()) }).await;
        assert!(
            daemon
                .log()
                .lines()
                .any(|line| line.contains("ERROR") && line.contains(said))
        );
    }
    until_refused(&node, &base).await;
    let in_use = conditions(&node).await;
    let [condition] = &in_use[..] else {
        panic!("one condition: {in_use:?}")
    };
    assert_eq!(condition.kind(), pb::ConditionKind::IdentityInUse);
    assert!(condition.text.contains("/ip4/127.0.0.1/"), "{}", condition.text);
    drop(second);
    wait::until("the first one to take work again", || async {
        node.submit("m", &base, 1, &vector(&[1.0])).await.ok()
    })
    .await;
    assert_eq!(node.wait_for_round("m", 1).await.round(), 1, "and to sign");
    assert_eq!(conditions(&node).await, []);
}
