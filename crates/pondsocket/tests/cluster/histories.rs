//! Histories that nodes share: one order of messages on all nodes, and clients that resume on any of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pondsocket::cluster::{BoxFuture, Bus, BusError, BusSink, Leases, Outcome, Publish, SharedBus, Stop, Topic};
use pondsocket::testing::bus::{MemoryBus, MemoryHub};
use pondsocket::{
    Connected, ConnectionContext, Error, EventContext, History, JoinContext, Joined, Options, Payload, PondSocket,
    Position, Result, Server,
};
use serde_json::{Value, json};
use testkit::{Message, Peer, Recorder, eventually, serve};
use tokio::time::sleep;

/// A bus without a store of histories.
pub(crate) struct Storeless<B>(pub(crate) Arc<B>);

impl<B: Bus> Bus for Storeless<B> {
    fn run(self: Arc<Self>, sink: BusSink, stop: Stop) -> BoxFuture<'static, std::result::Result<(), BusError>> {
        Arc::clone(&self.0).run(sink, stop)
    }

    fn update_subscriptions(&self, add: &[Topic], remove: &[Topic]) {
        self.0.update_subscriptions(add, remove);
    }

    fn publish(&self, batch: Vec<Publish>) -> BoxFuture<'_, Vec<Outcome>> {
        self.0.publish(batch)
    }

    fn leases(&self) -> Option<&dyn Leases> {
        self.0.leases()
    }
}

/// A server whose channels share their histories.
struct HistoryNode {
    pond: PondSocket,
    bus: Arc<MemoryBus>,
    address: SocketAddr,
    recorder: Arc<Recorder>,
    _server: Server,
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let user = ctx.query("user").unwrap_or_default().to_owned();
    Ok(ctx.accept().user_id(&user))
}

async fn start(hub: &MemoryHub, name: &str) -> HistoryNode {
    let bus = hub.node();
    start_on(Arc::clone(&bus), bus, name, History::new()).await
}

/// Starts a node on a bus, which is that of the memory hub or a part of it.
async fn start_on(on: impl Into<SharedBus>, bus: Arc<MemoryBus>, name: &str, history: History) -> HistoryNode {
    let recorder = Arc::new(Recorder::default());
    let options = Options::default().bus(on).node_name(name.to_owned());
    let pond = PondSocket::with_options(options).expect("valid options").metrics(Arc::clone(&recorder));
    let lobby = pond
        .create_endpoint("/", connect)
        .create_channel("/chat/:room", async |ctx: JoinContext| -> Result<Joined> { Ok(ctx.accept()) });
    lobby.history(history);
    lobby.on_event("say", async |ctx: EventContext, Payload(payload): Payload<Value>| -> Result<()> {
        ctx.broadcast("said", &payload)?;
        ctx.reply("done", &payload)
    });
    lobby.on_event("tell", async |ctx: EventContext, Payload(payload): Payload<Value>| -> Result<()> {
        ctx.broadcast_from("said", &payload)?;
        ctx.reply("done", &payload)
    });
    let (server, address) = serve(&pond).await;
    HistoryNode { pond, bus, address, recorder, _server: server }
}

/// A client in the channel, and the payload of the acknowledgement.
async fn join(node: &HistoryNode, user: &str, resume: &Value) -> (Peer, Value) {
    let mut peer = Peer::connect(node.address, &format!("/?user={user}")).await;
    peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/chat/a", json!({ "$resume": resume })).await;
    let answer = peer.next().await;
    assert_eq!(answer["event"], "ACKNOWLEDGE", "{answer}");
    (peer, answer["payload"].clone())
}

async fn say(peer: &mut Peer, event: &str, n: u64) {
    peer.event("/chat/a", event, json!({ "n": n })).await;
}

/// The next broadcast: its position, as text, and its number.
async fn said(peer: &mut Peer) -> (Value, u64) {
    loop {
        let message = peer.next().await;
        if message["event"] == "done" {
            continue;
        }
        assert_eq!(message["event"], "said", "{message}");
        return (message["requestId"].clone(), message["payload"]["n"].as_u64().expect("a number"));
    }
}

