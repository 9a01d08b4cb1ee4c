use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::{Site, http};
use crate::error::Error;

/// How long accepting pauses after a failure such as too many open files. It doubles up to `LONGEST_PAUSE`.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How often it is said that there are too many pending connections.
const REMIND: Duration = Duration::from_secs(10);

/// Accepts until the site closes, then waits for the connections that are not upgraded. They end with this task.
pub(super) async fn accept(listener: TcpListener, site: Arc<Site>) {
    let mut acceptor = Acceptor { listener, site: Arc::clone(&site), pause: PAUSE, not_before: None };
    let mut pending = JoinSet::new();
    let mut streams = site.streams.subscribe();
    let mut reminder = None;
    loop {
        let full = pending.len().saturating_sub(*streams.borrow_and_update()) >= site.options.max_pending;
        if full && reminder.is_none_or(|last: Instant| last.elapsed() > REMIND) {
            reminder = Some(Instant::now());
            tracing::warn!(target: "pondsocket::server", max_pending = site.options.max_pending, "accepting pauses until connections are upgraded");
        }
        tokio::select! {
            biased;
            () = site.closing() => break,
            Some(ended) = pending.join_next() => look_at(ended),
            _ = streams.changed(), if full => {}
            (stream, peer) = acceptor.next(), if !full => {
                prepare(&stream, &site);
                // Boxed, its memory is given back when it ends. Otherwise it would wait for us to look at it.
                pending.spawn(Box::pin(serve(stream, peer, Arc::clone(&site))));
            }
        }
    }
    drop(acceptor);
    while let Some(ended) = pending.join_next().await {
        look_at(ended);
    }
}

/// A system that refuses is one with other limits: the connection works all the same.
fn prepare(stream: &TcpStream, site: &Site) {
    // Events must not wait for the acknowledgement of earlier ones.
    let _ = stream.set_nodelay(true);
    // The client of an event stream says nothing. That it has vanished shows by what it does not acknowledge.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    {
        let options = &site.pond.common.options;
        let patience = options.pong_wait.max(options.write_wait);
        let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(patience));
    }
}

fn look_at(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(target: "pondsocket::server", %error, "a connection's task failed");
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, site: Arc<Site>) {
    #[cfg(feature = "tls")]
    if let Some(tls) = &site.options.tls {
        let handshake = tls.accept(stream, site.options.read_timeout);
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = site.closing() => return,
        };
        return match shaken {
            Ok(stream) => http::serve(stream, peer, site).await,
            Err(error) => tracing::debug!(target: "pondsocket::server", %peer, %error, "TLS handshake failed"),
        };
    }
    http::serve(stream, peer, site).await;
}

/// A listener that is given a rest when it fails.
struct Acceptor {
    listener: TcpListener,
    site: Arc<Site>,
    pause: Duration,
    not_before: Option<Instant>,
}

impl Acceptor {
    /// The next connection, however long that takes. It may be dropped and called again at any time.
    async fn next(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            if let Some(not_before) = self.not_before {
                sleep_until(not_before).await;
                self.not_before = None;
            }
            match self.listener.accept().await {
                Ok(accepted) => {
                    self.pause = PAUSE;
                    return accepted;
                }
                Err(error) if is_the_peers(&error) => {
                    tracing::debug!(target: "pondsocket::server", %error, "a peer went before it was accepted")
                }
                Err(error) => {
                    tracing::warn!(target: "pondsocket::server", %error, pause = ?self.pause, "cannot accept connections");
                    self.site.count(Error::unavailable("cannot accept connections").with_source(error));
                    self.not_before = Some(Instant::now() + self.pause);
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// Whether an error concerns one connection only, so that the next can be accepted at once.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
