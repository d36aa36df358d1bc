//! Watches: convert the node's items to the contract's messages until serving ends.

use futures::StreamExt;
use futures::stream::BoxStream;
use qres_node::handle::WatchFilter;
use qres_node::view::{Event, Revision, WatchItem};
use tonic::{Response, Status};

use super::api::Api;
use super::status::status;
use crate::pb::WatchKind;

/// A message of a watch before it has its type.
pub(super) struct Item<R> {
    /// The node's revision of the message.
    pub(super) revision: u64,
    /// The [`WatchKind`] of the message as the number that protobuf holds.
    pub(super) kind: i32,
    /// The resource of the message, if it has one.
    pub(super) resource: Option<R>,
}

/// The answer to a watch: a stream of `M`.
pub(super) type Watch<M> = BoxStream<'static, Result<M, Status>>;

impl Api {
    /// Watches the events of `filter` from a [`Revision`] on. `resource` returns `None` for events of another kind, and
    /// `message` converts an [`Item`] to the type of the call.
    pub(super) async fn watch<R: 'static, M: Send + 'static>(
        &self,
        filter: WatchFilter,
        from: Revision,
        resource: fn(Event) -> Option<R>,
        message: fn(Item<R>) -> M,
    ) -> Result<Response<Watch<M>>, Status> {
        let items = self.node.watch(filter, from).await.map_err(status)?;
        let messages = items.filter_map(move |item| {
            let message = match item {
                Ok(item) => to_item(item, resource).map(|item| Ok(message(item))),
                Err(error) => Some(Err(status(error))),
            };
            std::future::ready(message)
        });
        Ok(Response::new(self.stop.or_stream(Box::pin(messages))))
    }
}

fn to_item<R>(item: WatchItem, resource: fn(Event) -> Option<R>) -> Option<Item<R>> {
    let (revision, kind, resource) = match item {
        WatchItem::TooOld(oldest) => (oldest, WatchKind::TooOld, None),
        WatchItem::Snapshot(revision, event) => (revision, WatchKind::Snapshot, Some(resource(event)?)),
        WatchItem::SnapshotEnd(revision) => (revision, WatchKind::SnapshotEnd, None),
        WatchItem::Change(revision, event) => (revision, WatchKind::Change, Some(resource(event)?)),
    };
    Some(Item {
        revision,
        kind: kind.into(),
        resource,
    })
}
