//! Callers' connections as they come: a bounded number, and a pause where the process has no descriptor left.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::Stream;
use qres_node::descriptors;
use tokio::net::{TcpListener, TcpStream};

use super::connection::{Connection, Io};
use super::layer::metrics::Metrics;
use super::limits::Limits;

/// How long nothing is accepted after the process had no descriptor left: long enough to cost nothing, short enough that
/// nobody notices.
const PAUSE: Duration = Duration::from_millis(100);
/// The log says the same trouble once in this time.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Every connection that is open.
#[derive(Debug)]
struct Open {
    connections: Mutex<Table>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: BTreeMap<u64, Arc<Connection>>,
}

impl Open {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Whoever panicked left it whole: it only inserts and removes.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the connection that has been without a call for longest; whether there was one.
    fn close_quietest(&self) -> bool {
        let mut table = self.table();
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

/// Takes a connection out of the table when it ends.
struct Entry {
    id: u64,
    open: Arc<Open>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.open.table().open.remove(&self.id);
        self.open.metrics.disconnect();
    }
}

/// Accepts what comes to a listener.
pub(super) struct Incoming {
    listener: TcpListener,
    open: Arc<Open>,
    limits: Arc<Limits>,
    /// When the log said that accepting fails.
    failing: Option<Instant>,
    /// When the log said that a connection was refused.
    full: Option<Instant>,
}

impl Incoming {
    pub(super) fn new(listener: TcpListener, limits: Arc<Limits>, metrics: Metrics) -> Self {
        let open = Open {
            connections: Mutex::default(),
            metrics,
        };
        Self {
            listener,
            open: Arc::new(open),
            limits,
            failing: None,
            full: None,
        }
    }

    /// The connections; never an error, as the server would ask again at once.
    pub(super) fn stream(self) -> impl Stream<Item = io::Result<Io>> {
        futures::stream::unfold(self, |mut incoming| async move {
            let io = incoming.accept().await;
            Some((Ok(io), incoming))
        })
    }

    async fn accept(&mut self) -> Io {
        loop {
            match self.listener.accept().await {
                // The last descriptors are the store's.
                Ok((stream, _)) if descriptors::is_for_store(&stream) => {
                    drop(stream);
                    self.without_descriptors("the last descriptors are kept for the store")
                        .await;
                }
                Ok((stream, _)) => {
                    if let Some(io) = self.admit(stream) {
                        return io;
                    }
                }
                // The caller has gone again.
                Err(error) if is_callers(&error) => {}
                Err(error) => self.without_descriptors(&error.to_string()).await,
            }
        }
    }

    /// Gives back the descriptor of a connection that nobody uses, and pauses.
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

    /// Takes a connection in, in the place of a quiet one where there are too many.
    fn admit(&mut self, stream: TcpStream) -> Option<Io> {
        let max = self.limits.connections;
        if self.open.table().open.len() >= max && !self.open.close_quietest() {
            if is_news(&mut self.full) {
                tracing::warn!(
                    max,
                    "gRPC has as many connections as it takes, all with calls: others are refused"
                );
            }
            self.open.metrics.refuse("connections");
            return None;
        }
        // Without it a loopback download ran at 2 MB/s instead of 506. It can only fail where the caller has gone.
        let _ = stream.set_nodelay(true);
        let connection = Connection::new(&self.limits);
        let watch = connection
            .clone()
            .watch(self.limits.handshake, self.limits.connection_idle);
        let watch = tokio::spawn(watch).abort_handle();
        let entry = {
            let mut table = self.open.table();
            let id = table.next;
            table.next += 1;
            table.open.insert(id, connection.clone());
            Entry {
                id,
                open: self.open.clone(),
            }
        };
        self.open.metrics.connect();
        Some(Io::new(stream, connection, watch, entry))
    }
}

/// Whether something is to be said again; it then counts as said.
fn is_news(said: &mut Option<Instant>) -> bool {
    let news = said.is_none_or(|said| said.elapsed() >= SAID_EVERY);
    if news {
        *said = Some(Instant::now());
    }
    news
}

/// Errors that concern one connection, and not the listener.
fn is_callers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
