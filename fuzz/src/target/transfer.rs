//! Streams: both sides of `/qres/blob/10` and `/qres/sync/10`, each of which reads the bytes of a stranger.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite};
use prost::Message;
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::record::Canonical;
use qres_fed::round::RecordId;
use qres_store::Owner;
use qres_transfer::blob::fuzzing as blob;
use qres_transfer::sync::fuzzing as sync;
use qres_transfer::{ContentProvider, Record, SpecOffer};
use qres_wire::pb as wire;

use crate::fixture::{SPEC, large_bytes, small_bytes};
use crate::{Fixture, Target, record};

const PEER: NodeId = NodeId([1; 32]);

/// Reads requests for blobs, as the serving side.
pub const BLOB_SERVER: Target = Target {
    name: "blob-server",
    run: |fixture, data| {
        let provider = Arc::new(FixtureProvider::of(fixture));
        let serving = blob::serve(fixture.store.blobs(), provider, PEER, Said::new(data));
        fixture.runtime.block_on(serving).is_ok()
    },
    seeds: |fixture| {
        let get = |blob: BlobId, values_known| {
            request(wire::blob_request::Kind::Get(wire::BlobGet {
                spec: SPEC.0.to_vec(),
                blob: blob.0.to_vec(),
                values_known,
                traceparent: String::new(),
            }))
        };
        let segments = request(wire::blob_request::Kind::Segments(wire::BlobSegments {
            indices: vec![1, 0],
        }));
        let done = request(wire::blob_request::Kind::Done(wire::BlobDone {}));
        vec![
            get(fixture.small, false),
            [get(fixture.large, false), segments.clone(), done.clone()].concat(),
            [get(fixture.large, true), segments, done, get(BlobId([3; 32]), false)].concat(),
        ]
    },
};

/// Reads the answers with a blob, as the fetching side; the first byte selects the blob that is wanted.
pub const BLOB_CLIENT: Target = Target {
    name: "blob-client",
    run: |fixture, data| {
        let Some((which, data)) = data.split_first() else {
            return false;
        };
        // The store does not have the blob of the kinds 0 and 1; it has the large one.
        let (wanted, bytes) = match which {
            0 => (BlobId::of(b"wanted"), Some(6)),
            1 => (BlobId::of(b"wanted"), None),
            _ => (fixture.large, None),
        };
        let fetching = blob::fetch(fixture.store.blobs(), SPEC, wanted, bytes, Said::new(data));
        let here = fixture.runtime.block_on(fetching).is_ok_and(|here| here);
        if *which < 2 {
            let blobs = fixture.store.blobs_of(Owner::Model(SPEC));
            assert_eq!(blobs.contains(&wanted), here, "a blob that is not what it is called");
            blobs.remove(&wanted).expect("removed");
        }
        here || *which > 1
    },
    seeds: |fixture| {
        let answer = |bytes: u64| {
            framed(&wire::BlobAnswer {
                status: wire::BlobStatus::Ok.into(),
                bytes,
                retry_ms: 0,
            })
        };
        let small = [answer(6), b"wanted".to_vec()].concat();
        let tree = fixture
            .store
            .blobs_of(Owner::Model(SPEC))
            .tree(&fixture.large)
            .expect("readable")
            .expect("there");
        let large = [
            answer(large_bytes().len() as u64),
            tree.values().as_flattened().to_vec(),
        ]
        .concat();
        vec![
            [vec![0], small.clone()].concat(),
            [vec![1], small].concat(),
            [vec![2], large].concat(),
        ]
    },
};

/// Reads requests for records, as the answering side.
pub const SYNC_SERVER: Target = Target {
    name: "sync-server",
    run: |fixture, data| {
        let answering = sync::answer(Arc::new(FixtureProvider::of(fixture)), PEER, Said::new(data));
        fixture.runtime.block_on(answering).is_ok()
    },
    seeds: |fixture| {
        use wire::sync_request::Kind;
        let spec = SPEC.0.to_vec();
        let ask = |kind| framed(&wire::SyncRequest { kind: Some(kind) });
        let id = record::seal(&fixture.identity).record.id().0;
        let keys = Kind::Keys(wire::SyncKeys {
            spec: spec.clone(),
            buckets: vec![0, 1],
            above: 0,
        });
        let records = Kind::Records(wire::SyncRecords {
            spec: spec.clone(),
            keys: [&[2][..], &id].concat(),
        });
        let states = Kind::States(wire::SyncStates { spec: spec.clone() });
        let digest = Kind::Digest(wire::SyncDigest { spec, above: 0 });
        vec![
            ask(Kind::Specs(wire::SyncSpecs {})),
            [ask(digest), ask(keys), ask(records)].concat(),
            ask(states),
        ]
    },
};

