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

#[cfg(target_os = "linux")]
use socket2::SockRef;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::lookup_host;

use crate::error::{Error, Result};
use crate::limits::address::Networks;

pub(super) use proxied::read_proxy_header;
pub(super) use socket::{Peer, SocketStream, UnregisteredStream};
#[cfg(unix)]
pub(super) use unix::SocketFile;

/// The number of connections that wait in the operating system to be accepted, unless its own limit is lower.
pub(super) const BACKLOG: i32 = 1024;

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
    /// It was bound here, so that its options are known; inherited sockets may have others.
    bound_here: bool,
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
    /// Other processes may listen on the same port.
    pub(super) reuse_port: bool,
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
        Listener::bind_tcp(address, false).await
    }

    /// Listens on a TCP address as [`bind`](Self::bind) does, with `SO_REUSEPORT`: other sockets of the same user may listen
    /// on the same address and port, if they are bound in this way, too. So the next process can listen before this one
    /// stops. Linux spreads new connections evenly over them; other systems may not.
    ///
    /// When the shutdown begins, the server accepts the connections that wait here already, and stops listening at once: from
    /// then on the other sockets get all new clients. Without it these would be refused until the last connection has ended.
    /// A connection that arrives during these microseconds is reset, unless the sysctl `net.ipv4.tcp_migrate_req` is 1.
    ///
    /// # Errors
    /// 503 if it cannot be bound, or if this system has no such option; the message has the address and the reason.
    pub async fn bind_reuse_port(address: &str) -> Result<Listener> {
        let mut listener = Listener::bind_tcp(address, true).await?;
        listener.settings.reuse_port = true;
        Ok(listener)
    }

    async fn bind_tcp(address: &str, reuse_port: bool) -> Result<Listener> {
        let failed = |error| Error::unavailable(format!("cannot listen on {address}: {error}"));
        let addresses = lookup_host(address).await.map_err(failed)?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match bind(address, reuse_port) {
                Ok(socket) => return Ok(Listener { bound_here: true, ..Listener::new(Bound::Tcp(socket.into())) }),
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
        Listener { bound, settings: ListenerSettings::default(), bound_here: false }
    }

    /// This number of listeners on the same address, over which the operating system spreads connections; this one alone if
    /// that is not possible.
    pub(super) fn multiply(self, count: usize) -> Result<Vec<Listener>, Listener> {
        let Some(address) = self.local_addr().filter(|_| self.bound_here && cfg!(target_os = "linux")) else {
            return Err(self);
        };
        match self.others(address, count.saturating_sub(1)) {
            Ok(others) => {
                let settings = self.settings.clone();
                let other = |socket: Socket| {
                    let bound = Bound::Tcp(socket.into());
                    Listener { bound, settings: settings.clone(), bound_here: true }
                };
                let others = others.into_iter().map(other).collect::<Vec<_>>();
                Ok([self].into_iter().chain(others).collect())
            }
            Err(error) => {
                tracing::warn!(target: "pondsocket::server", %address, %error, "the shards have no listeners of their own: sockets are handed over");
                Err(self)
            }
        }
    }

    /// Further sockets on the address of this one.
    #[cfg(target_os = "linux")]
    fn others(&self, address: SocketAddr, count: usize) -> io::Result<Vec<Socket>> {
        let Bound::Tcp(listener) = &self.bound else { return Ok(Vec::new()) };
        // Only now: a listener that was bound with this option would find no other server that has the port for itself and
        // for its shards. Linux reads it whenever another socket is bound to the port.
        SockRef::from(listener).set_reuse_port(true)?;
        let others = (0..count).map(|_| bind(address, true)).collect::<io::Result<Vec<_>>>();
        if others.is_err() {
            SockRef::from(listener).set_reuse_port(self.settings.reuse_port)?;
        }
        others
    }

    #[cfg(not(target_os = "linux"))]
    fn others(&self, _: SocketAddr, _: usize) -> io::Result<Vec<Socket>> {
        Err(io::ErrorKind::Unsupported.into())
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

/// Binds a socket and listens on it, with `SO_REUSEPORT` if so requested.
fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Lets a restarted server bind while connections of its predecessor are in TIME_WAIT. On Windows the option would let two
    // servers listen on one port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if reuse_port {
        #[cfg(all(unix, not(any(target_os = "cygwin", target_os = "illumos", target_os = "solaris"))))]
        socket.set_reuse_port(true)?;
        #[cfg(not(all(unix, not(any(target_os = "cygwin", target_os = "illumos", target_os = "solaris")))))]
        return Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no SO_REUSEPORT"));
    }
    if address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) {
        // The default depends on the system (`net.ipv6.bindv6only`).
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}
