//! The sockets that come, and the tasks that serve them.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::accepted::AcceptedSocket;
use super::acceptor::Acceptor;
use super::listener::{ListenerSettings, Peer, SocketStream, header_of};
use super::pending::{Capacity, PendingPool};
use super::progress::Progress;
use super::{ServerContext, http};
use crate::metrics::SocketCloseReason;

/// The interval of log lines about too many pending connections.
const REMIND: Duration = Duration::from_secs(10);

/// The most sockets that have been told to go and are still there.
const GOING: usize = 1024;

/// A socket that waits for a place.
type WaitingSocket = (SocketStream, Peer, Arc<ListenerSettings>);

/// Accepts until the site closes, then waits for the connections that are not upgraded. They end with this task.
pub(super) async fn accept(mut acceptors: Vec<Acceptor>, server: Arc<ServerContext>) {
    let pool = PendingPool::new(&server.options);
    let most = server.options.max_pending.saturating_add(server.options.pending_reserve).saturating_add(GOING);
    let (mut pending, mut first) = (JoinSet::new(), 0);
    let mut newcomer: Option<WaitingSocket> = None;
    let mut reminded = None;
    loop {
        let mut retry = None;
        if let Some((stream, peer, settings)) = newcomer.take() {
            match pool.room_for(server.share_of(peer, &settings)) {
                Capacity::Free if pending.len().saturating_sub(pool.streams()) < most => {
                    let accepted = arrive(&stream, peer, settings, &pool, &server);
                    // Boxed, its memory is given back when it ends. Otherwise it would wait for us to look at it.
                    pending.spawn(Box::pin(serve(stream, accepted, Arc::clone(&server))));
                }
                room => {
                    remind(&mut reminded, &server);
                    newcomer = Some((stream, peer, settings));
                    retry = match room {
                        Capacity::Full(at) => at,
                        Capacity::Free => None,
                    };
                }
            }
        }
        let waits = newcomer.is_some();
        tokio::select! {
            biased;
            () = server.closing() => break,
            Some(ended) = pending.join_next() => look_at(ended),
            () = pool.changed.notified(), if waits => {}
            () = until(retry), if waits => {}
            accepted = poll_fn(|cx| poll_accept(&mut acceptors, &mut first, &server, cx)), if !waits => newcomer = Some(accepted),
        }
    }
    drop((acceptors, newcomer));
    while let Some(ended) = pending.join_next().await {
        look_at(ended);
    }
}

/// The next socket of any listener; each gets its turn.
fn poll_accept(
    acceptors: &mut [Acceptor],
    first: &mut usize,
    server: &ServerContext,
    cx: &mut Context<'_>,
) -> Poll<WaitingSocket> {
    let count = acceptors.len();
    for offset in 0..count {
        let at = (*first + offset) % count;
        if let Poll::Ready((stream, peer)) = acceptors[at].poll_accept(cx, |error| server.count(error)) {
            *first = at + 1;
            return Poll::Ready((stream, peer, Arc::clone(&acceptors[at].settings)));
        }
    }
    Poll::Pending
}

async fn until(retry: Option<Instant>) {
    match retry {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn remind(reminded: &mut Option<Instant>, server: &ServerContext) {
    if reminded.is_none_or(|last| last.elapsed() > REMIND) {
        *reminded = Some(Instant::now());
        let max_pending = server.options.max_pending;
        tracing::warn!(target: "pondsocket::server", max_pending, "accepting pauses: all places are taken, and nobody can be asked to go yet");
    }
}

fn arrive(
    stream: &SocketStream,
    peer: Peer,
    settings: Arc<ListenerSettings>,
    pool: &Arc<PendingPool>,
    server: &ServerContext,
) -> AcceptedSocket {
    if let SocketStream::Tcp(stream) = stream {
        prepare(stream, server);
    }
    let progress = Progress::new();
    progress.comes_from(server.share_of(peer, &settings));
    AcceptedSocket { peer, settings, permit: pool.take(&progress), has_certificate: false }
}

/// A system that refuses is one with other limits: the connection works all the same.
fn prepare(stream: &TcpStream, server: &ServerContext) {
    // Events must not wait for the acknowledgement of earlier ones.
    let _ = stream.set_nodelay(true);
    // The client of an event stream says nothing. That it has vanished shows by what it does not acknowledge.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    {
        let options = &server.pond.common.options;
        let patience = options.pong_wait.max(options.write_wait);
        let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(patience));
    }
}

fn look_at(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(target: "pondsocket::server", %error, "a connection's task failed");
    }
}

async fn serve(stream: SocketStream, mut accepted: AcceptedSocket, server: Arc<ServerContext>) {
    let (progress, peer) = (Arc::clone(&accepted.permit.progress), accepted.peer);
    let reason = tokio::select! {
        biased;
        reason = progress.evicted() => reason,
        () = serve_all(stream, &mut accepted, &server) => return,
    };
    tracing::debug!(target: "pondsocket::server", %peer, %reason, "closed to make room");
    server.closed(reason);
}

/// Serves a socket from its very beginning.
async fn serve_all(mut stream: SocketStream, accepted: &mut AcceptedSocket, server: &Arc<ServerContext>) {
    let begun = tokio::select! {
        begun = timeout(server.options.read_timeout, introduce(&mut stream, accepted, server)) => begun,
        () = server.closing() => return,
    };
    if let Err(error) = begun.unwrap_or_else(|late| Err(late.into())) {
        tracing::debug!(target: "pondsocket::server", peer = %accepted.peer, %error, "PROXY header refused");
        return server.closed(SocketCloseReason::ProxyHeader);
    }
    #[cfg(feature = "tls")]
    if let Some(tls) = server.options.tls.as_ref().filter(|_| !accepted.settings.plain) {
        let handshake = tls.accept(stream, server.options.read_timeout);
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = server.closing() => return,
        };
        return match shaken {
            Ok(stream) => {
                accepted.has_certificate = stream.has_client_certificate();
                http::serve(stream, accepted, server).await;
            }
            Err(error) => {
                tracing::debug!(target: "pondsocket::server", peer = %accepted.peer, %error, "TLS handshake failed");
                server.closed(SocketCloseReason::Handshake);
            }
        };
    }
    match stream {
        SocketStream::Tcp(stream) => http::serve(stream, accepted, server).await,
        #[cfg(unix)]
        SocketStream::Unix(stream) => http::serve(stream, accepted, server).await,
    }
}

/// Hears from the proxy who the client is, where that has to be.
async fn introduce(stream: &mut SocketStream, accepted: &mut AcceptedSocket, server: &ServerContext) -> io::Result<()> {
    let Some(proxies) = &accepted.settings.proxies else { return Ok(()) };
    if accepted.peer.ip().is_some_and(|address| !proxies.contain(address)) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the peer is no trusted proxy"));
    }
    if let Some(client) = header_of(stream).await? {
        accepted.peer = client;
        accepted.permit.progress.comes_from(server.share_of(client, &ListenerSettings::default()));
    }
    Ok(())
}
