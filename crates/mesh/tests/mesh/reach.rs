//! Peers dial a node back on request, and tell which addresses they reached.

use qres_mesh::reach::{ReachOutcome, parse};
use qres_mesh::{Mode, PeerState, ReachAnswer, SeedState};

use crate::harness::{full_mesh, node, pair, until, until_async};
use crate::raw::{self, Manners, Raw, Saw};

/// An address at which nothing listens: port 1 needs root, and no service of this century uses it.
const NOWHERE: &str = "/ip4/127.0.0.1/tcp/1";

/// The same on another machine, as far as the peer can tell.
const ELSEWHERE: &str = "/ip4/127.0.0.2/tcp/1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_dials_back_and_says_which_addresses_it_reached() {
    let b = node(Mode::Node, &[], |_| {}).await;
    let a = node(Mode::Node, &[b.address()], |c| {
        c.announce = [NOWHERE, ELSEWHERE].map(str::to_owned).to_vec()
    })
    .await;
    full_mesh(&[&a, &b]).await;
    until_async("identify", || async {
        let view = b.view_of(a.node).await;
        view.is_some_and(|view| view.addresses.iter().any(|address| address == ELSEWHERE))
    })
    .await;
    let reports = a.mesh.reach(3).await.unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].node, b.node);
    let ReachAnswer::Dialled(addresses) = &reports[0].answer else {
        panic!("{reports:?}");
    };
    let inspection = a.mesh.inspect().await.unwrap();
    assert_eq!(inspection.announced, [NOWHERE, ELSEWHERE]);
    assert_eq!(inspection.listening.len(), 2, "TCP and QUIC");
    for address in &inspection.listening {
        let found = addresses.iter().find(|reach| reach.address == *address).unwrap();
        assert!(found.reached, "{found:?}");
    }
    let announced = addresses.iter().find(|reach| reach.address == NOWHERE).unwrap();
    assert!(
        !announced.reached && announced.reason.contains("refused"),
        "{announced:?}"
    );
    // A peer may claim any address: what stands at other machines is not told.
    let elsewhere = addresses.iter().find(|reach| reach.address == ELSEWHERE).unwrap();
    assert!(
        !elsewhere.reached && elsewhere.reason.contains("nothing else is told"),
        "{elsewhere:?}"
    );
    // The visits of temporary keys leave nothing behind.
    until_async("the visitors are forgotten", || async {
        a.mesh.peers().await.unwrap().len() == 1
    })
    .await;
    assert!(matches!(a.state_of(b.node).await, Some(PeerState::Connected)));
    // A second question within the minute.
    assert_eq!(a.mesh.reach(3).await.unwrap()[0].answer, ReachAnswer::Busy);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_peer_there_is_no_answer_to_wait_for() {
    let alone = node(Mode::Node, &[NOWHERE.to_owned()], |_| {}).await;
    assert_eq!(alone.mesh.reach(3).await.unwrap(), []);
    until_async("the dial fails", || async {
        let seeds = alone.mesh.inspect().await.unwrap().seeds;
        matches!(&seeds[..], [seed] if matches!(&seed.state, SeedState::Failed(why) if why.contains("refused")))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_of_one_machine_agree_on_the_time_and_know_their_bootstrap_node() {
    let (a, b) = pair(|_| {}).await;
    until_async("both have told the time", || async {
        let [at_a, at_b] = [a.mesh.inspect().await.unwrap(), b.mesh.inspect().await.unwrap()];
        let told = |clocks: &[qres_mesh::PeerClock]| matches!(clocks, [clock] if clock.ahead_ms.abs() < 5_000);
        told(&at_a.clocks) && told(&at_b.clocks) && at_b.seeds[0].state == SeedState::Connected
    })
    .await;
}

/// Returns true if a question failed, or its stream ended without an answer.
fn is_none(answer: &Saw) -> bool {
    matches!(answer, Saw::Answer(bytes) if bytes.as_deref().is_none_or(<[u8]>::is_empty))
}

/// A question that names an address: the field 1 of a later version, or of an attacker.
fn names_an_address(address: &str) -> Vec<u8> {
    [&[0x0a, u8::try_from(address.len()).unwrap()][..], address.as_bytes()].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_that_asks_twice_hears_busy_and_sends_the_node_nowhere() {
    let victim = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = victim.local_addr().unwrap().port();
    let node = node(Mode::Node, &[], |_| {}).await;
    let mut stranger = Raw::dial(&node.address(), Manners::Says(raw::hello()));
    until("admitted", || node.mesh.connected().contains(&stranger.node)).await;
    let question = names_an_address(&format!("/ip4/127.0.0.1/tcp/{port}"));
    for wanted in [ReachOutcome::Dialled, ReachOutcome::Busy, ReachOutcome::Busy] {
        stranger.ask.try_send(question.clone()).unwrap();
        let answer = stranger.until("an answer", |saw| matches!(saw, Saw::Answer(_))).await;
        let Saw::Answer(Some(bytes)) = answer else {
            panic!("no answer: {answer:?}");
        };
        let answer = parse(&bytes).unwrap();
        assert_eq!(answer.outcome(), wanted);
        assert!(answer.addresses.is_empty(), "identify told no address: {answer:?}");
    }
    let dialled = tokio::time::timeout(std::time::Duration::from_millis(1), victim.accept()).await;
    assert!(dialled.is_err(), "the node dialled an address of the question");
    // A question that is too long fails by itself, and costs the stranger nothing else.
    stranger.ask.try_send(vec![0; 65]).unwrap();
    let answer = stranger.until("a failure", |saw| matches!(saw, Saw::Answer(_))).await;
    assert!(is_none(&answer), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_dialled_back_before_its_hello() {
    let node = node(Mode::Node, &[], |_| {}).await;
    let mut silent = Raw::dial(&node.address(), Manners::Silent);
    silent.until("a hello", |saw| matches!(saw, Saw::Hello)).await;
    silent.ask.try_send(vec![]).unwrap();
    let answer = silent.until("a failure", |saw| matches!(saw, Saw::Answer(_))).await;
    assert!(is_none(&answer), "{answer:?}");
}
