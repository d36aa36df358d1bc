//! Access to blobs: a peer gets a blob under the model that the blob belongs to, if the peer may read that model.

use qres_fed::id::SpecId;
use qres_store::Owner;
use qres_wire::pb::{BlobAnswer, BlobStatus};

use super::*;

#[tokio::test]
async fn who_may_not_read_is_refused_and_asks_elsewhere() {
    let blob = bytes(1, 2 * MIB);
    let (provider, theirs, memory_network) = (
        MemoryProvider::new(),
        MemoryProvider::with(&blob),
        MemoryNetwork::default(),
    );
    let denying = honest(&theirs, Readers::None);
    memory_network.settle_server(node(2), denying.clone());
    memory_network.settle_server(node(3), honest(&theirs, Readers::Of(SPEC)));
    let (downloads, mut events) = Downloads::start_with(memory_network.clone(), provider.store.clone(), PATIENT);
    let wanted = want(&blob, &[2, 3]);
    downloads.want(wanted.clone());
    assert_eq!(here(&mut events, &wanted).await, node(3));
    assert_eq!(denying.counters().sent_bytes(), 0);
    assert!(memory_network.faults().is_empty());
}

/// Returns the status that a server answers to a `Get` of this blob.
async fn status(server: &BlobServer, want: &DownloadRequest) -> BlobStatus {
    let (ours, theirs) = pipe();
    let (server, get) = (server.clone(), get(want));
    let task = tokio::spawn(async move { server.serve(node(9), theirs).await });
    let mut link = Link::new(ours, PATIENT);
    link.send(&get).await.unwrap();
    let answer: BlobAnswer = link.next(ANSWER_BYTES_MAX, PATIENT.whole).await.unwrap().unwrap();
    task.abort();
    answer.status()
}

#[tokio::test]
async fn a_digest_in_the_place_of_a_spec_s_id_opens_nothing() {
    let (spec, secret) = (bytes(1, 500), bytes(2, 500));
    let theirs = MemoryProvider::with(&secret);
    theirs.store.of(Owner::Specs).put(&spec, false).unwrap();
    // A peer that asks for the blob X under the spec id X gets it only if X is the spec of a known model and is stored
    // among the specs.
    let under_itself = |blob: &[u8]| {
        let wanted = want(blob, &[]);
        let spec = SpecId(wanted.blob.0);
        DownloadRequest { spec, ..wanted }
    };
    let (secret, spec) = (under_itself(&secret), under_itself(&spec));
    let knows_spec = honest(&theirs, Readers::Of(spec.spec));
    assert_eq!(status(&knows_spec, &spec).await, BlobStatus::Ok);
    assert_eq!(status(&knows_spec, &secret).await, BlobStatus::Denied);
    assert_eq!(
        status(&honest(&theirs, Readers::All), &secret).await,
        BlobStatus::NotFound
    );
    assert_eq!(status(&honest(&theirs, Readers::None), &spec).await, BlobStatus::Denied);
}

#[tokio::test]
async fn what_another_model_has_is_neither_used_nor_served_for_this_one() {
    let (small, large) = (bytes(1, 1000), bytes(2, 2 * MIB));
    let (provider, theirs, memory_network) = (MemoryProvider::new(), MemoryProvider::new(), MemoryNetwork::default());
    let other = Owner::Model(SpecId([8; 32]));
    for blob in [&small, &large] {
        provider.store.of(other).put(blob, false).unwrap();
        theirs.store.of(other).put(blob, false).unwrap();
    }
    // A peer that may read everything still finds no blob of the other model under this one.
    let server = honest(&theirs, Readers::All);
    memory_network.settle_server(node(2), server.clone());
    let (downloads, mut events) = Downloads::start_with(memory_network.clone(), provider.store.clone(), PATIENT);
    let wants = [want(&small, &[2]), want(&large, &[2])];
    for wanted in &wants {
        downloads.want(wanted.clone());
        memory_network
            .until(|memory_network| memory_network.calls(&node(2)) > 0)
            .await;
    }
    assert!(wants.iter().all(|wanted| !provider.blobs.contains(&wanted.blob)));
    // The blobs arrive once a peer has them for this model.
    for blob in [&small, &large] {
        theirs.blobs.put(blob, false).unwrap();
    }
    downloads.nudge(node(2));
    for _ in &wants {
        let next = tokio::time::timeout(Duration::from_secs(20), events.recv()).await;
        let DownloadEvent::Here { spec, from, .. } = next.expect("in time").unwrap();
        assert_eq!((spec, from), (SPEC, node(2)), "over the wire");
    }
    assert_eq!(server.counters().sent_bytes(), 1000 + 2 * MIB);
}
