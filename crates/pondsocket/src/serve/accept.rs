//! The task that accepts sockets, and the task of each socket that is not upgraded yet.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::acceptor::Acceptor;
use super::listener::{ListenerSettings, Peer, SocketStream, read_proxy_header};
use super::pending::{Capacity, PendingPool};
use super::progress::Progress;
use super::{AcceptedSocket, ServerContext, http};
use crate::metrics::SocketCloseReason;

/// The shortest interval between two warnings that accepting is paused.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// The most sockets that have been evicted and whose tasks have not ended yet. Eviction takes a socket out of the pool at
/// once, so without this bound a flood of new sockets could have any number of tasks.
const MAX_EVICTED: usize = 1024;

/// A socket that has been accepted and has no permit yet.
struct WaitingSocket {
    stream: SocketStream,
    peer: Peer,
    settings: Arc<ListenerSettings>,
}

/// The time of the last warning that accepting is paused.
#[derive(Default)]
struct PauseWarning(Option<Instant>);

/// Accepts until the server closes, then waits for the sockets that are not upgraded. Their tasks are aborted with this one.
pub(super) async fn accept(mut acceptors: Vec<Acceptor>, server: Arc<ServerContext>) {
    let pool = PendingPool::new(&server.options);
    let max_tasks =
        server.options.max_pending.saturating_add(server.options.pending_reserve).saturating_add(MAX_EVICTED);
    let (mut tasks, mut next_acceptor) = (JoinSet::new(), 0);
    let mut waiting: Option<WaitingSocket> = None;
    let mut warning = PauseWarning::default();
    loop {
        let mut retry = None;
        if let Some(socket) = waiting.take() {
            match pool.make_room(server.counted_address(socket.peer, &socket.settings)) {
                Capacity::Free if tasks.len().saturating_sub(pool.streams()) < max_tasks => {
                    // The future is boxed because a `JoinSet` keeps the memory of a task that has ended until the task is
                    // joined: of a box it keeps the pointer.
                    tasks.spawn(Box::pin(serve(socket, &pool, Arc::clone(&server))));
                }
                capacity => {
                    warning.log(server.options.max_pending);
                    waiting = Some(socket);
                    retry = match capacity {
                        Capacity::Full(at) => at,
                        // The end of a task makes room, and wakes this loop.
                        Capacity::Free => None,
                    };
                }
            }
        }
        let is_paused = waiting.is_some();
        tokio::select! {
            biased;
            () = server.closing() => break,
            Some(ended) = tasks.join_next() => log_panic(ended),
            () = pool.changed.notified(), if is_paused => {}
            () = reached(retry), if is_paused => {}
            // While a socket waits for a permit, further ones wait in the backlog of the operating system.
            socket = poll_fn(|cx| poll_accept(&mut acceptors, &mut next_acceptor, &server, cx)), if !is_paused => waiting = Some(socket),
        }
    }
    drop((acceptors, waiting));
    while let Some(ended) = tasks.join_next().await {
        log_panic(ended);
    }
}

/// Polls the listeners for a socket, starting behind the one that had the last socket: none is starved by another.
fn poll_accept(
    acceptors: &mut [Acceptor],
    next: &mut usize,
    server: &ServerContext,
    cx: &mut Context<'_>,
) -> Poll<WaitingSocket> {
    let count = acceptors.len();
    for offset in 0..count {
        let at = (*next + offset) % count;
        if let Poll::Ready((stream, peer)) = acceptors[at].poll_accept(cx, |error| server.count_error(error)) {
            *next = at + 1;
            return Poll::Ready(WaitingSocket { stream, peer, settings: Arc::clone(&acceptors[at].settings) });
        }
    }
    Poll::Pending
}

