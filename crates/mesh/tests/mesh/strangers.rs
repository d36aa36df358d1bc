//! New identities are free, so what one connection may carry does not grow with the number of names that it uses.

use libp2p::identity::Keypair;
use qres_mesh::{Mode, Topic};

use crate::forger::{Forger, frame};
use crate::harness::{Node, full_mesh, node, until};

/// Makes heartbeats, with a period of ten minutes, each of a new author that no node has met.
fn made_up_heartbeats(count: u64) -> Vec<u8> {
    // The bytes are fields 1 (uptime) and 3 (period, in ms).
    let beat = [0x08, 1, 0x18, 0xc0, 0xcf, 0x24];
    let one = |n| frame(&Keypair::generate_ed25519(), n, "qres/v1/heartbeat", &beat);
    (0..count).flat_map(one).collect()
}

/// Makes messages, each of a new author that no node has met.
fn made_up_messages(count: u64, bytes: usize) -> Vec<u8> {
    let one = |n: u64| {
        let mut data = vec![7; bytes];
        data[..8].copy_from_slice(&n.to_le_bytes());
        frame(&Keypair::generate_ed25519(), n, "qres/v1/epiphany", &data)
    };
    (0..count).flat_map(one).collect()
}

async fn judged(node: &Node, count: u64) {
    let counters = node.mesh.counters();
    until("the flood is judged", || counters.received.get() >= count).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_of_authors_that_nobody_met_slow_no_node_down() {
    let victim = node(Mode::Node, &[], |_| {}).await;
    let neighbour = node(Mode::Node, &[victim.address()], |_| {}).await;
    full_mesh(&[&victim, &neighbour]).await;
    let forger = Forger::connect(&victim).await;
    forger.flood(made_up_heartbeats(4_000)).await;
    judged(&victim, 4_000).await;
    // If four thousand authors counted, the period would be 200 s; the connected nodes leave it at half a second.
    for honest in [&victim, &neighbour] {
        let sent = || honest.mesh.counters().heartbeats_sent.get();
        let before = sent();
        until("its own heartbeats go on", || sent() >= before + 5).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_under_many_names_dies_at_the_first_honest_node() {
    let victim = node(Mode::Node, &[], |_| {}).await;
    let neighbour = node(Mode::Node, &[victim.address()], |_| {}).await;
    full_mesh(&[&victim, &neighbour]).await;
    let forger = Forger::connect(&victim).await;
    forger.flood(made_up_messages(3_000, 32_000)).await;
    judged(&victim, 3_000).await;
    // The message is published after the flood, so it arrives behind what is forwarded of the flood.
    victim.mesh.publish(Topic::Epiphany, b"mine".to_vec()).await.unwrap();
    until("an honest message", || neighbour.has_heard(Topic::Epiphany, b"mine")).await;
    let (taken, forwarded) = (victim.heard_count(), neighbour.heard_count());
    assert!(taken < 1_000, "{taken} of 3,000 judged by the layer above");
    assert!(forwarded < 1_000, "{forwarded} of 3,000 forwarded");
    // The budget is 8 MiB at once and 1 MiB a second.
    assert!(taken >= 200, "strangers are heard, too: {taken}");
    assert!(victim.mesh.counters().ignored_carrier_rate.get() > 2_000);
    let seen = neighbour.view_of(victim.node).await.unwrap();
    assert!(seen.score >= 0.0, "who forwards within its budgets is not punished");
}
