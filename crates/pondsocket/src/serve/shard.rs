//! Shards: threads of the server, each with a runtime of its own.
//!
//! Each shard accepts from listeners of its own where the operating system spreads connections over several sockets on one
//! port. Sockets of all other listeners are accepted by one task, and handed over.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, oneshot};

use super::listener::Listener;
use crate::error::{Error, Result};

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
