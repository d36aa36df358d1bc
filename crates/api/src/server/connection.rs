//! A caller's connection: it has a share of the places, knows when its last call ended, and can be closed from outside.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tonic::codegen::http::Extensions;
use tonic::transport::server::Connected;

use super::limits::Limits;
use super::origin::Origin;
use super::place::Places;
use super::socket::Socket;

/// Bytes of HTTP/2's preface (24) and of the head of the SETTINGS frame that must follow (9): RFC 9113, section 3.4.
const GREETING_BYTES: usize = 24 + 9;

/// The state of a caller's connection, shared by its calls, its [`Io`] and the task of [`Connection::watch`].
#[derive(Debug)]
pub(super) struct Connection {
    /// The connection's share of the node's places.
    pub(super) places: Places,
    /// Where the connection comes from.
    pub(super) origin: Origin,
    life: Mutex<Life>,
    cut: AtomicBool,
    /// Wakes the task that drives the connection.
    driver: AtomicWaker,
}

#[derive(Debug)]
struct Life {
    calls: usize,
    /// The time when the last call ended, or when the connection began.
    quiet: Instant,
    /// Bytes read so far, up to [`GREETING_BYTES`].
    greeting: usize,
}

impl Connection {
    pub(super) fn new(limits: &Limits, origin: Origin) -> Arc<Self> {
        Arc::new(Self {
            places: Places::of_connection(limits),
            origin,
            life: Mutex::new(Life {
                calls: 0,
                quiet: Instant::now(),
                greeting: 0,
            }),
            cut: AtomicBool::new(false),
            driver: AtomicWaker::new(),
        })
    }

    /// Returns the connection by which a request came, or a new [`Connection`] if the request came by none.
    pub(super) fn of(extensions: &Extensions, limits: &Limits) -> Arc<Self> {
        let found = extensions.get::<Arc<Self>>().cloned();
        found.unwrap_or_else(|| Self::new(limits, Origin::default()))
    }

    /// Counts a call until the [`RunningCall`] is dropped.
    pub(super) fn call(self: &Arc<Self>) -> RunningCall {
        self.life.lock().calls += 1;
        RunningCall(self.clone())
    }

    /// Returns the time since when the connection has been without a call; `None` while it has one.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        let life = self.life.lock();
        (life.calls == 0).then_some(life.quiet)
    }

    /// Closes the connection and ends its calls: the next read or write of the task that drives it fails.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.driver.wake();
    }

    /// Closes the connection if it does not begin to speak HTTP/2 within `handshake`, or if it has been without a call for
    /// `idle`.
    pub(super) async fn watch(self: Arc<Self>, handshake: Duration, idle: Duration) {
        tokio::time::sleep(handshake).await;
        if self.life.lock().greeting < GREETING_BYTES {
            tracing::debug!(?handshake, "a connection that did not begin to speak HTTP/2 is closed");
            return self.cut();
        }
        loop {
            let quiet = self.quiet_since().map_or(Duration::ZERO, |since| since.elapsed());
            if quiet >= idle {
                tracing::debug!(?idle, "a connection without a call is closed");
                return self.cut();
            }
            tokio::time::sleep(idle - quiet).await;
        }
    }

    /// Returns an error once the connection is cut. Called by the task that drives the connection.
    fn check(&self, context: &Context<'_>) -> io::Result<()> {
        // The waker is registered before the flag is read, so that a cut in between wakes the task.
        self.driver.register(context.waker());
        if self.cut.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// A running call on a [`Connection`], which counts the call until this is dropped.
#[derive(Debug)]
pub(super) struct RunningCall(Arc<Connection>);

impl Drop for RunningCall {
    fn drop(&mut self) {
        let mut life = self.0.life.lock();
        life.calls -= 1;
        life.quiet = Instant::now();
    }
}

/// The stream of bytes of a [`Connection`].
pub(super) struct Io {
    socket: Socket,
    connection: Arc<Connection>,
    /// Ends the task of [`Connection::watch`].
    watch: AbortHandle,
    /// The entry in the table of open connections, dropped with this stream.
    _open: Box<dyn Send + Sync>,
}

impl Io {
    pub(super) fn new(
        socket: Socket,
        connection: Arc<Connection>,
        watch: AbortHandle,
        open: impl Send + Sync + 'static,
    ) -> Self {
        Self {
            socket,
            connection,
            watch,
            _open: Box::new(open),
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Connected for Io {
    type ConnectInfo = Arc<Connection>;
    fn connect_info(&self) -> Arc<Connection> {
        self.connection.clone()
    }
}

impl Io {
    /// Fails once the connection is cut; otherwise drives the TLS handshake, if there is one, to its end.
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<&mut Socket>> {
        self.connection.check(context)?;
        match ready!(self.socket.poll_handshake(context)) {
            Ok(Some(certificates)) => self.connection.origin.show(certificates),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(from = %self.connection.origin, %error, "a TLS handshake failed");
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(&mut self.socket))
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(ready!(self.poll_open(context))?).poll_read(context, into);
        let read = into.filled().len() - before;
        let mut life = self.connection.life.lock();
        life.greeting = GREETING_BYTES.min(life.greeting + read);
        polled
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(ready!(self.poll_open(context))?).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(ready!(self.poll_open(context))?).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(ready!(self.poll_open(context))?).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
