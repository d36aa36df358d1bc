//! The serving side: one task for each stream, which reads the next segment while one is sent.

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_fed::tensor::Source;
use qres_mesh::{Fault, Mesh};
use qres_store::{BlobFile, BlobStore, Owner, SEGMENT_BYTES, SegmentTree, StoreError};
use qres_wire::pb::blob_request::Kind;
use qres_wire::pb::{BlobAnswer, BlobGet, BlobRequest, BlobStatus};
use qres_wire::trace;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::places::{Place, Places, while_held};
use super::protocol::{PROTOCOL, REQUEST_BYTES_MAX, SEGMENTS_PER_ASK_MAX};
use crate::ContentProvider;
use crate::counters::{StreamKind, TransferCounters};
use crate::digest::hash_of;
use crate::fault::TransferError;
use crate::link::{Link, Pace};
use crate::quota::Quota;

/// Uploads at once, in all. Each upload holds two segments in memory: 32 MiB at most, and for a moment also those of an
/// upload whose place went to another peer.
const UPLOADS_MAX: usize = 16;
/// Uploads at once to one peer.
const UPLOADS_PER_PEER_MAX: usize = 4;
/// Streams that one peer may have open, resting ones included; a further stream is dropped unread.
const STREAMS_PER_PEER_MAX: usize = 8;
/// Streams open at once, of all peers together.
const STREAMS_MAX: usize = 512;
/// Time that a peer is told to wait when there is no upload place for it.
const BUSY_RETRY: Duration = Duration::from_millis(250);

/// Answers peers that ask for blobs. Cheap to clone.
#[derive(Clone)]
pub struct BlobServer {
    store: BlobStore,
    provider: Arc<dyn ContentProvider>,
    uploads: Places,
    streams: Quota,
    pace: Pace,
    counters: Arc<TransferCounters>,
}

/// Reason why a blob cannot be sent now.
struct ServeRefusal(BlobStatus);

/// A blob that a peer is downloading.
struct Upload {
    file: Arc<BlobFile>,
    bytes: u64,
    spare: Vec<Vec<u8>>,
    /// Time for which the peer may still ask for nothing; it starts anew after segments were sent.
    idle: Duration,
    place: Place,
}

impl BlobServer {
    /// Makes a server of the blobs that `store` holds and that `provider` allows a peer to read.
    pub fn new(store: BlobStore, provider: Arc<dyn ContentProvider>) -> Self {
        Self {
            store,
            provider,
            uploads: Places::new(UPLOADS_MAX, UPLOADS_PER_PEER_MAX),
            streams: Quota::new(STREAMS_MAX, STREAMS_PER_PEER_MAX),
            pace: Pace::default(),
            counters: Arc::default(),
        }
    }

    /// Counts into `counters`, which other parts of the node may share.
    pub fn counting_into(mut self, counters: Arc<TransferCounters>) -> Self {
        self.counters = counters;
        self
    }

    /// Returns the counters of the bytes sent.
    pub fn counters(&self) -> Arc<TransferCounters> {
        self.counters.clone()
    }

    #[cfg(test)]
    pub(crate) fn with_limits(mut self, pace: Pace, uploads: Places) -> Self {
        self.pace = pace;
        self.uploads = uploads;
        self
    }

    /// Serves until the mesh stops. The loop takes each stream at once, and a task of its own then serves the stream:
    /// libp2p-stream drops a stream if no caller is waiting for one, because its channel has no room.
    pub async fn run(self, mesh: Mesh) {
        let mut incoming = mesh.accept(PROTOCOL);
        let mut tasks = JoinSet::new();
        while let Some((peer, stream)) = incoming.next().await {
            while tasks.try_join_next().is_some() {}
            let Some(permit) = self.streams.take(peer) else {
                self.counters.add_dropped_stream();
                continue;
            };
            let (server, mesh) = (self.clone(), mesh.clone());
            tasks.spawn(async move {
                let _permit = permit;
                if let Err(error) = server.serve(peer, stream).await {
                    tracing::debug!(peer = %peer.short(), %error, "an upload ended");
                    // A peer that reads slowly or goes away does no harm; a peer that breaks the limits is penalized.
                    if error.fault() == Some(Fault::Protocol) {
                        mesh.penalize(peer, Fault::Protocol, format!("{PROTOCOL}: {error}"));
                    }
                }
            });
        }
    }

