//! Servers over a real Redis whose clocks are wrong.

mod support;

use std::time::Duration;

use pondsocket::testing::{Client, Room, with_clock_ahead};
use pondsocket::{Connected, ConnectionContext, Endpoint, JoinContext, Joined, Options, PondSocket, Result};
use pondsocket_redis::RedisBus;
use serde_json::{Value, json};
use support::options;
use testkit::{RedisServer, eventually};
use tokio::time::Instant;

const MINUTE: i64 = 60_000;

struct Server {
    pond: PondSocket,
    endpoint: Endpoint,
}

impl Server {
    fn start(redis: &RedisServer, name: &str, ahead: i64) -> Server {
        let bus = RedisBus::new(options(redis)).expect("valid options");
        let options = Options::default().bus(bus).node_name(name.to_owned());
        let pond = PondSocket::with_options(options).expect("valid options");
        let connect = async |ctx: ConnectionContext| -> Result<Connected> {
            let name = ctx.query("name").unwrap_or("nobody").to_owned();
            Ok(ctx.accept().user_id(&name))
        };
        let endpoint = with_clock_ahead(ahead, || pond.create_endpoint("/api/socket", connect));
        endpoint.create_channel("/chat/:room", async |ctx: JoinContext| -> Result<Joined> {
            let name = ctx.user_id().to_owned();
            Ok(ctx.accept().track(&json!({ "name": name })))
        });
        Server { pond, endpoint }
    }

    async fn join(&self, name: &str) -> (Client, Room) {
        let client = self.pond.test_client().connect(&format!("/api/socket?name={name}")).await.expect("let in");
        let room = client.join("/chat/1", json!({})).await.expect("let in");
        (client, room)
    }

    fn shown(&self) -> Vec<String> {
        let presence = self.endpoint.channel("/chat/1").expect("open").presence::<Value>().expect("objects");
        let mut names: Vec<_> = presence.into_keys().collect();
        names.sort_unstable();
        names
    }
}

/// A node that was killed, or stopped gracefully, and is restarted with another clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_restarted_with_another_clock_is_shown() {
    let redis = RedisServer::start().await;
    let watcher = Server::start(&redis, "watcher", 0);
    let _wim = watcher.join("wim").await;
    for (before, after, in_good_order) in [(MINUTE, 0, false), (90 * MINUTE, -90 * MINUTE, true), (0, -1, false)] {
        let first = Server::start(&redis, "node", before);
        let ada = first.join("ada").await;
        eventually("ada is seen", || watcher.shown() == ["ada", "wim"]).await;
        if in_good_order {
            first.pond.shutdown(Duration::from_secs(1)).await;
        }
        drop((ada, first));
        let start = Instant::now();
        let second = Server::start(&redis, "node", after);
        let bob = second.join("bob").await;
        eventually("bob is seen", || watcher.shown() == ["bob", "wim"]).await;
        let took = start.elapsed();
        // An incarnation with a smaller number would be shown only after the length of a lease.
        assert!(took < Duration::from_secs(4), "{before} {after} {in_good_order}: {took:?}");
        drop((bob, second));
    }
}

/// A Redis that has lost its data numbers incarnations by its own clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_is_shown_after_redis_has_lost_its_data() {
    let redis = RedisServer::start().await;
    let watcher = Server::start(&redis, "watcher", 0);
    let _wim = watcher.join("wim").await;
    let first = Server::start(&redis, "node", 10 * MINUTE);
    let ada = first.join("ada").await;
    eventually("ada is seen", || watcher.shown() == ["ada", "wim"]).await;
    drop((ada, first));
    let _: String = redis.command(&["FLUSHALL"]).await;
    let second = Server::start(&redis, "node", -10 * MINUTE);
    let _bob = second.join("bob").await;
    eventually("bob is seen", || watcher.shown() == ["bob", "wim"]).await;
}
