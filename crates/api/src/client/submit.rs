//! Sends streams of data to the node: submissions and first weights.

use std::io;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::oneshot;

use super::{Client, ClientError};
use crate::{CHUNK_BYTES_MAX, pb};

/// A message that carries data.
trait Chunk: Default + Send + 'static {
    fn with_data(self, data: Bytes) -> Self;
}

impl Chunk for pb::SubmitWeightsRequest {
    fn with_data(self, data: Bytes) -> Self {
        Self { data, ..self }
    }
}

impl Chunk for pb::CreateModelRequest {
    fn with_data(self, data: Bytes) -> Self {
        Self { data, ..self }
    }
}

impl Client {
    /// Submits weights: `header` without data, and a safetensors file. Returns once they are durable on the node.
    pub async fn submit(&self, header: pb::SubmitWeightsRequest, data: Bytes) -> Result<pb::Submission, ClientError> {
        self.submit_stream(header, stream::iter([Ok(data)])).await
    }

    /// Submits like [`Client::submit`], from a stream of bytes, e.g. [`file_chunks`]. If reading fails, nothing is submitted and
    /// the error is [`ClientError::Data`].
    pub async fn submit_stream(
        &self,
        header: pb::SubmitWeightsRequest,
        data: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<pb::Submission, ClientError> {
        let (messages, failed) = messages(header, data);
        let mut weights = self.weights();
        // The call is boxed because the compiler cannot see that it is `Send` when a generic function awaits it.
        let answer = or_failed(weights.submit_weights(messages).boxed(), failed).await?;
        answer
            .into_inner()
            .submission
            .ok_or(ClientError::Contract("a submit was answered without its submission"))
    }

    /// Returns the number of bytes that the node has kept of a broken upload with this key: the `offset` of the header with which
    /// the upload goes on.
    pub async fn upload_offset(&self, idempotency_key: &str) -> Result<u64, ClientError> {
        let request = pb::GetUploadRequest {
            idempotency_key: idempotency_key.to_owned(),
        };
        Ok(self.weights().get_upload(request).await?.into_inner().kept_bytes)
    }

    /// Makes a model from `header` without data and a safetensors file with the first weights. The file is empty for a successor
    /// and for weights from a seed.
    pub async fn create_model(&self, header: pb::CreateModelRequest, data: Bytes) -> Result<pb::Model, ClientError> {
        self.create_model_stream(header, stream::iter([Ok(data)])).await
    }

    /// Makes a model like [`Client::create_model`], from a stream of bytes.
    pub async fn create_model_stream(
        &self,
        mut header: pb::CreateModelRequest,
        data: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<pb::Model, ClientError> {
        let later = later_tensors(&mut header);
        let (messages, failed) = messages(header, data);
        let messages = messages.chain(stream::iter(later));
        let mut models = self.models();
        let answer = or_failed(models.create_model(messages).boxed(), failed).await?;
        let model = answer
            .into_inner()
            .model
            .ok_or(ClientError::Contract("a create was answered without its model"))?;
        self.with_all_tensors(model).await
    }
}

/// Most tensors in one message: with the longest names and shapes they stay below the 4 MiB of a message.
const TENSORS_PER_MESSAGE: usize = 4_096;

/// Moves the tensors that do not fit into the first message from `header` to the later messages that are returned.
fn later_tensors(header: &mut pb::CreateModelRequest) -> Vec<pb::CreateModelRequest> {
    let first = header.tensors.len().min(TENSORS_PER_MESSAGE);
    let rest = header.tensors.split_off(first);
    let message = |tensors: &[pb::TensorSpec]| pb::CreateModelRequest {
        tensors: tensors.to_vec(),
        ..Default::default()
    };
    rest.chunks(TENSORS_PER_MESSAGE).map(message).collect()
}

/// Converts a file (or any reader) to a stream for [`Client::submit_stream`], which holds one chunk in memory.
pub fn file_chunks(reader: impl AsyncRead + Send + Unpin + 'static) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold(reader, |mut reader| async move {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES_MAX);
        (&mut reader)
            .take(CHUNK_BYTES_MAX as u64)
            .read_to_end(&mut chunk)
            .await?;
        Ok((!chunk.is_empty()).then(|| (Bytes::from(chunk), reader)))
    })
}