    /// Answers one stream until the peer closes it, or the peer's place goes to another peer.
    pub(crate) async fn serve<S>(&self, peer: NodeId, stream: S) -> Result<(), TransferError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut link = Link::new(stream, self.pace).tally(self.counters.clone(), StreamKind::Blobs);
        let mut upload = None;
        loop {
            // A peer that has an upload open and asks for nothing keeps other peers waiting.
            let wait = upload.as_ref().map_or(self.pace.rest, |upload: &Upload| upload.idle);
            let began = Instant::now();
            let revoked = upload
                .as_ref()
                .map_or_else(CancellationToken::new, |upload| upload.place.revoked());
            let next = link.next::<BlobRequest>(REQUEST_BYTES_MAX, wait);
            let Some(request) = while_held(&revoked, next).await? else {
                return link.close().await;
            };
            if let Some(upload) = upload.as_mut() {
                upload.idle = upload.idle.saturating_sub(began.elapsed());
            }
            match request.kind {
                Some(Kind::Get(get)) => {
                    // Frees the place of the last upload before the next place is taken.
                    drop(upload.take());
                    upload = self.get(peer, &get, &mut link).await?;
                }
                Some(Kind::Segments(ask)) => {
                    let Some(upload) = upload.as_mut() else {
                        return Err(TransferError::malformed("request", "segments of no blob"));
                    };
                    while_held(&revoked, upload.send(&ask.indices, &mut link, &self.counters)).await?;
                    upload.idle = self.pace.idle;
                }
                Some(Kind::Done(_)) => upload = None,
                // A request of a kind that this node does not know is ignored: it does not prolong the upload.
                None => {}
            }
        }
    }

    async fn get<S>(&self, peer: NodeId, get: &BlobGet, link: &mut Link<S>) -> Result<Option<Upload>, TransferError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let spec = SpecId(hash_of("spec id", &get.spec)?);
        let blob = BlobId(hash_of("blob id", &get.blob)?);
        let span = tracing::debug_span!("serve blob", qres.blob.id = %blob, qres.peer = %peer.short());
        trace::link(&span, &get.traceparent);
        let answer = async {
            match self.open(peer, spec, blob, get.values_known).await? {
                Ok((mut upload, values)) => {
                    self.counters.add_served();
                    link.count_sent_into(upload.place.sent());
                    let revoked = upload.place.revoked();
                    while_held(&revoked, upload.begin(&values, link, &self.counters)).await?;
                    Ok(Some(upload).filter(|upload| upload.bytes > SEGMENT_BYTES))
                }
                Err(ServeRefusal(status)) => {
                    let mut answer = answer(status);
                    if status == BlobStatus::Busy {
                        self.counters.add_busy();
                        answer.retry_ms = u32::try_from(BUSY_RETRY.as_millis()).unwrap_or(u32::MAX);
                    }
                    link.send(&answer).await?;
                    Ok(None)
                }
            }
        };
        answer.instrument(span).await
    }

    /// Opens a blob for a peer, if the peer may read it and there is an upload place.
    async fn open(
        &self,
        peer: NodeId,
        spec: SpecId,
        blob: BlobId,
        values_known: bool,
    ) -> Result<Result<(Upload, Vec<[u8; 32]>), ServeRefusal>, TransferError> {
        if !self.provider.may_read(&peer, &spec, &blob) {
            return Ok(Err(ServeRefusal(BlobStatus::Denied)));
        }
        let Some(place) = self.uploads.take(peer, self.provider.is_member(&peer)) else {
            return Ok(Err(ServeRefusal(BlobStatus::Busy)));
        };
        // Looks only among the blobs of this model: the digest of another model's blob finds nothing here.
        let blobs = self.store.of(Owner::of(spec, &blob));
        let opened = tokio::task::spawn_blocking(move || {
            let Some(file) = blobs.open(&blob)? else {
                return Ok(None);
            };
            let bytes = file.len();
            if values_known || bytes <= SEGMENT_BYTES {
                return Ok(Some((file, bytes, Vec::new())));
            }
            let tree = blobs.tree(&blob)?;
            Ok::<_, StoreError>(tree.map(|tree| (file, bytes, tree.values().to_vec())))
        });
        let opened = opened.await.map_err(|_| TransferError::Stopping)?;
        match opened {
            Ok(Some((file, bytes, values))) => {
                let upload = Upload {
                    file: Arc::new(file),
                    bytes,
                    spare: Vec::new(),
                    idle: self.pace.idle,
                    place,
                };
                Ok(Ok((upload, values)))
            }
            Ok(None) => Ok(Err(ServeRefusal(BlobStatus::NotFound))),
            Err(error) => {
                tracing::warn!(blob = %blob, %error, "a blob cannot be read");
                Ok(Err(ServeRefusal(BlobStatus::NotFound)))
            }
        }
    }
}