async fn numbers(peer: &mut Peer, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(said(peer).await.1);
    }
    numbers
}

impl HistoryNode {
    /// The number of messages that it has appended to the history.
    fn appended(&self) -> usize {
        let of = |event: &String| event.strip_prefix("HistoryAppended(")?.strip_suffix(')')?.parse::<usize>().ok();
        self.recorder.of("cluster").iter().filter_map(of).sum()
    }

    /// The number of times that it has read a history.
    fn reads(&self) -> usize {
        self.recorder.of("cluster").iter().filter(|event| *event == "HistoryRead").count()
    }
}

fn position(value: &Value) -> Position {
    value.as_str().expect("text").parse().expect("a position")
}

#[tokio::test]
async fn a_client_resumes_on_any_node_also_on_one_that_had_not_opened_the_channel() {
    let hub = MemoryHub::new();
    let (one, two, three) = (start(&hub, "one").await, start(&hub, "two").await, start(&hub, "three").await);
    let (mut ada, _) = join(&one, "ada", &json!("")).await;
    let (mut bob, start) = join(&two, "bob", &json!("")).await;
    assert_eq!(start["recovered"], json!(false), "{start}");
    for n in 1..4 {
        say(&mut ada, "say", n).await;
    }
    let mut last = Value::Null;
    for n in 1..4 {
        let (at, number) = said(&mut bob).await;
        assert_eq!((position(&at).offset, number), (n, n));
        last = at;
    }
    drop(bob);
    for n in 4..7 {
        say(&mut ada, "say", n).await;
    }
    assert_eq!(numbers(&mut ada, 6).await, [1, 2, 3, 4, 5, 6]);
    for node in [&one, &two, &three] {
        let (mut bob, answer) = join(node, "bob", &last).await;
        assert_eq!((&answer["recovered"], &answer["missed"]), (&json!(true), &json!(3)), "{answer}");
        assert_eq!(numbers(&mut bob, 3).await, [4, 5, 6]);
    }
}

#[tokio::test]
async fn a_client_that_comes_to_a_node_behind_its_own_position_has_missed_nothing() {
    let hub = MemoryHub::new();
    let (one, two) = (start(&hub, "one").await, start(&hub, "two").await);
    let (mut ada, _) = join(&one, "ada", &json!("")).await;
    let (_bob, _) = join(&two, "bob", &json!("")).await;
    // The bus has not brought to the second node what the client has received from the first one.
    two.bus.delay(Duration::from_secs(5));
    say(&mut ada, "say", 1).await;
    let (last, _) = said(&mut ada).await;
    let (_ada, answer) = join(&two, "ada", &last).await;
    let told = (&answer["recovered"], &answer["missed"], &answer["position"]);
    assert_eq!(told, (&json!(true), &json!(0), &last), "{answer}");
}

#[tokio::test]
async fn a_client_that_comes_to_a_node_of_an_earlier_epoch_has_missed_nothing() {
    let hub = MemoryHub::new();
    let (one, two) = (start(&hub, "one").await, start(&hub, "two").await);
    let (mut ada, _) = join(&one, "ada", &json!("")).await;
    let (_bob, _) = join(&two, "bob", &json!("")).await;
    say(&mut ada, "say", 1).await;
    assert_eq!(said(&mut ada).await.1, 1);
    two.bus.delay(Duration::from_secs(5));
    hub.lose_history();
    say(&mut ada, "say", 2).await;
    assert_eq!(ada.next().await["event"], "done");
    resync(&mut ada).await;
    let (last, _) = said(&mut ada).await;
    let (_ada, answer) = join(&two, "ada", &last).await;
    assert_eq!((&answer["recovered"], &answer["position"]), (&json!(true), &last), "{answer}");
}

