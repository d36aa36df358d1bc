//! A mesh in memory for tests: peers behind pipes, honest ones and others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite};
use parking_lot::Mutex;
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::round::RecordId;
use qres_mesh::{Fault, MeshError};
use qres_store::{BlobStore, Blobs, Owner, SEGMENT_BYTES, SegmentTree, Store, StoreOptions};
use qres_wire::pb::blob_request::Kind;
use qres_wire::pb::{BlobAnswer, BlobRequest, BlobStatus};
use tokio::io::DuplexStream;
use tokio::sync::Notify;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use crate::blob::BlobServer;
use crate::blob::manager::Holders;
use crate::blob::places::Places;
use crate::blob::protocol::REQUEST_BYTES_MAX;
use crate::link::{Link, Pace};
use crate::{ContentProvider, Record, SpecOffer};

pub(crate) const SPEC: SpecId = SpecId([7; 32]);
/// Id of the node that downloads.
pub(crate) const ME: NodeId = NodeId([1; 32]);
/// Deadlines (20 s) for tests in which no peer stalls.
pub(crate) const PATIENT: Pace = Pace {
    idle: Duration::from_secs(20),
    whole: Duration::from_secs(20),
    rest: Duration::from_secs(20),
};
/// Deadlines for tests in which a peer stalls: 2 s without a byte.
pub(crate) const FAST: Pace = Pace {
    idle: Duration::from_secs(2),
    ..PATIENT
};

pub(crate) type Pipe = Compat<DuplexStream>;
type Home = Arc<dyn Fn(Pipe) -> BoxFuture<'static, ()> + Send + Sync>;

pub(crate) fn pipe() -> (Pipe, Pipe) {
    let (a, b) = tokio::io::duplex(64 * 1024);
    (a.compat(), b.compat())
}

pub(crate) fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

/// Returns `length` bytes that differ from place to place and from seed to seed.
pub(crate) fn bytes(seed: u8, length: u64) -> Vec<u8> {
    let mut out = vec![0; usize::try_from(length).unwrap()];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
    out
}

/// Makes a temporary directory, in memory if the machine has `/dev/shm`: making a store flushes a dozen times, and none
/// of that is tested here.
pub(crate) fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// A blob store in a directory of its own.
pub(crate) struct MemoryProvider {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: BlobStore,
    /// The blobs of the model [`SPEC`].
    pub(crate) blobs: Blobs,
}

impl MemoryProvider {
    pub(crate) fn new() -> Self {
        let dir = tempdir();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let (blobs, store) = (store.blobs_of(Owner::Model(SPEC)), store.blobs().clone());
        Self { dir, store, blobs }
    }

    pub(crate) fn with(blob: &[u8]) -> Self {
        let provider = Self::new();
        provider.blobs.put(blob, false).unwrap();
        provider
    }

    pub(crate) fn read(&self, blob: &BlobId) -> Vec<u8> {
        use qres_fed::tensor::Source;
        let file = self.blobs.open(blob).unwrap().expect("the blob is here");
        let mut bytes = vec![0; usize::try_from(file.len()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        bytes
    }
}

/// A [`ContentProvider`] without records, which only decides which peers may read.
pub(crate) enum Readers {
    All,
    None,
    Of(SpecId),
    /// All peers may read, and these are members.
    AllBeside(Vec<NodeId>),
}

impl ContentProvider for Readers {
    fn may_read(&self, _: &NodeId, spec: &SpecId, _: &BlobId) -> bool {
        match self {
            Self::All | Self::AllBeside(_) => true,
            Self::None => false,
            Self::Of(only) => spec == only,
        }
    }
    fn is_member(&self, peer: &NodeId) -> bool {
        matches!(self, Self::AllBeside(members) if members.contains(peer))
    }
    fn specs(&self) -> BoxFuture<'_, Vec<SpecOffer>> {
        Box::pin(async { vec![] })
    }
    fn record_ids(&self, _: NodeId, _: SpecId, _: u64) -> BoxFuture<'_, Option<Vec<(u64, RecordId)>>> {
        Box::pin(async { None })
    }
    fn records(&self, _: NodeId, _: SpecId, _: Vec<RecordId>) -> BoxFuture<'_, Vec<Record>> {
        Box::pin(async { vec![] })
    }
    fn states(&self, _: NodeId, _: SpecId) -> BoxFuture<'_, Vec<Vec<u8>>> {
        Box::pin(async { vec![] })
    }
}

/// Makes an honest [`BlobServer`] of one shelf.
pub(crate) fn honest(provider: &MemoryProvider, readers: Readers) -> BlobServer {
    BlobServer::new(provider.store.clone(), Arc::new(readers)).with_limits(PATIENT, Places::new(16, 4))
}

/// Peers, the faults that they were penalized for, and how often a stream to each was opened.
#[derive(Clone, Default)]
pub(crate) struct MemoryNetwork {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    homes: Mutex<BTreeMap<NodeId, Home>>,
    faults: Mutex<Vec<(NodeId, Fault)>>,
    calls: Mutex<BTreeMap<NodeId, usize>>,
    changed: Notify,
}

impl MemoryNetwork {
    pub(crate) fn settle<F>(&self, node: NodeId, home: impl Fn(Pipe) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let home: Home = Arc::new(move |pipe| Box::pin(home(pipe)));
        self.inner.homes.lock().insert(node, home);
    }

