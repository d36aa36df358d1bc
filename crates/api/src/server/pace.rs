//! Measures how fast a caller's data come: the time that the node waits for them, and the bytes that it gets.

use std::future::Future;
use std::time::Duration;

use qres_node::error::{NodeError, Reason};
use tokio::time::Instant;
use tonic::Status;

use super::limits::Limits;
use super::metrics::Metrics;
use super::status::status;

/// The pace of an upload. Only the time of waiting for the caller counts: a slow disk is no fault of the caller.
pub(super) struct Pace<'a> {
    limits: &'a Limits,
    metrics: &'a Metrics,
    /// Time that the node has waited for the caller in the current window.
    waited: Duration,
    /// Bytes of data that came in the current window. A message without data adds none.
    bytes: u64,
}

impl<'a> Pace<'a> {
    pub(super) fn new(limits: &'a Limits, metrics: &'a Metrics) -> Self {
        Self {
            limits,
            metrics,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// Adds `bytes` of data to the current window.
    pub(super) fn came(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Waits for the caller's next message. Returns the error [`Reason::UploadTooSlow`] if fewer than
    /// [`Limits::upload_bytes`] came in a window of [`Limits::upload_window`].
    pub(super) async fn next<T>(&mut self, message: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let mut message = std::pin::pin!(message);
        loop {
            let begun = Instant::now();
            let left = self.limits.upload_window.saturating_sub(self.waited);
            if let Ok(message) = tokio::time::timeout(left, &mut message).await {
                self.waited += begun.elapsed();
                return message;
            }
            if self.bytes < self.limits.upload_bytes {
                return Err(self.slow());
            }
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
    }

    fn slow(&self) -> Status {
        self.metrics.end("slow_upload");
        let Limits {
            upload_window,
            upload_bytes,
            ..
        } = self.limits;
        let message = format!(
            "data: {} bytes came in the last {upload_window:?}, at least {upload_bytes} are expected (a message counts when \
             it is whole): send it again; an upload with an idempotency_key goes on from the bytes that GetUpload names",
            self.bytes
        );
        status(
            NodeError::new(Reason::UploadTooSlow, message)
                .field("data")
                .retry_after(RETRY_MS),
        )
    }
}

/// Milliseconds after which the caller of an upload that was ended should send again.
const RETRY_MS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::StatusExt;

    use super::*;

    fn limits() -> Limits {
        Limits {
            upload_window: Duration::from_millis(50),
            upload_bytes: 10,
            ..Limits::default()
        }
    }

    #[tokio::test]
    async fn a_window_needs_its_bytes_and_waiting_for_anything_else_is_free() {
        let (limits, metrics) = (limits(), Metrics::default());
        let mut pace = Pace::new(&limits, &metrics);
        pace.came(10);
        // The first window has enough data; the second has none.
        let error = pace
            .next(std::future::pending::<Result<(), Status>>())
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::Unavailable);
        assert_eq!(error.get_details_error_info().unwrap().reason, "UPLOAD_TOO_SLOW");
        assert!(error.message().contains("0 bytes came"), "{}", error.message());
        let mut pace = Pace::new(&limits, &metrics);
        pace.came(9);
        let error = pace
            .next(std::future::pending::<Result<(), Status>>())
            .await
            .unwrap_err();
        assert!(error.message().contains("9 bytes came"), "{}", error.message());
        // A message that is there already is taken, however long the node has waited before.
        pace.next(std::future::ready(Ok(()))).await.unwrap();
    }
}
