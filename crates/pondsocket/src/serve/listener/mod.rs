//! The sockets on which a server listens.

mod proxied;
mod socket;
#[cfg(unix)]
mod unix;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
#[cfg(unix)]
use std::os::unix::net::UnixListener;
#[cfg(unix)]
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::lookup_host;

use crate::error::{Error, Result};
use crate::limits::address::Networks;

pub(super) use proxied::read_proxy_header;
pub(super) use socket::{Peer, SocketStream};
#[cfg(unix)]
pub(super) use unix::SocketFile;

/// The number of connections that wait in the operating system to be accepted, unless its own limit is lower.
const BACKLOG: i32 = 1024;

/// A listening socket for a [`Server`](crate::Server), to be passed to [`Server::start_on`](crate::Server::start_on) or
/// [`Server::listen_on`](crate::Server::listen_on): on a TCP address, on a Unix socket, or inherited.
///
/// ```no_run
/// # use pondsocket::{Listener, PondSocket, Result, Server};
/// # async fn main_of(pond: PondSocket) -> Result<()> {
/// let public = Listener::bind("[::]:8080").await?;
/// let local = Listener::unix("/run/chat.sock", 0o660)?;
/// let pages = Listener::bind("127.0.0.1:9090").await?.admin();
/// Server::new(pond).listen_on([public, local, pages]).await
/// # }
/// ```
#[derive(Debug)]
pub struct Listener {
    pub(super) bound: Bound,
    pub(super) settings: ListenerSettings,
}

/// A listening socket in non-blocking mode.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, Option<SocketFile>),
}

/// The settings in which the listeners of one server may differ.
#[derive(Clone, Debug, Default)]
pub(super) struct ListenerSettings {
    pub(super) admin: bool,
    pub(super) plain: bool,
    /// The proxies from which each connection must begin with a PROXY header; `None` if no header is expected.
    pub(super) proxies: Option<Arc<Networks>>,
}

