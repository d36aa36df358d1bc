//! Both sides of a blob stream, for the fuzz targets.

use std::sync::Arc;

use futures::{AsyncRead, AsyncWrite};
use qres_fed::id::{BlobId, NodeId, SpecId};
use qres_store::BlobStore;

use super::assembly::Assemblies;
use super::server::BlobServer;
use super::session::{DownloadContext, Goal, Got};
use crate::ContentProvider;
use crate::link::{Link, Pace};

/// Length of the longest blob that is fetched, in bytes (64 MiB).
const BYTES_MAX: u64 = 64 << 20;

/// Answers the requests that come over a stream, until the stream ends.
pub async fn serve<S>(
    store: &BlobStore,
    provider: Arc<dyn ContentProvider>,
    peer: NodeId,
    stream: S,
) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let server = BlobServer::new(store.clone(), provider);
    server.serve(peer, stream).await.map_err(|error| error.to_string())
}

/// Fetches a blob with the answers that come over a stream; returns true if the blob is in the store.
pub async fn fetch<S>(
    store: &BlobStore,
    spec: SpecId,
    blob: BlobId,
    bytes: Option<u64>,
    stream: S,
) -> Result<bool, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let context = DownloadContext {
        store: store.clone(),
        assemblies: Assemblies::default(),
        counters: Arc::default(),
        changed: Arc::default(),
    };
    let goal = Goal {
        spec,
        blob,
        bytes,
        bytes_max: BYTES_MAX,
        traceparent: None,
    };
    let mut link = Link::new(stream, Pace::default());
    let got = context.fetch(&mut link, &goal, &mut false).await;
    got.map(|got| got == Got::Here).map_err(|error| error.to_string())
}
