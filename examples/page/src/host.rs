//! The host of an example: axum, and a graceful shutdown that no client can delay.

use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use pondsocket::PondSocket;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The time that clients have to receive what was sent to them and to close, after a signal.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A listener on 127.0.0.1, and the signals that end a program.
#[derive(Debug)]
pub struct Host {
    listener: TcpListener,
    address: SocketAddr,
    interrupt: Signal,
    terminate: Signal,
}

impl Host {
    /// Listens on a port; 0 picks a free one. From here on SIGINT and SIGTERM are kept for [`serve`](Self::serve).
    ///
    /// # Errors
    /// The port is in use or not allowed.
    pub async fn listen(port: u16) -> io::Result<Host> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let listener = TcpListener::bind(("127.0.0.1", port)).await;
        let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on port {port}: {error}"));
        let listener = listener.map_err(named)?;
        let address = listener.local_addr()?;
        Ok(Host { listener, address, interrupt, terminate })
    }

    /// The address at which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until SIGINT or SIGTERM, which end the requests of the host and the connections of the pond.
    ///
    /// # Errors
    /// Those of axum.
    pub async fn serve(mut self, app: Router, pond: PondSocket) -> io::Result<()> {
        let (stop, stopped) = oneshot::channel();
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        let host = axum::serve(self.listener, app);
        let host = host.with_graceful_shutdown(async move { stopped.await.unwrap_or_default() });
        let mut host = pin!(host.into_future());
        tokio::select! {
            served = &mut host => return served,
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        // An error would mean that the host has ended, and it has not.
        let _ = stop.send(());
        // The host does not wait for WebSockets: the pond has its own shutdown. The host waits for the end of each request, which
        // never comes if a client sends half of one or does not read the response: hence the time limit.
        let (_, served) = tokio::join!(pond.shutdown(TIMEOUT), timeout(TIMEOUT, host));
        served.unwrap_or(Ok(()))
    }
}
