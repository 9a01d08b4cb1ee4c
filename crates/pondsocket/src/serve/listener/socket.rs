//! A client's socket, and the client's address.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{self, IpAddr, SocketAddr};
#[cfg(unix)]
use std::os;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Extensions;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::edge::origin::{PeerAddr, UnixPeer};

/// An accepted socket.
#[derive(Debug)]
pub(in crate::serve) enum SocketStream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// An accepted socket that is registered with no runtime.
#[derive(Debug)]
pub(in crate::serve) enum UnregisteredStream {
    Tcp(net::TcpStream),
    #[cfg(unix)]
    Unix(os::unix::net::UnixStream),
}

impl UnregisteredStream {
    /// Registers the socket with the current runtime.
    pub(in crate::serve) fn register(self) -> io::Result<SocketStream> {
        match self {
            UnregisteredStream::Tcp(stream) => TcpStream::from_std(stream).map(SocketStream::Tcp),
            #[cfg(unix)]
            UnregisteredStream::Unix(stream) => UnixStream::from_std(stream).map(SocketStream::Unix),
        }
    }
}

/// The address of the client of a socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::serve) enum Peer {
    At(SocketAddr),
    /// A process on this machine, over a Unix socket. It has no address.
    Local,
}

impl Peer {
    /// The peer at an address. An IPv4 address that is mapped into IPv6, as a dual-stack listener has it, is unmapped:
    /// otherwise a client would count as another one than on an IPv4 listener, and match no IPv4 network.
    pub(in crate::serve) fn at(address: SocketAddr) -> Peer {
        Peer::At(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    pub(in crate::serve) fn ip(self) -> Option<IpAddr> {
        match self {
            Peer::At(address) => Some(address.ip()),
            Peer::Local => None,
        }
    }

    /// Inserts the peer into the extensions of a request, where endpoints look for it.
    pub(in crate::serve) fn insert_into(self, extensions: &mut Extensions) {
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
    /// Takes the socket off its runtime.
    pub(in crate::serve) fn unregister(self) -> io::Result<UnregisteredStream> {
        match self {
            SocketStream::Tcp(stream) => stream.into_std().map(UnregisteredStream::Tcp),
            #[cfg(unix)]
            SocketStream::Unix(stream) => stream.into_std().map(UnregisteredStream::Unix),
        }
    }

    /// Writes as much as fits into the socket's buffer, without waiting.
    #[cfg(feature = "tls")]
    pub(in crate::serve) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            SocketStream::Tcp(stream) => stream.try_write(bytes),
            #[cfg(unix)]
            SocketStream::Unix(stream) => stream.try_write(bytes),
        }
    }
}

/// Evaluates a call for the stream of either variant.
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
