//! Callers that begin much and end nothing in order.

use std::collections::VecDeque;

use h2::Reason;
use qres_api::pb;
use qres_tests::{Daemon, Node, Options};
use tokio::net::TcpStream;

use super::raw::Raw;
use super::{GET_NODE, WINDOW};

/// Calls that one connection begins and resets at most: a server without a limit takes them all.
const RESETS: usize = 20_000;
/// Connections that the flood makes.
const CONNECTIONS: usize = 10_000;
/// Connections of the flood that are open at once: the test, too, has a limit on descriptors.
const OPEN_AT_ONCE: usize = 400;

async fn is_served(daemon: &Daemon) {
    let node = Node::new(&daemon.grpc);
    node.node().get_node(pb::GetNodeRequest {}).await.unwrap();
}

/// Begins calls and resets each at once. Returns how many were begun until the server ended the connection.
async fn reset_rapidly(raw: &mut Raw) -> usize {
    for begun in 0..RESETS {
        let Some(mut call) = raw.try_begin(GET_NODE).await else {
            return begun;
        };
        call.messages.send_reset(Reason::CANCEL);
        // The connection's own task must get its turn to write.
        tokio::task::yield_now().await;
    }
    RESETS
}

/// HTTP/2 rapid reset (CVE-2023-44487): each reset frees the caller's place, while the server has begun to work.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_resets_its_calls_loses_its_connection_and_no_other_does() {
    let daemon = Daemon::start(Options::default());
    let mut other = Raw::connect(&daemon.grpc, WINDOW).await;
    let mut raw = Raw::connect(&daemon.grpc, WINDOW).await;
    let begun = reset_rapidly(&mut raw).await;
    assert!(begun < RESETS, "the server ended nothing after {begun} resets");
    raw.closed().await;
    assert_eq!(other.statuses(GET_NODE, &pb::GetNodeRequest {}, 1).await.0, [0]);
    is_served(&daemon).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_connections_cost_others_nothing_and_leave_nothing() {
    let daemon = Daemon::start(Options::default());
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    let before = descriptors();
    let mut open = VecDeque::new();
    for made in 1..=CONNECTIONS {
        open.push_back(TcpStream::connect(&daemon.grpc).await.unwrap());
        if open.len() > OPEN_AT_ONCE {
            open.pop_front();
        }
        if made % 2_000 == 0 {
            is_served(&daemon).await;
        }
    }
    drop(open);
    let settled = async || (descriptors() <= before + 8).then_some(());
    qres_tests::wait::until("the daemon to have closed the connections", settled).await;
    is_served(&daemon).await;
}
