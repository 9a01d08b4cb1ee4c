//! The standalone server: listeners, TLS and HTTP. Each socket has deadlines until it ends, or becomes a WebSocket or an event
//! stream:
//!
//! ```text
//! listener -> acceptor -> accept: one task for each socket, with a permit of the pool (pending)
//!             (with shards: one accepting task in each)
//!                            |
//!            PROXY header -> tls -> http: requests within deadlines (progress) -> probes
//!                                                                              -> the pond's service
//!                                                                                 -> upgrade: the task ends
//!                                                                                 -> event stream: no deadlines
//! ```

mod accept;
mod acceptor;
mod handover;
mod http;
mod listener;
mod options;
mod pending;
mod probes;
mod progress;
mod shard;
mod signals;
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

use acceptor::AcceptorGroup;
use handover::Handover;
pub use listener::Listener;
use listener::{ListenerSettings, Peer};
pub use options::{MetricsPage, ServerOptions};
use pending::{PendingPermit, PendingPool};
pub(crate) use progress::ObservedStream;
use shard::Shard;
use signals::StopSignals;
#[cfg(feature = "tls")]
pub use tls::Tls;

/// A [`PondSocket`] with one or several ports of its own: HTTP/1.1 over TCP or Unix sockets, with the feature `tls` over
/// TLS. It serves the endpoints and [probes](ServerOptions#structfield.health_path).
///
/// ```no_run
/// # use pondsocket::{PondSocket, Result, Server};
/// # async fn main_of(pond: PondSocket) -> Result<()> {
/// Server::new(pond).listen("0.0.0.0:8080").await
/// # }
/// ```
///
/// Its drop stops accepting, and ends event streams and requests; open WebSockets go on.
#[derive(Debug)]
pub struct Server {
    pond: PondSocket,
    options: ServerOptions,
    running: Option<RunningServer>,
}

/// The stage of a server: Serving, then Closing, never back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ServerStage {
    /// Requests are handled; once the pond drains, only probes are.
    Serving,
    /// Nothing is accepted any more; requests that are being handled get their responses.
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

/// A socket that has been accepted and is not upgraded.
#[derive(Debug)]
struct AcceptedSocket {
    /// The client; with a PROXY header the one that the header names.
    peer: Peer,
    settings: Arc<ListenerSettings>,
    permit: PendingPermit,
    /// The client has authenticated itself with a TLS certificate.
    has_certificate: bool,
}

#[derive(Debug)]
struct RunningServer {
    addresses: Vec<SocketAddr>,
    /// The addresses and paths of all listeners, for logs.
    listeners: String,
    stage: watch::Sender<ServerStage>,
    /// The accepting tasks: of each shard, or one for all clients; one that hands sockets over to shards; and one for admin
    /// listeners, if there are any, which is separate so that a flood of clients takes no permits from probes.
    accepting: Vec<JoinHandle<()>>,
    shards: Vec<Shard>,
}

impl Server {
    /// A server with default options that is not running yet.
    pub fn new(pond: PondSocket) -> Server {
        Server { pond, options: ServerOptions::default(), running: None }
    }

    /// A server with these options.
    ///
    /// # Errors
    /// 400 as [`ServerOptions::validate`].
    pub fn with_options(pond: PondSocket, options: ServerOptions) -> Result<Server> {
        options.validate()?;
        Ok(Server { pond, options, running: None })
    }

    /// Binds (see [`Listener::bind`]) and serves in the background. Port 0 selects a free port, which
    /// [`local_addr`](Self::local_addr) returns.
    ///
    /// # Errors
    /// 409 if the server is running already, or the pond has been shut down; 503 if the address cannot be bound.
    pub async fn start(&mut self, address: &str) -> Result<()> {
        self.check_startable()?;
        self.start_on([self.bind(address).await?])
    }