/// Waits until a time; forever if there is none.
async fn reached(time: Option<Instant>) {
    match time {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl PauseWarning {
    fn log(&mut self, max_pending: usize) {
        if self.0.is_none_or(|last| last.elapsed() > WARN_INTERVAL) {
            self.0 = Some(Instant::now());
            tracing::warn!(target: "pondsocket::server", max_pending, "accepting paused: too many pending sockets, and none can be evicted yet");
        }
    }
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(target: "pondsocket::server", %error, "a connection's task failed");
    }
}

/// Sets the options of a client's socket. Errors are ignored, because the connection works without these options.
fn set_socket_options(stream: &TcpStream, server: &ServerContext) {
    // Nagle's algorithm would delay a message until earlier ones are acknowledged.
    let _ = stream.set_nodelay(true);
    // The client of an event stream sends nothing, so only missing acknowledgements show that it has disappeared.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    {
        let options = &server.pond.common.options;
        let unacknowledged = options.pong_wait.max(options.write_wait);
        let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(unacknowledged));
    }
}

/// Adds a socket to the pool, and returns the future that serves it until it ends, is upgraded or evicted.
fn serve(
    socket: WaitingSocket,
    pool: &Arc<PendingPool>,
    server: Arc<ServerContext>,
) -> impl Future<Output = ()> + use<> {
    let WaitingSocket { stream, peer, settings } = socket;
    if let SocketStream::Tcp(stream) = &stream {
        set_socket_options(stream, &server);
    }
    let progress = Progress::new();
    progress.set_address(server.counted_address(peer, &settings));
    // Not within the future: the next socket must find this one in the pool, even if the task has not run yet.
    let mut accepted = AcceptedSocket { peer, settings, permit: pool.add(&progress), has_certificate: false };
    async move {
        let reason = tokio::select! {
            biased;
            reason = progress.evicted() => reason,
            () = serve_layers(stream, &mut accepted, &server) => return,
        };
        tracing::debug!(target: "pondsocket::server", %peer, %reason, "evicted");
        server.count_closed(reason);
    }
}

/// Serves a socket from its first byte: the PROXY header, TLS, then HTTP.
async fn serve_layers(mut stream: SocketStream, accepted: &mut AcceptedSocket, server: &Arc<ServerContext>) {
    let header = tokio::select! {
        header = timeout(server.options.read_timeout, read_peer(&mut stream, accepted, server)) => header,
        () = server.closing() => return,
    };
    if let Err(error) = header.unwrap_or_else(|elapsed| Err(elapsed.into())) {
        tracing::debug!(target: "pondsocket::server", peer = %accepted.peer, %error, "PROXY header refused");
        return server.count_closed(SocketCloseReason::ProxyHeader);
    }
    #[cfg(feature = "tls")]
    if let Some(tls) = server.options.tls.as_ref().filter(|_| !accepted.settings.plain) {
        let handshake = tokio::select! {
            handshake = tls.accept(stream, server.options.read_timeout) => handshake,
            () = server.closing() => return,
        };
        return match handshake {
            Ok(stream) => {
                accepted.has_certificate = stream.has_client_certificate();
                http::serve(stream, accepted, server).await;
            }
            Err(error) => {
                tracing::debug!(target: "pondsocket::server", peer = %accepted.peer, %error, "TLS handshake failed");
                server.count_closed(SocketCloseReason::Handshake);
            }
        };
    }
    match stream {
        SocketStream::Tcp(stream) => http::serve(stream, accepted, server).await,
        #[cfg(unix)]
        SocketStream::Unix(stream) => http::serve(stream, accepted, server).await,
    }
}

/// Reads the client's address from the PROXY header, if the listener expects one.
async fn read_peer(stream: &mut SocketStream, accepted: &mut AcceptedSocket, server: &ServerContext) -> io::Result<()> {
    let Some(proxies) = &accepted.settings.proxies else { return Ok(()) };
    if accepted.peer.ip().is_some_and(|address| !proxies.contain(address)) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the peer is not a trusted proxy"));
    }
    if let Some(client) = read_proxy_header(stream).await? {
        accepted.peer = client;
        // Only now known, and not the proxy's, to which the listener's settings refer.
        accepted.permit.progress.set_address(server.counted_address(client, &ListenerSettings::default()));
    }
    Ok(())
}
