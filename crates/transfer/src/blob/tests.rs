//! Tests of downloads from peers behind pipes.

mod access;
mod crowd;

use std::sync::Arc;
use std::time::Duration;

use futures::AsyncWriteExt;
use prost::Message;
use qres_fed::id::{BlobId, NodeId};
use qres_mesh::Fault;
use qres_store::{SEGMENT_BYTES, SegmentTree, Store, StoreOptions};
use qres_wire::pb::blob_request::Kind;
use qres_wire::pb::{BlobGet, BlobRequest, BlobSegments};
use tokio::sync::{Notify, mpsc};

use super::assembly::Assemblies;
use super::places::Places;
use super::protocol::{ANSWER_BYTES_MAX, SEGMENTS_PER_ASK_MAX};
use super::session::{DownloadContext, Goal, Got};
use super::*;
use crate::link::Link;
use crate::memory_network::{
    FAST, ME, MemoryNetwork, MemoryProvider, MockPeer, PATIENT, Pipe, Readers, SPEC, bytes, honest, node, pipe,
};

const MIB: u64 = SEGMENT_BYTES;

fn want(blob: &[u8], holders: &[u8]) -> DownloadRequest {
    DownloadRequest {
        spec: SPEC,
        blob: BlobId::of(blob),
        bytes: Some(blob.len() as u64),
        bytes_max: 1 << 40,
        holders: holders.iter().map(|n| node(*n)).collect(),
        owed_by: None,
        traceparent: None,
    }
}

/// Waits until the wanted blob is here; returns the peer that it came from.
async fn here(events: &mut mpsc::Receiver<DownloadEvent>, wanted: &DownloadRequest) -> NodeId {
    let next = tokio::time::timeout(Duration::from_secs(20), events.recv());
    let DownloadEvent::Here { spec, blob, from } = next.await.expect("in time").expect("the manager runs");
    assert_eq!((spec, blob), (wanted.spec, wanted.blob));
    from
}

fn context(provider: &MemoryProvider) -> DownloadContext {
    DownloadContext {
        store: provider.store.clone(),
        assemblies: Assemblies::default(),
        counters: Arc::default(),
        changed: Arc::default(),
    }
}

fn goal(want: &DownloadRequest) -> Goal {
    Goal {
        spec: want.spec,
        blob: want.blob,
        bytes: want.bytes,
        bytes_max: want.bytes_max,
        traceparent: None,
    }
}

#[tokio::test]
async fn blobs_of_every_size_arrive_as_they_are() {
    for length in [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 11 * MIB + 7] {
        let blob = bytes(1, length);
        let (provider, theirs, memory_network) = (
            MemoryProvider::new(),
            MemoryProvider::with(&blob),
            MemoryNetwork::default(),
        );
        let server = honest(&theirs, Readers::All);
        memory_network.settle_server(node(2), server.clone());
        let (downloads, mut events) = Downloads::start_with(memory_network.clone(), provider.store.clone(), PATIENT);
        let wanted = want(&blob, &[2]);
        downloads.want(wanted.clone());
        assert_eq!(here(&mut events, &wanted).await, node(2), "{length}");
        assert_eq!(provider.read(&wanted.blob), blob, "{length}");
        assert_eq!(downloads.counters().received_bytes(), length);
        assert_eq!(server.counters().sent_bytes(), length, "nothing moved twice");
        assert!(memory_network.faults().is_empty());
        // The blob is here now: for a second want no peer is asked.
        downloads.want(wanted.clone());
        assert_eq!(here(&mut events, &wanted).await, NodeId([0; 32]));
        assert_eq!(memory_network.calls(&node(2)), 1);
    }
}

