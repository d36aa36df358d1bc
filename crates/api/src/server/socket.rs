//! The bytes of a caller's connection: plain TCP, TLS over TCP, or a Unix socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use qres_node::descriptors;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

/// A stream of bytes from a caller. A TLS handshake runs with the first read or write, in the task that drives the connection,
/// so that a slow handshake holds up no other caller.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// A TLS handshake that has not ended.
    Handshake(Box<Accept<TcpStream>>),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The client certificates that a handshake brought, the holder's first; empty without.
pub(super) type Certificates = Vec<CertificateDer<'static>>;

impl Socket {
    /// Returns the socket of a TCP connection, with TLS if there is a configuration.
    pub(super) fn tcp(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> Self {
        match tls {
            Some(config) => Self::Handshake(Box::new(TlsAcceptor::from(config).accept(stream))),
            None => Self::Tcp(stream),
        }
    }

    /// Returns true if the connection took one of the descriptors that are kept for the store.
    pub(super) fn is_for_store(&self) -> bool {
        match self {
            Self::Tcp(stream) => descriptors::is_for_store(stream),
            Self::Unix(stream) => descriptors::is_for_store(stream),
            Self::Handshake(accept) => accept.get_ref().is_some_and(descriptors::is_for_store),
            Self::Tls(stream) => descriptors::is_for_store(stream.get_ref().0),
        }
    }

    /// Drives the handshake. Returns the caller's certificates once, when the handshake has ended; `None` later and without
    /// TLS.
    pub(super) fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Certificates>>> {
        let Self::Handshake(accept) = self else {
            return Poll::Ready(Ok(None));
        };
        let stream = ready!(Pin::new(accept.as_mut()).poll(context))?;
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        *self = Self::Tls(Box::new(stream));
        Poll::Ready(Ok(Some(shown)))
    }
}

/// Calls a method of the stream that a [`Socket`] holds. A handshake is over before any of these calls.
macro_rules! delegate {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket {
            Socket::Tcp($stream) => $call,
            Socket::Unix($stream) => $call,
            Socket::Tls($stream) => {
                let $stream = $stream.as_mut();
                $call
            }
            Socket::Handshake(_) => Poll::Pending,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_read(context, into))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(context, parts))
    }

    fn is_write_vectored(&self) -> bool {
        // rustls takes parts too; a Unix socket and TCP do by themselves.
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.get_mut(), stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // Nothing was agreed, so there is no peer to say goodbye to.
            Self::Handshake(_) => Poll::Ready(Ok(())),
            socket => delegate!(socket, stream => Pin::new(stream).poll_shutdown(context)),
        }
    }
}
