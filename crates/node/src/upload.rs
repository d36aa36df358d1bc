//! A byte stream on its way in: it is written and hashed on a blocking thread while it arrives, and checked when it ends.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use qres_fed::id::BlobId;
use qres_store::{BlobWriter, Owner, StoreError};
use tokio::sync::{OwnedRwLockReadGuard, OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::context::NodeContext;
use crate::error::{NodeError, Reason};
use crate::request::UploadOptions;

/// The most chunks between the stream and the disk: at most [`CHUNK_BYTES_MAX`] each, so 4 MiB an upload.
const CHUNKS_MAX: usize = 4;
/// The most bytes of one chunk.
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// The most bytes of an idempotency key.
const KEY_BYTES_MAX: usize = 128;

/// The result of an upload: a stored blob, kept from the collector by the guard.
pub struct Received {
    /// The digest of the blob.
    pub blob: BlobId,
    /// The length of the blob in bytes.
    pub bytes: u64,
    /// Keeps the blob until something refers to it.
    pub guard: OwnedRwLockReadGuard<()>,
}

type Finish<T> = Box<dyn FnOnce(Received) -> BoxFuture<'static, Result<T, NodeError>> + Send>;

/// A byte stream on its way in, whose result is a `T`.
pub struct Upload<T> {
    context: Arc<NodeContext>,
    options: UploadOptions,
    bytes_max: u64,
    written: u64,
    chunks: Option<mpsc::Sender<Bytes>>,
    writer: Option<JoinHandle<Result<BlobWriter, StoreError>>>,
    /// A place among the uploads under way.
    place: Option<OwnedSemaphorePermit>,
    replay: Option<T>,
    finish: Finish<T>,
}

impl<T: Clone + Send + 'static> Upload<T> {
    /// Opens the stream's file, at its offset if it has a key. `expected` is a guess of its bytes, and `bytes_max` is their
    /// limit.
    pub(crate) async fn open(
        context: &Arc<NodeContext>,
        options: UploadOptions,
        expected: u64,
        bytes_max: u64,
        finish: impl FnOnce(Received) -> BoxFuture<'static, Result<T, NodeError>> + Send + 'static,
    ) -> Result<Self, NodeError> {
        check_options(&options, bytes_max)?;
        let place = upload_place(context)?;
        let (key, offset, announced) = (options.key.clone(), options.offset, options.bytes);
        let expected = options.bytes.unwrap_or(expected);
        let writer = context
            .disk
            .blocking(move |store| match key {
                Some(key) => {
                    store.blobs().check_upload(announced.unwrap_or(0))?;
                    store.blobs().resume(&key, offset).map(BlobWriter::to_be_flushed)
                }
                None => store
                    .blobs_of(Owner::Node)
                    .writer(expected)
                    .map(BlobWriter::to_be_flushed),
            })
            .await?;
        let written = writer.written();
        let (chunks, arriving) = mpsc::channel(CHUNKS_MAX);
        let writer = tokio::task::spawn_blocking(move || write_all(writer, arriving));
        Ok(Self {
            context: context.clone(),
            options,
            bytes_max,
            written,
            chunks: Some(chunks),
            writer: Some(writer),
            place: Some(place),
            replay: None,
            finish: Box::new(finish),
        })
    }

    /// Returns an upload whose outcome is known: bytes that are still sent are ignored.
    pub(crate) fn done(context: &Arc<NodeContext>, outcome: T) -> Self {
        let answer = outcome.clone();
        Self {
            context: context.clone(),
            options: UploadOptions::default(),
            bytes_max: 0,
            written: 0,
            chunks: None,
            writer: None,
            place: None,
            replay: Some(outcome),
            finish: Box::new(move |_| Box::pin(async move { Ok(answer) })),
        }
    }

    /// Returns the outcome if the same request has completed before: then no bytes need be sent.
    pub fn replay(&self) -> Option<T> {
        self.replay.clone()
    }

    /// Takes the next bytes, at most 1 MiB at a time.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), NodeError> {
        if self.replay.is_some() || bytes.is_empty() {
            return Ok(());
        }
        if bytes.len() > CHUNK_BYTES_MAX {
            return Err(NodeError::invalid(
                "data",
                format!("a chunk of {} bytes: at most {CHUNK_BYTES_MAX}", bytes.len()),
            ));
        }
        self.written += bytes.len() as u64;
        let limit = self.options.bytes.unwrap_or(self.bytes_max);
        if self.written > limit {
            return Err(NodeError::invalid(
                "data",
                format!("more than {limit} bytes came: the stream is longer than it may be"),
            ));
        }
        let taken = match &self.chunks {
            Some(chunks) => chunks.send(bytes).await.is_ok(),
            None => false,
        };
        if taken {
            return Ok(());
        }
        // The writer has ended: its answer says why.
        self.chunks = None;
        Err(match self.join().await {
            Err(error) => error,
            Ok(_) => NodeError::new(Reason::UploadEnded, "the upload has ended already"),
        })
    }

    async fn join(&mut self) -> Result<BlobWriter, NodeError> {
        match self.writer.take() {
            Some(writer) => match writer.await {
                Ok(written) => Ok(written?),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            None => Err(NodeError::new(Reason::UploadEnded, "the upload has ended already")),
        }
    }

    /// Ends the stream: checks the bytes, stores them durably, and returns the result.
    pub async fn finish(mut self) -> Result<T, NodeError> {
        if let Some(outcome) = self.replay {
            return Ok(outcome);
        }
        self.chunks = None;
        let writer = self.join().await?;
        if let Some(announced) = self.options.bytes.filter(|&announced| announced != self.written) {
            // A keyed upload keeps the bytes that came, so that it can go on from there.
            return Err(NodeError::invalid(
                "total_bytes",
                format!("{announced} bytes announced, {} came", self.written),
            ));
        }
        let guard = self.context.disk.keep_new_blobs().await;
        let stored = self.context.disk.blocking(move |_| writer.finish(true));
        let (blob, bytes) = stored
            .instrument(tracing::info_span!("store", qres.blob.bytes = self.written))
            .await?;
        // Only a stream holds a thread: the rest waits for the model.
        drop(self.place.take());
        if let Some(announced) = self.options.digest.filter(|announced| *announced != blob) {
            // Nothing refers to the blob, so the collector removes it.
            return Err(NodeError::invalid(
                "digest",
                format!("{announced} announced, the bytes have {blob}: send them again"),
            ));
        }
        (self.finish)(Received { blob, bytes, guard }).await
    }
}

