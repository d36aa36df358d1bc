//! Follows a watch without a gap, also when the node restarts.

use std::time::Duration;

use futures::StreamExt;
use qres_api::client::{ClientError, Watch};
use qres_api::pb;

use crate::failure::Failure;
use crate::output::Output;

/// Most attempts in a row to reach a lost node again: with [`WAIT`] between them, two minutes.
const ATTEMPTS_MAX: u32 = 120;
/// Time between two attempts, unless the node named a time.
const WAIT: Duration = Duration::from_secs(1);

/// A message of a watch, of any kind.
pub trait Message {
    /// Returns the node's revision of the message.
    fn revision(&self) -> u64;
    /// Returns the kind of the message, as [`pb::WatchKind`].
    fn what(&self) -> pb::WatchKind;
}

macro_rules! message {
    ($($name:ident),*) => {$(
        impl Message for pb::$name {
            fn revision(&self) -> u64 {
                self.revision
            }
            fn what(&self) -> pb::WatchKind {
                self.kind()
            }
        }
    )*};
}

message!(
    WatchModelsResponse,
    WatchRoundsResponse,
    WatchSubmissionsResponse,
    WatchPeersResponse,
    SubscribeStateResponse
);

/// The decision after a message: to go on or to stop.
pub enum Next {
    /// Go on with the next message.
    More,
    /// Stop: the message that the caller waits for has come, or the reader of the output is gone.
    Enough,
}

/// Opens a watch with `open` from the revision `from` and passes each message to `each`, until it returns [`Next::Enough`].
/// When the node goes away, opens the watch again from the last revision.
pub async fn follow<M, F>(
    output: Output,
    from: u64,
    open: impl Fn(u64) -> F,
    mut each: impl FnMut(M) -> Result<Next, Failure>,
) -> Result<(), Failure>
where
    M: Message,
    F: Future<Output = Result<Watch<M>, ClientError>>,
{
    let mut from = from;
    let mut stream = open(from).await?;
    let mut lost = 0;
    loop {
        let failure = match stream.next().await {
            Some(Ok(message)) => {
                lost = 0;
                // The watch cannot go on from a revision in the middle of a snapshot: the rest of the snapshot would be missing.
                if matches!(message.what(), pb::WatchKind::SnapshotEnd | pb::WatchKind::Change) {
                    from = message.revision();
                }
                match each(message)? {
                    Next::More => continue,
                    Next::Enough => return Ok(()),
                }
            }
            Some(Err(error)) => Failure::from(error),
            None => Failure::local("the node ended the watch"),
        };
        stream = reopen(output, failure, &mut lost, from, &open).await?;
    }
}

/// Tries again until the node is back. Returns the [`Failure`] after [`ATTEMPTS_MAX`] attempts, or at once if it cannot
/// pass by itself. `lost` counts the attempts since the last message.
async fn reopen<M, F>(
    output: Output,
    first: Failure,
    lost: &mut u32,
    from: u64,
    open: &impl Fn(u64) -> F,
) -> Result<Watch<M>, Failure>
where
    F: Future<Output = Result<Watch<M>, ClientError>>,
{
    let mut failure = first;
    loop {
        let ended = matches!(failure, Failure::Local(_));
        if *lost == ATTEMPTS_MAX || !(ended || failure.is_passing()) {
            return Err(failure);
        }
        if *lost == 0 {
            output.note(format_args!("lost the node ({failure}): waiting for it"));
        }
        *lost += 1;
        tokio::time::sleep(failure.retry_after().unwrap_or(WAIT).min(10 * WAIT)).await;
        match open(from).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use futures::stream;
    use tonic::Status;

    use super::*;

    fn message(revision: u64, kind: pb::WatchKind) -> Result<pb::WatchPeersResponse, ClientError> {
        Ok(pb::WatchPeersResponse {
            revision,
            kind: kind.into(),
            peer: None,
        })
    }

    /// Follows the given streams, one after another. Returns the revisions that were seen and those that the watches were opened
    /// from.
    async fn run(streams: Vec<Vec<Result<pb::WatchPeersResponse, ClientError>>>, enough: u64) -> (Vec<u64>, Vec<u64>) {
        let streams = Mutex::new(streams.into_iter());
        let asked = Mutex::new(Vec::new());
        let mut seen = Vec::new();
        let open = |from| {
            asked.lock().push(from);
            let next = streams.lock().next().expect("no more opens than streams");
            async move { Ok(stream::iter(next).boxed()) }
        };
        let each = |message: pb::WatchPeersResponse| {
            seen.push(message.revision);
            Ok(if message.revision == enough {
                Next::Enough
            } else {
                Next::More
            })
        };
        follow(Output::new(true), 0, open, each).await.unwrap();
        (seen, asked.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn goes_on_from_the_last_change_after_a_break() {
        use pb::WatchKind::{Change, Snapshot, SnapshotEnd};
        let broken = || Err(ClientError::from(Status::unavailable("gone")));
        let (seen, asked) = run(
            vec![
                vec![message(5, Snapshot), broken()],
                vec![
                    message(6, Snapshot),
                    message(6, SnapshotEnd),
                    message(8, Change),
                    broken(),
                ],
                vec![message(9, Change)],
            ],
            9,
        )
        .await;
        assert_eq!(seen, [5, 6, 6, 8, 9]);
        assert_eq!(asked, [0, 0, 8]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_ends_it_and_so_do_too_many_attempts() {
        let refused = |_| async { Err::<Watch<pb::WatchPeersResponse>, _>(Status::not_found("no such model").into()) };
        let each = |_| Ok(Next::More);
        assert!(
            follow(Output::new(true), 0, refused, each)
                .await
                .unwrap_err()
                .is_not_found()
        );
        let opens = Mutex::new(0);
        let flapping = |_| {
            *opens.lock() += 1;
            async { Ok(stream::iter([Err(ClientError::from(Status::unavailable("gone")))]).boxed()) }
        };
        let each = |_: pb::WatchPeersResponse| Ok(Next::More);
        assert!(
            follow(Output::new(true), 0, flapping, each)
                .await
                .unwrap_err()
                .is_passing()
        );
        assert_eq!(*opens.lock(), ATTEMPTS_MAX + 1);
    }
}
