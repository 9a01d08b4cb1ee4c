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

pub(super) use proxied::header_of;
pub(super) use socket::{Peer, SocketStream};
#[cfg(unix)]
pub(super) use unix::OwnFile;

/// The number of clients that may wait to be accepted, if the system allows it.
const BACKLOG: i32 = 1024;

/// A place where a [`Server`](crate::Server) listens, for [`Server::start_on`](crate::Server::start_on) and
/// [`Server::listen_on`](crate::Server::listen_on): a TCP address, a Unix socket, or a socket that was inherited.
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

/// A socket that listens, and does not block.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, Option<OwnFile>),
}

/// The differences from other listeners of the same server.
#[derive(Clone, Debug, Default)]
pub(super) struct ListenerSettings {
    pub(super) admin: bool,
    pub(super) plain: bool,
    /// The proxies that say in a PROXY header who their clients are, if there have to be any.
    pub(super) proxies: Option<Arc<Networks>>,
}

impl Listener {
    /// Listens at an address such as `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`. Port 0 picks a free one.
    /// `[::]` takes clients over IPv4, too. With `unix:` before a path it is [`unix`](Self::unix) with mode 0o660.
    ///
    /// # Errors
    /// 503 if it cannot; the message names the address, and what is wrong.
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

    /// Listens on a Unix socket at a path, which gets these permissions before anybody can connect. A file that a
    /// server has left there is removed, one on which somebody listens is not; when this listener goes, its file goes,
    /// too.
    ///
    /// Its clients have no address: limits for each address do not hold for them, and
    /// [`client_ip`](crate::ConnectionContext::client_ip) is `None`, unless
    /// [`trusted_proxies`](crate::Options::trusted_proxies) names `unix` and a header tells it, or a
    /// [PROXY header](Self::proxy_protocol) does.
    ///
    /// # Errors
    /// 503 if it cannot; the message names the path, and what is wrong.
    #[cfg(unix)]
    pub fn unix(path: impl AsRef<Path>, mode: u32) -> Result<Listener> {
        let path = path.as_ref();
        let bound = unix::bind(path, mode, BACKLOG);
        let failed = |error| Error::unavailable(format!("cannot listen on unix:{}: {error}", path.display()));
        let (listener, file) = bound.map_err(failed)?;
        Ok(Listener::new(Bound::Unix(listener, Some(file))))
    }

    /// The sockets that the process was started with (`LISTEN_FDS` and `LISTEN_PID`, as systemd sets them), in order:
    /// none, if there are none. They are taken once: what is called later, or started by this process, finds none.
    ///
    /// # Errors
    /// 503 if one of them is neither a TCP nor a Unix stream socket.
    #[cfg(unix)]
    pub fn inherited() -> Result<Vec<Listener>> {
        let mut inherited = listenfd::ListenFd::from_env();
        let unfit = |at: usize, error: io::Error| Error::unavailable(format!("inherited socket {at}: {error}"));
        let mut listeners = Vec::new();
        for at in 0..inherited.len() {
            if let Ok(Some(listener)) = inherited.take_tcp_listener(at) {
                listeners.push(Listener::from_tcp(listener)?);
                continue;
            }
            if let Some(listener) = inherited.take_unix_listener(at).map_err(|error| unfit(at, error))? {
                listeners.push(Listener::from_unix(listener)?);
            }
        }
        Ok(listeners)
    }

    /// A socket that listens already.
    ///
    /// # Errors
    /// 503 if the system refuses to make it one that does not block.
    pub fn from_tcp(listener: TcpListener) -> Result<Listener> {
        listener.set_nonblocking(true).map_err(|error| Error::unavailable(error.to_string()))?;
        Ok(Listener::new(Bound::Tcp(listener)))
    }

    /// A Unix socket that listens already. Its file is left where it is.
    ///
    /// # Errors
    /// 503 if the system refuses to make it one that does not block.
    #[cfg(unix)]
    pub fn from_unix(listener: UnixListener) -> Result<Listener> {
        listener.set_nonblocking(true).map_err(|error| Error::unavailable(error.to_string()))?;
        Ok(Listener::new(Bound::Unix(listener, None)))
    }

    fn new(bound: Bound) -> Listener {
        Listener { bound, settings: ListenerSettings::default() }
    }

    /// Expects that each connection begins with a PROXY header, version 1 or 2
    /// (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>), which says who the client is. It must come from
    /// one of these proxies (addresses, or networks such as `10.0.0.0/8`), and within `read_timeout`; whoever else
    /// connects, or sends no valid header, is closed. The processes that may connect to a Unix socket are all trusted.
    ///
    /// A proxy's own connections (`LOCAL`, `UNKNOWN`), such as health checks, come from the proxy.
    ///
    /// # Errors
    /// 400 if one is neither an address nor a network.
    pub fn proxy_protocol<T: AsRef<str>>(mut self, proxies: impl IntoIterator<Item = T>) -> Result<Listener> {
        self.settings.proxies = Some(Arc::new(Networks::parse("proxy_protocol", proxies)?));
        Ok(self)
    }

    /// Answers probes and the metrics page here, and nothing else. Other listeners of the same server then do not
    /// answer them, and what happens there cannot keep anybody from these pages. TLS is not spoken here.
    #[must_use]
    pub fn admin(mut self) -> Listener {
        self.settings.admin = true;
        self.plain()
    }

    /// Does not speak TLS here, whatever the server's options say.
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

/// Its address, or its path with `unix:` before it.
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
    // Elsewhere this would let two servers share a port.
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    if address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) {
        // Whatever the system's default is.
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
