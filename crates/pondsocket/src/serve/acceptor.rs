use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::time::{Sleep, sleep};

#[cfg(unix)]
use super::listener::OwnFile;
use super::listener::{Bound, Listener, ListenerSettings, Peer, SocketStream};
use crate::error::{Error, Result};

/// The time for which accepting pauses after a failure such as too many open files. It doubles up to `LONGEST_PAUSE`.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A listener that is given a rest when it fails.
#[derive(Debug)]
pub(super) struct Acceptor {
    socket: Accepting,
    pub(super) settings: Arc<ListenerSettings>,
    pause: Duration,
    rest: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Accepting {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, #[expect(dead_code, reason = "it is removed with this")] Option<OwnFile>),
}

impl Acceptor {
    /// To be called within a runtime.
    pub(super) fn new(listener: Listener) -> Result<Acceptor> {
        let name = listener.to_string();
        let Listener { bound, settings } = listener;
        let socket = match bound {
            Bound::Tcp(listener) => TcpListener::from_std(listener).map(Accepting::Tcp),
            #[cfg(unix)]
            Bound::Unix(listener, file) => UnixListener::from_std(listener).map(|it| Accepting::Unix(it, file)),
        };
        let socket = socket.map_err(|error| Error::unavailable(format!("cannot listen on {name}: {error}")))?;
        Ok(Acceptor { socket, settings: Arc::new(settings), pause: PAUSE, rest: None })
    }

    /// The next socket, however long that takes. A failure that is not the peer's is told.
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>, failed: impl Fn(Error)) -> Poll<(SocketStream, Peer)> {
        loop {
            if let Some(rest) = &mut self.rest {
                ready!(rest.as_mut().poll(cx));
                self.rest = None;
            }
            match ready!(self.socket.poll_accept(cx)) {
                Ok(accepted) => {
                    self.pause = PAUSE;
                    return Poll::Ready(accepted);
                }
                Err(error) if is_the_peers(&error) => {
                    tracing::debug!(target: "pondsocket::server", %error, "a peer went before it was accepted");
                }
                Err(error) => {
                    tracing::warn!(target: "pondsocket::server", %error, pause = ?self.pause, "cannot accept connections");
                    failed(Error::unavailable("cannot accept connections").with_source(error));
                    self.rest = Some(Box::pin(sleep(self.pause)));
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

impl Accepting {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(SocketStream, Peer)>> {
        match self {
            Accepting::Tcp(listener) => {
                let accepted = ready!(listener.poll_accept(cx));
                Poll::Ready(accepted.map(|(stream, address)| (SocketStream::Tcp(stream), Peer::at(address))))
            }
            #[cfg(unix)]
            Accepting::Unix(listener, _) => {
                let accepted = ready!(listener.poll_accept(cx));
                Poll::Ready(accepted.map(|(stream, _)| (SocketStream::Unix(stream), Peer::Local)))
            }
        }
    }
}

/// Returns whether an error concerns one connection only, so that the next can be accepted at once.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
