//! A client that repeats messages at another node than the one that has handled them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pondsocket::testing::bus::{MemoryBus, MemoryHub};
use pondsocket::{
    Connected, ConnectionContext, Error, EventContext, History, JoinContext, Joined, Options, PondSocket, Result,
    Server, Shutdown,
};
use serde_json::json;
use testkit::{Peer, eventually, serve};
use tokio::sync::Semaphore;

const CHANNEL: &str = "/shop/1";

/// A node of a shop, whose orders are numbered on each node.
struct ShopNode {
    pond: PondSocket,
    bus: Arc<MemoryBus>,
    address: SocketAddr,
    orders: Arc<AtomicUsize>,
    /// A permit for each order that waits.
    release: Arc<Semaphore>,
    _server: Server,
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    Ok(ctx.accept().user_id("bob").session("6f1e6b1c-session-of-bob"))
}

async fn start(hub: &MemoryHub, name: &str) -> ShopNode {
    let bus = hub.node();
    let options = Options::default().bus(Arc::clone(&bus)).node_name(name.to_owned());
    let pond = PondSocket::with_options(options).expect("valid options");
    let lobby = pond
        .create_endpoint("/", connect)
        .create_channel("/shop/:n", async |ctx: JoinContext| Ok::<Joined, Error>(ctx.accept()));
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
    let next = number.clone();
    lobby.on_event("fail", move |_: EventContext| {
        let number = next();
        async move { Err::<(), _>(Error::conflict(format!("order {number} is sold out"))) }
    });
    let waits = Arc::clone(&release);
    lobby.on_event("slow", move |ctx: EventContext| {
        let (number, waits) = (number(), Arc::clone(&waits));
        async move {
            waits.acquire().await.expect("open").forget();
            ctx.reply("ordered", &json!({ "number": number }))
        }
    });
    let (server, address) = serve(&pond).await;
    ShopNode { pond, bus, address, orders, release, _server: server }
}

async fn pair() -> (MemoryHub, ShopNode, ShopNode) {
    let hub = MemoryHub::new();
    let (one, two) = (start(&hub, "one").await, start(&hub, "two").await);
    eventually("the nodes know each other", || one.pond.nodes() == ["two"] && two.pond.nodes() == ["one"]).await;
    (hub, one, two)
}

impl ShopNode {
    fn orders(&self) -> usize {
        self.orders.load(Ordering::SeqCst)
    }

    async fn bob(&self) -> Peer {
        let mut bob = Peer::connect(self.address, "/").await;
        bob.join(CHANNEL, json!({ "$resume": "" })).await;
        bob
    }

    async fn loses(&self, peer: Peer) {
        peer.reset();
        eventually("the loss is noticed", || self.pond.snapshot().endpoints[0].connections == 0).await;
    }
}

#[tokio::test]
async fn a_repeat_at_another_node_is_answered_as_before_and_not_handled_again() {
    let (_hub, one, two) = pair().await;
    let mut client = one.bob().await;
    let (first, second) = (client.ask_as(CHANNEL, "order", "a").await, client.ask_as(CHANNEL, "fail", "b").await);
    one.loses(client).await;
    let mut client = two.bob().await;
    assert_eq!(client.ask_as(CHANNEL, "fail", "b").await, second);
    assert_eq!(client.ask_as(CHANNEL, "order", "a").await, first);
    let third = client.ask_as(CHANNEL, "order", "c").await;
    // And back, with what each of the nodes has handled.
    two.loses(client).await;
    let mut client = one.bob().await;
    assert_eq!(client.ask_as(CHANNEL, "order", "c").await, third);
    assert_eq!(client.ask_as(CHANNEL, "order", "a").await, first);
    assert_eq!((one.orders(), two.orders()), (2, 1));
}

#[tokio::test]
async fn a_node_that_stops_hands_all_messages_of_a_session_over() {
    let (_hub, one, two) = pair().await;
    let mut client = one.bob().await;
    let mut answers = Vec::new();
    for number in 0..256 {
        answers.push(client.ask_as(CHANNEL, "order", &number.to_string()).await);
    }
    let pond = one.pond.clone();
    let stop =
        tokio::spawn(async move { pond.shutdown(Shutdown::within(Duration::from_secs(10)).for_restart()).await });
    client.closed().await;
    assert_eq!(client.frame().await, None);
    stop.await.expect("no panic");
    let mut client = two.bob().await;
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(client.ask_as(CHANNEL, "order", &number.to_string()).await, *answer);
    }
    assert_eq!(two.orders(), 0);
}

#[tokio::test]
async fn a_repeat_waits_for_a_moment_for_the_node_that_still_handles_its_message() {
    let (_hub, one, two) = pair().await;
    let mut client = one.bob().await;
    client.send_as(CHANNEL, "slow", "a").await;
    eventually("it is handled", || one.orders() == 1).await;
    // Its connection is open, but nobody reads it.
    let lost = client;
    let (release, orders) = (Arc::clone(&one.release), Arc::clone(&one.orders));
    let pond = one.pond.clone();
    let released = tokio::spawn(async move {
        eventually("the lost connection is ended", || {
            pond.snapshot().endpoints[0].channels.iter().all(|channel| channel.connections == 0)
        })
        .await;
        assert_eq!(orders.load(Ordering::SeqCst), 1);
        release.add_permits(1);
    });
    let mut client = two.bob().await;
    released.await.expect("no panic");
    assert_eq!(client.ask_as(CHANNEL, "slow", "a").await["payload"], json!({ "number": 1 }));
    assert_eq!(two.orders(), 0);
    drop(lost);
}

#[tokio::test]
async fn a_repeat_is_told_if_its_message_is_handled_elsewhere_for_too_long() {
    let (_hub, one, two) = pair().await;
    let mut client = one.bob().await;
    client.send_as(CHANNEL, "slow", "a").await;
    eventually("it is handled", || one.orders() == 1).await;
    client.reset();
    eventually("the loss is noticed", || {
        one.pond.snapshot().endpoints[0].channels.iter().all(|channel| channel.connections == 0)
    })
    .await;
    let mut client = two.bob().await;
    assert_eq!(client.ask_as(CHANNEL, "slow", "a").await["payload"]["code"], json!(410));
    assert_eq!((one.orders(), two.orders()), (1, 0));
}

#[tokio::test]
async fn after_the_loss_of_a_node_the_messages_of_earlier_connections_are_known() {
    let (_hub, one, two) = pair().await;
    let mut client = one.bob().await;
    let first = client.ask_as(CHANNEL, "order", "a").await;
    one.loses(client).await;
    let mut client = two.bob().await;
    client.ask_as(CHANNEL, "order", "b").await;
    // From now on the node answers nothing, as one that was killed.
    two.bus.cut();
    let mut client = one.bob().await;
    assert_eq!(client.ask_as(CHANNEL, "order", "a").await, first);
    assert_eq!(
        client.ask_as(CHANNEL, "order", "b").await["payload"],
        json!({ "number": 2 }),
        "not promised: handled again"
    );
}
