//! Listeners within a runtime, with a pause after each failure to accept.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::time::{Sleep, sleep};

use super::handover::{HandedOver, UnregisteredSocket, WaitingSocket};
#[cfg(unix)]
use super::listener::SocketFile;
use super::listener::{BACKLOG, Bound, Listener, ListenerSettings, Peer, SocketStream, UnregisteredStream};
use crate::error::{Error, Result};

/// The pause after a failure such as too many open files. Without it the loop would be busy, since the socket stays in the
/// backlog and the listener readable. It doubles with each failure in a row up to `MAX_PAUSE`.
const MIN_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The sources from which one task accepts sockets.
#[derive(Debug)]
pub(super) struct AcceptorGroup {
    acceptors: Vec<Acceptor>,
    /// Sockets that another task has accepted.
    handed_over: Option<HandedOver>,
    /// The acceptor after the one that had the last socket.
    next: usize,
    /// Sockets of listeners that have been closed.
    backlog: Option<VecDeque<UnregisteredSocket>>,
}

impl AcceptorGroup {
    /// Registers listeners with the current runtime.
    pub(super) fn new(listeners: Vec<Listener>, handed_over: Option<HandedOver>) -> Result<AcceptorGroup> {
        let acceptors = listeners.into_iter().map(Acceptor::new).collect::<Result<_>>()?;
        Ok(AcceptorGroup { acceptors, handed_over, next: 0, backlog: None })
    }

    /// Polls for a socket, starting behind the acceptor that had the last one: none is starved by another. Failures of
    /// listeners are passed to `on_failure`.
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>, on_failure: &impl Fn(Error)) -> Poll<WaitingSocket> {
        let count = self.acceptors.len();
        for offset in 0..count {
            let at = (self.next + offset) % count;
            let acceptor = &mut self.acceptors[at];
            if let Poll::Ready((stream, peer)) = acceptor.poll_accept(cx, on_failure) {
                self.next = at + 1;
                return Poll::Ready(WaitingSocket { stream, peer, settings: Arc::clone(&acceptor.settings) });
            }
        }
        if let Some(socket) = self.next_of_backlog(on_failure) {
            return Poll::Ready(socket);
        }
        self.handed_over.as_mut().map_or(Poll::Pending, |sockets| sockets.poll_next(cx, on_failure))
    }

    /// Stops listening on ports on which other processes may listen: from now on these get all new clients.
    pub(super) fn drain(&mut self) {
        let sharing = self.acceptors.extract_if(.., |acceptor| acceptor.settings.reuse_port);
        self.backlog = Some(sharing.flat_map(Acceptor::close).collect());
    }

    /// Closes these listeners, unless they are closed already. Returns the connections of their backlogs that are left.
    pub(super) fn close(&mut self, on_failure: &impl Fn(Error)) -> Vec<WaitingSocket> {
        if !self.is_draining() {
            self.drain();
        }
        std::iter::from_fn(|| self.next_of_backlog(on_failure)).collect()
    }

    fn next_of_backlog(&mut self, on_failure: &impl Fn(Error)) -> Option<WaitingSocket> {
        let backlog = self.backlog.as_mut()?;
        std::iter::from_fn(|| backlog.pop_front()).find_map(|socket| socket.register(on_failure))
    }

    pub(super) fn is_draining(&self) -> bool {
        self.backlog.is_some()
    }
}

/// A listener within the runtime. It pauses after a failure.
#[derive(Debug)]
struct Acceptor {
    socket: TokioListener,
    settings: Arc<ListenerSettings>,
    /// The length of the next pause.
    pause: Duration,
    paused: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum TokioListener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, #[expect(dead_code, reason = "its drop removes the file")] Option<SocketFile>),
}

impl Acceptor {
    /// Registers a listener with the current runtime.
    fn new(listener: Listener) -> Result<Acceptor> {
        let name = listener.to_string();
        let Listener { bound, settings, .. } = listener;
        let socket = match bound {
            Bound::Tcp(listener) => TcpListener::from_std(listener).map(TokioListener::Tcp),
            #[cfg(unix)]
            Bound::Unix(listener, file) => UnixListener::from_std(listener).map(|it| TokioListener::Unix(it, file)),
        };
        let socket = socket.map_err(|error| Error::unavailable(format!("cannot listen on {name}: {error}")))?;
        Ok(Acceptor { socket, settings: Arc::new(settings), pause: MIN_PAUSE, paused: None })
    }

    /// Polls for the next socket. Failures of the listener are passed to `on_failure`; those of a single connection are
    /// only logged.
    fn poll_accept(&mut self, cx: &mut Context<'_>, on_failure: &impl Fn(Error)) -> Poll<(SocketStream, Peer)> {
        loop {
            if let Some(paused) = &mut self.paused {
                ready!(paused.as_mut().poll(cx));
                self.paused = None;
            }
            match ready!(self.socket.poll_accept(cx)) {
                Ok(accepted) => {
                    self.pause = MIN_PAUSE;
                    return Poll::Ready(accepted);
                }
                Err(error) if is_of_one_connection(&error) => {
                    tracing::debug!(target: "pondsocket::server", %error, "a client disconnected before it was accepted");
                }
                Err(error) => {
                    tracing::warn!(target: "pondsocket::server", %error, pause = ?self.pause, "cannot accept connections");
                    on_failure(Error::unavailable("cannot accept connections").with_source(error));
                    self.paused = Some(Box::pin(sleep(self.pause)));
                    self.pause = (self.pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }
}

impl Acceptor {
    /// Closes a TCP listener, and returns the connections that were in its backlog, which closing alone would reset. They are
    /// accepted without the runtime, which may not have noticed them yet.
    fn close(self) -> Vec<UnregisteredSocket> {
        let TokioListener::Tcp(listener) = self.socket else { return Vec::new() };
        let accepted = listener.into_std().map(|listener| {
            let one = || {
                let (stream, address) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok::<_, io::Error>((UnregisteredStream::Tcp(stream), Peer::at(address)))
            };
            // The bound is for clients that connect faster than they are accepted.
            std::iter::from_fn(|| one().ok()).take(BACKLOG as usize).collect::<Vec<_>>()
        });
        let settings = self.settings;
        let socket = |(stream, peer)| UnregisteredSocket { stream, peer, settings: Arc::clone(&settings) };
        accepted.unwrap_or_default().into_iter().map(socket).collect()
    }
}

impl TokioListener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(SocketStream, Peer)>> {
        match self {
            TokioListener::Tcp(listener) => {
                let accepted = ready!(listener.poll_accept(cx));
                Poll::Ready(accepted.map(|(stream, address)| (SocketStream::Tcp(stream), Peer::at(address))))
            }
            #[cfg(unix)]
            TokioListener::Unix(listener, _) => {
                let accepted = ready!(listener.poll_accept(cx));
                Poll::Ready(accepted.map(|(stream, _)| (SocketStream::Unix(stream), Peer::Local)))
            }
        }
    }
}

/// Returns `true` if an error concerns a single connection, so that the next one can be accepted at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
