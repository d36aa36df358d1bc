//! Networks that let in only some nodes: by a key that all nodes share, or by a list of peer ids.

use std::collections::BTreeSet;

use qres_mesh::{Mode, PeerState, PreSharedKey};
use qres_wire::identity;

use crate::harness::{self, Node, node, until, until_async};

fn key(digit: char) -> PreSharedKey {
    let digits = digit.to_string().repeat(64);
    format!("/key/swarm/psk/1.0.0/\n/base16/\n{digits}\n").parse().unwrap()
}

async fn with_key(bootstrap: &[String], key: Option<PreSharedKey>) -> Node {
    node(Mode::Node, bootstrap, |config| config.network_key = key).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_nodes_with_the_network_s_key_meet_and_they_use_no_quic() {
    let first = with_key(&[], Some(key('a'))).await;
    let addresses = first.mesh.listen_addresses();
    assert!(
        addresses.iter().all(|address| !address.contains("quic")),
        "{addresses:?}"
    );
    let bootstrap = [first.address()];
    let second = with_key(&bootstrap, Some(key('a'))).await;
    until("both have met", || second.sees(&[&first]) && first.sees(&[&second])).await;
    // Another key, and none: the first node's address is all that they have.
    for stranger in [
        with_key(&bootstrap, Some(key('b'))).await,
        with_key(&bootstrap, None).await,
    ] {
        let refused = stranger.mesh.dial(&bootstrap[0]).await;
        assert!(refused.is_err(), "{refused:?}");
        assert!(!stranger.sees(&[&first]) && !first.sees(&[&stranger]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_not_on_the_list_is_refused_and_both_sides_say_why() {
    harness::log::collect();
    let member = node(Mode::Node, &[], |_| {}).await;
    let allowed = BTreeSet::from([identity::peer_id(&member.node).unwrap()]);
    let first = node(Mode::Node, &[], |config| config.allowed = Some(allowed)).await;
    let address = first.address();
    let stranger = node(Mode::Node, std::slice::from_ref(&address), |_| {}).await;
    for (one, other) in [(&first, &stranger), (&stranger, &first)] {
        until_async("refused", || async {
            matches!(one.state_of(other.node).await, Some(PeerState::Refused(why)) if why.contains("allow_peer"))
        })
        .await;
    }
    let id = identity::peer_id(&stranger.node).unwrap().to_string();
    assert!(!harness::log::lines(&["WARN", &id, "allow_peer"]).is_empty());
    member.mesh.dial(&address).await.unwrap();
    until("the member gets in", || {
        member.sees(&[&first]) && first.sees(&[&member])
    })
    .await;
    assert!(!first.sees(&[&stranger]));
}
