//! Connections that hold descriptors and do nothing.

use std::time::Duration;

use qres_api::pb;
use qres_api::server::Limits;
use qres_tests::{Daemon, Node, Options, wait};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::raw::{Raw, within};
use super::served::Served;
use super::{GET_NODE, WATCH, WINDOW};

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_are_closed_and_those_with_a_call_are_not() {
    let served = Served::start(Limits {
        handshake: Duration::from_secs(2),
        connection_idle: Duration::from_secs(4),
        ..Limits::default()
    })
    .await;
    let watch = pb::WatchModelsRequest { from_revision: 0 };
    let mut busy = Raw::connect(&served.address, WINDOW).await;
    let (statuses, open) = busy.statuses(WATCH, &watch, 1).await;
    assert_eq!(statuses, [0]);
    let mut silent = TcpStream::connect(&served.address).await.unwrap();
    let mut idle = Raw::connect(&served.address, WINDOW).await;
    assert_eq!(idle.statuses(GET_NODE, &pb::GetNodeRequest {}, 1).await.0, [0]);
    let mut rest = vec![];
    // The server closes this connection without a word, or resets it.
    let _ = within(silent.read_to_end(&mut rest)).await;
    idle.closed().await;
    assert_eq!(busy.statuses(WATCH, &watch, 1).await.0, [0]);
    drop(open);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_takes_the_place_of_the_one_that_was_quiet_longest() {
    let served = Served::start(Limits {
        connections: 3,
        ..Limits::default()
    })
    .await;
    let watch = pb::WatchModelsRequest { from_revision: 0 };
    let mut open = vec![];
    let mut raws = vec![];
    for _ in 0..3 {
        raws.push(Raw::connect(&served.address, WINDOW).await);
    }
    let mut last = raws.pop().unwrap();
    let quiet = raws.pop().unwrap();
    for raw in raws.iter_mut().chain([&mut last]) {
        open.push(raw.statuses(WATCH, &watch, 1).await);
    }
    let mut fourth = Raw::connect(&served.address, WINDOW).await;
    open.push(fourth.statuses(WATCH, &watch, 1).await);
    assert!(open.iter().all(|(statuses, _)| *statuses == [0]));
    quiet.closed().await;
    // All three connections have a call now, so there is no place for another one.
    let mut fifth = TcpStream::connect(&served.address).await.unwrap();
    let mut rest = vec![];
    let _ = within(fifth.read_to_end(&mut rest)).await;
    for raw in raws.iter_mut().chain([&mut last, &mut fourth]) {
        assert_eq!(raw.statuses(GET_NODE, &pb::GetNodeRequest {}, 1).await.0, [0]);
    }
}

/// Processor time that a process has used, in user and in system mode.
fn worked(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process of ours");
    let fields: Vec<_> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("user") + fields[12].parse::<u64>().expect("system");
    // Linux counts a hundred ticks a second.
    Duration::from_millis(ticks * 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_descriptors_waits_and_serves_again() {
    let daemon = Daemon::start(Options::default());
    let pid = Pid::from_raw(daemon.pid().cast_signed()).unwrap();
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count() as u64;
    let limit = Rlimit {
        current: Some(descriptors + 8),
        maximum: Some(descriptors + 8),
    };
    prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    let (begun, before) = (Instant::now(), worked(daemon.pid()));
    let mut silent = vec![];
    for _ in 0..60 {
        silent.push(TcpStream::connect(&daemon.grpc).await.unwrap());
    }
    // The silent connections stay open. The operator gets through, after the connections before it.
    let answered = tokio::time::timeout(
        wait::DEADLINE,
        wait::until("an answer", || async {
            Node::new(&daemon.grpc)
                .node()
                .get_node(pb::GetNodeRequest {})
                .await
                .ok()
        }),
    );
    answered.await.unwrap();
    let (took, worked) = (begun.elapsed(), worked(daemon.pid()) - before);
    assert!(took > Duration::from_secs(1), "there were descriptors for all of them");
    assert!(worked < took / 2, "{worked:?} of work in {took:?}");
    let said = daemon.log().matches("gRPC cannot accept").count();
    assert!((1..10).contains(&said), "the log says it {said} times");
}
