//! A port of its own. Each socket is HTTP, within deadlines, until it ends or becomes a WebSocket or an event stream:
//!
//! ```text
//! listener -> accept: one task for each socket, at most max_pending
//!                |
//!               tls -> http: requests within deadlines -> probes, or the pond's service -> upgraded: not ours any more
//!                                                                                       -> an event stream: no deadlines
//! ```

mod accept;
mod http;
mod options;
mod probes;
mod progress;
mod signals;
mod streaming;
#[cfg(feature = "tls")]
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::error::{Error, Result};
use crate::metrics::Component;
use crate::pond::PondSocket;
use crate::pond::shutdown::{Shutdown, ShutdownReport};

pub use options::{MetricsPage, ServerOptions};
pub(crate) use progress::Watched;
use signals::Signals;
#[cfg(feature = "tls")]
pub use tls::Tls;

/// A [`PondSocket`] with a port of its own: HTTP/1.1 over TCP, or with the feature `tls` over TLS. It serves the
/// endpoints, and [probes](ServerOptions#structfield.health_path).
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
    running: Option<Running>,
}

/// Serving, then Closing: never back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Requests are answered; once the pond drains, only probes are.
    Serving,
    /// Nothing is accepted any more; requests in hand are answered.
    Closing,
}

/// What all sockets of a running server share.
#[derive(Debug)]
struct Site {
    pond: PondSocket,
    options: ServerOptions,
    stage: watch::Receiver<Stage>,
    /// How many sockets are event streams.
    streams: watch::Sender<usize>,
}

#[derive(Debug)]
struct Running {
    address: SocketAddr,
    stage: watch::Sender<Stage>,
    accepting: JoinHandle<()>,
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

    /// Binds and serves in the background. Port 0 picks a free one: see [`local_addr`](Self::local_addr).
    ///
    /// # Errors
    /// 409 if it is running already, or the pond has been shut down; 503 if the address cannot be bound.
    pub async fn start(&mut self, address: &str) -> Result<()> {
        if self.running.is_some() {
            return Err(Error::conflict("the server is running already"));
        }
        if self.pond.is_draining() {
            return Err(Error::conflict("the pond has been shut down"));
        }
        let bind =
            async { TcpListener::bind(address).await.and_then(|listener| Ok((listener.local_addr()?, listener))) };
        let (local, listener) = bind
            .await
            .map_err(|error: io::Error| Error::unavailable(format!("cannot listen on {address}: {error}")))?;
        let (sender, stage) = watch::channel(Stage::Serving);
        let (pond, options, streams) = (self.pond.clone(), self.options.clone(), watch::Sender::default());
        let site = Arc::new(Site { pond, options, stage, streams });
        let accepting = tokio::spawn(accept::accept(listener, site));
        tracing::info!(target: "pondsocket::server", address = %local, "listening");
        self.running = Some(Running { address: local, stage: sender, accepting });
        Ok(())
    }

    /// The address it is bound to, while it runs.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.running.as_ref().map(|running| running.address)
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Shuts the [`PondSocket`] down (see [`PondSocket::shutdown`]), which can't be taken back. Meanwhile probes are still
    /// answered, then nothing is accepted any more. `None` if it is not running.
    pub async fn stop(&mut self, how: impl Into<Shutdown>) -> Option<ShutdownReport> {
        let mut running = self.running.take()?;
        let how = how.into();
        let deadline = Instant::now().checked_add(how.longest());
        let report = self.pond.shutdown(how).await;
        running.stage.send_replace(Stage::Closing);
        within(deadline, &mut running.accepting).await;
        tracing::info!(target: "pondsocket::server", address = %running.address, "stopped");
        Some(report)
    }

    /// Binds, serves until SIGINT or SIGTERM, then stops: after
    /// [`drain_delay`](ServerOptions#structfield.drain_delay), with
    /// [`shutdown_timeout`](ServerOptions#structfield.shutdown_timeout) for clients to go, who are told one after the other
    /// over [`drain_spread`](ServerOptions#structfield.drain_spread). A second signal ends the wait. At SIGHUP a TLS
    /// certificate that is from files is read anew.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn listen(mut self, address: &str) -> Result<()> {
        let mut signals = Signals::new().map_err(Error::internal)?;
        #[cfg(all(unix, feature = "tls"))]
        let _renewal = tls::Renewal::start(self.options.tls.as_ref()).map_err(Error::internal)?;
        self.start(address).await?;
        signals.next().await.map_err(Error::internal)?;
        let how = Shutdown::within(self.options.shutdown_timeout);
        let how = how.spread(self.options.drain_spread).delay(self.options.drain_delay);
        tokio::select! {
            _ = self.stop(how) => Ok(()),
            again = signals.next() => again.map_err(Error::internal),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The sockets that are not upgraded belong to that task, and end with it.
        self.accepting.abort();
    }
}

impl Site {
    /// Waits for the last stage.
    async fn closing(&self) {
        // An error means that the server has been dropped, which is the same.
        let _ = self.stage.clone().wait_for(|stage| *stage == Stage::Closing).await;
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