/// Makes the messages of a stream: the first has the header, and each has at most [`CHUNK_BYTES_MAX`] bytes of data. A failed
/// read does not end the stream, because the node would take that for the end of the data: the error comes out of the
/// receiver, and the call is dropped.
fn messages<M: Chunk>(
    header: M,
    data: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> (BoxStream<'static, M>, oneshot::Receiver<io::Error>) {
    let (fail, failed) = oneshot::channel();
    let chunks = data
        .map_ok(|bytes| stream::iter(split(bytes)).map(Ok))
        .try_flatten()
        .boxed();
    let state = (chunks, Some(header), Some(fail));
    let messages = stream::unfold(state, |(mut chunks, mut header, mut fail)| async move {
        match chunks.next().await {
            Some(Ok(chunk)) => {
                let message = header.take().unwrap_or_default().with_data(chunk);
                Some((message, (chunks, header, fail)))
            }
            Some(Err(error)) => {
                if let Some(fail) = fail.take() {
                    let _ = fail.send(error);
                }
                std::future::pending().await
            }
            // If there are no data at all, the header is still sent.
            None => header.take().map(|header| (header, (chunks, None, fail))),
        }
    });
    (messages.boxed(), failed)
}

/// Splits `bytes` into slices of at most [`CHUNK_BYTES_MAX`] bytes, without copying; no bytes give no slice.
fn split(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let length = bytes.len().min(CHUNK_BYTES_MAX);
        (length > 0).then(|| bytes.split_to(length))
    })
}

async fn or_failed<T>(
    call: impl Future<Output = Result<T, tonic::Status>>,
    failed: oneshot::Receiver<io::Error>,
) -> Result<T, ClientError> {
    tokio::select! {
        answer = call => Ok(answer?),
        Ok(error) = failed => Err(ClientError::Data(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> pb::SubmitWeightsRequest {
        pb::SubmitWeightsRequest {
            model: "m".into(),
            ..Default::default()
        }
    }

    /// Checks at compile time that calls are `Send`: trainers await them in spawned tasks.
    #[allow(dead_code)]
    fn calls_can_be_spawned(client: &Client) {
        fn send(_: impl Send) {}
        send(client.submit(header(), Bytes::new()));
        send(client.create_model(pb::CreateModelRequest::default(), Bytes::new()));
        send(client.fetch_all(pb::FetchWeightsRequest::default()));
    }

    #[test]
    fn a_long_schema_goes_in_several_messages() {
        let tensor = |n: usize| pb::TensorSpec {
            name: n.to_string(),
            ..Default::default()
        };
        let mut header = pb::CreateModelRequest {
            name: "m".into(),
            tensors: (0..2 * TENSORS_PER_MESSAGE + 1).map(tensor).collect(),
            ..Default::default()
        };
        let later = later_tensors(&mut header);
        let lengths: Vec<_> = later.iter().map(|message| message.tensors.len()).collect();
        assert_eq!(
            (header.tensors.len(), lengths),
            (TENSORS_PER_MESSAGE, vec![TENSORS_PER_MESSAGE, 1])
        );
        assert_eq!(later[1].tensors[0], tensor(2 * TENSORS_PER_MESSAGE));
        assert!(later.iter().all(|message| message.name.is_empty()));
        assert!(later_tensors(&mut header).is_empty());
    }

    #[tokio::test]
    async fn the_first_message_has_the_header_and_all_have_at_most_a_chunk() {
        let data = Bytes::from(vec![7; CHUNK_BYTES_MAX * 2 + 5]);
        let (messages, _failed) = messages(
            header(),
            stream::iter([Ok(data.clone()), Ok(Bytes::from_static(b"end"))]),
        );
        let messages: Vec<_> = messages.collect().await;
        let lengths: Vec<_> = messages.iter().map(|message| message.data.len()).collect();
        assert_eq!(lengths, [CHUNK_BYTES_MAX, CHUNK_BYTES_MAX, 5, 3]);
        assert_eq!(messages[0].model, "m");
        assert!(messages[1..].iter().all(|message| message.model.is_empty()));
        // The messages hold slices of the caller's bytes, not copies.
        assert_eq!(messages[0].data.as_ptr(), data.as_ptr());
    }

    #[tokio::test]
    async fn no_data_is_still_one_message() {
        let (messages, _failed) = messages(header(), stream::iter([Ok(Bytes::new())]));
        let messages: Vec<_> = messages.collect().await;
        assert_eq!(messages, [header()]);
    }

    #[tokio::test]
    async fn a_failure_to_read_never_looks_like_the_end() {
        let broken = stream::iter([Ok(Bytes::from_static(b"x")), Err(io::Error::other("disk gone"))]);
        let (mut messages, failed) = messages(header(), broken);
        assert!(messages.next().await.is_some());
        tokio::select! {
            message = messages.next() => panic!("the stream went on or ended: {message:?}"),
            error = failed => assert_eq!(error.unwrap().to_string(), "disk gone"),
        }
    }

    #[tokio::test]
    async fn a_reader_becomes_chunks() {
        let bytes = vec![3; CHUNK_BYTES_MAX + 1];
        let chunks: Vec<_> = file_chunks(io::Cursor::new(bytes)).map(Result::unwrap).collect().await;
        assert_eq!(chunks.iter().map(Bytes::len).collect::<Vec<_>>(), [CHUNK_BYTES_MAX, 1]);
    }
}