#[tokio::test]
async fn members_of_all_nodes_receive_the_messages_of_all_nodes_in_one_order() {
    const EACH: u64 = 200;
    let hub = MemoryHub::new();
    let (one, two) = (start(&hub, "one").await, start(&hub, "two").await);
    // Answers and messages meet in another order on each node.
    one.bus.delay(Duration::from_millis(3));
    two.bus.delay_answers(Duration::from_millis(5));
    let (mut ada, _) = join(&one, "ada", &json!("")).await;
    let (mut bob, _) = join(&two, "bob", &json!("")).await;
    let send = async |mut peer: Peer, first: u64| {
        for n in 0..EACH {
            say(&mut peer, "say", first + n).await;
        }
        peer
    };
    (ada, bob) = tokio::join!(send(ada, 0), send(bob, 1000));
    let mut seen = Vec::new();
    for peer in [&mut ada, &mut bob] {
        let mut all = Vec::new();
        for offset in 1..=2 * EACH {
            let (at, n) = said(peer).await;
            assert_eq!(position(&at).offset, offset);
            all.push((at, n));
        }
        seen.push(all);
    }
    assert_eq!(seen[0], seen[1]);
    for first in [0, 1000] {
        let of_one: Vec<_> = seen[0].iter().map(|(_, n)| *n).filter(|n| (first..first + EACH).contains(n)).collect();
        assert_eq!(of_one, (first..first + EACH).collect::<Vec<_>>(), "each sender's order is kept");
    }
}

#[tokio::test]
async fn a_reply_stays_behind_the_message_that_waits_for_its_position() {
    let hub = MemoryHub::new();
    let node = start(&hub, "one").await;
    let (mut ada, _) = join(&node, "ada", &json!("")).await;
    node.bus.delay_answers(Duration::from_millis(30));
    for n in 0..10 {
        say(&mut ada, "say", n).await;
    }
    for n in 0..10 {
        for event in ["said", "done"] {
            let message = ada.next().await;
            assert_eq!((&message["event"], &message["payload"]["n"]), (&json!(event), &json!(n)), "{message}");
        }
    }
}

