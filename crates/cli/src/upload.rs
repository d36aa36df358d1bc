//! Sends a file to the node.

use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use qres_api::client::{Client, ClientError, file_chunks};
use tokio::io::AsyncSeekExt;

use crate::failure::Failure;
use crate::file;
use crate::output::Output;
use crate::progress;

/// Most attempts at one upload with a key: each goes on where the attempt before broke.
const ATTEMPTS_MAX: u32 = 5;

/// The stream of bytes of one attempt.
pub type Chunks = BoxStream<'static, io::Result<Bytes>>;

/// A file that can be sent. Its length and digest are announced, so that the node can refuse other bytes.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    /// The length of the file in bytes.
    pub total_bytes: u64,
    /// The hex digits of the file's BLAKE3.
    pub digest: String,
}

impl Source {
    /// Reads the whole file once, to compute its digest.
    pub async fn open(path: &Path) -> Result<Self, Failure> {
        let (path, read) = (path.to_owned(), path.to_owned());
        let hashed = tokio::task::spawn_blocking(move || file::digest(&read)).await;
        let (total_bytes, digest) = match hashed {
            Ok(hashed) => hashed.map_err(|error| Failure::file(&path, error))?,
            Err(error) => return Err(Failure::local(format!("hashing {} failed: {error}", path.display()))),
        };
        Ok(Self {
            path,
            total_bytes,
            digest,
        })
    }

    async fn chunks(&self, offset: u64, output: Output) -> Result<Chunks, Failure> {
        let fail = |error| Failure::file(&self.path, error);
        let mut file = tokio::fs::File::open(&self.path).await.map_err(fail)?;
        file.seek(SeekFrom::Start(offset)).await.map_err(fail)?;
        let bar = progress::bar(output, "sending", self.total_bytes, offset);
        let chunks = file_chunks(file).inspect_ok(move |chunk| bar.inc(chunk.len() as u64));
        Ok(chunks.boxed())
    }

    /// Sends the file with `call`, which gets the offset and the [`Chunks`] from there on. With a key, goes on where an earlier
    /// upload broke, and makes up to [`ATTEMPTS_MAX`] attempts.
    pub async fn send<T, F>(
        &self,
        client: &Client,
        output: Output,
        key: Option<&str>,
        call: impl Fn(u64, Chunks) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let mut attempt = 1;
        loop {
            let outcome = match self.kept(client, key).await {
                Ok(offset) => {
                    let chunks = self.chunks(offset, output).await?;
                    call(offset, chunks).await.map_err(Failure::from)
                }
                Err(failure) => Err(failure),
            };
            match outcome {
                Err(failure) if key.is_some() && failure.is_passing() && attempt < ATTEMPTS_MAX => {
                    output.note(format_args!("the upload broke ({failure}): going on with it"));
                    tokio::time::sleep(failure.retry_after().unwrap_or(progress::RETRY_WAIT)).await;
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Returns the number of bytes that the node has kept of an upload with this key.
    async fn kept(&self, client: &Client, key: Option<&str>) -> Result<u64, Failure> {
        let Some(key) = key else {
            return Ok(0);
        };
        let kept = match client.upload_offset(key).await.map_err(Failure::from) {
            Ok(kept) => kept,
            Err(failure) if failure.is_not_found() => 0,
            Err(failure) => return Err(failure),
        };
        if kept > self.total_bytes {
            return Err(Failure::local(format!(
                "the node has kept {kept} bytes under key {key:?}, but {} has only {}: this key belongs to another file, \
                 give another with --key",
                self.path.display(),
                self.total_bytes
            )));
        }
        Ok(kept)
    }
}
