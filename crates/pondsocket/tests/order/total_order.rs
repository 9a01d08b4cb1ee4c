//! One total order per channel.

use std::time::Duration;

use pondsocket::{EventContext, Lobby, Payload};
use serde::Deserialize;
use serde_json::Value;
use testkit::{OrderLoad, serve};
use tokio::time::sleep;

use super::{open_pond, tracked};

/// Registers what the load of [`OrderLoad`] asks for.
fn repeat_later(lobby: &Lobby) {
    lobby
        .on_event("later", async |ctx: EventContext, Payload(later): Payload<Later>| {
            sleep(Duration::from_millis(later.ms)).await;
            ctx.broadcast("later", &later.payload)
        })
        .on_event("message", async |ctx: EventContext, Payload(payload): Payload<Value>| {
            ctx.broadcast("message", &payload)
        });
}

#[derive(Deserialize)]
struct Later {
    ms: u64,
    payload: Value,
}

/// A short form; the end-to-end tests make a million deliveries with a release build.
#[tokio::test(flavor = "multi_thread")]
async fn all_members_receive_the_same_messages_in_the_same_order() {
    let (pond, endpoint) = open_pond();
    repeat_later(&endpoint.create_channel("/room/:n", tracked));
    let (_server, address) = serve(&pond).await;
    let load = OrderLoad { channels: 20, publishers: 3, receivers: 6, joiners: 2, messages: 36, seed: 0x5eed };
    let deliveries = load.run(address, "/", "/room").await;
    assert!(deliveries >= 20_000, "only {deliveries} deliveries");
}