#[tokio::test]
async fn a_client_that_joins_while_messages_wait_for_their_positions_misses_none_behind_its_own() {
    let hub = MemoryHub::new();
    let node = start(&hub, "one").await;
    let (mut ada, start) = join(&node, "ada", &json!("")).await;
    node.bus.delay_answers(Duration::from_millis(50));
    let mut clients = Vec::new();
    for n in 1..10 {
        say(&mut ada, "say", n).await;
        let mut peer = Peer::connect(node.address, &format!("/?user=u{n}")).await;
        peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/chat/a", json!({ "$resume": start["position"] })).await;
        clients.push(peer);
    }
    for mut peer in clients {
        let answer = peer.next().await;
        assert_eq!((&answer["event"], &answer["payload"]["recovered"]), (&json!("ACKNOWLEDGE"), &json!(true)));
        assert_eq!(numbers(&mut peer, 9).await, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
}

#[tokio::test]
async fn messages_that_the_bus_has_lost_are_read_from_the_store() {
    let hub = MemoryHub::new();
    let (one, two) = (start(&hub, "one").await, start(&hub, "two").await);
    let (mut ada, _) = join(&one, "ada", &json!("")).await;
    let (mut bob, _) = join(&two, "bob", &json!("")).await;
    say(&mut ada, "say", 1).await;
    assert_eq!(said(&mut bob).await.1, 1);
    // Without a notice the next message shows what is missing; with one nothing else is needed.
    two.bus.lose(3);
    for n in 2..6 {
        say(&mut ada, "say", n).await;
    }
    assert_eq!(numbers(&mut bob, 4).await, [2, 3, 4, 5]);
    two.bus.lose_with_gap(2);
    two.bus.duplicate(1);
    for n in 6..8 {
        say(&mut ada, "say", n).await;
    }
    assert_eq!(numbers(&mut bob, 2).await, [6, 7]);
    two.bus.cut();
    say(&mut ada, "say", 8).await;
    eventually("the message is kept", || one.appended() == 8).await;
    two.bus.restore();
    assert_eq!(said(&mut bob).await.1, 8);
    assert_eq!(numbers(&mut ada, 8).await, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[tokio::test]
async fn a_message_whose_outcome_is_unknown_is_delivered_once() {
    let hub = MemoryHub::new();
    let (one, two) = (start(&hub, "one").await, start(&hub, "two").await);
    let (mut ada, _) = join(&one, "ada", &json!("")).await;
    let (mut bob, _) = join(&two, "bob", &json!("")).await;
    one.bus.lose_answers(3);
    one.bus.lose_appends(2);
    for n in 1..20 {
        say(&mut ada, "say", n).await;
    }
    let (mut ada, bob) = (numbers(&mut ada, 19).await, numbers(&mut bob, 19).await);
    assert_eq!(ada, bob);
    ada.sort_unstable();
    assert_eq!(ada, (1..20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_appended_again_after_a_loss_of_the_bus_is_delivered_once() {
    let hub = MemoryHub::new();
    let (one, two) = (crate::Node::start(&hub, "one").await, crate::Node::start(&hub, "two").await);
    for node in [&one, &two] {
        let kept = node.endpoint.create_channel("/kept/:room", async |ctx: JoinContext| Ok::<_, Error>(ctx.accept()));
        kept.history(History::new());
        kept.on_event("say", async |ctx: EventContext, Payload(said): Payload<Value>| ctx.broadcast("said", &said));
    }
    let (_ada, here) = one.join("ada", "/kept/1").await;
    let (_bob, mut there) = two.join("bob", "/kept/1").await;
    // By then no server in another language listens, so messages are short. After a loss of the bus one may listen.
    sleep(Duration::from_secs(300)).await;
    one.bus.lose_answers(1);
    here.send("say", json!({ "n": 1 }));
    sleep(Duration::from_millis(1)).await;
    one.bus.cut();
    one.bus.restore();
    for n in 1..4 {
        assert_eq!(there.next("said").await.expect("a message"), json!({ "n": n }));
        here.send("say", json!({ "n": n + 1 }));
    }
    assert_eq!(there.next("said").await.expect("a message"), json!({ "n": 4 }));
    assert_eq!(two.channel("/kept/1").history(10).len(), 4);
}

#[tokio::test]
async fn a_sender_does_not_get_its_own_message_back_on_its_node_or_when_it_resumes_on_another() {
    let hub = MemoryHub::new();
    let (one, two) = (start(&hub, "one").await, start(&hub, "two").await);
    let (mut ada, start) = join(&one, "ada", &json!("")).await;
    let (mut bob, _) = join(&two, "bob", &json!("")).await;
    say(&mut ada, "tell", 1).await;
    say(&mut ada, "say", 2).await;
    assert_eq!((numbers(&mut ada, 1).await, numbers(&mut bob, 2).await), (vec![2], vec![1, 2]));
    drop(ada);
    let (mut ada, answer) = join(&two, "ada", &start["position"]).await;
    assert_eq!(answer["missed"], json!(1), "{answer}");
    assert_eq!(numbers(&mut ada, 1).await, [2]);
}

#[tokio::test]
async fn without_the_store_a_node_goes_on_and_clients_that_resume_across_that_are_told() {
    let hub = MemoryHub::new();
    let (one, two) = (start(&hub, "one").await, start(&hub, "two").await);
    let (mut ada, _) = join(&one, "ada", &json!("")).await;
    let (mut bob, _) = join(&two, "bob", &json!("")).await;
    say(&mut ada, "say", 1).await;
    let (before, _) = said(&mut bob).await;
    one.bus.cut();
    // Delivered to the members of its own node after a while, in an epoch of this node.
    say(&mut ada, "say", 2).await;
    assert_eq!(numbers(&mut ada, 2).await, [1, 2]);
    drop(bob);
    let reads = two.reads();
    one.bus.restore();
    eventually("the history begins anew on both", || one.reads() >= 2 && two.reads() > reads).await;
    for node in [&one, &two] {
        let (mut bob, answer) = join(node, "bob", &before).await;
        assert_eq!((&answer["recovered"], &answer["gap"]), (&json!(false), &json!("epoch")), "{answer}");
        say(&mut bob, "say", 3).await;
        assert_eq!(said(&mut bob).await.1, 3);
    }
}

/// The next message is the notice of a gap; the position behind it.
async fn resync(peer: &mut Peer) -> Position {
    let notice = peer.next().await;
    assert_eq!((&notice["event"], &notice["payload"]["gap"]), (&json!("RESYNC"), &json!("epoch")), "{notice}");
    position(&notice["payload"]["position"])
}

#[tokio::test]
async fn members_are_told_when_the_store_has_lost_its_data_and_what_follows_is_complete() {
    let hub = MemoryHub::new();
    let (one, two) = (start(&hub, "one").await, start(&hub, "two").await);
    let (mut ada, _) = join(&one, "ada", &json!("")).await;
    let (mut bob, _) = join(&two, "bob", &json!("")).await;
    say(&mut ada, "tell", 1).await;
    assert_eq!(said(&mut bob).await.1, 1);
    assert_eq!(ada.next().await["event"], "done");
    hub.lose_history();
    say(&mut ada, "tell", 2).await;
    say(&mut ada, "say", 3).await;
    let told = (resync(&mut ada).await, resync(&mut bob).await);
    assert_eq!(told.0, told.1);
    // What ada has told the others has the first position.
    assert_eq!(told.0.offset, 0);
    assert_eq!((numbers(&mut ada, 1).await, numbers(&mut bob, 2).await), (vec![3], vec![2, 3]));
    drop(bob);
    let (mut bob, answer) = join(&one, "bob", &json!(told.0)).await;
    assert_eq!((&answer["recovered"], &answer["missed"]), (&json!(true), &json!(2)), "{answer}");
    assert_eq!(numbers(&mut bob, 2).await, [2, 3]);
}

#[tokio::test]
async fn a_member_that_knows_no_positions_joins_again_after_a_gap() {
    let hub = MemoryHub::new();
    let node = start(&hub, "one").await;
    let mut ada = Peer::connect(node.address, "/?user=ada").await;
    ada.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/chat/a", json!({})).await;
    assert_eq!(ada.next().await["event"], "ACKNOWLEDGE");
    say(&mut ada, "say", 1).await;
    assert_eq!(said(&mut ada).await.1, 1);
    hub.lose_history();
    say(&mut ada, "say", 2).await;
    assert_eq!(ada.next().await["event"], "done");
    assert_eq!(ada.closed().await.map(|frame| u16::from(frame.code)), Some(1012));
}

#[tokio::test]
async fn a_member_that_knows_no_positions_gets_nothing_from_behind_a_gap() {
    let hub = MemoryHub::new();
    let node = start(&hub, "one").await;
    let (mut bob, _) = join(&node, "bob", &json!("")).await;
    let mut stock = Vec::new();
    for n in 0..20 {
        let mut peer = Peer::connect(node.address, &format!("/?user=stock-{n}")).await;
        peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/chat/a", json!({})).await;
        assert_eq!(peer.next().await["event"], "ACKNOWLEDGE");
        stock.push(peer);
    }
    hub.lose_history();
    // The connections are closed one after the other, and meanwhile more is said.
    for n in 1..5 {
        say(&mut bob, "say", n).await;
    }
    resync(&mut bob).await;
    for peer in &mut stock {
        let mut received = Vec::new();
        while let Some(frame) = peer.frame().await {
            match frame {
                Message::Text(text) => received.push(text.to_string()),
                Message::Close(frame) => assert_eq!(frame.map(|frame| u16::from(frame.code)), Some(1012)),
                _ => {}
            }
        }
        assert_eq!(received, Vec::<String>::new());
    }
}

#[tokio::test]
async fn while_the_store_is_away_joins_and_messages_of_further_channels_wait_for_nothing() {
    let hub = MemoryHub::new();
    let node = start(&hub, "one").await;
    let (mut ada, _) = join(&node, "ada", &json!("")).await;
    node.bus.cut();
    say(&mut ada, "say", 1).await;
    assert_eq!(numbers(&mut ada, 1).await, [1]);
    let began = std::time::Instant::now();
    let mut bob = Peer::connect(node.address, "/?user=bob").await;
    for n in 0..5 {
        let channel = format!("/chat/{n}");
        bob.join(&channel, json!({})).await;
        bob.event(&channel, "say", json!({ "n": n })).await;
        assert_eq!(said(&mut bob).await.1, n);
        assert_eq!(bob.next().await["event"], "done");
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_client_that_is_ahead_of_its_next_node_resumes_without_a_gap() {
    let hub = MemoryHub::new();
    let (one, two) = (start(&hub, "one").await, start(&hub, "two").await);
    let (mut ada, _) = join(&one, "ada", &json!("")).await;
    let (mut bob, _) = join(&two, "bob", &json!("")).await;
    // The other node delivers the message before its own node knows the position.
    one.bus.delay_answers(Duration::from_millis(200));
    say(&mut ada, "say", 1).await;
    let (at, _) = said(&mut bob).await;
    drop(bob);
    let (mut bob, answer) = join(&one, "bob", &at).await;
    assert_eq!((&answer["recovered"], &answer["missed"]), (&json!(true), &json!(0)), "{answer}");
    say(&mut ada, "say", 2).await;
    assert_eq!((numbers(&mut bob, 1).await, numbers(&mut ada, 2).await), (vec![2], vec![1, 2]));
}

#[tokio::test]
async fn a_quiet_channel_goes_on_with_its_positions() {
    const TTL: Duration = Duration::from_millis(100);
    let hub = MemoryHub::new();
    let bus = hub.node();
    let node = start_on(Arc::clone(&bus), bus, "one", History::new().ttl(TTL)).await;
    let (mut ada, _) = join(&node, "ada", &json!("")).await;
    for n in 1..4 {
        say(&mut ada, "say", n).await;
        let (at, number) = said(&mut ada).await;
        assert_eq!((position(&at).offset, number), (n, n));
        // What is kept expires.
        tokio::time::sleep(2 * TTL).await;
    }
}

#[tokio::test]
async fn a_broadcast_of_a_node_without_members_is_kept_for_those_of_others() {
    let hub = MemoryHub::new();
    let (one, two) = (start(&hub, "one").await, start(&hub, "two").await);
    let (mut ada, _) = join(&one, "ada", &json!("")).await;
    two.pond.endpoints()[0].channel("/chat/a").expect("a name").broadcast("said", &json!({ "n": 1 })).expect("room");
    let (at, n) = said(&mut ada).await;
    assert_eq!((position(&at).offset, n), (1, 1));
}

#[tokio::test]
async fn without_a_store_each_node_keeps_the_messages_of_all_nodes_at_positions_of_its_own() {
    let hub = MemoryHub::new();
    let [one, two] = [hub.node(), hub.node()];
    let one = start_on(Storeless(Arc::clone(&one)), one, "one", History::new()).await;
    let two = start_on(Storeless(Arc::clone(&two)), two, "two", History::new()).await;
    eventually("the nodes know each other", || one.pond.nodes() == ["two"] && two.pond.nodes() == ["one"]).await;
    let (mut ada, start) = join(&one, "ada", &json!("")).await;
    let (mut bob, _) = join(&two, "bob", &json!("")).await;
    for n in 1..4 {
        let from = if n == 2 { &mut bob } else { &mut ada };
        say(from, "say", n).await;
        assert_eq!((said(&mut ada).await.1, said(&mut bob).await.1), (n, n));
    }
    drop(ada);
    let (mut ada, _) = join(&one, "ada", &start["position"]).await;
    assert_eq!(numbers(&mut ada, 3).await, [1, 2, 3]);
    // Another node has an epoch of its own: it cannot know what the client has received, and says so.
    let (_ada, answer) = join(&two, "ada", &start["position"]).await;
    assert_eq!((&answer["recovered"], &answer["gap"]), (&json!(false), &json!("epoch")), "{answer}");
    assert_eq!(position(&answer["position"]).offset, 3);
}
