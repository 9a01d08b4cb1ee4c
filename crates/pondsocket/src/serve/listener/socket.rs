//! A client's socket, and where the client is.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Extensions;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::edge::peer::{PeerAddr, UnixPeer};

/// An accepted socket.
#[derive(Debug)]
pub(in crate::serve) enum SocketStream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// The peer at the other end of a socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::serve) enum Peer {
    At(SocketAddr),
    /// Somebody on this machine, over a Unix socket.
    Local,
}

impl Peer {
    /// An IPv4 address may come in the dress of an IPv6 one.
    pub(in crate::serve) fn at(address: SocketAddr) -> Peer {
        Peer::At(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    pub(in crate::serve) fn ip(self) -> Option<IpAddr> {
        match self {
            Peer::At(address) => Some(address.ip()),
            Peer::Local => None,
        }
    }

    /// Tells whoever answers a request.
    pub(in crate::serve) fn introduce(self, extensions: &mut Extensions) {
        match self {
            Peer::At(address) => drop(extensions.insert(PeerAddr(address))),
            Peer::Local => drop(extensions.insert(UnixPeer)),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::At(address) => address.fmt(f),
            Peer::Local => f.write_str("unix"),
        }
    }
}

impl SocketStream {
    /// Writes what the socket takes at once.
    #[cfg(feature = "tls")]
    pub(in crate::serve) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            SocketStream::Tcp(stream) => stream.try_write(bytes),
            #[cfg(unix)]
            SocketStream::Unix(stream) => stream.try_write(bytes),
        }
    }
}

/// Calls a method of whichever it is.
macro_rules! either {
    ($stream:expr, $it:ident => $call:expr) => {
        match $stream {
            SocketStream::Tcp($it) => $call,
            #[cfg(unix)]
            SocketStream::Unix($it) => $call,
        }
    };
}

impl AsyncRead for SocketStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), it => Pin::new(it).poll_read(cx, buffer))
    }
}

impl AsyncWrite for SocketStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), it => Pin::new(it).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), it => Pin::new(it).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        either!(self, it => it.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), it => Pin::new(it).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), it => Pin::new(it).poll_shutdown(cx))
    }
}
