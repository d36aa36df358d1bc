//! Opens watches as plain streams of messages.

use futures::StreamExt;
use futures::stream::BoxStream;

use super::{Client, ClientError};
use crate::pb;

/// The messages of a watch, in order. After a [`ClientError`] a caller can go on from the revision of the last message.
pub type Watch<M> = BoxStream<'static, Result<M, ClientError>>;

fn plain<M: Send + 'static>(answer: tonic::Response<tonic::Streaming<M>>) -> Watch<M> {
    answer.into_inner().map(|message| Ok(message?)).boxed()
}

impl Client {
    /// Watches all models from a revision on (0: a snapshot first).
    pub async fn watch_models(&self, from_revision: u64) -> Result<Watch<pb::WatchModelsResponse>, ClientError> {
        let request = pb::WatchModelsRequest { from_revision };
        Ok(plain(self.models().watch_models(request).await?))
    }

    /// Watches the rounds of a model from a revision on (0: a snapshot first).
    pub async fn watch_rounds(
        &self,
        model: &str,
        from_revision: u64,
    ) -> Result<Watch<pb::WatchRoundsResponse>, ClientError> {
        let request = pb::WatchRoundsRequest {
            model: model.to_owned(),
            from_revision,
        };
        Ok(plain(self.rounds().watch_rounds(request).await?))
    }

    /// Watches the submissions of a model (of all models if `model` is empty) from a revision on (0: a snapshot first).
    pub async fn watch_submissions(
        &self,
        model: &str,
        from_revision: u64,
    ) -> Result<Watch<pb::WatchSubmissionsResponse>, ClientError> {
        let request = pb::WatchSubmissionsRequest {
            model: model.to_owned(),
            from_revision,
        };
        Ok(plain(self.submissions().watch_submissions(request).await?))
    }

    /// Watches all peers from a revision on (0: a snapshot first).
    pub async fn watch_peers(&self, from_revision: u64) -> Result<Watch<pb::WatchPeersResponse>, ClientError> {
        let request = pb::WatchPeersRequest { from_revision };
        Ok(plain(self.peers().watch_peers(request).await?))
    }

    /// Watches the states of a model, or only those of `names` if there are any, from a revision on (0: a snapshot first).
    pub async fn subscribe_state(
        &self,
        model: &str,
        names: Vec<String>,
        from_revision: u64,
    ) -> Result<Watch<pb::SubscribeStateResponse>, ClientError> {
        let request = pb::SubscribeStateRequest {
            model: model.to_owned(),
            names,
            from_revision,
        };
        Ok(plain(self.states().subscribe_state(request).await?))
    }
}
