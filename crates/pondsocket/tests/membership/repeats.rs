//! A client with a session that keeps its position sends messages again whose answers it has not received. They are answered
//! as before, and not handled again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, History, JoinContext, Joined, Lobby, Options,
    Outgoing, OutgoingContext, PondSocket, Result, Shutdown,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{Peer, Recorder, eventually, serve};
use tokio::sync::Semaphore;

const CHANNEL: &str = "/shop/1";
const KEY: &str = "6f1e6b1c-session-of-bob";

struct Shop {
    pond: PondSocket,
    endpoint: Endpoint,
    lobby: Lobby,
    counted: Recorder,
    /// The number of orders that were handled.
    orders: Arc<AtomicUsize>,
    /// A permit for each order that waits.
    release: Arc<Semaphore>,
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let (user, key) = (ctx.query("user").unwrap_or("bob").to_owned(), ctx.query("key").unwrap_or(KEY).to_owned());
    Ok(ctx.accept().user_id(&user).session(&key))
}

fn shop_with(options: Options) -> Shop {
    let counted = Recorder::default();
    let pond = PondSocket::with_options(options).expect("valid options").metrics(counted.clone());
    let endpoint = pond.create_endpoint("/", connect);
    let lobby =
        endpoint.create_channel("/shop/:n", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept().replay_last(0)));
    lobby.history(History::new());
    let (orders, release) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let number = {
        let orders = Arc::clone(&orders);
        move || orders.fetch_add(1, Ordering::SeqCst) + 1
    };
    let next = number.clone();
    lobby.on_event("order", move |ctx: EventContext| {
        let number = next();
        async move { ctx.reply("ordered", &json!({ "number": number })) }
    });
    let (next, waits) = (number.clone(), Arc::clone(&release));
    lobby.on_event("slow", move |ctx: EventContext| {
        let (number, waits) = (next(), Arc::clone(&waits));
        async move {
            waits.acquire().await.expect("open").forget();
            ctx.reply("ordered", &json!({ "number": number }))
        }
    });
    let next = number.clone();
    lobby.on_event("fail", move |_: EventContext| {
        let number = next();
        async move { Err::<(), _>(Error::conflict(format!("order {number} is sold out"))) }
    });
    let next = number.clone();
    lobby.on_event("shout", move |ctx: EventContext| {
        let number = next();
        async move { ctx.broadcast("shouted", &json!({ "number": number })).map(drop) }
    });
    lobby.on_event("large", move |ctx: EventContext| {
        let number = number();
        async move { ctx.reply("ordered", &json!({ "number": number, "filler": "x".repeat(34 << 10) })) }
    });
    Shop { pond, endpoint, lobby, counted, orders, release }
}

fn shop() -> Shop {
    shop_with(Options::default())
}

impl Shop {
    fn orders(&self) -> usize {
        self.orders.load(Ordering::SeqCst)
    }

    async fn loses(&self, peer: Peer) {
        peer.reset();
        eventually("the loss is noticed", || self.endpoint.connections().is_empty()).await;
    }
}

async fn bob(address: SocketAddr) -> Peer {
    bob_with(address, "/", json!({ "$resume": "" })).await
}

async fn bob_with(address: SocketAddr, path: &str, payload: Value) -> Peer {
    let mut bob = Peer::connect(address, path).await;
    bob.join(CHANNEL, payload).await;
    bob
}

#[tokio::test]
async fn a_repeat_is_answered_as_before_and_not_handled_again() {
    let shop = shop();
    let (_server, address) = serve(&shop.pond).await;
    let mut client = bob(address).await;
    let (first, second) = (client.ask_as(CHANNEL, "order", "a").await, client.ask_as(CHANNEL, "fail", "b").await);
    assert_eq!(first["payload"], json!({ "number": 1 }));
    assert_eq!(second["payload"]["message"], json!("order 2 is sold out"));
    shop.loses(client).await;
    let mut client = bob(address).await;
    // Byte for byte, in any order, and more than once.
    for _ in 0..2 {
        assert_eq!(client.ask_as(CHANNEL, "fail", "b").await, second);
        assert_eq!(client.ask_as(CHANNEL, "order", "a").await, first);
    }
    assert_eq!(shop.orders(), 2);
    assert_eq!(client.ask_as(CHANNEL, "order", "c").await["payload"], json!({ "number": 3 }));
    // The session goes on over any number of connections.
    shop.loses(client).await;
    let mut client = bob(address).await;
    assert_eq!(client.ask_as(CHANNEL, "order", "a").await, first);
    assert_eq!(client.ask_as(CHANNEL, "order", "c").await["payload"], json!({ "number": 3 }));
    assert_eq!(shop.counted.of("message_repeated").len(), 6);
    assert_eq!(shop.counted.of("message_repeated")[0], "/ bob /shop/1 fail");
}