    pub(crate) fn settle_server(&self, node: NodeId, server: BlobServer) {
        self.settle(node, move |pipe| {
            let server = server.clone();
            async move {
                let _ = server.serve(ME, pipe).await;
            }
        });
    }

    pub(crate) fn settle_fake(&self, node: NodeId, fake: MockPeer) {
        let fake = Arc::new(fake);
        self.settle(node, move |pipe| {
            let fake = fake.clone();
            async move { fake.serve(pipe).await }
        });
    }

    pub(crate) fn faults(&self) -> Vec<(NodeId, Fault)> {
        self.inner.faults.lock().clone()
    }

    pub(crate) fn calls(&self, node: &NodeId) -> usize {
        self.inner.calls.lock().get(node).copied().unwrap_or(0)
    }

    /// Waits until `so` is true of this network, at most 20 s.
    pub(crate) async fn until(&self, so: impl Fn(&Self) -> bool) {
        let wait = async {
            loop {
                let changed = self.inner.changed.notified();
                if so(self) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .expect("in time");
    }
}

impl Holders for MemoryNetwork {
    type Stream = Pipe;

    fn connected(&self) -> Vec<NodeId> {
        self.inner.homes.lock().keys().copied().collect()
    }
    async fn open(&self, node: NodeId) -> Result<Pipe, MeshError> {
        let home = self.inner.homes.lock().get(&node).cloned();
        let Some(home) = home else {
            return Err(MeshError::NotConnected(node));
        };
        *self.inner.calls.lock().entry(node).or_default() += 1;
        let (ours, theirs) = pipe();
        tokio::spawn(home(theirs));
        self.inner.changed.notify_waiters();
        Ok(ours)
    }
    fn penalize(&self, node: NodeId, fault: Fault, _: String) {
        self.inner.faults.lock().push((node, fault));
        self.inner.changed.notify_waiters();
    }
}

/// A stream that a [`Link`] runs over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A server that speaks the protocol and misbehaves as its fields say.
pub(crate) struct MockPeer {
    pub(crate) blob: Vec<u8>,
    /// Flips a bit of this segment.
    pub(crate) corrupt: Option<u32>,
    /// Falls silent after it has sent this number of segments.
    pub(crate) silent_after: Option<usize>,
    /// Closes the stream after it has sent this number of segments.
    pub(crate) close_after: Option<usize>,
    /// Waits for this notification before it sends the second segment.
    pub(crate) gate: Option<Arc<Notify>>,
    /// Announces this length instead of the blob's.
    pub(crate) length: Option<u64>,
    /// Sends these chaining values instead of the blob's.
    pub(crate) values: Option<Vec<[u8; 32]>>,
}

impl MockPeer {
    pub(crate) fn of(blob: &[u8]) -> Self {
        Self {
            blob: blob.to_vec(),
            corrupt: None,
            silent_after: None,
            close_after: None,
            gate: None,
            length: None,
            values: None,
        }
    }

    pub(crate) async fn serve<S: Stream>(&self, pipe: S) {
        let mut link = Link::new(pipe, Pace::default());
        let mut sent = 0;
        while let Ok(Some(request)) = link.next::<BlobRequest>(REQUEST_BYTES_MAX, PATIENT.whole).await {
            let on = match request.kind {
                Some(Kind::Get(get)) => self.answer(&mut link, get.values_known).await,
                Some(Kind::Segments(ask)) => self.segments(&mut link, &ask.indices, &mut sent).await,
                Some(Kind::Done(_)) | None => true,
            };
            if !on {
                return;
            }
        }
    }

    async fn answer<S: Stream>(&self, link: &mut Link<S>, values_known: bool) -> bool {
        let length = self.length.unwrap_or(self.blob.len() as u64);
        let answer = BlobAnswer {
            status: BlobStatus::Ok.into(),
            bytes: length,
            retry_ms: 0,
        };
        let mut on = link.send(&answer).await.is_ok();
        if length <= SEGMENT_BYTES {
            let mut first = self.blob.clone();
            if self.corrupt.is_some() {
                first[0] ^= 1;
            }
            on &= link.write_raw(&first).await.is_ok();
        } else if !values_known {
            let own = || SegmentTree::of(&self.blob).values().to_vec();
            let values = self.values.clone().unwrap_or_else(own);
            on &= link.write_raw(values.as_flattened()).await.is_ok();
        }
        on && link.flush().await.is_ok()
    }

    async fn segments<S: Stream>(&self, link: &mut Link<S>, indices: &[u32], sent: &mut usize) -> bool {
        let size = usize::try_from(SEGMENT_BYTES).unwrap();
        for index in indices {
            if self.silent_after.is_some_and(|after| *sent >= after) {
                std::future::pending::<()>().await;
            }
            if self.close_after.is_some_and(|after| *sent >= after) {
                return false;
            }
            if let (Some(gate), 1) = (&self.gate, *sent) {
                gate.notified().await;
            }
            let start = *index as usize * size;
            let mut segment = self.blob[start..self.blob.len().min(start + size)].to_vec();
            if self.corrupt == Some(*index) {
                segment[1000] ^= 1;
            }
            *sent += 1;
            if link.write_raw(&segment).await.is_err() {
                return false;
            }
        }
        link.flush().await.is_ok()
    }
}
