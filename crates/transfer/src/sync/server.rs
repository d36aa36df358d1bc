//! The answering side of a sync exchange: one task for each stream.

#![warn(clippy::indexing_slicing, reason = "this file reads foreign bytes")]

use std::sync::Arc;

use futures::{AsyncRead, AsyncWrite};
use qres_fed::id::{NodeId, SpecId};
use qres_mesh::{Fault, Mesh};
use qres_wire::pb::sync_item::Kind as Item;
use qres_wire::pb::sync_request::Kind as Ask;
use qres_wire::pb::{SyncEnd, SyncItem, SyncKeys, SyncRecords, SyncRequest, SyncSpec, SyncStatus};
use tokio::task::JoinSet;

use super::bucket::Buckets;
use super::key;
use super::protocol::{
    BUCKETS_PER_ASK_MAX, KEYS_PER_ITEM_MAX, PROTOCOL, RECORDS_PER_ASK_MAX, REQUEST_BYTES_MAX, SPECS_MAX,
    STATE_BYTES_MAX, STATES_BYTES_MAX, STATES_MAX,
};
use crate::counters::{StreamKind, TransferCounters};
use crate::digest::hash_of;
use crate::fault::TransferError;
use crate::link::{Link, Pace};
use crate::quota::Quota;
use crate::{ContentProvider, SpecOffer};

/// Requests answered at once, in all. A stream holds no place between two requests, so a peer that waits keeps no other
/// peer out.
const EXCHANGES_MAX: usize = 32;
/// Requests of one peer answered at once; a further request is answered with [`SyncStatus::Busy`].
const EXCHANGES_PER_PEER_MAX: usize = 4;
/// Streams of one peer, those without room included; a further stream is dropped unread.
const STREAMS_PER_PEER_MAX: usize = 8;
/// Streams open at once, of all peers together.
const STREAMS_MAX: usize = 256;

/// Answers peers that ask for records. Cheap to clone.
#[derive(Clone)]
pub(super) struct SyncServer {
    provider: Arc<dyn ContentProvider>,
    exchanges: Quota,
    streams: Quota,
    pace: Pace,
    counters: Arc<TransferCounters>,
}

/// The records of the model that a stream asks about, as they were when it asked for the digests: so the keys that it
/// asks for next fit those digests.
struct Snapshot {
    spec: SpecId,
    above: u64,
    buckets: Arc<Buckets>,
}

impl SyncServer {
    pub(super) fn new(provider: Arc<dyn ContentProvider>) -> Self {
        Self {
            provider,
            exchanges: Quota::new(EXCHANGES_MAX, EXCHANGES_PER_PEER_MAX),
            streams: Quota::new(STREAMS_MAX, STREAMS_PER_PEER_MAX),
            pace: Pace::default(),
            counters: Arc::default(),
        }
    }

    /// Counts into `counters`, which other parts of the node may share.
    fn counting_into(mut self, counters: Arc<TransferCounters>) -> Self {
        self.counters = counters;
        self
    }

    #[cfg(test)]
    pub(super) fn with_limits(mut self, pace: Pace, exchanges: Quota) -> Self {
        self.pace = pace;
        self.exchanges = exchanges;
        self
    }

    /// Serves until the mesh stops. Streams are taken at once, as in [`crate::BlobServer::run`].
    pub(super) async fn run(self, mesh: Mesh) {
        let mut incoming = mesh.accept(PROTOCOL);
        let mut tasks = JoinSet::new();
        while let Some((peer, stream)) = incoming.next().await {
            while tasks.try_join_next().is_some() {}
            let Some(permit) = self.streams.take(peer) else {
                continue;
            };
            let (server, mesh) = (self.clone(), mesh.clone());
            tasks.spawn(async move {
                let _permit = permit;
                if let Err(error) = server.serve(peer, stream).await {
                    tracing::debug!(peer = %peer.short(), %error, "a sync exchange ended");
                    if error.fault() == Some(Fault::Protocol) {
                        mesh.penalize(peer, Fault::Protocol, format!("{PROTOCOL}: {error}"));
                    }
                }
            });
        }
    }

