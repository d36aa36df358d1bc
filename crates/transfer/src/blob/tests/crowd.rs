//! Tests with peers that hold places or sessions and move no bytes, and one peer that does.

use std::sync::atomic::{AtomicU64, Ordering};

use qres_wire::pb::{BlobAnswer, BlobStatus};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::blob::server::BlobServer;
use crate::fault::TransferError;
use crate::link::Pace;

/// Pause between two `Get`s: shorter than the idle limit, which each `Get` starts anew.
const NOW_AND_THEN: Duration = Duration::from_secs(6);

/// Holds a place: asks for the blob again and again, and never for its segments; opens another stream when one ends.
async fn hold(server: BlobServer, peer: NodeId, get: BlobRequest) {
    loop {
        let (ours, theirs) = pipe();
        let serving = server.clone();
        let task = tokio::spawn(async move { serving.serve(peer, theirs).await });
        let mut link = Link::new(ours, PATIENT);
        while link.send(&get).await.is_ok() {
            let answer: Result<Option<BlobAnswer>, _> = link.next(ANSWER_BYTES_MAX, PATIENT.whole).await;
            let Ok(Some(answer)) = answer else { break };
            let wait = match answer.status() {
                BlobStatus::Busy => Duration::from_millis(u64::from(answer.retry_ms)),
                _ => NOW_AND_THEN,
            };
            tokio::time::sleep(wait).await;
        }
        let _ = task.await;
    }
}

/// Fetches the blob and returns how long the peer had to wait for it.
async fn fetched_after(server: &BlobServer, peer: NodeId, wanted: &DownloadRequest) -> Duration {
    let (provider, began) = (MemoryProvider::new(), tokio::time::Instant::now());
    loop {
        let (ours, theirs) = pipe();
        let serving = server.clone();
        tokio::spawn(async move { serving.serve(peer, theirs).await });
        let mut link = Link::new(ours, PATIENT);
        match context(&provider).fetch(&mut link, &goal(wanted), &mut false).await {
            Ok(Got::Busy(wait)) => tokio::time::sleep(wait).await,
            got => {
                assert_eq!(got.unwrap(), Got::Here);
                return began.elapsed();
            }
        }
        assert!(began.elapsed() < NOW_AND_THEN * 20, "it never gets a place");
    }
}

#[tokio::test(start_paused = true)]
async fn streams_that_talk_and_take_nothing_keep_nobody_out() {
    let blob = bytes(1, 2 * MIB);
    let theirs = MemoryProvider::with(&blob);
    let wanted = want(&blob, &[]);
    let server = honest(&theirs, Readers::AllBeside(vec![node(9)]));
    let crowd: Vec<_> = (0..16)
        .map(|n| tokio::spawn(hold(server.clone(), node(20 + n / 4), get(&wanted))))
        .collect();
    tokio::time::sleep(NOW_AND_THEN).await;
    assert!(server.counters().busy() > 0, "they hold all that strangers may hold");
    // A member finds places that are kept for members; a stranger gets the place of a peer that sends no bytes.
    for peer in [node(9), node(8), node(8)] {
        let waited = fetched_after(&server, peer, &wanted).await;
        assert!(waited < NOW_AND_THEN, "{waited:?}");
    }
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_loses_its_place_in_the_middle_of_a_segment() {
    let blob = bytes(1, 2 * MIB);
    let theirs = MemoryProvider::with(&blob);
    let wanted = want(&blob, &[]);
    let server = honest(&theirs, Readers::All).with_limits(PATIENT, Places::new(1, 1));
    let (ours, other) = pipe();
    let serving = server.clone();
    let task = tokio::spawn(async move { serving.serve(ME, other).await });
    let mut link = Link::new(ours, PATIENT);
    link.send(&get(&wanted)).await.unwrap();
    let ask = BlobRequest {
        kind: Some(Kind::Segments(BlobSegments { indices: vec![0, 1] })),
    };
    link.send(&ask).await.unwrap();
    let waited = fetched_after(&server, node(8), &wanted).await;
    assert!(waited < PATIENT.idle, "before the stream counts as stalled: {waited:?}");
    let error = task.await.unwrap().expect_err("its stream ends");
    assert!(matches!(error, TransferError::Revoked), "{error}");
    assert_eq!(error.fault(), None, "being slow is no fault");
}

#[tokio::test]
async fn holders_that_bring_nothing_do_not_keep_every_session() {
    let (provider, memory_network) = (MemoryProvider::new(), MemoryNetwork::default());
    // With these deadlines nothing counts as stalled while this test lasts.
    let hour = Duration::from_secs(3600);
    let pace = Pace {
        idle: hour,
        whole: hour,
        rest: hour,
    };
    let (downloads, mut events) = Downloads::start_with(memory_network.clone(), provider.store.clone(), pace);
    for holder in 2..=5 {
        for blob in 0..2 {
            let blob = bytes(2 * holder + blob, 2 * MIB);
            let mut fake = MockPeer::of(&blob);
            fake.silent_after = Some(0);
            memory_network.settle_fake(node(holder), fake);
            let opened = memory_network.calls(&node(holder));
            downloads.want(want(&blob, &[holder]));
            memory_network
                .until(|memory_network| memory_network.calls(&node(holder)) > opened)
                .await;
        }
    }
    let blob = bytes(1, 2 * MIB);
    let theirs = MemoryProvider::with(&blob);
    memory_network.settle_server(node(6), honest(&theirs, Readers::All));
    let wanted = want(&blob, &[6]);
    downloads.want(wanted.clone());
    assert_eq!(here(&mut events, &wanted).await, node(6));
}

#[tokio::test]
async fn a_session_that_is_given_up_keeps_what_has_arrived() {
    let blob = bytes(1, 4 * MIB);
    let (provider, theirs, memory_network) = (
        MemoryProvider::new(),
        MemoryProvider::with(&blob),
        MemoryNetwork::default(),
    );
    let mut fake = MockPeer::of(&blob);
    fake.silent_after = Some(2);
    memory_network.settle_fake(node(2), fake);
    let (context, goal) = (context(&provider), goal(&want(&blob, &[])));
    let (received, given_up) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
    let mut link = Link::new(manager::Holders::open(&memory_network, node(2)).await.unwrap(), PATIENT);
    link.watch(received.clone(), given_up.clone());
    let arrived = async {
        while received.load(Ordering::Relaxed) < 2 * MIB {
            tokio::task::yield_now().await;
        }
        given_up.cancel();
    };
    let mut progress = false;
    let (got, ()) = tokio::join!(context.fetch(&mut link, &goal, &mut progress), arrived);
    assert!(matches!(got, Err(TransferError::Revoked)) && progress);
    let server = honest(&theirs, Readers::All);
    let (ours, other) = pipe();
    let serving = server.clone();
    tokio::spawn(async move { serving.serve(ME, other).await });
    let got = context.fetch(&mut Link::new(ours, PATIENT), &goal, &mut progress).await;
    assert_eq!(got.unwrap(), Got::Here);
    assert_eq!(server.counters().sent_bytes(), 2 * MIB);
    assert_eq!(provider.read(&goal.blob), blob);
}
