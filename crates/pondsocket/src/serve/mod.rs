//! Ports of its own. Each socket is HTTP, within deadlines, until it ends or becomes a WebSocket or an event stream:
//!
//! ```text
//! listeners -> accept: one task for each socket, which has a place (pending)
//!                |
//!      PROXY header -> tls -> http: requests within deadlines -> probes, or the pond's service -> upgraded: not ours any more
//!                                                                                       -> an event stream: no deadlines
//! ```

mod accept;
mod accepted;
mod acceptor;
mod http;
mod listener;
mod options;
mod pending;
mod probes;
mod progress;
mod signals;
mod streaming;
#[cfg(feature = "tls")]
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::error::{Error, Result};
use crate::limits::address::group;
use crate::metrics::{Component, SocketCloseReason};
use crate::pond::PondSocket;
use crate::pond::shutdown::{Shutdown, ShutdownReport};

use acceptor::Acceptor;
pub use listener::Listener;
use listener::{ListenerSettings, Peer};
pub use options::{MetricsPage, ServerOptions};
pub(crate) use progress::Watched;
use signals::Signals;
#[cfg(feature = "tls")]
pub use tls::Tls;

/// A [`PondSocket`] with a port of its own, or several: HTTP/1.1 over TCP or Unix sockets, with the feature `tls` over
/// TLS. It serves the endpoints, and [probes](ServerOptions#structfield.health_path).
///
/// ```no_run
/// # use pondsocket::{PondSocket, Result, Server};
/// # async fn main_of(pond: PondSocket) -> Result<()> {
/// Server::new(pond).listen("0.0.0.0:8080").await
/// # }
/// ```
///
/// Dropping it stops accepting; the WebSockets there are go on, the event streams end.
#[derive(Debug)]
pub struct Server {
    pond: PondSocket,
    options: ServerOptions,
    running: Option<RunningServer>,
}

/// Serving, then Closing: never back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ServerStage {
    /// Requests are answered; once the pond drains, only probes are.
    Serving,
    /// Nothing is accepted any more; requests in hand are answered.
    Closing,
}

/// The state that all sockets of a running server share.
#[derive(Debug)]
struct ServerContext {
    pond: PondSocket,
    options: ServerOptions,
    stage: watch::Receiver<ServerStage>,
    /// Probes and metrics have a listener of their own.
    has_admin: bool,
}

#[derive(Debug)]
struct RunningServer {
    addresses: Vec<SocketAddr>,
    /// The addresses that it listens on, for logs.
    names: String,
    stage: watch::Sender<ServerStage>,
    /// For clients, and for those who run it, if these have listeners of their own.
    accepting: Vec<JoinHandle<()>>,
}

impl Server {
    /// A server with default options that is not running yet.
    pub fn new(pond: PondSocket) -> Server {
        Server { pond, options: ServerOptions::default(), running: None }
    }

    /// A server with these options.
    ///
    /// # Errors
    /// If they can't work; the message names the field.
    pub fn with_options(pond: PondSocket, options: ServerOptions) -> Result<Server> {
        options.validate()?;
        Ok(Server { pond, options, running: None })
    }

    /// Binds (see [`Listener::bind`]) and serves in the background. Port 0 picks a free one: see
    /// [`local_addr`](Self::local_addr).
    ///
    /// # Errors
    /// 409 if it is running already, or the pond has been shut down; 503 if the address cannot be bound.
    pub async fn start(&mut self, address: &str) -> Result<()> {
        self.check_startable()?;
        self.start_on([Listener::bind(address).await?])
    }

    /// Serves in the background wherever these listen. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// 400 if there are none, or only [those for probes](Listener::admin); 409 as for [`start`](Self::start); 503 if
    /// the runtime does not take one.
    pub fn start_on(&mut self, listeners: impl IntoIterator<Item = Listener>) -> Result<()> {
        self.check_startable()?;
        let listeners = Vec::from_iter(listeners);
        if listeners.iter().all(|listener| listener.settings.admin) {
            return Err(Error::bad_request("there is no listener for clients"));
        }
        let names = listeners.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let addresses = listeners.iter().filter_map(Listener::local_addr).collect();
        let acceptors = listeners.into_iter().map(Acceptor::new).collect::<Result<Vec<_>>>()?;
        let (admin, public) = acceptors.into_iter().partition::<Vec<_>, _>(|acceptor| acceptor.settings.admin);
        let (sender, stage) = watch::channel(ServerStage::Serving);
        let (pond, options, has_admin) = (self.pond.clone(), self.options.clone(), !admin.is_empty());
        let server = Arc::new(ServerContext { pond, options, stage, has_admin });
        let groups = [public, admin].into_iter().filter(|group| !group.is_empty());
        let accepting = groups.map(|group| tokio::spawn(accept::accept(group, Arc::clone(&server)))).collect();
        tracing::info!(target: "pondsocket::server", address = names, "listening");
        self.running = Some(RunningServer { addresses, names, stage: sender, accepting });
        Ok(())
    }

