//! Both sides of a sync stream, for the fuzz targets.

use std::sync::Arc;

use futures::{AsyncRead, AsyncWrite};
use qres_fed::id::{NodeId, SpecId};
use tokio::sync::mpsc;

use super::exchange::{Exchange, SyncError};
use super::server::SyncServer;
use crate::ContentProvider;
use crate::link::{Link, Pace};

/// Batches of records that are kept unread: more than any input has.
const BATCHES_MAX: usize = 4096;

/// Answers the requests that come over a stream, until the stream ends.
pub async fn answer<S>(provider: Arc<dyn ContentProvider>, peer: NodeId, stream: S) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let server = SyncServer::new(provider);
    server.serve(peer, stream).await.map_err(|error| error.to_string())
}

/// Asks for specs (0), states (1) or records (any other number), and reads the answer from a stream; returns how many
/// came.
pub async fn ask<S>(what: u8, spec: SpecId, stream: S) -> Result<usize, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut exchange = Exchange::new(Link::new(stream, Pace::default()));
    let came = match what {
        0 => exchange.specs().await.map(|specs| specs.len()),
        1 => exchange.states(spec).await.map(|states| states.len()),
        _ => {
            let (batch, _records) = mpsc::channel(BATCHES_MAX);
            exchange.missing(spec, vec![].into(), &batch).await
        }
    };
    came.map_err(|error| match error {
        SyncError::Transfer(error) => error.to_string(),
        SyncError::Busy => "busy".into(),
    })
}
