//! Bootstrap names that stand for several nodes, as the headless Service of a StatefulSet does.

use std::net::{IpAddr, Ipv4Addr};

use qres_mesh::{Hosts, Mode};
use tokio::sync::watch;

use crate::harness::{self, Node, full_mesh, node, until};

/// Returns the address of the pod with this number. Pods share one port number and have an address each.
fn pod_ip(number: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 77, 0, number))
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((pod_ip(1), 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A host table with one name for these pods.
fn hosts(name: &str, numbers: &[u8]) -> Hosts {
    Hosts::from([(name.to_owned(), numbers.iter().map(|n| pod_ip(*n)).collect())])
}

async fn pod(number: u8, name: &str, port: u16, table: &watch::Sender<Hosts>) -> Node {
    let table = table.subscribe();
    node(Mode::Node, &[format!("{name}:{port}")], |c| {
        c.port = port;
        c.listen = vec![pod_ip(number)];
        c.overrides.hosts = Some(table);
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_given_one_name_for_all_of_them_find_each_other() {
    harness::log::collect();
    let port = free_port();
    // The name knows the addresses before all nodes are there.
    let table = watch::Sender::new(hosts("all-pods", &[1, 2, 3, 4, 5]));
    let mut nodes = Vec::new();
    for number in 1..=5 {
        nodes.push(pod(number, "all-pods", port, &table).await);
    }
    let all: Vec<&Node> = nodes.iter().collect();
    full_mesh(&all).await;
    let warnings = harness::log::lines(&["WARN", "all-pods"]);
    assert!(warnings.is_empty(), "this is how a swarm starts: {warnings:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_groups_meet_when_their_name_comes_to_stand_for_both() {
    let port = free_port();
    let (left, right) = (
        watch::Sender::new(hosts("pods", &[11, 12])),
        watch::Sender::new(hosts("pods", &[13, 14])),
    );
    let (a, b) = (pod(11, "pods", port, &left).await, pod(12, "pods", port, &left).await);
    let (c, d) = (pod(13, "pods", port, &right).await, pod(14, "pods", port, &right).await);
    full_mesh(&[&a, &b]).await;
    full_mesh(&[&c, &d]).await;
    assert!(!a.sees(&[&c]) && !b.sees(&[&d]), "nothing has joined them yet");
    // Only one node needs to ask again.
    left.send_replace(hosts("pods", &[11, 12, 13, 14]));
    full_mesh(&[&a, &b, &c, &d]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_without_an_address_is_asked_for_again_and_the_log_says_so() {
    harness::log::collect();
    let port = free_port();
    let table = watch::Sender::new(Hosts::new());
    let a = pod(21, "late-pods", port, &table).await;
    until("said so in words", || {
        !harness::log::lines(&["WARN", "late-pods", "cannot be reached", "no such name"]).is_empty()
    })
    .await;
    let b = pod(22, "late-pods", port, &table).await;
    table.send_replace(hosts("late-pods", &[21, 22]));
    full_mesh(&[&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_behind_its_name_leaves_itself_alone() {
    harness::log::collect();
    let port = free_port();
    let table = watch::Sender::new(hosts("only-pod", &[31]));
    let a = pod(31, "only-pod", port, &table).await;
    until("it recognised itself", || {
        !harness::log::lines(&["only-pod", "(127.77.0.31)", "this very node"]).is_empty()
    })
    .await;
    assert_eq!(a.mesh.counters().dial_failures.get(), 0);
    let b = pod(32, "only-pod", port, &table).await;
    full_mesh(&[&a, &b]).await;
    assert_eq!(harness::log::lines(&["WARN", "only-pod"]), [""; 0]);
}
