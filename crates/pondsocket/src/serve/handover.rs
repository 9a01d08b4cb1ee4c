//! Accepted sockets on their way to the task that serves them, also to one on another runtime.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

use super::listener::{ListenerSettings, Peer, SocketStream, UnregisteredStream};
use crate::error::Error;

/// The most sockets that are handed over to one shard and not taken by it yet.
const HANDED_OVER: usize = 16;

/// A socket that has been accepted and has no permit yet.
#[derive(Debug)]
pub(super) struct WaitingSocket {
    pub(super) stream: SocketStream,
    pub(super) peer: Peer,
    pub(super) settings: Arc<ListenerSettings>,
}

/// An accepted socket that is registered with no runtime.
#[derive(Debug)]
pub(super) struct UnregisteredSocket {
    pub(super) stream: UnregisteredStream,
    pub(super) peer: Peer,
    pub(super) settings: Arc<ListenerSettings>,
}

impl UnregisteredSocket {
    /// Registers it with the current runtime; `None` after a failure, which is passed to `on_failure`.
    pub(super) fn register(self, on_failure: &impl Fn(Error)) -> Option<WaitingSocket> {
        let UnregisteredSocket { stream, peer, settings } = self;
        match stream.register() {
            Ok(stream) => Some(WaitingSocket { stream, peer, settings }),
            Err(error) => {
                tracing::warn!(target: "pondsocket::server", %peer, %error, "a socket cannot be registered");
                on_failure(Error::unavailable("cannot register a socket").with_source(error));
                None
            }
        }
    }
}

/// The sending end for sockets that are handed over.
#[derive(Debug)]
pub(super) struct Handover {
    shards: Vec<Sender<UnregisteredSocket>>,
    next: usize,
}

/// The receiving end of one shard.
#[derive(Debug)]
pub(super) struct HandedOver(Receiver<UnregisteredSocket>);

impl Handover {
    /// The two ends, for this number of shards.
    pub(super) fn new(shards: usize) -> (Handover, Vec<HandedOver>) {
        let (senders, receivers) = (0..shards)
            .map(|_| {
                let (sender, receiver) = channel(HANDED_OVER);
                (sender, HandedOver(receiver))
            })
            .unzip();
        (Handover { shards: senders, next: 0 }, receivers)
    }

    /// Hands a socket over to the next shard that has room, or waits for room at the next one.
    pub(super) async fn send(&mut self, socket: WaitingSocket) {
        let WaitingSocket { stream, peer, settings } = socket;
        let stream = match stream.unregister() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(target: "pondsocket::server", %peer, %error, "a socket cannot be handed over");
                return;
            }
        };
        let mut socket = UnregisteredSocket { stream, peer, settings };
        let count = self.shards.len();
        for _ in 0..count {
            self.next = (self.next + 1) % count;
            socket = match self.shards[self.next].try_send(socket) {
                Ok(()) => return,
                Err(TrySendError::Full(back) | TrySendError::Closed(back)) => back,
            };
        }
        // Fails if the shard's accepting task has ended, and the server with it.
        let _ = self.shards[self.next].send(socket).await;
    }
}

impl HandedOver {
    /// Polls for the next socket, and registers it with the current runtime.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>, on_failure: &impl Fn(Error)) -> Poll<WaitingSocket> {
        loop {
            // Once the sender has gone there are no more: the shard's own listeners may have some.
            let Some(socket) = ready!(self.0.poll_recv(cx)) else { return Poll::Pending };
            if let Some(socket) = socket.register(on_failure) {
                return Poll::Ready(socket);
            }
        }
    }
}