impl Listener {
    /// Listens on an address such as `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`. Port 0 selects a free port. `[::]`
    /// accepts clients over IPv4, too. `unix:` followed by a path is the same as [`unix`](Self::unix) with mode 0o660.
    ///
    /// # Errors
    /// 503 if it cannot be bound; the message has the address and the reason.
    pub async fn bind(address: &str) -> Result<Listener> {
        #[cfg(unix)]
        if let Some(path) = address.strip_prefix("unix:") {
            return Listener::unix(path, 0o660);
        }
        let failed = |error| Error::unavailable(format!("cannot listen on {address}: {error}"));
        let addresses = lookup_host(address).await.map_err(failed)?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match bind(address) {
                Ok(listener) => return Ok(Listener::new(Bound::Tcp(listener))),
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    /// Listens on a Unix socket at a path. Its file gets these permissions before clients can connect. The file of a socket
    /// on which no process listens any more is replaced. The file is removed when the listener is dropped.
    ///
    /// Clients have no address: limits per address do not apply to them, and
    /// [`client_ip`](crate::ConnectionContext::client_ip) is `None`, unless
    /// [`trusted_proxies`](crate::Options::trusted_proxies) contains `unix` and a header has the address, or a
    /// [PROXY header](Self::proxy_protocol) has it.
    ///
    /// # Errors
    /// 503 if it cannot be bound; the message has the path and the reason.
    #[cfg(unix)]
    pub fn unix(path: impl AsRef<Path>, mode: u32) -> Result<Listener> {
        let path = path.as_ref();
        let bound = unix::bind(path, mode, BACKLOG);
        let failed = |error| Error::unavailable(format!("cannot listen on unix:{}: {error}", path.display()));
        let (listener, file) = bound.map_err(failed)?;
        Ok(Listener::new(Bound::Unix(listener, Some(file))))
    }

    /// The sockets with which the process was started (`LISTEN_FDS` and `LISTEN_PID`, as systemd sets them), in their order;
    /// empty without any. They are returned once: later calls, and child processes, find none.
    ///
    /// # Errors
    /// 503 if one of them is neither a TCP nor a Unix stream socket.
    #[cfg(unix)]
    pub fn inherited() -> Result<Vec<Listener>> {
        let mut inherited = listenfd::ListenFd::from_env();
        let unsupported = |at: usize, error: io::Error| Error::unavailable(format!("inherited socket {at}: {error}"));
        let mut listeners = Vec::new();
        for at in 0..inherited.len() {
            if let Ok(Some(listener)) = inherited.take_tcp_listener(at) {
                listeners.push(Listener::from_tcp(listener)?);
                continue;
            }
            if let Some(listener) = inherited.take_unix_listener(at).map_err(|error| unsupported(at, error))? {
                listeners.push(Listener::from_unix(listener)?);
            }
        }
        Ok(listeners)
    }

    /// A TCP socket that listens already.
    ///
    /// # Errors
    /// 503 if it cannot be set to non-blocking mode.
    pub fn from_tcp(listener: TcpListener) -> Result<Listener> {
        listener.set_nonblocking(true).map_err(|error| Error::unavailable(error.to_string()))?;
        Ok(Listener::new(Bound::Tcp(listener)))
    }

    /// A Unix socket that listens already. Its file is not removed when the listener is dropped.
    ///
    /// # Errors
    /// 503 if it cannot be set to non-blocking mode.
    #[cfg(unix)]
    pub fn from_unix(listener: UnixListener) -> Result<Listener> {
        listener.set_nonblocking(true).map_err(|error| Error::unavailable(error.to_string()))?;
        Ok(Listener::new(Bound::Unix(listener, None)))
    }

    fn new(bound: Bound) -> Listener {
        Listener { bound, settings: ListenerSettings::default() }
    }

    /// Requires each connection to begin with a PROXY header, version 1 or 2
    /// (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>), which has the client's address. A connection is closed
    /// if it is not from one of these proxies (addresses, or networks such as `10.0.0.0/8`), or if it has sent no valid header
    /// within `read_timeout`. All processes that can connect to a Unix socket are trusted.
    ///
    /// Connections of the proxy itself (`LOCAL`, `UNKNOWN`), such as health checks, have the proxy's address.
    ///
    /// # Errors
    /// 400 if one is neither an address nor a network.
    pub fn proxy_protocol<T: AsRef<str>>(mut self, proxies: impl IntoIterator<Item = T>) -> Result<Listener> {
        self.settings.proxies = Some(Arc::new(Networks::parse("proxy_protocol", proxies)?));
        Ok(self)
    }

    /// Serves the probes and the metrics page on this listener, and nothing else, without TLS. The other listeners of the
    /// server then do not serve them. Admin listeners have a pool of pending sockets of their own, so that a flood of clients
    /// does not delay a probe.
    #[must_use]
    pub fn admin(mut self) -> Listener {
        self.settings.admin = true;
        self.plain()
    }

    /// Serves this listener without TLS, even if the server's options have a TLS configuration.
    #[must_use]
    pub fn plain(mut self) -> Listener {
        self.settings.plain = true;
        self
    }

    /// The address of a TCP socket; `None` for others.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.bound {
            Bound::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Bound::Unix(..) => None,
        }
    }
}

/// The address, or `unix:` and the path.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.bound {
            Bound::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(_) => f.write_str("unknown"),
            },
            #[cfg(unix)]
            Bound::Unix(listener, _) => match listener.local_addr().ok().as_ref().and_then(|it| it.as_pathname()) {
                Some(path) => write!(f, "unix:{}", path.display()),
                None => f.write_str("unix:"),
            },
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Lets a restarted server bind while connections of its predecessor are in TIME_WAIT. On Windows the option would let two
    // servers listen on one port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) {
        // The default depends on the system (`net.ipv6.bindv6only`).
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
