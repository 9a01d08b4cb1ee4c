use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::metrics::Component;
use crate::pond::PondSocket;
use crate::upgrade::PeerAddr;

/// How long [`Server::listen`] waits for clients to go when it is told to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long accepting pauses after a failure such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A [`PondSocket`] with a port of its own: HTTP/1.1 over TCP, nothing but its endpoints.
///
/// ```no_run
/// # use pondsocket::{PondSocket, Result, Server};
/// # async fn main_of(pond: PondSocket) -> Result<()> {
/// Server::new(pond).listen("0.0.0.0:8080").await
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    pond: PondSocket,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    /// A server that is not running yet.
    pub fn new(pond: PondSocket) -> Server {
        Server { pond, running: None }
    }

    /// Binds and serves in the background. Port 0 picks a free one: see [`local_addr`](Self::local_addr).
    ///
    /// # Errors
    /// 409 if it is running already, 503 if the address cannot be bound.
    pub async fn start(&mut self, address: &str) -> Result<()> {
        if self.running.is_some() {
            return Err(Error::conflict("the server is running already"));
        }
        let bind =
            async { TcpListener::bind(address).await.and_then(|listener| Ok((listener.local_addr()?, listener))) };
        let (local, listener) = bind
            .await
            .map_err(|error: io::Error| Error::unavailable(format!("cannot listen on {address}: {error}")))?;
        let accepting = tokio::spawn(accept(listener, self.pond.clone()));
        tracing::info!(target: "pondsocket::server", address = %local, "listening");
        self.running = Some(Running { address: local, accepting });
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

    /// Stops accepting, closes all connections with 1001 and waits until they have gone, at most for `timeout`.
    /// Nothing happens if it is not running.
    pub async fn stop(&mut self, timeout: Duration) {
        let Some(running) = self.running.take() else { return };
        running.accepting.abort();
        self.pond.shutdown(timeout).await;
        tracing::info!(target: "pondsocket::server", address = %running.address, "stopped");
    }

    /// Binds, serves until SIGINT or SIGTERM, then stops, with 30 s for clients to go.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn listen(mut self, address: &str) -> Result<()> {
        self.start(address).await?;
        signal().await.map_err(Error::internal)?;
        self.stop(PATIENCE).await;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.accepting.abort();
        }
    }
}

async fn accept(listener: TcpListener, pond: PondSocket) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(serve(stream, peer, pond.clone()));
            }
            Err(error) => {
                tracing::warn!(target: "pondsocket::server", %error, "cannot accept a connection");
                count(&pond, Error::unavailable("cannot accept a connection").with_source(error));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, pond: PondSocket) {
    let service = pond.service();
    let service = hyper::service::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(PeerAddr(peer));
        tower_service::Service::call(&mut service.clone(), request)
    });
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(target: "pondsocket::server", %peer, %error, "HTTP connection failed");
        count(&pond, Error::bad_request("HTTP connection failed").with_source(error));
    }
}

fn count(pond: &PondSocket, error: Error) {
    pond.common.meter.count(|metrics| metrics.error(Component::HttpServer, &error));
}

#[cfg(unix)]
async fn signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

#[cfg(not(unix))]
async fn signal() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}
