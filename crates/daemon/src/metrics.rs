//! Serves metrics as text over the smallest subset of HTTP/1.1 that Prometheus, curl and a kubelet speak: one request a
//! connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Most bytes of a request's head that are read. A scrape sends about 300.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Most connections at once; more wait in the listener's backlog. A scraper opens one.
const CONNECTIONS_MAX: usize = 8;
/// Most time from accepting a connection to its end.
const REQUEST_MAX: Duration = Duration::from_secs(5);
/// The format that Prometheus asks for and prometheus-client writes.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Listens on `address`; port 0 picks a free port.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("metrics_addr {address} cannot be listened on: choose another with --metrics-addr"))
}

/// Serves `GET /metrics` until `shutdown` is cancelled, at most [`CONNECTIONS_MAX`] connections at once.
pub async fn serve(listener: TcpListener, registry: Arc<Registry>, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accept = async {
            // The semaphore is never closed.
            let slot = slots.clone().acquire_owned().await.expect("open");
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = accept => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // Accepting fails when file descriptors run out, for example. The pause leaves the processor to other tasks.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let registry = registry.clone();
        tokio::spawn(async move {
            // The error is ignored: a client that does not finish in time, or hangs up, gets no answer.
            let _ = tokio::time::timeout(REQUEST_MAX, answer(stream, &registry)).await;
            drop(slot);
        });
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, registry: &Registry) -> std::io::Result<()> {
    let head = read_head(&mut stream).await?;
    let (status, body) = respond(&head, registry);
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
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

fn respond(head: &[u8], registry: &Registry) -> (&'static str, String) {
    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    match (method, path) {
        (b"GET", b"/metrics") => {
            let mut text = String::new();
            match encode(&mut text, registry) {
                Ok(()) => ("200 OK", text),
                Err(_) => ("500 Internal Server Error", "the metrics cannot be written\n".into()),
            }
        }
        (b"GET", _) => ("404 Not Found", "only /metrics is here\n".into()),
        _ => ("405 Method Not Allowed", "only GET is understood\n".into()),
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    fn registry() -> Registry {
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        counter.inc_by(7);
        registry.register("qres_test", "A test", counter);
        registry
    }

    async fn ask(request: &[u8]) -> String {
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, Arc::new(registry()), shutdown.clone()));
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut text = Vec::new();
        // A request above the limit is answered before all of it is read, which may reset the connection.
        let _ = stream.read_to_end(&mut text).await;
        shutdown.cancel();
        server.await.unwrap();
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn a_scrape_reads_the_registry() {
        let text = ask(b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(
            text.contains("qres_test_total 7") && text.ends_with("# EOF\n"),
            "{text}"
        );
        let body = text.split_once("\r\n\r\n").unwrap().1;
        assert!(text.contains(&format!("Content-Length: {}\r\n", body.len())), "{text}");
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        assert!(ask(b"GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404"));
        assert!(ask(b"POST /metrics HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 405"));
        assert!(ask(b"\x16\x03\x01\r\n\r\n").await.starts_with("HTTP/1.1 405"));
    }

    #[tokio::test]
    async fn a_head_without_end_is_cut_at_the_limit() {
        let mut endless: &[u8] = &[b'a'; 2 * HEAD_BYTES_MAX];
        assert_eq!(read_head(&mut endless).await.unwrap().len(), HEAD_BYTES_MAX);
        let mut whole: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
        assert_eq!(read_head(&mut whole).await.unwrap().len(), 18);
    }
}
