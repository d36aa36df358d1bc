//! Reads a caller's stream of data into the node.

use bytes::Bytes;
use qres_node::error::{NodeError, Reason};
use qres_node::handle::Upload;
use tonic::{Status, Streaming};

use super::api::Api;
use super::pace::Pace;
use super::status::status;
use crate::CHUNK_BYTES_MAX;

/// A message that may carry data.
pub(super) trait Chunk: Default + PartialEq {
    /// Takes the data out of the message; the fields that are left are the header.
    fn take_data(&mut self) -> Bytes;
}

impl Api {
    /// Reads the first message of a stream. Returns the header and the data of the message, which may be empty.
    pub(super) async fn first<M: Chunk>(&self, stream: &mut Streaming<M>) -> Result<(M, Bytes), Status> {
        let mut pace = Pace::new(&self.limits, &self.metrics);
        let first = pace.next(self.stop.or(stream.message())).await?;
        let mut first = first.ok_or_else(|| {
            status(NodeError::new(
                Reason::EmptyStream,
                "the stream has no message: the first one must carry the fields",
            ))
        })?;
        let data = first.take_data();
        check_length(&data)?;
        Ok((first, data))
    }

    /// Writes `first` and the rest of the stream to `upload` and returns the outcome of the upload.
    ///
    /// If this future is dropped or fails, the [`Upload`] is dropped. An upload with an idempotency key keeps its bytes and can
    /// go on later.
    pub(super) async fn carry<M: Chunk, T: Clone + Send + 'static>(
        &self,
        mut upload: Upload<T>,
        first: Bytes,
        stream: &mut Streaming<M>,
    ) -> Result<T, Status> {
        if let Some(outcome) = upload.replay() {
            return Ok(outcome);
        }
        if !first.is_empty() {
            upload.write(first).await.map_err(status)?;
        }
        let mut pace = Pace::new(&self.limits, &self.metrics);
        while let Some(mut message) = pace.next(self.stop.or(stream.message())).await? {
            let data = message.take_data();
            pace.came(data.len());
            if message != M::default() {
                return Err(status(late_header("data")));
            }
            check_length(&data)?;
            if !data.is_empty() {
                upload.write(data).await.map_err(status)?;
            }
        }
        upload.finish().await.map_err(status)
    }
}

/// Makes the error for a later message that sets another field than `allowed`.
pub(super) fn late_header(allowed: &str) -> NodeError {
    let message =
        format!("a later message sets a field other than {allowed}: fields belong in the first message of the stream");
    NodeError::new(Reason::LateHeader, message)
}

fn check_length(data: &Bytes) -> Result<(), Status> {
    if data.len() <= CHUNK_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "data: {} bytes in one message, at most {CHUNK_BYTES_MAX} are taken: send the file in several messages",
        data.len()
    );
    Err(status(NodeError::invalid("data", message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_a_limit_that_the_error_names() {
        assert!(check_length(&Bytes::from(vec![0; CHUNK_BYTES_MAX])).is_ok());
        let error = check_length(&Bytes::from(vec![0; CHUNK_BYTES_MAX + 1])).unwrap_err();
        assert!(error.message().contains("1048576"), "{}", error.message());
    }
}
