//! Watches as plain streams.

use futures::StreamExt;
use futures::stream::BoxStream;

use super::{Client, ClientError};
use crate::pb;

/// Messages of a watch, in order; after an error go on from the last message's revision.
pub type Watch<M> = BoxStream<'static, Result<M, ClientError>>;

fn plain<M: Send + 'static>(answer: tonic::Response<tonic::Streaming<M>>) -> Watch<M> {
    answer.into_inner().map(|message| Ok(message?)).boxed()
}

impl Client {
    /// All models, from a revision (0: a snapshot first).
    pub async fn watch_models(&self, from_revision: u64) -> Result<Watch<pb::WatchModelsResponse>, ClientError> {
        let request = pb::WatchModelsRequest { from_revision };
        Ok(plain(self.models().watch_models(request).await?))
    }

    /// A model's rounds, from a revision (0: a snapshot first).
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

    /// Submissions of a model (all when empty), from a revision (0: a snapshot first).
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

    /// All peers, from a revision (0: a snapshot first).
    pub async fn watch_peers(&self, from_revision: u64) -> Result<Watch<pb::WatchPeersResponse>, ClientError> {
        let request = pb::WatchPeersRequest { from_revision };
        Ok(plain(self.peers().watch_peers(request).await?))
    }

    /// States of a model (only these names when there are any), from a revision (0: a snapshot first).
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
