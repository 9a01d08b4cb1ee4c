//! The sockets that come, and the tasks that serve them.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::acceptor::Acceptor;
use super::arrival::Arrival;
use super::listener::{Peer, Settings, Stream, header_of};
use super::pending::{Pool, Room};
use super::progress::Progress;
use super::{Site, http};
use crate::metrics::SocketCloseReason;

/// How often it is said that there are too many pending connections.
const REMIND: Duration = Duration::from_secs(10);

/// How many sockets that have been told to go may still be there.
const GOING: usize = 1024;

/// A socket that waits for a place.
type Newcomer = (Stream, Peer, Arc<Settings>);

/// Accepts until the site closes, then waits for the connections that are not upgraded. They end with this task.
pub(super) async fn accept(mut acceptors: Vec<Acceptor>, site: Arc<Site>) {
    let pool = Pool::new(&site.options);
    let most = site.options.max_pending.saturating_add(site.options.pending_reserve).saturating_add(GOING);
    let (mut pending, mut first) = (JoinSet::new(), 0);
    let mut newcomer: Option<Newcomer> = None;
    let mut reminded = None;
    loop {
        let mut retry = None;
        if let Some((stream, peer, settings)) = newcomer.take() {
            match pool.room_for(site.share_of(peer, &settings)) {
                Room::Free if pending.len().saturating_sub(pool.streams()) < most => {
                    let arrival = arrive(&stream, peer, settings, &pool, &site);
                    // Boxed, its memory is given back when it ends. Otherwise it would wait for us to look at it.
                    pending.spawn(Box::pin(serve(stream, arrival, Arc::clone(&site))));
                }
                room => {
                    remind(&mut reminded, &site);
                    newcomer = Some((stream, peer, settings));
                    retry = match room {
                        Room::Full(at) => at,
                        Room::Free => None,
                    };
                }
            }
        }
        let waits = newcomer.is_some();
        tokio::select! {
            biased;
            () = site.closing() => break,
            Some(ended) = pending.join_next() => look_at(ended),
            () = pool.changed.notified(), if waits => {}
            () = until(retry), if waits => {}
            accepted = poll_fn(|cx| poll_accept(&mut acceptors, &mut first, &site, cx)), if !waits => newcomer = Some(accepted),
        }
    }
    drop((acceptors, newcomer));
    while let Some(ended) = pending.join_next().await {
        look_at(ended);
    }
}

/// The next socket of any listener; each gets its turn.
fn poll_accept(acceptors: &mut [Acceptor], first: &mut usize, site: &Site, cx: &mut Context<'_>) -> Poll<Newcomer> {
    let count = acceptors.len();
    for offset in 0..count {
        let at = (*first + offset) % count;
        if let Poll::Ready((stream, peer)) = acceptors[at].poll_accept(cx, |error| site.count(error)) {
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

fn remind(reminded: &mut Option<Instant>, site: &Site) {
    if reminded.is_none_or(|last| last.elapsed() > REMIND) {
        *reminded = Some(Instant::now());
        let max_pending = site.options.max_pending;
        tracing::warn!(target: "pondsocket::server", max_pending, "accepting pauses: all places are taken, and nobody can be asked to go yet");
    }
}

fn arrive(stream: &Stream, peer: Peer, settings: Arc<Settings>, pool: &Arc<Pool>, site: &Site) -> Arrival {
    if let Stream::Tcp(stream) = stream {
        prepare(stream, site);
    }
    let progress = Progress::new();
    progress.comes_from(site.share_of(peer, &settings));
    Arrival { peer, settings, place: pool.take(&progress), has_certificate: false }
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

async fn serve(stream: Stream, mut arrival: Arrival, site: Arc<Site>) {
    let (progress, peer) = (Arc::clone(&arrival.place.progress), arrival.peer);
    let reason = tokio::select! {
        biased;
        reason = progress.evicted() => reason,
        () = serve_all(stream, &mut arrival, &site) => return,
    };
    tracing::debug!(target: "pondsocket::server", %peer, %reason, "closed to make room");
    site.closed(reason);
}

/// Serves a socket from its very beginning.
async fn serve_all(mut stream: Stream, arrival: &mut Arrival, site: &Arc<Site>) {
    let begun = tokio::select! {
        begun = timeout(site.options.read_timeout, introduce(&mut stream, arrival, site)) => begun,
        () = site.closing() => return,
    };
    if let Err(error) = begun.unwrap_or_else(|late| Err(late.into())) {
        tracing::debug!(target: "pondsocket::server", peer = %arrival.peer, %error, "PROXY header refused");
        return site.closed(SocketCloseReason::ProxyHeader);
    }
    #[cfg(feature = "tls")]
    if let Some(tls) = site.options.tls.as_ref().filter(|_| !arrival.settings.plain) {
        let handshake = tls.accept(stream, site.options.read_timeout);
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            () = site.closing() => return,
        };
        return match shaken {
            Ok(stream) => {
                arrival.has_certificate = stream.has_client_certificate();
                http::serve(stream, arrival, site).await;
            }
            Err(error) => {
                tracing::debug!(target: "pondsocket::server", peer = %arrival.peer, %error, "TLS handshake failed");
                site.closed(SocketCloseReason::Handshake);
            }
        };
    }
    match stream {
        Stream::Tcp(stream) => http::serve(stream, arrival, site).await,
        #[cfg(unix)]
        Stream::Unix(stream) => http::serve(stream, arrival, site).await,
    }
}

/// Hears from the proxy who the client is, where that has to be.
async fn introduce(stream: &mut Stream, arrival: &mut Arrival, site: &Site) -> io::Result<()> {
    let Some(proxies) = &arrival.settings.proxies else { return Ok(()) };
    if arrival.peer.ip().is_some_and(|address| !proxies.contain(address)) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the peer is no trusted proxy"));
    }
    if let Some(client) = header_of(stream).await? {
        arrival.peer = client;
        arrival.place.progress.comes_from(site.share_of(client, &Settings::default()));
    }
    Ok(())
}
