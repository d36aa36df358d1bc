//! TCP and QUIC, IPv4 and IPv6: a node that has only one of them still reaches all others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use qres_mesh::{MeshConfig, Mode};
use qres_wire::identity::Identity;

use crate::harness::{Node, full_mesh, node, node_in, until};

const EVERYWHERE: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

/// Makes a firewall drop TCP, with a dial deadline of an hour: a node that waits for a TCP dial to end waits longer than the
/// test.
fn udp_only(config: &mut MeshConfig) {
    config.overrides.tcp_drops = true;
    config.timings.dial = Duration::from_hours(1);
}

/// Returns the addresses of this machine's network cards that have a meaning for other machines.
fn cards() -> Vec<IpAddr> {
    let cards = if_addrs::get_if_addrs().unwrap();
    let ips = cards.iter().map(if_addrs::Interface::ip);
    ips.filter(|ip| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()))
        .collect()
}

fn port_of(node: &Node) -> String {
    let address = node.address();
    address.split('/').nth(4).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_behind_a_firewall_that_drops_tcp_finds_everyone() {
    let boot = node(Mode::Bootstrap, &[], |_| {}).await;
    let other = node(Mode::Node, &[boot.host_port()], |_| {}).await;
    let lone = node(Mode::Node, &[boot.host_port()], udp_only).await;
    full_mesh(&[&boot, &other, &lone]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_dial_gets_through_where_tcp_does_not() {
    let other = node(Mode::Node, &[], |_| {}).await;
    let lone = node(Mode::Node, &[], udp_only).await;
    assert_eq!(lone.mesh.dial(&other.host_port()).await.unwrap(), other.node);
    full_mesh(&[&other, &lone]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_says_it_listens_knows_all_its_addresses() {
    let a = node(Mode::Node, &[], |c| c.listen = EVERYWHERE.to_vec()).await;
    let (listen, port) = (a.mesh.listen_addresses(), port_of(&a));
    for ip in cards() {
        let host = if ip.is_ipv4() { "ip4" } else { "ip6" };
        for transport in [format!("tcp/{port}"), format!("udp/{port}/quic-v1")] {
            let address = format!("/{host}/{ip}/{transport}/p2p/");
            assert!(
                listen.iter().any(|a| a.starts_with(&address)),
                "{address} is not among {listen:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_port_serves_ipv4_and_ipv6() {
    let a = node(Mode::Node, &[], |c| c.listen = EVERYWHERE.to_vec()).await;
    let port = port_of(&a);
    let old = node(Mode::Node, &[format!("127.0.0.1:{port}")], |_| {}).await;
    full_mesh(&[&a, &old]).await;
    // A machine without IPv6 has no such address, but a node there listens all the same.
    if cards().contains(&IpAddr::V6(Ipv6Addr::LOCALHOST)) {
        let new = node(Mode::Node, &[format!("[::1]:{port}")], |c| {
            c.listen = vec![IpAddr::V6(Ipv6Addr::LOCALHOST)];
        })
        .await;
        full_mesh(&[&a, &new]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_of_another_machine_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let outcome = node_in(dir, Identity::ephemeral(), Mode::Node, &[], |c| {
        c.listen = vec![Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(192, 0, 2, 99).into()];
    })
    .await;
    let error = outcome
        .err()
        .expect("192.0.2.99 is no address of this machine")
        .to_string();
    assert!(error.contains("192.0.2.99") && error.contains("--listen"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_peers_are_remembered_at_once() {
    let seldom = |c: &mut MeshConfig| c.timings.hints_save = Duration::from_hours(1);
    let a = node(Mode::Node, &[], seldom).await;
    let b = node(Mode::Node, &[a.address()], seldom).await;
    full_mesh(&[&a, &b]).await;
    let (file, id) = (
        a.dir.path().join("hints"),
        b.identity.keypair().public().to_peer_id().to_string(),
    );
    until("b is in the file of a", || {
        std::fs::read_to_string(&file).unwrap_or_default().contains(&id)
    })
    .await;
    // The file on the disk is what a node would have if it were killed now.
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(&file, dir.path().join("hints")).unwrap();
    let again = node_in(dir, Identity::ephemeral(), Mode::Node, &[], seldom)
        .await
        .unwrap();
    full_mesh(&[&b, &again]).await;
}
