//! The promises about the order of messages. Every test runs
//! over real sockets, and waits for events, never for a fixed time.

mod disconnects;
mod handlers;
mod memberships;
mod reentrancy;
mod senders;
mod total_order;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pondsocket::{Connected, ConnectionContext, Endpoint, JoinContext, Joined, PondSocket, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// A pond that accepts every client under the user id in its query.
fn open_pond() -> (PondSocket, Endpoint) {
    let pond = PondSocket::new();
    let endpoint = pond.create_endpoint("/", async |ctx: ConnectionContext| {
        let user = ctx.query("user").map(ToOwned::to_owned);
        let connected = ctx.accept();
        Ok::<Connected, pondsocket::Error>(match user {
            Some(user) => connected.user_id(&user),
            None => connected,
        })
    });
    (pond, endpoint)
}

/// Tracks every member.
async fn tracked(ctx: JoinContext) -> Result<Joined> {
    let user = ctx.user_id().to_owned();
    Ok(ctx.accept().track(&json!({ "user": user })))
}

async fn plain(ctx: JoinContext) -> Result<Joined> {
    Ok(ctx.accept())
}

/// A gate at which a handler waits until the test opens it.
fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

async fn pass(gate: &Semaphore) {
    gate.acquire().await.expect("never closed").forget();
}

/// The events of a test, in their order.
#[derive(Clone, Debug, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, entry: impl Into<String>) {
        self.0.lock().expect("no panic").push(entry.into());
    }

    fn entries(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }

    fn len(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }
}

/// The payload of an event that is handled after a pause.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Said {
    sender: u64,
    number: u64,
    #[serde(default, skip_serializing)]
    pause: u64,
}

/// Broadcasts into a channel all the time, from another task.
struct Noise {
    task: tokio::task::JoinHandle<()>,
    going: Arc<AtomicUsize>,
}

impl Noise {
    fn make(endpoint: &Endpoint, channel: &str) -> Noise {
        let going = Arc::new(AtomicUsize::new(1));
        let (handle, on) = (endpoint.channel(channel).expect("a lobby matches"), Arc::clone(&going));
        let task = tokio::spawn(async move {
            while on.load(Ordering::Relaxed) > 0 {
                handle.broadcast("noise", &json!({})).expect("there is room");
                // Pauses, so that delivery is sometimes idle and sometimes busy.
                sleep(Duration::from_micros(300)).await;
                handle.broadcast("noise", &json!({})).expect("there is room");
                tokio::task::yield_now().await;
            }
        });
        Noise { task, going }
    }

    async fn end(self) {
        self.going.store(0, Ordering::Relaxed);
        self.task.await.expect("it did not panic");
    }
}
