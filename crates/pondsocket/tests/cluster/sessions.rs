//! Clients that do not know their position come back to another node, by a session.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pondsocket::testing::bus::{MemoryBus, MemoryHub};
use pondsocket::{
    Connected, ConnectionContext, Endpoint, EventContext, GapReason, History, JoinContext, Joined, Options, Payload,
    PondSocket, Recovery, Result, Server,
};
use serde_json::{Value, json};
use testkit::{Peer, eventually, serve};

const KEY: &str = "6f1e6b1c-session-of-bob";

struct SessionNode {
    pond: PondSocket,
    endpoint: Endpoint,
    bus: Arc<MemoryBus>,
    address: SocketAddr,
    recoveries: Arc<Mutex<Vec<Recovery>>>,
    _server: Server,
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let (user, key) = (ctx.query("user").map(str::to_owned), ctx.query("key").unwrap_or_default().to_owned());
    let accepted = ctx.accept().session(&key);
    Ok(match user {
        Some(user) => accepted.user_id(&user),
        None => accepted,
    })
}

async fn start(hub: &MemoryHub, name: &str) -> SessionNode {
    let bus = hub.node();
    let options = Options::default().bus(Arc::clone(&bus)).node_name(name.to_owned()).proof_interval(Duration::ZERO);
    let pond = PondSocket::with_options(options).expect("valid options");
    let endpoint = pond.create_endpoint("/", connect);
    let recoveries = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&recoveries);
    let lobby = endpoint.create_channel("/chat/:room", move |ctx: JoinContext| {
        noted.lock().expect("no panic").push(ctx.recovery());
        async { Ok::<Joined, pondsocket::Error>(ctx.accept()) }
    });
    lobby.history(History::new());
    lobby.on_event("ask", async |ctx: EventContext, Payload(payload): Payload<Value>| ctx.reply("answered", &payload));
    let (server, address) = serve(&pond).await;
    SessionNode { pond, endpoint, bus, address, recoveries, _server: server }
}

async fn pair() -> (MemoryHub, SessionNode, SessionNode) {
    let hub = MemoryHub::new();
    let (one, two) = (start(&hub, "one").await, start(&hub, "two").await);
    eventually("the nodes know each other", || one.pond.nodes() == ["two"] && two.pond.nodes() == ["one"]).await;
    (hub, one, two)
}

impl SessionNode {
    fn say(&self, numbers: std::ops::Range<u64>) {
        for n in numbers {
            let channel = self.endpoint.channel("/chat/a").expect("a name");
            channel.broadcast("said", &json!({ "n": n })).expect("room");
        }
    }

    /// The recovery that the join handler has seen last.
    fn recovery(&self) -> Recovery {
        *self.recoveries.lock().expect("no panic").last().expect("a join")
    }

    fn connections(&self) -> usize {
        self.pond.snapshot().endpoints[0].connections
    }

    async fn bob(&self) -> Peer {
        let mut bob = Peer::connect(self.address, &format!("/?user=bob&key={KEY}")).await;
        bob.join("/chat/a", json!({})).await;
        bob
    }
}

async fn numbers(peer: &mut Peer, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let message = peer.next().await;
        assert_eq!(message["event"], json!("said"), "{message}");
        numbers.push(message["payload"]["n"].as_u64().expect("a number"));
    }
    numbers
}

#[tokio::test]
async fn a_client_that_was_cut_off_resumes_on_another_node() {
    let (_hub, one, two) = pair().await;
    let mut client = one.bob().await;
    assert_eq!(one.recovery(), Recovery::New);
    two.say(1..4);
    assert_eq!(numbers(&mut client, 3).await, [1, 2, 3]);
    client.nothing_before_reply("/chat/a", "ask").await;
    client.reset();
    eventually("the loss is noticed", || one.connections() == 0).await;
    one.say(4..6);
    let mut client = two.bob().await;
    assert_eq!(two.recovery(), Recovery::Resumed { missed: 2, may_repeat: 0 });
    assert_eq!(numbers(&mut client, 2).await, [4, 5]);
    // And back: each ticket is used once.
    client.nothing_before_reply("/chat/a", "ask").await;
    client.reset();
    eventually("the loss is noticed", || two.connections() == 0).await;
    two.say(6..7);
    let mut client = one.bob().await;
    assert_eq!(numbers(&mut client, 1).await, [6]);
}

#[tokio::test]
async fn after_a_shutdown_a_client_resumes_on_another_node_without_repetitions() {
    let (_hub, one, two) = pair().await;
    let mut client = one.bob().await;
    let _other = two.member("ada").await;
    one.say(1..6);
    assert_eq!(numbers(&mut client, 5).await, [1, 2, 3, 4, 5]);
    let pond = one.pond.clone();
    let stops = tokio::spawn(async move { pond.shutdown(pondsocket::Shutdown::within(Duration::from_secs(10))).await });
    assert_eq!(client.closed().await.map(|frame| u16::from(frame.code)), Some(1001));
    // The next read sends the answer to the close frame.
    assert!(client.frame().await.is_none());
    stops.await.expect("no panic");
    two.say(6..8);
    let mut client = two.bob().await;
    assert_eq!(two.recovery(), Recovery::Resumed { missed: 2, may_repeat: 0 });
    assert_eq!(numbers(&mut client, 2).await, [6, 7]);
}

