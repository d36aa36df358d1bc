//! The admin port: metrics and the health of the process, as text over the smallest subset of HTTP/1.1 that Prometheus, curl
//! and a kubelet speak: one request a connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::health::{Health, Page};

/// Most bytes of a request's head that are read. A scrape sends about 300.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Most connections at once. A scraper opens one.
const CONNECTIONS_MAX: usize = 8;
/// Most time from accepting a connection to its end.
const REQUEST_MAX: Duration = Duration::from_secs(5);
/// The format that Prometheus asks for and prometheus-client writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The format of all other answers.
const PLAIN: &str = "text/plain; charset=utf-8";

/// Listens on `address`; port 0 picks a free port.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("admin_addr {address} cannot be listened on: choose another with --admin-addr"))
}

/// Spawns the server of the port, which ends when the returned guard is dropped.
pub fn spawn(listener: TcpListener, health: Arc<Health>) -> DropGuard {
    let end = CancellationToken::new();
    tokio::spawn(serve(listener, health, end.clone()));
    end.drop_guard()
}

/// Serves `GET` of `/metrics`, `/livez` and `/readyz` until `end` is cancelled, at most [`CONNECTIONS_MAX`] connections at once.
/// One more ends the oldest: an answer takes milliseconds, so the oldest is a slow client, and slow clients must not keep a
/// kubelet from its answer.
async fn serve(listener: TcpListener, health: Arc<Health>, end: CancellationToken) {
    let mut running: VecDeque<AbortHandle> = VecDeque::with_capacity(CONNECTIONS_MAX);
    loop {
        let accepted = tokio::select! {
            () = end.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Accepting fails when file descriptors run out, for example. The pause leaves the processor to other tasks.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        running.retain(|connection| !connection.is_finished());
        if running.len() >= CONNECTIONS_MAX
            && let Some(oldest) = running.pop_front()
        {
            oldest.abort();
        }
        let health = health.clone();
        let connection = tokio::spawn(async move {
            // The error is ignored: a client that does not finish in time, or hangs up, gets no answer.
            let _ = tokio::time::timeout(REQUEST_MAX, answer(stream, &health)).await;
        });
        running.push_back(connection.abort_handle());
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, health: &Health) -> std::io::Result<()> {
    let head = read_head(&mut stream).await?;
    let Answer { status, kind, body } = respond(&head, health);
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: \
         close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

/// Reads up to the empty line that ends the head, or up to [`HEAD_BYTES_MAX`].
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(1024);
    let mut limited = stream.take(HEAD_BYTES_MAX as u64);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if limited.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(head)
}

struct Answer {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Answer {
    fn plain(status: &'static str, body: impl Into<String>) -> Self {
        Self {
            status,
            kind: PLAIN,
            body: body.into(),
        }
    }

    /// Answers 200 if there is no problem, otherwise 503 with the problem as its one line.
    fn health(good: &str, problem: Option<String>) -> Self {
        match problem {
            None => Self::plain("200 OK", format!("{good}\n")),
            Some(why) => Self::plain("503 Service Unavailable", format!("{why}\n")),
        }
    }
}

fn respond(head: &[u8], health: &Health) -> Answer {
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    match (method, path) {
        (b"GET", b"/metrics") => match health.page() {
            Page::Text(body) => Answer {
                status: "200 OK",
                kind: OPEN_METRICS,
                body,
            },
            Page::Starting => Answer::health("", Some("starting: there are no metrics yet".into())),
            Page::Failed => Answer::plain("500 Internal Server Error", "the metrics cannot be written\n"),
        },
        (b"GET", b"/livez") => Answer::health("live", health.not_live()),
        (b"GET", b"/readyz") => Answer::health("ready", health.not_ready()),
        (b"GET", _) => Answer::plain("404 Not Found", "only /metrics, /livez and /readyz are here\n"),
        _ => Answer::plain("405 Method Not Allowed", "only GET is understood\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(request: &[u8], shutdown: &CancellationToken) -> String {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let end = CancellationToken::new();
        let health = Arc::new(Health::new(shutdown.clone()));
        let server = tokio::spawn(serve(listener, health, end.clone()));
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut text = Vec::new();
        // A request above the limit is answered before all of it is read, which may reset the connection.
        let _ = stream.read_to_end(&mut text).await;
        end.cancel();
        server.await.unwrap();
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn a_process_that_starts_is_live_and_not_ready() {
        let shutdown = CancellationToken::new();
        let live = ask(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", &shutdown).await;
        assert!(live.starts_with("HTTP/1.1 200 OK\r\n"), "{live}");
        let body = live.split_once("\r\n\r\n").unwrap().1;
        assert!(live.contains(&format!("Content-Length: {}\r\n", body.len())), "{live}");
        for path in ["/readyz", "/readyz?verbose", "/metrics"] {
            let text = ask(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes(), &shutdown).await;
            assert!(text.starts_with("HTTP/1.1 503"), "{text}");
            let (_, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(body.starts_with("starting") && body.lines().count() == 1, "{body}");
        }
        shutdown.cancel();
        let stopping = ask(b"GET /readyz HTTP/1.1\r\n\r\n", &shutdown).await;
        assert!(stopping.ends_with("\r\n\r\nstopping\n"), "{stopping}");
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let shutdown = CancellationToken::new();
        for (request, status) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], "404"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
            (b"\x16\x03\x01\r\n\r\n", "405"),
        ] {
            let text = ask(request, &shutdown).await;
            assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
        }
    }

    #[tokio::test]
    async fn clients_that_say_nothing_keep_nobody_from_an_answer() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let _end = spawn(listener, Arc::new(Health::new(CancellationToken::new())));
        let mut silent = vec![];
        for _ in 0..3 * CONNECTIONS_MAX {
            silent.push(tokio::net::TcpStream::connect(address).await.unwrap());
        }
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /livez HTTP/1.1\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
        // The first of them made room, long before its own time was over.
        assert_eq!(silent[0].read(&mut [0; 1]).await.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn a_head_without_end_is_cut_at_the_limit() {
        let mut endless: &[u8] = &[b'a'; 2 * HEAD_BYTES_MAX];
        assert_eq!(read_head(&mut endless).await.unwrap().len(), HEAD_BYTES_MAX);
        let mut whole: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
        assert_eq!(read_head(&mut whole).await.unwrap().len(), 18);
    }
}
