//! Reads weights from the node.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::{Client, ClientError};
use crate::pb;

/// Most bytes of memory that are reserved before the data come, even if a greater length is announced.
const RESERVED_BYTES_MAX: u64 = 1 << 30;

/// A running fetch: the fields of its first message, and the stream of data.
pub struct Fetch {
    /// The checkpoint whose weights are read.
    pub checkpoint: pb::Checkpoint,
    /// The id of the model's spec.
    pub spec_id: String,
    /// The numbers that the trainer must apply, e.g. `mu`.
    pub trainer_config: std::collections::BTreeMap<String, f64>,
    /// True if the run has ended with this checkpoint: no more work is taken.
    pub complete: bool,
    /// The BLAKE3 of the trainer's personal tensors; empty while it has none. A fetch that goes on must have the same.
    pub personal_digest: String,
    /// Bytes of the whole file.
    pub total_bytes: u64,
    /// Position in the file at which the data begin, in bytes.
    pub offset: u64,
    /// The safetensors file from the offset on. The stream ends with [`ClientError::Cut`] if data are missing.
    pub data: BoxStream<'static, Result<Bytes, ClientError>>,
}

impl Client {
    /// Begins to read a checkpoint: the head, or the one that the request names. With `after` the node waits for another head.
    pub async fn fetch(&self, request: pb::FetchWeightsRequest) -> Result<Fetch, ClientError> {
        let mut stream = self.weights().fetch_weights(request).await?.into_inner();
        let first = stream
            .message()
            .await?
            .ok_or(ClientError::Contract("a fetch was answered without a message"))?;
        let checkpoint = first
            .checkpoint
            .ok_or(ClientError::Contract("a fetch's first message has no checkpoint"))?;
        let data = stream.map(|message| Ok(message?.data)).boxed();
        Ok(Fetch {
            checkpoint,
            spec_id: first.spec_id,
            trainer_config: first.trainer_config,
            complete: first.complete,
            personal_digest: first.personal_digest,
            total_bytes: first.total_bytes,
            offset: first.offset,
            data: whole(data, first.offset, first.total_bytes),
        })
    }

    /// Reads like [`Client::fetch`] and also returns all the data, in memory.
    pub async fn fetch_all(&self, request: pb::FetchWeightsRequest) -> Result<(Fetch, Vec<u8>), ClientError> {
        let mut fetch = self.fetch(request).await?;
        let announced = fetch.total_bytes.saturating_sub(fetch.offset).min(RESERVED_BYTES_MAX);
        let mut all = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
        while let Some(chunk) = fetch.data.next().await {
            all.extend_from_slice(&chunk?);
        }
        Ok((fetch, all))
    }
}

/// Returns the data, with a [`ClientError`] at the end unless they are exactly as long as announced.
fn whole(
    data: BoxStream<'static, Result<Bytes, ClientError>>,
    offset: u64,
    expected: u64,
) -> BoxStream<'static, Result<Bytes, ClientError>> {
    let state = (data, offset, false);
    futures::stream::unfold(state, move |(mut data, got, ended)| async move {
        if ended {
            return None;
        }
        match data.next().await {
            Some(Ok(chunk)) => {
                let got = got + chunk.len() as u64;
                if got > expected {
                    let error = ClientError::Contract("a fetch has more data than its first message announced");
                    return Some((Err(error), (data, got, true)));
                }
                Some((Ok(chunk), (data, got, false)))
            }
            Some(Err(error)) => Some((Err(error), (data, got, true))),
            None if got < expected => Some((Err(ClientError::Cut { got, expected }), (data, got, true))),
            None => None,
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(chunks: &[&'static [u8]], offset: u64, expected: u64) -> Result<Vec<u8>, ClientError> {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk))).collect();
        let mut data = whole(futures::stream::iter(chunks).boxed(), offset, expected);
        let mut all = vec![];
        while let Some(chunk) = data.next().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn data_is_as_long_as_announced_or_an_error() {
        assert_eq!(read(&[b"abc", b"de"], 0, 5).await.unwrap(), b"abcde");
        assert_eq!(read(&[b"de"], 3, 5).await.unwrap(), b"de");
        let cut = read(&[b"abc"], 0, 5).await.unwrap_err();
        assert!(matches!(cut, ClientError::Cut { got: 3, expected: 5 }), "{cut}");
        let long = read(&[b"abcdef"], 0, 5).await.unwrap_err();
        assert!(matches!(long, ClientError::Contract(_)), "{long}");
    }
}