#[tokio::test]
async fn a_message_that_gets_its_position_during_a_shutdown_is_not_repeated() {
    let (_hub, one, two) = pair().await;
    let mut client = one.bob().await;
    let _other = two.member("ada").await;
    one.say(1..3);
    assert_eq!(numbers(&mut client, 2).await, [1, 2]);
    // The client leaves the channel while the store has not answered yet.
    one.bus.delay_answers(Duration::from_millis(300));
    one.say(3..5);
    let pond = one.pond.clone();
    let stops = tokio::spawn(async move { pond.shutdown(pondsocket::Shutdown::within(Duration::from_secs(10))).await });
    assert_eq!(numbers(&mut client, 2).await, [3, 4]);
    assert_eq!(client.closed().await.map(|frame| u16::from(frame.code)), Some(1001));
    // The next read sends the answer to the close frame.
    assert!(client.frame().await.is_none());
    stops.await.expect("no panic");
    two.say(5..6);
    let mut client = two.bob().await;
    assert_eq!(two.recovery(), Recovery::Resumed { missed: 1, may_repeat: 0 });
    assert_eq!(numbers(&mut client, 1).await, [5]);
}

#[tokio::test]
async fn the_join_handler_of_a_client_that_was_closed_at_a_gap_sees_the_gap() {
    let (hub, one, two) = pair().await;
    let mut client = one.bob().await;
    one.say(1..3);
    assert_eq!(numbers(&mut client, 2).await, [1, 2]);
    // Records of sessions stay.
    hub.fail_over();
    one.say(3..4);
    assert_eq!(client.closed().await.map(|frame| u16::from(frame.code)), Some(1012));
    assert!(client.frame().await.is_none());
    eventually("it is closed", || one.connections() == 0).await;
    let mut client = two.bob().await;
    assert_eq!(two.recovery(), Recovery::Gap(GapReason::Epoch));
    two.say(4..5);
    assert_eq!(numbers(&mut client, 1).await, [4]);
}

#[tokio::test]
async fn a_client_that_comes_while_the_store_is_away_for_a_moment_resumes() {
    for is_slow in [true, false] {
        let (_hub, one, two) = pair().await;
        let _ada = two.member("ada").await;
        let mut client = one.bob().await;
        one.say(1..3);
        assert_eq!(numbers(&mut client, 2).await, [1, 2]);
        client.nothing_before_reply("/chat/a", "ask").await;
        client.reset();
        eventually("the loss is noticed", || one.connections() == 0).await;
        one.say(3..4);
        if is_slow {
            two.bus.delay_answers(Duration::from_millis(1200));
        } else {
            two.bus.cut();
        }
        let (mut client, ()) = tokio::join!(two.bob(), async {
            if !is_slow {
                tokio::time::sleep(Duration::from_millis(300)).await;
                two.bus.restore();
            }
        });
        assert_eq!(two.recovery(), Recovery::Resumed { missed: 1, may_repeat: 0 }, "slow: {is_slow}");
        assert_eq!(numbers(&mut client, 1).await, [3]);
    }
}

#[tokio::test]
async fn the_lost_connection_of_a_session_is_ended_on_its_node() {
    let (_hub, one, two) = pair().await;
    // Its socket is open, but nobody reads it.
    let _lost = one.bob().await;
    one.say(1..4);
    let mut client = two.bob().await;
    assert_eq!(two.recovery(), Recovery::Resumed { missed: 3, may_repeat: 3 });
    assert_eq!(numbers(&mut client, 3).await, [1, 2, 3]);
    eventually("the lost connection is ended", || one.connections() == 0).await;
}

#[tokio::test]
async fn a_client_with_the_key_of_one_that_is_alive_on_another_node_is_a_new_one() {
    let (_hub, one, two) = pair().await;
    let mut first = one.bob().await;
    let key = format!("/?user=bob&key={KEY}");
    // The first client answers the ping while the second one connects.
    let first = tokio::spawn(async move { numbers(&mut first, 1).await });
    let mut second = Peer::connect(two.address, &key).await;
    second.join("/chat/a", json!({})).await;
    assert_eq!(two.recovery(), Recovery::New);
    one.say(1..2);
    assert_eq!((first.await.expect("no panic"), numbers(&mut second, 1).await), (vec![1], vec![1]));
}

#[tokio::test]
async fn after_the_loss_of_a_node_a_client_gets_what_was_not_proven_again() {
    let (_hub, one, two) = pair().await;
    let _ada = two.member("ada").await;
    let mut client = one.bob().await;
    two.say(1..4);
    assert_eq!(numbers(&mut client, 3).await, [1, 2, 3]);
    client.nothing_before_reply("/chat/a", "ask").await;
    // The node writes the positions down within a second, and answers nothing from then on.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    one.bus.cut();
    drop(client);
    two.say(4..6);
    let mut client = two.bob().await;
    assert_eq!(two.recovery(), Recovery::Resumed { missed: 2, may_repeat: 2 });
    assert_eq!(numbers(&mut client, 2).await, [4, 5]);
}

impl SessionNode {
    /// A member without a session.
    async fn member(&self, user: &str) -> Peer {
        let mut peer = Peer::connect(self.address, &format!("/?user={user}")).await;
        peer.join("/chat/a", json!({})).await;
        peer
    }
}

#[tokio::test]
async fn a_session_of_another_user_is_not_resumed_and_stays_with_its_own() {
    let (_hub, one, two) = pair().await;
    let client = one.bob().await;
    one.say(1..3);
    client.reset();
    eventually("the loss is noticed", || one.connections() == 0).await;
    let mut thief = Peer::connect(two.address, &format!("/?user=eve&key={KEY}")).await;
    thief.join("/chat/a", json!({})).await;
    assert_eq!(two.recovery(), Recovery::New);
    drop(thief);
    let mut client = one.bob().await;
    assert_eq!(numbers(&mut client, 2).await, [1, 2]);
}
