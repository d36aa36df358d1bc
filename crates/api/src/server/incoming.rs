//! Accepts callers' connections: a bounded number, and with a pause when the process has no file descriptor left.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use parking_lot::Mutex;
use tokio::net::{TcpListener, UnixListener};
use tokio::time::Instant;

use super::connection::{Connection, Io};
use super::limits::Limits;
use super::metrics::Metrics;
use super::origin::Origin;
use super::security::SecurityNow;
use super::socket::Socket;

/// Pause in accepting after the process had no file descriptor left: long enough to cost no processor time, short enough
/// that callers do not notice the pause.
const PAUSE: Duration = Duration::from_millis(100);
/// Least time between two log lines about the same problem.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// All open [`Connection`]s, of all listeners.
#[derive(Debug)]
pub(super) struct Open {
    connections: Mutex<Table>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: BTreeMap<u64, Arc<Connection>>,
}

impl Open {
    pub(super) fn new(metrics: Metrics) -> Arc<Self> {
        let connections = Mutex::default();
        Arc::new(Self { connections, metrics })
    }

    /// Closes the [`Connection`] that has been without a call for longest. Returns true if there was one without a call.
    fn close_quietest(&self) -> bool {
        let mut table = self.connections.lock();
        let quiet = table.open.iter().filter_map(|(id, c)| Some((c.quiet_since()?, *id)));
        let Some((_, id)) = quiet.min() else {
            return false;
        };
        if let Some(connection) = table.open.remove(&id) {
            connection.cut();
        }
        true
    }
}

/// Removes a [`Connection`] from the table when it is dropped.
struct Entry {
    id: u64,
    open: Arc<Open>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.open.connections.lock().open.remove(&self.id);
        self.open.metrics.disconnect();
    }
}

/// A listener for callers.
pub(super) enum Listener {
    /// TCP, with TLS as the [`SecurityNow`] says when a connection comes.
    Tcp(TcpListener, SecurityNow),
    /// The node's Unix socket.
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<(Socket, Origin)> {
        match self {
            Self::Tcp(listener, security) => {
                let (stream, address) = listener.accept().await?;
                // Without this option a loopback download ran at 2 MB/s instead of 506. The call can only fail if the
                // caller has gone.
                let _ = stream.set_nodelay(true);
                let tls = security.borrow().tls.clone();
                Ok((Socket::tcp(stream, tls), Origin::tcp(address)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), Origin::socket()))
            }
        }
    }
}

/// Accepts the connections that come to a [`Listener`].
pub(super) struct Incoming {
    listener: Listener,
    open: Arc<Open>,
    limits: Arc<Limits>,
    /// Time of the last log line about failing to accept.
    failing: Option<Instant>,
    /// Time of the last log line about a refused connection.
    full: Option<Instant>,
}

impl Incoming {
    pub(super) fn new(listener: Listener, open: Arc<Open>, limits: Arc<Limits>) -> Self {
        Self {
            listener,
            open,
            limits,
            failing: None,
            full: None,
        }
    }

    /// Returns the stream of accepted connections. An item is never an error: after an error the server would ask again at once.
    pub(super) fn stream(self) -> impl Stream<Item = io::Result<Io>> {
        futures::stream::unfold(self, |mut incoming| async move {
            let io = incoming.accept().await;
            Some((Ok(io), incoming))
        })
    }

    async fn accept(&mut self) -> Io {
        loop {
            match self.listener.accept().await {
                // The last descriptors are kept for the store.
                Ok((socket, _)) if socket.is_for_store() => {
                    drop(socket);
                    self.without_descriptors("the last descriptors are kept for the store")
                        .await;
                }
                Ok((socket, origin)) => {
                    if let Some(io) = self.admit(socket, origin) {
                        return io;
                    }
                }
                // The caller hung up before the connection was accepted.
                Err(error) if is_callers(&error) => {}
                Err(error) => self.without_descriptors(&error.to_string()).await,
            }
        }
    }

    /// Closes a connection without a call, which frees its descriptor, and waits for [`PAUSE`].
    async fn without_descriptors(&mut self, problem: &str) {
        if is_news(&mut self.failing) {
            tracing::warn!(
                problem,
                "gRPC cannot accept connections: it tries again every {PAUSE:?}"
            );
        }
        self.open.metrics.refuse("descriptors");
        self.open.close_quietest();
        tokio::time::sleep(PAUSE).await;
    }

    /// Admits a connection. At the limit, a connection without a call is closed first. Returns `None` if there is no such
    /// connection.
    fn admit(&mut self, socket: Socket, origin: Origin) -> Option<Io> {
        let max = self.limits.connections;
        if self.open.connections.lock().open.len() >= max && !self.open.close_quietest() {
            if is_news(&mut self.full) {
                tracing::warn!(
                    max,
                    "gRPC has as many connections as it takes, all with calls: others are refused"
                );
            }
            self.open.metrics.refuse("connections");
            return None;
        }
        let connection = Connection::new(&self.limits, origin);
        let watch = connection
            .clone()
            .watch(self.limits.handshake, self.limits.connection_idle);
        let watch = tokio::spawn(watch).abort_handle();
        let entry = {
            let mut table = self.open.connections.lock();
            let id = table.next;
            table.next += 1;
            table.open.insert(id, connection.clone());
            Entry {
                id,
                open: self.open.clone(),
            }
        };
        self.open.metrics.connect();
        Some(Io::new(socket, connection, watch, entry))
    }
}

/// Returns true if a problem is to be logged again, [`SAID_EVERY`] after the last time, and sets `said` to now.
fn is_news(said: &mut Option<Instant>) -> bool {
    let news = said.is_none_or(|said| said.elapsed() >= SAID_EVERY);
    if news {
        *said = Some(Instant::now());
    }
    news
}

/// Returns true for an error that concerns a single connection and not the listener.
fn is_callers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