/// Takes one of the places for uploads under way; without a free one the error is [`Reason::UploadsFull`].
pub fn upload_place(context: &NodeContext) -> Result<OwnedSemaphorePermit, NodeError> {
    context.slots.uploads.clone().try_acquire_owned().map_err(|_| {
        NodeError::new(
            Reason::UploadsFull,
            "as many uploads as this node takes at a time are under way: try again when one has ended",
        )
        .retry_after(1000)
    })
}

/// Writes the arriving bytes until the stream ends or breaks.
fn write_all(mut writer: BlobWriter, mut arriving: mpsc::Receiver<Bytes>) -> Result<BlobWriter, StoreError> {
    while let Some(bytes) = arriving.blocking_recv() {
        writer
            .write_all(&bytes)
            .map_err(|error| StoreError::from_io("uploads", error))?;
    }
    Ok(writer)
}

fn check_options(options: &UploadOptions, bytes_max: u64) -> Result<(), NodeError> {
    if let Some(key) = &options.key
        && (key.is_empty() || key.len() > KEY_BYTES_MAX)
    {
        return Err(NodeError::invalid(
            "idempotency_key",
            format!("{} bytes: it has 1 to {KEY_BYTES_MAX}", key.len()),
        ));
    }
    if options.offset > 0 && options.key.is_none() {
        return Err(NodeError::invalid(
            "offset",
            "only an upload with an idempotency_key can go on from an offset",
        ));
    }
    if let Some(bytes) = options.bytes.filter(|&bytes| bytes > bytes_max) {
        return Err(NodeError::invalid(
            "total_bytes",
            format!("{bytes} bytes announced: at most {bytes_max} are taken here"),
        ));
    }
    Ok(())
}
