//! The signal that serving ends, which every long call waits for.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use futures::FutureExt;
use futures::Stream;
use futures::future::{BoxFuture, Shared};
use qres_node::error::{NodeError, Reason};
use tonic::Status;

use super::status::status;

/// Milliseconds after which a caller should try again: a supervisor restarts a daemon within seconds, and a caller that tries
/// sooner only finds the port closed.
const RETRY_MS: u64 = 2_000;

/// A future that resolves when serving is to end. All clones resolve at the same time.
#[derive(Clone)]
pub(super) struct Stop(Shared<BoxFuture<'static, ()>>);

impl Stop {
    /// Makes a signal that is given when the first of two futures resolves.
    pub(super) fn when(
        a: impl Future<Output = ()> + Send + 'static,
        b: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let either = async move {
            tokio::select! {
                () = a => (),
                () = b => (),
            }
        };
        Self(either.boxed().shared())
    }

    /// Waits for the signal.
    pub(super) async fn wait(self) {
        self.0.await;
    }

    /// Returns the result of `work`, or the [`Status`] UNAVAILABLE if serving ends first.
    pub(super) async fn or<T>(&self, work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        tokio::select! {
            answer = work => answer,
            () = self.0.clone() => Err(stopping()),
        }
    }

    /// Returns `stream`, which gets UNAVAILABLE as its last item when serving ends.
    pub(super) fn or_stream<T>(
        &self,
        mut stream: Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>,
    ) -> Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>
    where
        T: Send + 'static,
    {
        let mut stop = self.0.clone();
        let mut ended = false;
        Box::pin(futures::stream::poll_fn(move |context| {
            if ended {
                return Poll::Ready(None);
            }
            if stop.poll_unpin(context).is_ready() {
                ended = true;
                return Poll::Ready(Some(Err(stopping())));
            }
            stream.as_mut().poll_next(context)
        }))
    }
}

fn stopping() -> Status {
    status(
        NodeError::new(
            Reason::ShuttingDown,
            "this node is shutting down: connect again and go on from the last revision or offset",
        )
        .retry_after(RETRY_MS),
    )
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use tonic::Code;
    use tonic_types::StatusExt;

    use super::*;

    #[tokio::test]
    async fn a_stream_passes_its_items_and_ends_with_unavailable_at_the_stop() {
        let (stop_now, stopped) = tokio::sync::oneshot::channel::<()>();
        let stop = Stop::when(async { stopped.await.unwrap() }, std::future::pending());
        let items = futures::stream::iter([Ok(1), Ok(2)]).chain(futures::stream::pending());
        let mut stream = stop.or_stream(Box::pin(items));
        assert_eq!(stream.next().await.unwrap().unwrap(), 1);
        assert_eq!(stream.next().await.unwrap().unwrap(), 2);
        stop_now.send(()).unwrap();
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        assert!(error.get_details_retry_info().unwrap().retry_delay.is_some());
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_stream_that_ends_by_itself_ends_without_an_error() {
        let stop = Stop::when(std::future::pending(), std::future::pending());
        let stream = stop.or_stream(Box::pin(futures::stream::iter([Ok(1)])));
        assert_eq!(stream.map(Result::unwrap).collect::<Vec<_>>().await, [1]);
    }

    #[tokio::test]
    async fn a_wait_ends_at_the_stop() {
        let stop = Stop::when(std::future::ready(()), std::future::pending());
        let error = stop.or(std::future::pending::<Result<(), Status>>()).await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
    }
}