    /// Serves in the background, on all of these listeners. To be called within a Tokio runtime.
    ///
    /// # Errors
    /// 400 if there are no listeners, or only [admin](Listener::admin) ones; 409 as for [`start`](Self::start); 503 if a
    /// listener cannot be registered with the runtime, or a [shard](ServerOptions#structfield.shards) cannot be started.
    pub fn start_on(&mut self, listeners: impl IntoIterator<Item = Listener>) -> Result<()> {
        self.check_startable()?;
        let listeners = Vec::from_iter(listeners);
        if listeners.iter().all(|listener| listener.settings.admin) {
            return Err(Error::bad_request("there is no listener for clients"));
        }
        let text = listeners.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let addresses = listeners.iter().filter_map(Listener::local_addr).collect();
        let (admin, public) = listeners.into_iter().partition::<Vec<_>, _>(|listener| listener.settings.admin);
        let (sender, stage) = watch::channel(ServerStage::Serving);
        let (pond, options, has_admin) = (self.pond.clone(), self.options.clone(), !admin.is_empty());
        // Before the first client.
        pond.prepare();
        pond.common.restore();
        let server = Arc::new(ServerContext { pond, options, stage, has_admin });
        let mut running =
            RunningServer { addresses, listeners: text, stage: sender, accepting: Vec::new(), shards: Vec::new() };
        if has_admin {
            // Without turns: the probes of operators do not wait behind clients.
            running.accept_here(admin, &server, 0)?;
        }
        match self.options.shards {
            0 => running.accept_here(public, &server, server.pond.common.options.arrivals_per_round)?,
            shards => running.accept_in_shards(public, shards, &server)?,
        }
        tracing::info!(target: "pondsocket::server", address = running.listeners, "listening");
        self.running = Some(running);
        Ok(())
    }

    async fn bind(&self, address: &str) -> Result<Listener> {
        match self.options.reuse_port {
            true => Listener::bind_reuse_port(address).await,
            false => Listener::bind(address).await,
        }
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

    /// The address of the first TCP listener, while the server runs.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addrs().first().copied()
    }

    /// The addresses of all TCP listeners, in the order in which they were given; empty unless the server runs.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        self.running.as_ref().map_or(&[], |running| &running.addresses)
    }

    /// Returns `true` if the server runs.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Shuts the [`PondSocket`] down (see [`PondSocket::shutdown`]), which cannot be undone, then the server. Probes are
    /// answered until the pond is shut down. Returns `None` if the server is not running.
    pub async fn stop(&mut self, shutdown: impl Into<Shutdown>) -> Option<ShutdownReport> {
        let mut running = self.running.take()?;
        let shutdown = shutdown.into();
        let deadline = Instant::now().checked_add(shutdown.longest());
        let report = self.pond.shutdown(shutdown).await;
        running.stage.send_replace(ServerStage::Closing);
        for accepting in &mut running.accepting {
            wait_until(deadline, accepting).await;
        }
        tracing::info!(target: "pondsocket::server", address = running.listeners, "stopped");
        Some(report)
    }

    /// Binds, serves until SIGINT or SIGTERM, then stops: after
    /// [`drain_delay`](ServerOptions#structfield.drain_delay) it closes the connections, spread over
    /// [`drain_spread`](ServerOptions#structfield.drain_spread), and waits for their ends until
    /// [`shutdown_timeout`](ServerOptions#structfield.shutdown_timeout). A second signal ends the wait. At SIGHUP it reloads
    /// a TLS certificate that was read from files.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn listen(self, address: &str) -> Result<()> {
        self.check_startable()?;
        let listener = self.bind(address).await?;
        self.listen_on([listener]).await
    }

    /// Serves on all of these listeners until SIGINT or SIGTERM, as [`listen`](Self::listen) does.
    ///
    /// # Errors
    /// As [`start_on`](Self::start_on).
    pub async fn listen_on(mut self, listeners: impl IntoIterator<Item = Listener>) -> Result<()> {
        let mut signals = StopSignals::new().map_err(Error::internal)?;
        #[cfg(all(unix, feature = "tls"))]
        let _reload = signals::ReloadSignal::start(self.options.tls.as_ref()).map_err(Error::internal)?;
        self.start_on(listeners)?;
        signals.next().await.map_err(Error::internal)?;
        let shutdown = Shutdown::within(self.options.shutdown_timeout).delay(self.options.drain_delay);
        let shutdown = match self.options.drain_spread {
            Some(spread) => shutdown.spread(spread),
            None => shutdown.spread_by_count(),
        };
        tokio::select! {
            _ = self.stop(shutdown) => Ok(()),
            again = signals.next() => again.map_err(Error::internal),
        }
    }
}

