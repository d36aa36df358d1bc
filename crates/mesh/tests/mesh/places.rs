//! Shares of the connections between hosts, members and newcomers.

use std::time::Duration;

use qres_mesh::Mode;

use crate::harness::{full_mesh, node, until};
use crate::raw::{self, Manners, Raw};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_of_one_host_get_a_quarter_of_the_connections_and_members_theirs() {
    let target = node(Mode::Node, &[], |c| {
        c.connections_max = 16;
        c.overrides.loopback_is_free = false;
    })
    .await;
    let hostile = |_| Raw::dial(&target.address(), Manners::Says(raw::hello()));
    let strangers: Vec<Raw> = (0..7).map(hostile).collect();
    let turned_away = || target.mesh.counters().inbound_failures.get();
    until("three are turned away", || turned_away() >= 3).await;
    until("four are in", || target.mesh.connected().len() == 4).await;
    let member = node(Mode::Node, &[], |_| {}).await;
    target.mesh.set_members([member.node].into());
    member.mesh.dial(&target.address()).await.unwrap();
    full_mesh(&[&target, &member]).await;
    let late = Raw::dial(&target.address(), Manners::Says(raw::hello()));
    until("one more is turned away", || turned_away() >= 4).await;
    assert!(!target.mesh.connected().contains(&late.node));
    drop(strangers);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_never_say_hello_lock_no_newcomer_out() {
    let target = node(Mode::Node, &[], |c| {
        c.connections_max = 16;
        c.timings.hello = Duration::from_secs(600);
    })
    .await;
    let silent: Vec<Raw> = (0..24).map(|_| Raw::dial(&target.address(), Manners::Silent)).collect();
    // Eight peers hold all places for connections without a hello. The others come too soon after them to take those places.
    let counters = target.mesh.counters();
    let gone = || counters.inbound_failures.get() + counters.newcomers_displaced.get();
    until("all have come", || gone() >= 16).await;
    let newcomer = node(Mode::Node, &[target.address()], |_| {}).await;
    full_mesh(&[&target, &newcomer]).await;
    drop(silent);
}
