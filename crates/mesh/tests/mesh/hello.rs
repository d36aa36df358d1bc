//! A node of another major or network is refused, and both sides give the reason.

use qres_mesh::Mode;
use qres_mesh::PeerState;

use crate::harness::{self, node, until_async};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_major_is_refused_with_one_line_on_both_sides() {
    harness::log::collect();
    let ten = node(Mode::Node, &[], |_| {}).await;
    let eleven = node(Mode::Node, &[ten.address()], |c| {
        c.overrides.majors = (11, 11);
        c.overrides.protocol = "11.0".to_owned();
        c.agent = "qres-daemon/9.9.9".to_owned();
    })
    .await;
    for (one, other, remedy) in [
        (&ten, &eleven, "upgrade this node"),
        (&eleven, &ten, "its operator has to"),
    ] {
        until_async("refused", || async {
            let state = one.state_of(other.node).await;
            matches!(state, Some(PeerState::Refused(why)) if why.contains("version mismatch") && why.contains(remedy))
        })
        .await;
        assert!(one.mesh.connected().is_empty());
    }
    // The peer is dialled again (here every 300 ms) and refused again, without another log line.
    until_async("refused again", || async { ten.mesh.counters().refused.get() >= 3 }).await;
    for (peer, words) in [
        (&eleven, "it speaks swarm protocol 11 (qres-daemon/9.9.9), this node 10"),
        (&ten, "it speaks swarm protocol 10 ("),
    ] {
        let id = qres_wire::identity::peer_id(&peer.node).unwrap().to_string();
        let lines = harness::log::lines(&["WARN", &id, words]);
        assert_eq!(lines.len(), 1, "{lines:#?}");
    }
    assert!(ten.heard.lock().unwrap().connected.is_empty(), "never admitted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_network_is_refused_on_both_sides() {
    let a = node(Mode::Node, &[], |c| c.network = "hospital".to_owned()).await;
    let b = node(Mode::Node, &[a.address()], |c| c.network = "bank".to_owned()).await;
    for (one, other, theirs) in [(&a, &b, "\"bank\""), (&b, &a, "\"hospital\"")] {
        until_async("refused", || async {
            matches!(one.state_of(other.node).await, Some(PeerState::Refused(why)) if why.contains(theirs))
        })
        .await;
    }
}
