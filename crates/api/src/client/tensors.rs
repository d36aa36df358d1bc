//! Weights as arrays of `ndarray`, to and from the node, without a copy of the model.

use std::io;

use bytes::Bytes;
use futures::channel::mpsc;
use futures::{SinkExt, StreamExt, future};
use qres_fed::tensor::{Pieces, TensorReader, TensorView, Tensors};

use super::{Client, ClientError, Fetch};
use crate::pb;

/// Pieces of a file that wait to be sent, of at most 1 MiB each.
const WAITING_MAX: usize = 2;

impl Client {
    /// Reads a checkpoint like [`Client::fetch`], from its first byte, and returns its tensors. The data stream of the returned
    /// [`Fetch`] has ended.
    ///
    /// # Errors
    /// Those of [`Client::fetch`], and [`ClientError::Data`] if the data are no weights.
    pub async fn fetch_tensors(&self, request: pb::FetchWeightsRequest) -> Result<(Fetch, Tensors), ClientError> {
        let request = pb::FetchWeightsRequest { offset: 0, ..request };
        let mut fetch = self.fetch(request).await?;
        let bad = |error: qres_fed::tensor::TensorError| ClientError::Data(error.to_string());
        let mut reader = TensorReader::new(fetch.total_bytes);
        while let Some(chunk) = fetch.data.next().await {
            reader.push(&chunk?).map_err(bad)?;
        }
        Ok((fetch, reader.finish().map_err(bad)?))
    }

    /// Submits weights or a delta like [`Client::submit`], from tensors or from views of arrays, which are sent as they lie in
    /// memory.
    pub async fn submit_tensors<'a, N: Into<String>, V: Into<TensorView<'a>>>(
        &self,
        header: pb::SubmitWeightsRequest,
        tensors: impl IntoIterator<Item = (N, V)>,
    ) -> Result<pb::Submission, ClientError> {
        let pieces = Pieces::of(tensors);
        let header = pb::SubmitWeightsRequest {
            total_bytes: Some(pieces.total_bytes()),
            ..header
        };
        sent(pieces, |data| self.submit_stream(header, data)).await
    }

    /// Makes a model like [`Client::create_model`], whose first weights are these tensors or views of arrays.
    pub async fn create_model_of<'a, N: Into<String>, V: Into<TensorView<'a>>>(
        &self,
        header: pb::CreateModelRequest,
        tensors: impl IntoIterator<Item = (N, V)>,
    ) -> Result<pb::Model, ClientError> {
        let pieces = Pieces::of(tensors);
        let header = pb::CreateModelRequest {
            total_bytes: Some(pieces.total_bytes()),
            ..header
        };
        sent(pieces, |data| self.create_model_stream(header, data)).await
    }
}

/// Sends the pieces to a call as it takes them. The pieces borrow from the caller, and a call's stream may not: hence the channel.
async fn sent<C: Future>(pieces: Pieces<'_>, call: impl FnOnce(mpsc::Receiver<io::Result<Bytes>>) -> C) -> C::Output {
    let (mut sender, data) = mpsc::channel(WAITING_MAX);
    let send = async move {
        for piece in pieces {
            // Sending fails once the call has ended.
            if sender.send(Ok(piece.into())).await.is_err() {
                return;
            }
        }
    };
    future::join(call(data), send).await.0
}