impl Upload {
    /// Sends the answer and the bytes that follow it without a request: a blob of one segment, else the chaining values.
    async fn begin<S>(
        &mut self,
        values: &[[u8; 32]],
        link: &mut Link<S>,
        counters: &TransferCounters,
    ) -> Result<(), TransferError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut answer = answer(BlobStatus::Ok);
        answer.bytes = self.bytes;
        link.queue(&answer).await?;
        if self.bytes <= SEGMENT_BYTES {
            return self.send(&[0], link, counters).await;
        }
        link.flush().await?;
        for page in values.chunks(1 << 15) {
            link.write_raw(page.as_flattened()).await?;
        }
        link.flush().await
    }

    /// Sends these segments, and reads the next one while one is being sent.
    async fn send<S>(
        &mut self,
        indices: &[u32],
        link: &mut Link<S>,
        counters: &TransferCounters,
    ) -> Result<(), TransferError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        if indices.is_empty() {
            return Err(TransferError::malformed("request", "no segments"));
        }
        if indices.len() > SEGMENTS_PER_ASK_MAX {
            return Err(TransferError::TooLarge {
                what: "number of segments asked for at once",
                given: indices.len() as u64,
                limit: SEGMENTS_PER_ASK_MAX as u64,
            });
        }
        let count = SegmentTree::count_for(self.bytes);
        if let Some(index) = indices.iter().find(|index| u64::from(**index) >= count) {
            return Err(TransferError::malformed(
                "request",
                format!("segment {index} of {count}"),
            ));
        }
        let mut next = indices.first().map(|index| self.read(*index));
        for after in 1..=indices.len() {
            let Some(read) = next.take() else { break };
            let bytes = read.await.map_err(|_| TransferError::Stopping)??;
            next = indices.get(after).map(|index| self.read(*index));
            link.write_raw(&bytes).await?;
            counters.add_sent(bytes.len() as u64);
            self.spare.push(bytes);
        }
        link.flush().await
    }

    fn read(&mut self, index: u32) -> JoinHandle<std::io::Result<Vec<u8>>> {
        let mut bytes = self.spare.pop().unwrap_or_default();
        let file = self.file.clone();
        let offset = u64::from(index) * SEGMENT_BYTES;
        let length = (self.bytes - offset).min(SEGMENT_BYTES);
        tokio::task::spawn_blocking(move || {
            bytes.resize(usize::try_from(length).map_err(std::io::Error::other)?, 0);
            file.read_at(offset, &mut bytes)?;
            Ok(bytes)
        })
    }
}

/// Serves blobs until the mesh stops.
pub async fn serve_blobs(mesh: Mesh, store: BlobStore, provider: Arc<dyn ContentProvider>) {
    BlobServer::new(store, provider).run(mesh).await;
}

fn answer(status: BlobStatus) -> BlobAnswer {
    BlobAnswer {
        status: status.into(),
        bytes: 0,
        retry_ms: 0,
    }
}
