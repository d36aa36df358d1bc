//! Peers that hold places and want no bytes, and one that wants them.

use super::*;
use crate::transfer::blob::server::BlobServer;
use crate::wire::{BlobAnswer, BlobStatus};

/// Less than the idle limit, which each `Get` starts anew.
const NOW_AND_THEN: Duration = Duration::from_secs(6);

/// Holds a place: asks for the blob again and again, and for none of its segments; over another stream when one ends.
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

/// How long a peer waits for the blob.
async fn fetched_after(server: &BlobServer, peer: NodeId, wanted: &Want) -> Duration {
    let (shelf, began) = (Shelf::new(), tokio::time::Instant::now());
    loop {
        let (ours, theirs) = pipe();
        let serving = server.clone();
        tokio::spawn(async move { serving.serve(peer, theirs).await });
        let mut link = Link::new(ours, PATIENT);
        match depot(&shelf).fetch(&mut link, &goal(wanted), &mut false).await {
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
    let theirs = Shelf::with(&blob);
    let wanted = want(&blob, &[]);
    let server = honest(&theirs, Readers::AllBeside(vec![node(9)]));
    let crowd: Vec<_> = (0..16)
        .map(|n| tokio::spawn(hold(server.clone(), node(20 + n / 4), get(&wanted))))
        .collect();
    tokio::time::sleep(NOW_AND_THEN).await;
    assert!(server.counters().busy() > 0, "they hold all that strangers may hold");
    // A member finds places that are kept for it, a stranger takes one of a peer that sends no bytes.
    for peer in [node(9), node(8), node(8)] {
        let waited = fetched_after(&server, peer, &wanted).await;
        assert!(waited < NOW_AND_THEN, "{waited:?}");
    }
    crowd.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_nothing_loses_its_place_in_the_middle_of_a_segment() {
    let blob = bytes(1, 2 * MIB);
    let theirs = Shelf::with(&blob);
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
    assert!(
        matches!(error, crate::transfer::fault::TransferError::Revoked),
        "{error}"
    );
    assert_eq!(error.fault(), None, "being slow is no fault");
}
