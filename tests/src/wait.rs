//! Waiting for a condition with a deadline: tests never sleep for a fixed time.

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// Longest wait of a test. A loaded two-core machine needs far less, so the deadline is reached only when something is broken.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// Asks every 20 ms until the answer is `Some`. After [`DEADLINE`], panics with the text `what`.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