    /// Answers one stream until the peer closes it, or stops asking ([`TransferError::Stalled`]).
    pub(super) async fn serve<S>(&self, peer: NodeId, stream: S) -> Result<(), TransferError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let mut link = Link::new(stream, self.pace).tally(self.counters.clone(), StreamKind::Records);
        let mut snapshot = None;
        while let Some(request) = link.next::<SyncRequest>(REQUEST_BYTES_MAX, self.pace.idle).await? {
            let room = self.exchanges.take(peer);
            let status = match (request.kind, &room) {
                (_, None) => SyncStatus::Busy,
                (None, _) => SyncStatus::Unknown,
                (Some(Ask::Specs(_)), _) => self.specs(&mut link).await?,
                (Some(Ask::Digest(ask)), _) => {
                    snapshot = self
                        .snapshot(peer, SpecId(hash_of("spec id", &ask.spec)?), ask.above)
                        .await?;
                    digest(&mut link, snapshot.as_ref()).await?
                }
                (Some(Ask::Keys(ask)), _) => {
                    let spec = SpecId(hash_of("spec id", &ask.spec)?);
                    if snapshot
                        .as_ref()
                        .is_none_or(|held| (held.spec, held.above) != (spec, ask.above))
                    {
                        snapshot = self.snapshot(peer, spec, ask.above).await?;
                    }
                    keys(&mut link, snapshot.as_ref(), &ask).await?
                }
                (Some(Ask::Records(ask)), _) => self.records(peer, &mut link, &ask).await?,
                (Some(Ask::States(ask)), _) => {
                    let spec = SpecId(hash_of("spec id", &ask.spec)?);
                    self.states(peer, &mut link, spec).await?
                }
            };
            let end = SyncEnd { status: status.into() };
            put(&mut link, Item::End(end)).await?;
            link.flush().await?;
        }
        link.close().await
    }

    async fn snapshot(&self, peer: NodeId, spec: SpecId, above: u64) -> Result<Option<Snapshot>, TransferError> {
        let Some(ids) = self.provider.record_ids(peer, spec, above).await else {
            return Ok(None);
        };
        let buckets = tokio::task::spawn_blocking(move || Arc::new(Buckets::above(ids, above)))
            .await
            .map_err(|_| TransferError::Stopping)?;
        Ok(Some(Snapshot { spec, above, buckets }))
    }

    async fn specs<S>(&self, link: &mut Link<S>) -> Result<SyncStatus, TransferError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        for offer in self.provider.specs().await.iter().take(SPECS_MAX) {
            put(link, Item::Spec(write_offer(offer))).await?;
        }
        Ok(SyncStatus::Ok)
    }

    async fn records<S>(&self, peer: NodeId, link: &mut Link<S>, ask: &SyncRecords) -> Result<SyncStatus, TransferError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let spec = SpecId(hash_of("spec id", &ask.spec)?);
        let ids = key::read_keys(&ask.keys)?;
        if ids.len() > RECORDS_PER_ASK_MAX {
            return Err(TransferError::TooLarge {
                what: "number of records asked for at once",
                given: ids.len() as u64,
                limit: RECORDS_PER_ASK_MAX as u64,
            });
        }
        for record in self.provider.records(peer, spec, ids).await {
            put(link, Item::Record(record.to_wire())).await?;
        }
        Ok(SyncStatus::Ok)
    }

    async fn states<S>(&self, peer: NodeId, link: &mut Link<S>, spec: SpecId) -> Result<SyncStatus, TransferError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let states = self.provider.states(peer, spec).await;
        let mut bytes = 0;
        for state in states
            .into_iter()
            .filter(|state| state.len() <= STATE_BYTES_MAX)
            .take(STATES_MAX)
        {
            bytes += state.len();
            if bytes > STATES_BYTES_MAX {
                break;
            }
            put(link, Item::State(state)).await?;
        }
        Ok(SyncStatus::Ok)
    }
}

/// Answers peers until the mesh stops.
pub async fn serve_sync(mesh: Mesh, provider: Arc<dyn ContentProvider>, counters: Arc<TransferCounters>) {
    SyncServer::new(provider).counting_into(counters).run(mesh).await;
}

async fn digest<S>(link: &mut Link<S>, snapshot: Option<&Snapshot>) -> Result<SyncStatus, TransferError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let Some(snapshot) = snapshot else {
        return Ok(SyncStatus::NotFound);
    };
    let buckets = snapshot.buckets.clone();
    let digests = tokio::task::spawn_blocking(move || buckets.digests())
        .await
        .map_err(|_| TransferError::Stopping)?;
    for bucket in digests {
        put(link, Item::Bucket(bucket)).await?;
    }
    Ok(SyncStatus::Ok)
}

async fn keys<S>(link: &mut Link<S>, snapshot: Option<&Snapshot>, ask: &SyncKeys) -> Result<SyncStatus, TransferError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    if ask.buckets.len() > BUCKETS_PER_ASK_MAX || !ask.buckets.is_sorted_by(|a, b| a < b) {
        let why = format!(
            "{} buckets; at most {BUCKETS_PER_ASK_MAX}, ascending",
            ask.buckets.len()
        );
        return Err(TransferError::malformed("request", why));
    }
    let Some(snapshot) = snapshot else {
        return Ok(SyncStatus::NotFound);
    };
    for index in &ask.buckets {
        for entries in snapshot.buckets.entries(*index).chunks(KEYS_PER_ITEM_MAX) {
            let mut bytes = Vec::with_capacity(entries.len() * key::ENTRY_BYTES);
            for (round, id) in entries {
                key::write_entry(*round, id, &mut bytes);
            }
            put(link, Item::Keys(bytes)).await?;
        }
    }
    Ok(SyncStatus::Ok)
}

async fn put<S>(link: &mut Link<S>, item: Item) -> Result<(), TransferError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    link.queue(&SyncItem { kind: Some(item) }).await
}

fn write_offer(offer: &SpecOffer) -> SyncSpec {
    SyncSpec {
        spec: offer.spec.0.to_vec(),
        bytes: offer.bytes,
        name: offer.name.clone(),
        creator: offer.creator.0.to_vec(),
        signature: offer.signature.0.to_vec(),
    }
}