impl RunningServer {
    /// Starts a task on the current runtime that accepts from these listeners, `per_round` sockets in a round.
    fn accept_here(&mut self, listeners: Vec<Listener>, server: &Arc<ServerContext>, per_round: usize) -> Result<()> {
        let (acceptors, pool) = (AcceptorGroup::new(listeners, None)?, PendingPool::new(&server.options));
        self.accepting.push(tokio::spawn(accept::accept(acceptors, Arc::clone(server), pool, per_round)));
        Ok(())
    }

    /// Starts shards that accept from these listeners.
    fn accept_in_shards(&mut self, listeners: Vec<Listener>, count: usize, server: &Arc<ServerContext>) -> Result<()> {
        // On this runtime, which lives as long as the pond: a shard ends when it has no more tasks.
        server.pond.common.start_tasks();
        let (own, others) = shard::distribute(listeners, count);
        let (handover, receivers) = Handover::new(count);
        let pool = PendingPool::new(&server.options);
        for (number, (listeners, handed_over)) in own.into_iter().zip(receivers).enumerate() {
            let shard = Shard::start(number)?;
            let acceptors = {
                let _registered_there = shard.runtime.enter();
                AcceptorGroup::new(listeners, Some(handed_over))?
            };
            let per_round = server.pond.common.options.arrivals_per_round;
            let accepting = accept::accept(acceptors, Arc::clone(server), Arc::clone(&pool), per_round);
            self.accepting.push(shard.runtime.spawn(accepting));
            self.shards.push(shard);
        }
        if !others.is_empty() {
            let acceptors = AcceptorGroup::new(others, None)?;
            self.accepting.push(tokio::spawn(accept::hand_over(acceptors, Arc::clone(server), handover)));
        }
        Ok(())
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        // The tasks of the sockets that are not upgraded are owned by these, and are aborted with them.
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

impl ServerContext {
    /// Completes when the server is in its last stage.
    async fn closing(&self) {
        // An error means that the `Server` has been dropped, which closes it, too.
        let _ = self.stage.clone().wait_for(|stage| *stage == ServerStage::Closing).await;
    }

    /// The same for sockets that are still served when the server has closed, until this sender closes them.
    fn serving(&self) -> (watch::Sender<ServerStage>, Arc<ServerContext>) {
        let (sender, stage) = watch::channel(ServerStage::Serving);
        let (pond, options) = (self.pond.clone(), self.options.clone());
        (sender, Arc::new(ServerContext { pond, options, stage, has_admin: self.has_admin }))
    }

    /// The address to which a socket is counted in the pool of pending sockets. `None` for the address of a proxy, since
    /// one client behind it could otherwise have the sockets of all others evicted.
    fn counted_address(&self, peer: Peer, settings: &ListenerSettings) -> Option<IpAddr> {
        let address = peer.ip().filter(|address| !self.pond.common.proxies.trust(*address));
        address.filter(|_| settings.proxies.is_none()).map(group)
    }

    /// Reports to the application's metrics that the server closes a socket.
    fn count_closed(&self, reason: SocketCloseReason) {
        self.pond.common.meter.count(|metrics| metrics.socket_closed(reason));
    }

    /// Reports an error of the server to the application's metrics.
    fn count_error(&self, error: Error) {
        self.pond.common.meter.count(|metrics| metrics.error(Component::HttpServer, &error));
    }
}

/// Waits for a future until the deadline, or without one until it completes.
async fn wait_until(deadline: Option<Instant>, future: impl Future) {
    match deadline {
        // A timeout needs no further action: the remaining sockets end with the server.
        Some(deadline) => drop(timeout_at(deadline, future).await),
        None => drop(future.await),
    }
}
