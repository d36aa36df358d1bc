//! A caller's connection: its share of the places, when it last had a call, and how it is closed from outside.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tonic::codegen::http::Extensions;
use tonic::transport::server::Connected;

use super::limits::Limits;
use super::place::Places;

/// HTTP/2's preface (24 bytes) and the head of the SETTINGS frame that must follow (9): RFC 9113, section 3.4.
const GREETING_BYTES: usize = 24 + 9;

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    /// Its share.
    pub(super) places: Places,
    life: Mutex<Life>,
    cut: AtomicBool,
    /// The task that drives the connection.
    driver: AtomicWaker,
}

#[derive(Debug)]
struct Life {
    calls: usize,
    /// Since when it has been without a call.
    quiet: Instant,
    /// Bytes read, up to those of a greeting.
    greeting: usize,
}

impl Connection {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            places: Places::of_connection(limits),
            life: Mutex::new(Life {
                calls: 0,
                quiet: Instant::now(),
                greeting: 0,
            }),
            cut: AtomicBool::new(false),
            driver: AtomicWaker::new(),
        })
    }

    /// The connection that a request came by; one of its own where it came by none.
    pub(super) fn of(extensions: &Extensions, limits: &Limits) -> Arc<Self> {
        let found = extensions.get::<Arc<Self>>().cloned();
        found.unwrap_or_else(|| Self::new(limits))
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        // Plain values: whoever panicked left them whole.
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call until the answer is dropped.
    pub(super) fn call(self: &Arc<Self>) -> RunningCall {
        self.life().calls += 1;
        RunningCall(self.clone())
    }

    /// Since when it has been without a call; `None` while it has one.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        let life = self.life();
        (life.calls == 0).then_some(life.quiet)
    }

    /// Closes it, its calls with it: the task that drives it finds its next read and write failed.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.driver.wake();
    }

    /// Closes it when it does not speak in time, and when it has been without a call for too long.
    pub(super) async fn watch(self: Arc<Self>, handshake: Duration, idle: Duration) {
        tokio::time::sleep(handshake).await;
        if self.life().greeting < GREETING_BYTES {
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

    /// Fails once it is cut; called by the task that drives it.
    fn check(&self, context: &Context<'_>) -> io::Result<()> {
        // Registered before the flag is read: a cut in between wakes.
        self.driver.register(context.waker());
        if self.cut.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

/// A call under way on a connection.
#[derive(Debug)]
pub(super) struct RunningCall(Arc<Connection>);

impl Drop for RunningCall {
    fn drop(&mut self) {
        let mut life = self.0.life();
        life.calls -= 1;
        life.quiet = Instant::now();
    }
}

/// The bytes of a connection.
pub(super) struct Io {
    stream: TcpStream,
    connection: Arc<Connection>,
    /// Ends what watches over it.
    watch: AbortHandle,
    /// Dropped with it: counts it.
    _open: Box<dyn Send + Sync>,
}

impl Io {
    pub(super) fn new(
        stream: TcpStream,
        connection: Arc<Connection>,
        watch: AbortHandle,
        open: impl Send + Sync + 'static,
    ) -> Self {
        Self {
            stream,
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

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.connection.check(context)?;
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, into);
        let read = into.filled().len() - before;
        let mut life = self.connection.life();
        life.greeting = GREETING_BYTES.min(life.greeting + read);
        polled
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.connection.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection.check(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
