//! The TLS stream of a client, which always ends with `close_notify`.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server;

use crate::serve::listener::SocketStream;

/// The server's end of a TLS connection, after the handshake. Its drop sends `close_notify` before the socket is closed
/// (RFC 8446 section 6.1): without it a client cannot tell the end from a truncation by an attacker.
#[derive(Debug)]
pub(in crate::serve) struct TlsStream(server::TlsStream<SocketStream>);

impl TlsStream {
    pub(super) fn new(stream: server::TlsStream<SocketStream>) -> TlsStream {
        TlsStream(stream)
    }

    pub(in crate::serve) fn has_client_certificate(&self) -> bool {
        self.0.get_ref().1.peer_certificates().is_some()
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        let (socket, session) = self.0.get_mut();
        session.send_close_notify();
        // Written to the socket directly: tokio's `poll_write` returns `Pending` to a task that has used up its cooperative
        // budget, and a drop cannot wait. If the socket is full the client does not read, and would not read the alert.
        while session.wants_write() && matches!(session.write_tls(&mut NonBlocking(socket)), Ok(written) if written > 0)
        {
        }
    }
}

/// A socket whose writes take what fits into its buffer now, and never wait.
struct NonBlocking<'a>(&'a SocketStream);

impl Write for NonBlocking<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