/// Reads the answers with records, as the asking side; the first byte selects the request.
pub const SYNC_CLIENT: Target = Target {
    name: "sync-client",
    run: |fixture, data| {
        let Some((what, data)) = data.split_first() else {
            return false;
        };
        fixture
            .runtime
            .block_on(sync::ask(*what, SPEC, Said::new(data)))
            .is_ok()
    },
    seeds: |fixture| {
        // Records the answers of the serving side to these requests, byte by byte.
        let answered = |requests: Vec<u8>| {
            let said = Said::new(&requests);
            let heard = said.heard.clone();
            let answering = sync::answer(Arc::new(FixtureProvider::of(fixture)), PEER, said);
            fixture.runtime.block_on(answering).expect("answered");
            let heard = heard.lock();
            heard.clone()
        };
        let requests = (SYNC_SERVER.seeds)(fixture);
        let kinds = [0_u8, 2, 1];
        kinds
            .into_iter()
            .zip(requests)
            .map(|(kind, request)| [&[kind][..], &answered(request)].concat())
            .collect()
    },
};

fn framed(message: &impl Message) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).expect("a short message");
    [&length.to_le_bytes()[..], &bytes].concat()
}

fn request(kind: wire::blob_request::Kind) -> Vec<u8> {
    framed(&wire::BlobRequest { kind: Some(kind) })
}

/// The other side of a stream: sends the given bytes, then closes; takes in everything that is written to it.
struct Said {
    bytes: Vec<u8>,
    at: usize,
    heard: Arc<parking_lot::Mutex<Vec<u8>>>,
}

/// Bytes that are kept of what was written to the stream (64 KiB).
const HEARD_BYTES_MAX: usize = 1 << 16;

impl Said {
    fn new(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            at: 0,
            heard: Arc::default(),
        }
    }
}

impl AsyncRead for Said {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let rest = &self.bytes[self.at..];
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Said {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut heard = self.heard.lock();
        let room = HEARD_BYTES_MAX - heard.len();
        heard.extend(&bytes[..bytes.len().min(room)]);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A [`ContentProvider`] of one model.
struct FixtureProvider {
    records: Vec<Record>,
    offer: SpecOffer,
}

impl FixtureProvider {
    fn of(fixture: &Fixture) -> Self {
        let me = &fixture.identity;
        let signed = me.sign(record::open_spec());
        Self {
            records: vec![
                Record::Contribution(record::contribution(me, &small_bytes(), 5)),
                Record::Seal(record::seal(me)),
                Record::Proof(record::proof(me)),
            ],
            offer: SpecOffer {
                spec: signed.record.id(),
                bytes: signed.record.to_canonical().len() as u64,
                name: signed.record.name.to_string(),
                creator: me.node(),
                signature: signed.signature,
            },
        }
    }
}

impl ContentProvider for FixtureProvider {
    fn may_read(&self, _: &NodeId, spec: &SpecId, _: &BlobId) -> bool {
        *spec == SPEC
    }

    fn is_member(&self, _: &NodeId) -> bool {
        false
    }

    fn specs(&self) -> BoxFuture<'_, Vec<SpecOffer>> {
        Box::pin(async { vec![self.offer.clone()] })
    }

    fn record_ids(&self, _: NodeId, spec: SpecId, _: u64) -> BoxFuture<'_, Option<Vec<(u64, RecordId)>>> {
        let ids = self.records.iter().map(|record| (5, record.id())).collect();
        Box::pin(async move { (spec == SPEC).then_some(ids) })
    }

    fn records(&self, _: NodeId, _: SpecId, ids: Vec<RecordId>) -> BoxFuture<'_, Vec<Record>> {
        let held = self
            .records
            .iter()
            .filter(|record| ids.contains(&record.id()))
            .cloned()
            .collect();
        Box::pin(async move { held })
    }

    fn states(&self, _: NodeId, _: SpecId) -> BoxFuture<'_, Vec<Vec<u8>>> {
        Box::pin(async { vec![b"state".to_vec()] })
    }
}
