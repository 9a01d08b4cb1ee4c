//! Isolation: slow clients, waiting handlers, panics and full queues do not affect other clients. Through
//! real sockets; tests of durations in seconds use in-memory streams with the clock paused.

mod deadlines;
mod full_queues;
mod handlers;
mod runtimes;
mod stalled_clients;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pondsocket::{
    ConnectionContext, Endpoint, Error, EventContext, JoinContext, Joined, Lobby, Options, Payload, PondSocket,
};
use serde_json::{Value, json};
use testkit::Peer;
use tokio::sync::Semaphore;

const SECOND: Duration = Duration::from_secs(1);

/// The payload of one message of a test that fills buffers, in bytes.
const LARGE: usize = 32 * 1024;

/// A pond with these options, and one lobby that accepts every join.
fn pond(options: Options) -> (PondSocket, Endpoint, Lobby) {
    let pond = PondSocket::with_options(options).expect("valid options");
    let endpoint = pond.create_endpoint("/", async |ctx: ConnectionContext| Ok::<_, Error>(ctx.accept()));
    let lobby = endpoint.create_channel("/room/:n", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept()));
    lobby.on_event("echo", async |ctx: EventContext, Payload(value): Payload<Value>| ctx.reply("echo", &value));
    (pond, endpoint, lobby)
}

/// A gate at which handlers wait until the test opens it.
#[derive(Clone, Debug)]
struct Gate {
    open: Arc<Semaphore>,
    reached: Arc<AtomicUsize>,
}

impl Gate {
    fn new() -> Gate {
        Gate { open: Arc::new(Semaphore::new(0)), reached: Arc::default() }
    }

    async fn pass(&self) {
        self.reached.fetch_add(1, Ordering::SeqCst);
        self.open.acquire().await.expect("never closed").forget();
    }

    fn let_through(&self, count: usize) {
        self.open.add_permits(count);
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    /// Makes messages of this name wait at the gate, and then be answered.
    fn guard(&self, lobby: &Lobby) {
        let gate = self.clone();
        lobby.on_event("wait", move |ctx: EventContext| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                ctx.reply("wait", &json!({}))
            }
        });
    }
}

async fn ask(peer: &mut Peer, channel: &str) {
    peer.nothing_before_reply(channel, "echo").await;
}
