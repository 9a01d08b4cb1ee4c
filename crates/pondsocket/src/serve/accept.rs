//! The tasks that accept sockets, and the task of each socket that is not upgraded yet.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::acceptor::AcceptorGroup;
use super::handover::{Handover, WaitingSocket};
use super::listener::{ListenerSettings, SocketStream, read_proxy_header};
use super::pending::{PendingPermit, PendingPool};
use super::progress::{ObservedStream, Progress};
use super::{AcceptedSocket, ServerContext, ServerStage, http};
use crate::limits::turns::{self, Place};
use crate::metrics::SocketCloseReason;

/// The shortest interval between two warnings that accepting is paused.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// The time for the requests of connections that were in a backlog when the server closed.
const LATE: Duration = Duration::from_secs(1);

/// The time of the last warning that accepting is paused.
#[derive(Default)]
struct PauseWarning(Option<Instant>);

/// Accepts until the server closes, then waits for the sockets that are not upgraded. Their tasks are aborted with this one. At
/// most `per_round` sockets are accepted in a round of the scheduler ([`turns`]); 0 is no limit.
pub(super) async fn accept(
    mut acceptors: AcceptorGroup,
    server: Arc<ServerContext>,
    pool: Arc<PendingPool>,
    per_round: usize,
) {
    let mut tasks = JoinSet::new();
    let mut waiting: Option<WaitingSocket> = None;
    let mut warning = PauseWarning::default();
    let mut turn: Option<Place> = None;
    let (mut draining, mut closing) = (pin!(server.pond.common.drain.begun()), pin!(server.closing()));
    let count_error = |error| server.count_error(error);
    loop {
        let mut retry = None;
        if let Some(socket) = waiting.take() {
            match permit(&socket, &server, &pool) {
                Ok(permit) => {
                    // The future is boxed because a `JoinSet` keeps the memory of a task that has ended until the task is
                    // joined: of a box it keeps the pointer.
                    tasks.spawn(Box::pin(serve(socket, permit, Arc::clone(&server))));
                    // Behind the requests and joins of clients that were accepted before.
                    turn = turns::take_or_queue(per_round);
                }
                Err(at) => {
                    warning.log(server.options.max_pending);
                    waiting = Some(socket);
                    retry = Some(at);
                }
            }
        }
        let is_paused = waiting.is_some();
        tokio::select! {
            biased;
            () = &mut closing => break,
            Some(ended) = tasks.join_next() => log_panic(ended),
            () = pool.changed.notified(), if is_paused => {}
            () = reached(retry), if is_paused => {}
            () = reached_turn(&mut turn), if turn.is_some() => turn = None,
            // Meanwhile further sockets wait in the backlog of the operating system.
            socket = poll_fn(|cx| acceptors.poll_accept(cx, &count_error)), if !is_paused && turn.is_none() => waiting = Some(socket),
            _ = &mut draining, if !acceptors.is_draining() => acceptors.drain(),
        }
    }
    let late = acceptors.close(&count_error);
    drop((acceptors, waiting));
    serve_late(late, &server, &pool, &mut tasks).await;
    while let Some(ended) = tasks.join_next().await {
        log_panic(ended);
    }
}

/// Serves the connections that were in a backlog when the server closed: their requests are refused with 503, for which they
/// have a moment.
async fn serve_late(
    sockets: Vec<WaitingSocket>,
    server: &ServerContext,
    pool: &Arc<PendingPool>,
    tasks: &mut JoinSet<()>,
) {
    if sockets.is_empty() {
        return;
    }
    let (closing, server) = server.serving();
    for socket in sockets {
        if let Ok(permit) = permit(&socket, &server, pool) {
            tasks.spawn(Box::pin(serve(socket, permit, Arc::clone(&server))));
        }
    }
    // After the timeout the others are closed, too.
    let _ = timeout(LATE, async { while tasks.join_next().await.is_some() {} }).await;
    closing.send_replace(ServerStage::Closing);
}

/// Accepts until the server closes, and hands the sockets over to the shards in turns. A shard that takes none, because it
/// is blocked or has no room, is passed over as long as another one takes some.
pub(super) async fn hand_over(mut acceptors: AcceptorGroup, server: Arc<ServerContext>, mut shards: Handover) {
    let mut draining = pin!(server.pond.common.drain.begun());
    let count_error = |error| server.count_error(error);
    loop {
        tokio::select! {
            biased;
            () = server.closing() => return,
            socket = poll_fn(|cx| acceptors.poll_accept(cx, &count_error)) => {
                tokio::select! {
                    () = shards.send(socket) => {}
                    () = server.closing() => return,
                }
            }
            _ = &mut draining, if !acceptors.is_draining() => acceptors.drain(),
        }
    }
}

/// A permit for a socket. Without room, the time at which to try again.
fn permit(socket: &WaitingSocket, server: &ServerContext, pool: &Arc<PendingPool>) -> Result<PendingPermit, Instant> {
    let (progress, address) = (Progress::new(), server.counted_address(socket.peer, &socket.settings));
    progress.set_address(address);
    pool.add(&progress, address)
}

/// Waits for a turn; forever if none is awaited.
async fn reached_turn(turn: &mut Option<Place>) {
    match turn {
        Some(place) => poll_fn(|cx| place.poll_turn(cx)).await,
        None => std::future::pending().await,
    }
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
        // Without this option the client is only noticed later.
        let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(unacknowledged));
    }
}

/// Serves a socket until it ends, is upgraded or evicted.
async fn serve(socket: WaitingSocket, permit: PendingPermit, server: Arc<ServerContext>) {
    let WaitingSocket { stream, peer, settings } = socket;
    if let SocketStream::Tcp(stream) = &stream {
        set_socket_options(stream, &server);
    }
    let progress = Arc::clone(&permit.progress);
    let mut accepted = AcceptedSocket { peer, settings, permit, has_certificate: false };
    let reason = tokio::select! {
        biased;
        reason = progress.evicted() => reason,
        () = serve_layers(stream, &mut accepted, &server) => return,
    };
    tracing::debug!(target: "pondsocket::server", %peer, %reason, "evicted");
    server.count_closed(reason);
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
        // The futures are boxed, so that sockets without TLS have no room for them.
        let handshake = tokio::select! {
            handshake = Box::pin(tls.accept(stream, server.options.read_timeout)) => handshake,
            () = server.closing() => return,
        };
        return match handshake {
            Ok(stream) => {
                accepted.has_certificate = stream.has_client_certificate();
                let stream = ObservedStream::new(stream, Arc::clone(&accepted.permit.progress));
                Box::pin(http::serve(stream, accepted, server)).await;
            }
            Err(error) => {
                tracing::debug!(target: "pondsocket::server", peer = %accepted.peer, %error, "TLS handshake failed");
                server.count_closed(SocketCloseReason::Handshake);
            }
        };
    }
    let progress = Arc::clone(&accepted.permit.progress);
    match stream {
        // Only of such a stream the connection gets what is held back: others it knows as any stream of bytes.
        SocketStream::Tcp(stream) => {
            http::serve(ObservedStream::holding_upgrades(stream, progress), accepted, server).await;
        }
        #[cfg(unix)]
        SocketStream::Unix(stream) => http::serve(ObservedStream::new(stream, progress), accepted, server).await,
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