#[tokio::test]
async fn a_repeat_of_a_message_that_is_still_handled_waits_for_its_answer() {
    let shop = shop();
    let (_server, address) = serve(&shop.pond).await;
    let mut client = bob(address).await;
    client.send_as(CHANNEL, "slow", "a").await;
    eventually("it is handled", || shop.orders() == 1).await;
    client.reset();
    eventually("the loss is noticed", || shop.pond.snapshot().endpoints[0].channels.iter().all(|c| c.members == 0))
        .await;
    let mut client = bob(address).await;
    client.send_as(CHANNEL, "slow", "a").await;
    // Behind the repeat, as behind any message of the channel.
    client.send_as(CHANNEL, "order", "b").await;
    eventually("it is received", || shop.counted.of("message_received").len() == 3).await;
    assert_eq!(shop.orders(), 1, "neither is handled before");
    shop.release.add_permits(1);
    let (first, second) = (client.next().await, client.next().await);
    assert_eq!((&first["requestId"], &first["payload"]), (&json!("a"), &json!({ "number": 1 })));
    assert_eq!((&second["requestId"], &second["payload"]), (&json!("b"), &json!({ "number": 2 })));
}

#[tokio::test]
async fn a_message_without_an_answer_takes_effect_once() {
    let shop = shop();
    let (_server, address) = serve(&shop.pond).await;
    let mut client = bob(address).await;
    client.send_as(CHANNEL, "shout", "a").await;
    let shouted = client.next().await;
    let position = shouted["requestId"].clone();
    shop.loses(client).await;
    let mut client = bob_with(address, "/", json!({ "$resume": position })).await;
    client.send_as(CHANNEL, "shout", "a").await;
    assert_eq!(client.ask_as(CHANNEL, "order", "b").await["payload"], json!({ "number": 2 }));
    assert_eq!(shop.orders(), 2);
}

