//! SIGTERM and SIGINT: the first signal asks for a shutdown, a second one ends the process at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code that a shell reports for a process that SIGINT ended (128 + 2).
const KILLED: i32 = 130;

/// Returns a [`CancellationToken`] that the first signal cancels. Must be called inside a Tokio runtime.
pub fn shutdown_token() -> std::io::Result<CancellationToken> {
    let terminate = signal(SignalKind::terminate())?;
    let interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    tokio::spawn(listen(terminate, interrupt, token.clone()));
    Ok(token)
}

async fn listen(mut terminate: Signal, mut interrupt: Signal, token: CancellationToken) {
    let name = next(&mut terminate, &mut interrupt).await;
    tracing::info!("{name}: shutting down; a second signal ends at once");
    token.cancel();
    next(&mut terminate, &mut interrupt).await;
    std::process::exit(KILLED);
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