#[tokio::test]
async fn a_small_blob_takes_one_request_and_the_stream_serves_the_next() {
    let (one, two) = (bytes(1, 1000), bytes(2, 3 * MIB));
    let (provider, theirs) = (MemoryProvider::new(), MemoryProvider::with(&one));
    theirs.blobs.put(&two, false).unwrap();
    let server = honest(&theirs, Readers::All);
    let (ours, other) = pipe();
    let task = tokio::spawn(async move { server.serve(ME, other).await });
    let mut link = Link::new(ours, PATIENT);
    let context = context(&provider);
    for blob in [&one, &two, &one] {
        let got = context.fetch(&mut link, &goal(&want(blob, &[])), &mut false).await;
        assert_eq!(got.unwrap(), Got::Here);
    }
    link.close().await.unwrap();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn wrong_bytes_are_told_on_and_fetched_elsewhere() {
    for length in [1000, 6 * MIB] {
        let blob = bytes(1, length);
        let (provider, theirs, memory_network) = (
            MemoryProvider::new(),
            MemoryProvider::with(&blob),
            MemoryNetwork::default(),
        );
        let mut fake = MockPeer::of(&blob);
        fake.corrupt = Some(if length > MIB { 3 } else { 0 });
        memory_network.settle_fake(node(2), fake);
        memory_network.settle_server(node(3), honest(&theirs, Readers::All));
        let (downloads, mut events) = Downloads::start_with(memory_network.clone(), provider.store.clone(), PATIENT);
        let wanted = want(&blob, &[2, 3]);
        downloads.want(wanted.clone());
        assert_eq!(here(&mut events, &wanted).await, node(3));
        assert_eq!(provider.read(&wanted.blob), blob);
        assert_eq!(memory_network.faults(), [(node(2), Fault::Forged)]);
        assert_eq!(memory_network.calls(&node(2)), 1, "it is not asked again");
        assert!(downloads.counters().refused_bytes() > 0);
    }
}

#[tokio::test]
async fn a_holder_that_stalls_is_told_on_and_another_goes_on_where_it_stopped() {
    let blob = bytes(1, 10 * MIB);
    let (provider, theirs, memory_network) = (
        MemoryProvider::new(),
        MemoryProvider::with(&blob),
        MemoryNetwork::default(),
    );
    let mut fake = MockPeer::of(&blob);
    fake.silent_after = Some(5);
    memory_network.settle_fake(node(2), fake);
    let server = honest(&theirs, Readers::All);
    memory_network.settle_server(node(3), server.clone());
    let (downloads, mut events) = Downloads::start_with(memory_network.clone(), provider.store.clone(), FAST);
    let wanted = want(&blob, &[2, 3]);
    downloads.want(wanted.clone());
    assert_eq!(here(&mut events, &wanted).await, node(3));
    assert_eq!(provider.read(&wanted.blob), blob);
    assert_eq!(memory_network.faults(), [(node(2), Fault::Withheld)]);
    assert_eq!(
        server.counters().sent_bytes(),
        5 * MIB,
        "what was here is not fetched again"
    );
}

#[tokio::test]
async fn a_download_goes_on_after_a_restart_with_what_is_on_the_disk() {
    let blob = bytes(1, 8 * MIB + 5);
    let (provider, theirs, memory_network) = (
        MemoryProvider::new(),
        MemoryProvider::with(&blob),
        MemoryNetwork::default(),
    );
    let mut fake = MockPeer::of(&blob);
    fake.close_after = Some(6);
    let wanted = want(&blob, &[2]);
    {
        let (ours, other) = pipe();
        memory_network.settle_fake(node(2), fake);
        let (downloads, events) = Downloads::start_with(memory_network.clone(), provider.store.clone(), PATIENT);
        downloads.want(wanted.clone());
        // The second stream is opened after the first session has broken off.
        memory_network
            .until(|memory_network| memory_network.calls(&node(2)) == 2)
            .await;
        drop((events, ours, other));
    }
    let MemoryProvider { dir, blobs, store } = provider;
    drop((blobs, store));
    let reopened = reopen(dir.path()).await;
    let server = honest(&theirs, Readers::All);
    memory_network.settle_server(node(2), server.clone());
    let (downloads, mut events) = Downloads::start_with(memory_network.clone(), reopened.blobs().clone(), PATIENT);
    downloads.want(wanted.clone());
    here(&mut events, &wanted).await;
    assert!(server.counters().sent_bytes() <= 2 * MIB + 5, "six segments were kept");
}

/// Opens a store again once its last user has gone.
async fn reopen(dir: &std::path::Path) -> Store {
    let open = async {
        loop {
            match Store::open(dir, StoreOptions::default()) {
                Ok(store) => return store,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), open)
        .await
        .expect("in time")
}

#[tokio::test]
async fn a_lie_about_the_length_or_the_tree_is_refused() {
    let blob = bytes(1, 3 * MIB);
    let goal = goal(&want(&blob, &[]));
    let open = |bytes, bytes_max| Goal {
        bytes,
        bytes_max,
        ..goal.clone()
    };
    let mut values = SegmentTree::of(&blob).values().to_vec();
    values.swap(0, 1);
    let lie = |length, values| MockPeer {
        length,
        values,
        ..MockPeer::of(&blob)
    };
    let short: u64 = 2 * MIB + 1;
    let cases = [
        (
            "another length than the record's",
            lie(Some(short), None),
            open(goal.bytes, 1 << 40),
            None,
        ),
        ("longer than allowed", lie(None, None), open(None, MIB), None),
        ("absurd", lie(Some(u64::MAX), None), open(None, u64::MAX), None),
        (
            "another tree",
            lie(None, Some(values)),
            open(goal.bytes, 1 << 40),
            Some(Fault::Forged),
        ),
        (
            "a shorter last segment",
            lie(Some(short), None),
            open(None, 1 << 40),
            Some(Fault::Forged),
        ),
        (
            "a small one",
            lie(Some(5), None),
            open(None, 1 << 40),
            Some(Fault::Forged),
        ),
    ];
    for (what, fake, goal, fault) in cases {
        let (provider, memory_network) = (MemoryProvider::new(), MemoryNetwork::default());
        memory_network.settle_fake(node(2), fake);
        let stream: Pipe = manager::Holders::open(&memory_network, node(2)).await.unwrap();
        let outcome = context(&provider)
            .fetch(&mut Link::new(stream, PATIENT), &goal, &mut false)
            .await;
        let error = outcome.expect_err(what);
        assert_eq!(error.fault(), fault, "{what}: {error}");
        assert!(!provider.blobs.contains(&goal.blob));
    }
}

#[tokio::test]
async fn a_busy_holder_is_asked_again() {
    let blob = bytes(1, 2 * MIB);
    let (provider, theirs, memory_network) = (
        MemoryProvider::new(),
        MemoryProvider::with(&blob),
        MemoryNetwork::default(),
    );
    let server = honest(&theirs, Readers::All).with_limits(PATIENT, Places::new(1, 1));
    memory_network.settle_server(node(2), server.clone());
    // Another peer has the only upload place.
    let (ours, other) = pipe();
    let holder = server.clone();
    let task = tokio::spawn(async move { holder.serve(node(9), other).await });
    let mut first = Link::new(ours, PATIENT);
    let wanted = want(&blob, &[2]);
    first.send(&get(&wanted)).await.unwrap();
    let answer: qres_wire::pb::BlobAnswer = first.next(ANSWER_BYTES_MAX, PATIENT.whole).await.unwrap().unwrap();
    assert_eq!(answer.bytes, 2 * MIB);
    let (downloads, mut events) = Downloads::start_with(memory_network.clone(), provider.store.clone(), PATIENT);
    downloads.want(wanted.clone());
    let busy = async {
        while server.counters().busy() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), busy).await.unwrap();
    assert!(!provider.blobs.contains(&wanted.blob));
    drop(first);
    let _ = task.await;
    assert_eq!(here(&mut events, &wanted).await, node(2));
    assert!(memory_network.faults().is_empty(), "being busy is no fault");
}

#[tokio::test]
async fn a_large_blob_comes_from_several_holders_at_once() {
    let blob = bytes(1, 41 * MIB);
    let (provider, theirs, memory_network) = (
        MemoryProvider::new(),
        MemoryProvider::with(&blob),
        MemoryNetwork::default(),
    );
    let gate = Arc::new(Notify::new());
    let mut fake = MockPeer::of(&blob);
    fake.gate = Some(gate.clone());
    memory_network.settle_fake(node(2), fake);
    let server = honest(&theirs, Readers::All);
    memory_network.settle_server(node(3), server.clone());
    let (downloads, mut events) = Downloads::start_with(memory_network.clone(), provider.store.clone(), PATIENT);
    let wanted = want(&blob, &[2, 3]);
    downloads.want(wanted.clone());
    // The first holder waits until a stream to the second has been opened.
    memory_network
        .until(|memory_network| memory_network.calls(&node(3)) == 1)
        .await;
    gate.notify_one();
    here(&mut events, &wanted).await;
    assert_eq!(provider.read(&wanted.blob), blob);
    let sent = server.counters().sent_bytes();
    assert!(sent > 0 && sent < 41 * MIB, "{sent}");
}

#[tokio::test]
async fn a_want_waits_for_a_peer_and_a_cancelled_one_is_forgotten() {
    let (blob, other) = (bytes(1, 1000), bytes(2, 1000));
    let (provider, theirs, memory_network) = (
        MemoryProvider::new(),
        MemoryProvider::with(&blob),
        MemoryNetwork::default(),
    );
    theirs.blobs.put(&other, false).unwrap();
    let (downloads, mut events) = Downloads::start_with(memory_network.clone(), provider.store.clone(), PATIENT);
    let (wanted, unwanted) = (want(&blob, &[]), want(&other, &[2]));
    downloads.want(unwanted.clone());
    downloads.want(wanted.clone());
    downloads.cancel(SPEC, unwanted.blob);
    memory_network.settle_server(node(2), honest(&theirs, Readers::All));
    downloads.nudge(node(2));
    here(&mut events, &wanted).await;
    assert!(!provider.blobs.contains(&unwanted.blob));
}

#[tokio::test]
async fn many_wants_all_arrive() {
    let (provider, theirs, memory_network) = (MemoryProvider::new(), MemoryProvider::new(), MemoryNetwork::default());
    memory_network.settle_server(node(2), honest(&theirs, Readers::All));
    let (downloads, mut events) = Downloads::start_with(memory_network.clone(), provider.store.clone(), PATIENT);
    let mut wanted = std::collections::BTreeSet::new();
    for n in 0..200u64 {
        let blob = bytes(3, 100 + n);
        wanted.insert(theirs.blobs.put(&blob, false).unwrap());
        downloads.want(want(&blob, &[2]));
    }
    while !wanted.is_empty() {
        let next = tokio::time::timeout(Duration::from_secs(20), events.recv()).await;
        let DownloadEvent::Here { blob, .. } = next.expect("in time").unwrap();
        assert!(wanted.remove(&blob), "each once");
    }
    assert!(memory_network.calls(&node(2)) <= 4, "few streams serve them all");
}

fn get(want: &DownloadRequest) -> BlobRequest {
    BlobRequest {
        kind: Some(Kind::Get(BlobGet {
            spec: want.spec.0.to_vec(),
            blob: want.blob.0.to_vec(),
            values_known: true,
            traceparent: "no traceparent at all".into(),
        })),
    }
}

#[tokio::test]
async fn hostile_requests_end_the_stream() {
    let blob = bytes(1, 2 * MIB);
    let theirs = MemoryProvider::with(&blob);
    let frame = |request: &BlobRequest| {
        let body = request.encode_to_vec();
        [&u32::try_from(body.len()).unwrap().to_le_bytes()[..], &body].concat()
    };
    let segments = |indices: Vec<u32>| {
        frame(&BlobRequest {
            kind: Some(Kind::Segments(BlobSegments { indices })),
        })
    };
    let got = frame(&get(&want(&blob, &[])));
    let mut short_id = get(&want(&blob, &[]));
    if let Some(Kind::Get(get)) = &mut short_id.kind {
        get.blob.pop();
    }
    let cases = [
        ("segments of no blob", segments(vec![0])),
        ("no segments", [got.clone(), segments(vec![])].concat()),
        ("a segment past the end", [got.clone(), segments(vec![1, 2])].concat()),
        (
            "too many segments",
            [got.clone(), segments(vec![0; SEGMENTS_PER_ASK_MAX + 1])].concat(),
        ),
        ("an id cut short", frame(&short_id)),
        ("a frame too long", u32::MAX.to_le_bytes().to_vec()),
        ("garbage", [&3u32.to_le_bytes()[..], &[0xff; 3]].concat()),
    ];
    for (what, request) in cases {
        let server = honest(&theirs, Readers::All);
        let (mut ours, other) = pipe();
        let task = tokio::spawn(async move { server.serve(ME, other).await });
        ours.write_all(&request).await.unwrap();
        let error = task.await.unwrap().expect_err(what);
        assert_eq!(error.fault(), Some(Fault::Protocol), "{what}: {error}");
    }
}

#[tokio::test]
async fn a_reader_that_does_not_read_loses_its_place() {
    let blob = bytes(1, 2 * MIB);
    let theirs = MemoryProvider::with(&blob);
    let server = honest(&theirs, Readers::All).with_limits(FAST, Places::new(1, 1));
    let (ours, other) = pipe();
    let serving = server.clone();
    let task = tokio::spawn(async move { serving.serve(ME, other).await });
    let mut link = Link::new(ours, PATIENT);
    link.send(&get(&want(&blob, &[]))).await.unwrap();
    let ask = BlobRequest {
        kind: Some(Kind::Segments(BlobSegments { indices: vec![0, 1] })),
    };
    link.send(&ask).await.unwrap();
    assert!(task.await.unwrap().is_err(), "the server gives up");
    // The place of that reader is free again.
    let (ours, other) = pipe();
    tokio::spawn(async move { server.serve(ME, other).await });
    let provider = MemoryProvider::new();
    let got = context(&provider)
        .fetch(&mut Link::new(ours, PATIENT), &goal(&want(&blob, &[])), &mut false)
        .await;
    assert_eq!(got.unwrap(), Got::Here);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_nothing_loses_its_place_however_often_it_speaks() {
    let blob = bytes(1, 2 * MIB);
    let theirs = MemoryProvider::with(&blob);
    let server = honest(&theirs, Readers::All);
    let (ours, other) = pipe();
    let task = tokio::spawn(async move { server.serve(ME, other).await });
    let mut link = Link::new(ours, PATIENT);
    link.send(&get(&want(&blob, &[]))).await.unwrap();
    let began = tokio::time::Instant::now();
    // A request of an unknown kind is sent more often than the idle limit.
    let mut often = tokio::time::interval(PATIENT.idle / 3);
    while link.send(&BlobRequest { kind: None }).await.is_ok() && !task.is_finished() {
        often.tick().await;
        assert!(began.elapsed() < PATIENT.idle * 3, "it keeps its place");
    }
    assert!(task.await.unwrap().is_err());
}