#[tokio::test]
async fn only_clients_that_keep_their_position_in_a_session_may_repeat() {
    for (path, payload) in [
        ("/", json!({})),
        ("/?key=", json!({ "$resume": "" })),
        ("/?user=eve", json!({ "$resume": "" })),
        ("/?key=another-session-key-of-bob", json!({ "$resume": "" })),
    ] {
        let shop = shop();
        let (_server, address) = serve(&shop.pond).await;
        let mut client = bob(address).await;
        client.ask_as(CHANNEL, "order", "a").await;
        shop.loses(client).await;
        let mut client = bob_with(address, path, payload.clone()).await;
        assert_eq!(client.ask_as(CHANNEL, "order", "a").await["payload"], json!({ "number": 2 }), "{path} {payload}");
        assert_eq!(shop.counted.of("message_repeated"), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_message_whose_answer_is_not_kept_any_more_is_not_handled_again() {
    let shop = shop();
    let (_server, address) = serve(&shop.pond).await;
    let mut client = bob(address).await;
    client.ask_as(CHANNEL, "large", "a").await;
    let second = client.ask_as(CHANNEL, "large", "b").await;
    let first = client.ask_as(CHANNEL, "large", "a").await;
    assert_eq!((&first["event"], &first["payload"]["code"]), (&json!("INTERNAL_ERROR"), &json!(410)));
    assert_eq!(client.ask_as(CHANNEL, "large", "b").await, second);
    assert_eq!(shop.orders(), 2);
    // The last 256 messages are known.
    for number in 0..255 {
        client.ask_as(CHANNEL, "order", &number.to_string()).await;
    }
    assert_eq!(client.ask_as(CHANNEL, "large", "b").await, second);
    client.ask_as(CHANNEL, "order", "255").await;
    assert_eq!(client.ask_as(CHANNEL, "large", "a").await["payload"]["number"], json!(259), "handled as a new message");
}

#[tokio::test]
async fn a_session_that_has_ended_knows_no_messages() {
    let shop = shop_with(Options::default().resume_window(Duration::from_millis(50)));
    let (_server, address) = serve(&shop.pond).await;
    let mut client = bob(address).await;
    client.ask_as(CHANNEL, "order", "a").await;
    shop.loses(client).await;
    eventually("the session ends", || shop.pond.snapshot().endpoints[0].sessions == 0).await;
    let mut client = bob(address).await;
    assert_eq!(client.ask_as(CHANNEL, "order", "a").await["payload"], json!({ "number": 2 }));
    // Closed by the client for good.
    client.socket.close(None).await.expect("it closes");
    eventually("it is closed", || shop.endpoint.connections().is_empty()).await;
    let mut client = bob(address).await;
    assert_eq!(client.ask_as(CHANNEL, "order", "a").await["payload"], json!({ "number": 3 }));
}

/// The next of several servers with one file.
fn next_shop(folder: &TempDir) -> Shop {
    shop_with(Options::default().history_file(folder.path().join("histories")))
}

/// Stops a server. Its client answers the close frame.
async fn stop(shop: &Shop, peer: Option<Peer>, within: Duration) {
    let pond = shop.pond.clone();
    let stop = tokio::spawn(async move { pond.shutdown(Shutdown::within(within).for_restart()).await });
    if let Some(mut peer) = peer {
        peer.closed().await;
        assert_eq!(peer.frame().await, None);
    }
    stop.await.expect("no panic");
}

#[tokio::test]
async fn repeats_are_answered_by_the_next_server_as_by_the_one_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let shop = next_shop(&folder);
    let (_server, address) = serve(&shop.pond).await;
    let mut client = bob(address).await;
    let (first, second) = (client.ask_as(CHANNEL, "order", "a").await, client.ask_as(CHANNEL, "fail", "b").await);
    client.send_as(CHANNEL, "shout", "c").await;
    let position = client.next().await["requestId"].clone();
    stop(&shop, Some(client), Duration::from_secs(10)).await;

    let shop = next_shop(&folder);
    let (_server, address) = serve(&shop.pond).await;
    let mut client = bob_with(address, "/", json!({ "$resume": position })).await;
    assert_eq!(client.ask_as(CHANNEL, "fail", "b").await, second);
    assert_eq!(client.ask_as(CHANNEL, "order", "a").await, first);
    client.send_as(CHANNEL, "shout", "c").await;
    assert_eq!(
        client.ask_as(CHANNEL, "order", "d").await["payload"],
        json!({ "number": 1 }),
        "the first one of this server"
    );
    assert_eq!((shop.orders(), shop.counted.of("message_repeated").len()), (1, 3));
    // They go on over any number of servers, also those that the client does not connect to.
    stop(&shop, Some(client), Duration::from_secs(10)).await;
    stop(&next_shop(&folder), None, Duration::from_secs(10)).await;
    let shop = next_shop(&folder);
    let (_server, address) = serve(&shop.pond).await;
    let mut client = bob(address).await;
    assert_eq!(client.ask_as(CHANNEL, "order", "a").await, first);
    assert_eq!(shop.orders(), 0);
}

#[tokio::test]
async fn the_next_server_says_so_if_the_answer_to_a_repeat_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let shop = next_shop(&folder);
    let (_server, address) = serve(&shop.pond).await;
    let mut client = bob(address).await;
    client.ask_as(CHANNEL, "large", "a").await;
    let second = client.ask_as(CHANNEL, "large", "b").await;
    client.send_as(CHANNEL, "slow", "c").await;
    eventually("it is handled", || shop.orders() == 3).await;
    // The handler does not finish, and is cancelled.
    stop(&shop, None, Duration::ZERO).await;
    drop(client);

    let shop = next_shop(&folder);
    let (_server, address) = serve(&shop.pond).await;
    let mut client = bob(address).await;
    for (event, id) in [("large", "a"), ("slow", "c")] {
        let answer = client.ask_as(CHANNEL, event, id).await;
        assert_eq!((&answer["event"], &answer["payload"]["code"]), (&json!("INTERNAL_ERROR"), &json!(410)), "{id}");
    }
    assert_eq!(client.ask_as(CHANNEL, "large", "b").await, second);
    assert_eq!(shop.orders(), 0);
}

#[tokio::test]
async fn outgoing_handlers_of_the_next_server_decide_about_replies_and_not_about_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    let shop = next_shop(&folder);
    let (_server, address) = serve(&shop.pond).await;
    let mut client = bob(address).await;
    client.ask_as(CHANNEL, "order", "a").await;
    let second = client.ask_as(CHANNEL, "fail", "b").await;
    stop(&shop, Some(client), Duration::from_secs(10)).await;

    let shop = next_shop(&folder);
    shop.lobby.on_outgoing(":any", |_: &OutgoingContext| Outgoing::replace(&json!({ "number": 0 })));
    let (_server, address) = serve(&shop.pond).await;
    let mut client = bob(address).await;
    assert_eq!(client.ask_as(CHANNEL, "order", "a").await["payload"], json!({ "number": 0 }));
    assert_eq!(client.ask_as(CHANNEL, "fail", "b").await, second);
    assert_eq!(shop.orders(), 0);
}