    fn check_startable(&self) -> Result<()> {
        if self.running.is_some() {
            return Err(Error::conflict("the server is running already"));
        }
        if self.pond.is_draining() {
            return Err(Error::conflict("the pond has been shut down"));
        }
        Ok(())
    }

    /// The first TCP address it is bound to, while it runs.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addrs().first().copied()
    }

    /// All TCP addresses it is bound to, in the order of its listeners, while it runs.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.running.as_ref().map_or(&[], |running| &running.addresses)
    }

    /// Returns `true` if it runs.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Shuts the [`PondSocket`] down (see [`PondSocket::shutdown`]), which can't be taken back. Meanwhile probes are
    /// still answered, then nothing is accepted any more. `None` if it is not running.
    pub async fn stop(&mut self, how: impl Into<Shutdown>) -> Option<ShutdownReport> {
        let mut running = self.running.take()?;
        let how = how.into();
        let deadline = Instant::now().checked_add(how.longest());
        let report = self.pond.shutdown(how).await;
        running.stage.send_replace(ServerStage::Closing);
        for accepting in &mut running.accepting {
            within(deadline, accepting).await;
        }
        tracing::info!(target: "pondsocket::server", address = running.names, "stopped");
        Some(report)
    }

    /// Binds, serves until SIGINT or SIGTERM, then stops: after
    /// [`drain_delay`](ServerOptions#structfield.drain_delay), with
    /// [`shutdown_timeout`](ServerOptions#structfield.shutdown_timeout) for clients to go, who are told one after the
    /// other over [`drain_spread`](ServerOptions#structfield.drain_spread). A second signal ends the wait. At SIGHUP a
    /// TLS certificate that is from files is read anew.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn listen(self, address: &str) -> Result<()> {
        self.check_startable()?;
        self.listen_on([Listener::bind(address).await?]).await
    }

    /// The same wherever these listen.
    ///
    /// # Errors
    /// As [`start_on`](Self::start_on).
    pub async fn listen_on(mut self, listeners: impl IntoIterator<Item = Listener>) -> Result<()> {
        let mut signals = Signals::new().map_err(Error::internal)?;
        #[cfg(all(unix, feature = "tls"))]
        let _renewal = tls::Renewal::start(self.options.tls.as_ref()).map_err(Error::internal)?;
        self.start_on(listeners)?;
        signals.next().await.map_err(Error::internal)?;
        let how = Shutdown::within(self.options.shutdown_timeout);
        let how = how.spread(self.options.drain_spread).delay(self.options.drain_delay);
        tokio::select! {
            _ = self.stop(how) => Ok(()),
            again = signals.next() => again.map_err(Error::internal),
        }
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        // The sockets that are not upgraded belong to that task, and end with it.
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

impl ServerContext {
    /// Waits for the last stage.
    async fn closing(&self) {
        // An error means that the server has been dropped, which is the same.
        let _ = self.stage.clone().wait_for(|stage| *stage == ServerStage::Closing).await;
    }

    /// The address whose share of all places a socket counts to, if that is known: not a proxy's, behind which anybody
    /// may be.
    fn share_of(&self, peer: Peer, settings: &ListenerSettings) -> Option<IpAddr> {
        let address = peer.ip().filter(|address| !self.pond.common.proxies.trust(*address));
        address.filter(|_| settings.proxies.is_none()).map(group)
    }

    /// Tells the application's metrics that a socket is closed by the server.
    fn closed(&self, reason: SocketCloseReason) {
        self.pond.common.meter.count(|metrics| metrics.socket_closed(reason));
    }

    /// Tells the application's metrics that something of the server failed.
    fn count(&self, error: Error) {
        self.pond.common.meter.count(|metrics| metrics.error(Component::HttpServer, &error));
    }
}

/// Waits for `what` until the deadline, or for ever.
async fn within(deadline: Option<Instant>, what: impl Future) {
    match deadline {
        // Whether it was in time makes no difference: what is left ends with the server.
        Some(deadline) => drop(timeout_at(deadline, what).await),
        None => drop(what.await),
    }
}
