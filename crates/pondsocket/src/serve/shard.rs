//! Shards: threads of the server, each with a runtime of its own.
//!
//! Each shard accepts from listeners of its own where the operating system spreads connections over several sockets on one
//! port. Sockets of all other listeners are accepted by one task, and handed over.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::{Context, Poll, ready};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};
use tokio::sync::{Notify, oneshot};

use super::ServerContext;
use super::acceptor::WaitingSocket;
use super::listener::{Listener, ListenerSettings, Peer, UnregisteredStream};
use crate::error::{Error, Result};

/// The most sockets that are handed over to one shard and not taken by it yet.
const HANDED_OVER: usize = 16;

/// A thread with a runtime of its own. Once this is dropped, the thread ends as soon as no task is left on it: WebSockets
/// outlive their server, and tasks that handlers have started may outlive all connections.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) runtime: Handle,
    _server: oneshot::Sender<Infallible>,
}

/// The condition for the end of a shard's thread.
#[derive(Debug, Default)]
struct ShardEnd {
    server_ended: AtomicBool,
    no_tasks: Notify,
}

impl Shard {
    /// Starts the thread.
    pub(super) fn start(number: usize) -> Result<Shard> {
        let failed = |error: io::Error| Error::unavailable(format!("cannot start shard {number}: {error}"));
        let (started, start) = sync_channel(1);
        let (server, ended) = oneshot::channel();
        let thread = thread::Builder::new().name(format!("pond-shard-{number}"));
        thread.spawn(move || run(started, ended)).map_err(failed)?;
        let runtime = start.recv().unwrap_or_else(|gone| Err(io::Error::other(gone))).map_err(failed)?;
        Ok(Shard { runtime, _server: server })
    }
}

fn run(started: SyncSender<io::Result<Handle>>, server: oneshot::Receiver<Infallible>) {
    let end = Arc::new(ShardEnd::default());
    let check = Arc::clone(&end);
    let runtime = Builder::new_current_thread()
        .enable_all()
        // By default woken tasks of other threads wait until 31 tasks of this one have been polled. Delivery tasks are among
        // them, and each has messages for many clients.
        .global_queue_interval(1)
        .on_thread_park(move || check.check())
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        // The receiver waits for one answer.
        Err(error) => return drop(started.send(Err(error))),
    };
    let _ = started.send(Ok(runtime.handle().clone()));
    runtime.block_on(async {
        // Nothing is ever sent: an error means that the server has ended.
        let _ = server.await;
        end.server_ended.store(true, Ordering::Relaxed);
        end.no_tasks.notified().await;
    });
}

impl ShardEnd {
    /// Checks the condition, before the thread sleeps. Relaxed: the flag belongs to the same thread.
    fn check(&self) {
        if self.server_ended.load(Ordering::Relaxed)
            && Handle::try_current().is_ok_and(|runtime| runtime.metrics().num_alive_tasks() == 0)
        {
            self.no_tasks.notify_one();
        }
    }
}

/// An accepted socket that is registered with no runtime.
#[derive(Debug)]
pub(super) struct UnregisteredSocket {
    pub(super) stream: UnregisteredStream,
    pub(super) peer: Peer,
    pub(super) settings: Arc<ListenerSettings>,
}

impl UnregisteredSocket {
    /// Registers it with the current runtime; `None` after a failure, which is logged and counted.
    pub(super) fn register(self, server: &ServerContext) -> Option<WaitingSocket> {
        let UnregisteredSocket { stream, peer, settings } = self;
        match stream.register() {
            Ok(stream) => Some(WaitingSocket { stream, peer, settings }),
            Err(error) => {
                tracing::warn!(target: "pondsocket::server", %peer, %error, "a socket cannot be registered");
                server.count_error(Error::unavailable("cannot register a socket").with_source(error));
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
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>, server: &ServerContext) -> Poll<WaitingSocket> {
        loop {
            // Once the sender has gone there are no more: the shard's own listeners may have some.
            let Some(socket) = ready!(self.0.poll_recv(cx)) else { return Poll::Pending };
            if let Some(socket) = socket.register(server) {
                return Poll::Ready(socket);
            }
        }
    }
}

/// The listeners of each shard, and those whose sockets are handed over.
pub(super) fn distribute(listeners: Vec<Listener>, shards: usize) -> (Vec<Vec<Listener>>, Vec<Listener>) {
    let mut own: Vec<Vec<Listener>> = (0..shards).map(|_| Vec::new()).collect();
    let mut others = Vec::new();
    for listener in listeners {
        match listener.multiply(shards) {
            Ok(several) => own.iter_mut().zip(several).for_each(|(own, one)| own.push(one)),
            Err(one) => others.push(one),
        }
    }
    (own, others)
}
