//! A client that does not keep up gets the messages that are kept later, from the history of their channel: once, and in the
//! order of the channel, also towards messages that are not kept. What is not kept any more by then is a gap, of which the
//! client, the application or the join handler is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pondsocket::{
    Connected, ConnectionContext, Endpoint, EndpointOptions, Error, EventContext, GapContext, GapReason, History,
    JoinContext, Joined, Lobby, Options, Outgoing, OutgoingContext, PondSocket, Recovery, Result, SlowClient,
};
use serde_json::{Value, json};
use testkit::{Peer, Recorder, eventually, serve};

use super::slow_clients::{EVERYWHERE, Over, Slow, filler};

/// The number of messages that may wait.
const ROOM: usize = 8;

/// The number of messages that are sent, far more than the buffers hold.
const SENT: usize = 48;

struct Chat {
    pond: PondSocket,
    endpoint: Endpoint,
    lobby: Lobby,
    counted: Recorder,
    recoveries: Arc<Mutex<Vec<Recovery>>>,
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let name = ctx.query("name").unwrap_or("slow").to_owned();
    let session = ctx.query("session").unwrap_or_default().to_owned();
    Ok(ctx.accept().user_id(&name).session(&session))
}

fn chat(policy: SlowClient, kept: usize) -> Chat {
    let counted = Recorder::default();
    let options = Options::default().send_channel_buffer(ROOM).outbox_bytes(64 << 20).write_buffer_size(16 * 1024);
    let options = options.proof_interval(Duration::ZERO);
    let pond = PondSocket::with_options(options).expect("valid options").metrics(counted.clone());
    let own = EndpointOptions { slow_client: Some(policy), enable_compression: Some(true), ..Default::default() };
    let endpoint = pond.create_endpoint("/", connect).options(own);
    let recoveries = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&recoveries);
    let lobby = endpoint.create_channel("/room/:n", move |ctx: JoinContext| {
        if ctx.user_id() == "slow" {
            noted.lock().expect("no panic").push(ctx.recovery());
        }
        async { Ok::<Joined, Error>(ctx.accept()) }
    });
    lobby.history(History::new().messages(kept).bytes(4 << 20).replay_at_most(kept, 4 << 20).without(["typing"]));
    lobby.on_event("echo", async |ctx: EventContext| ctx.reply("echo", &json!({})));
    // A message ahead of the reply and one behind it.
    lobby.on_event("ask", async |ctx: EventContext| {
        ctx.broadcast("large", &json!({ "number": "before" }))?;
        ctx.reply("answer", &json!({}))?;
        ctx.broadcast("large", &json!({ "number": "behind" })).map(drop)
    });
    Chat { pond, endpoint, lobby, counted, recoveries }
}

impl Chat {
    /// Broadcasts large messages; each must reach the member that reads before the next is sent.
    async fn say(&self, healthy: &mut Peer, numbers: std::ops::Range<usize>) {
        self.say_in("/room/1", healthy, numbers).await;
    }

    async fn say_in(&self, channel: &str, healthy: &mut Peer, numbers: std::ops::Range<usize>) {
        let channel = self.endpoint.channel(channel).expect("ours");
        for number in numbers {
            channel.broadcast("large", &json!({ "number": number, "filler": filler(number) })).expect("room");
            while healthy.until("large").await["payload"]["number"] != json!(number) {}
        }
    }

    async fn healthy(&self, address: SocketAddr, channels: &[&str]) -> Peer {
        let mut healthy = Peer::connect(address, "/?name=healthy").await;
        for channel in channels {
            healthy.join(channel, json!({})).await;
        }
        healthy
    }

    /// The sum of the last number of each call of a metric.
    fn sum(&self, metric: &str) -> usize {
        self.counted.of(metric).iter().filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
    }

    fn connections(&self) -> usize {
        self.pond.snapshot().endpoints[0].connections
    }
}

/// The messages of a client: their numbers, and the names of other events.
fn told(messages: &[Value]) -> Vec<Value> {
    let tell = |message: &Value| match &message["event"] {
        Value::String(event) if event == "large" => message["payload"]["number"].clone(),
        event => event.clone(),
    };
    messages.iter().map(tell).collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<Value> {
    range.map(|number| json!(number)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_gets_each_kept_message_once_and_in_order() {
    for policy in [SlowClient::DropOldest, SlowClient::DropNewest] {
        for over in EVERYWHERE {
            let chat = chat(policy, 1000);
            let (_server, address) = serve(&chat.pond).await;
            let mut slow = Slow::connect(over, &chat.pond, address, "/").await;
            slow.join_with("/room/1", json!({})).await;
            let mut healthy = chat.healthy(address, &["/room/1"]).await;
            chat.say(&mut healthy, 0..SENT).await;
            assert!(chat.pond.snapshot().endpoints[0].waiting_messages <= ROOM + 1, "{policy:?}, {over:?}");
            assert_eq!(told(&slow.catch_up("q").await), numbers(0..SENT), "{policy:?}, {over:?}");
            assert!(chat.sum("channel_caught_up") > SENT / 2, "{policy:?}, {over:?}");
            assert_eq!(chat.counted.of("message_dropped"), Vec::<String>::new(), "{policy:?}, {over:?}");
            chat.say(&mut healthy, SENT..SENT + 1).await;
            assert_eq!(slow.next().await["payload"]["number"], json!(SENT), "{policy:?}, {over:?}: live again");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_and_presence_keep_their_place_among_the_messages() {
    for over in EVERYWHERE {
        let chat = chat(SlowClient::DropOldest, 1000);
        let (_server, address) = serve(&chat.pond).await;
        let mut slow = Slow::connect(over, &chat.pond, address, "/").await;
        slow.join_with("/room/1", json!({})).await;
        let channel = chat.endpoint.channel("/room/1").expect("ours");
        channel.track("slow", &json!({ "mood": 0 })).expect("a member");
        let mut healthy = chat.healthy(address, &["/room/1"]).await;
        chat.say(&mut healthy, 0..30).await;
        slow.send("BROADCAST", "ask", "/room/1", "asked").await;
        while healthy.until("large").await["payload"]["number"] != "behind" {}
        chat.say(&mut healthy, 30..40).await;
        channel.update_presence("slow", &json!({ "mood": 1 })).await.expect("a member");
        chat.say(&mut healthy, 40..50).await;
        let mut expected = vec![json!("JOIN")];
        expected.extend(numbers(0..30));
        expected.extend([json!("before"), json!("answer"), json!("behind")]);
        expected.extend(numbers(30..40));
        expected.push(json!("UPDATE"));
        expected.extend(numbers(40..50));
        assert_eq!(told(&slow.catch_up("q").await), expected, "{over:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_channels_of_one_client_are_caught_up_each_in_its_order() {
    let chat = chat(SlowClient::DropNewest, 1000);
    let (_server, address) = serve(&chat.pond).await;
    let mut slow = Slow::connect(Over::Tcp, &chat.pond, address, "/").await;
    for channel in ["/room/1", "/room/2"] {
        slow.join_with(channel, json!({})).await;
    }
    let mut healthy = chat.healthy(address, &["/room/1", "/room/2"]).await;
    for number in 0..SENT {
        chat.say_in(["/room/1", "/room/2"][number % 2], &mut healthy, number..number + 1).await;
    }
    let messages = slow.catch_up("q").await;
    for (channel, first) in [("/room/1", 0), ("/room/2", 1)] {
        let ours: Vec<_> = messages.iter().filter(|message| message["channelName"] == channel).cloned().collect();
        let expected: Vec<_> = (first..SENT).step_by(2).map(|number| json!(number)).collect();
        assert_eq!(told(&ours), expected, "{channel}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn own_messages_stay_out_and_what_is_not_kept_is_dropped_as_before() {
    let chat = chat(SlowClient::DropOldest, 1000);
    chat.lobby.on_event("shout", async |ctx: EventContext| {
        ctx.broadcast_from("large", &json!({ "number": "own" }))?;
        ctx.broadcast("large", &json!({ "number": "all" })).map(drop)
    });
    let (_server, address) = serve(&chat.pond).await;
    let mut slow = Slow::connect(Over::Tcp, &chat.pond, address, "/").await;
    slow.join_with("/room/1", json!({})).await;
    let mut healthy = chat.healthy(address, &["/room/1"]).await;
    chat.say(&mut healthy, 0..30).await;
    slow.send("BROADCAST", "shout", "/room/1", "s").await;
    while healthy.until("large").await["payload"]["number"] != "all" {}
    let channel = chat.endpoint.channel("/room/1").expect("ours");
    for _ in 0..2 * ROOM {
        channel.broadcast("typing", &json!({})).expect("room");
        healthy.until("typing").await;
    }
    chat.say(&mut healthy, 30..40).await;
    let messages = told(&slow.catch_up("q").await);
    let typing = messages.iter().filter(|told| **told == json!("typing")).count();
    assert!(typing < 2 * ROOM, "{typing}");
    assert_eq!(typing + chat.sum("message_dropped"), 2 * ROOM, "what does not arrive was counted");
    let kept: Vec<_> = messages.into_iter().filter(|told| *told != json!("typing")).collect();
    assert_eq!(kept, [numbers(0..30), vec![json!("all")], numbers(30..40)].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outgoing_handler_decides_when_a_message_is_caught_up() {
    let chat = chat(SlowClient::DropOldest, 1000);
    chat.lobby.on_outgoing("large", |ctx: &OutgoingContext| {
        let mut payload = ctx.payload::<Value>()?;
        match payload["number"].as_u64() {
            Some(number) if number % 2 == 1 && ctx.recipient().id() == "slow" => Ok::<_, Error>(Outgoing::Block),
            _ if ctx.recipient().id() == "slow" => {
                payload["changed"] = json!(true);
                Outgoing::replace(&payload)
            }
            _ => Ok(Outgoing::Pass),
        }
    });
    let (_server, address) = serve(&chat.pond).await;
    let mut slow = Slow::connect(Over::Tcp, &chat.pond, address, "/").await;
    slow.join_with("/room/1", json!({})).await;
    let mut healthy = chat.healthy(address, &["/room/1"]).await;
    chat.say(&mut healthy, 0..2 * SENT).await;
    let messages = slow.catch_up("q").await;
    let expected: Vec<_> = (0..2 * SENT).step_by(2).map(|number| json!(number)).collect();
    assert_eq!(told(&messages), expected);
    assert!(messages.iter().all(|message| message["payload"]["changed"] == true));
    assert!(chat.sum("channel_caught_up") > SENT / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_it_is_behind_gets_everything_before_its_acknowledgement() {
    let chat = chat(SlowClient::DropOldest, 1000);
    let (_server, address) = serve(&chat.pond).await;
    let mut slow = Slow::connect(Over::Tcp, &chat.pond, address, "/").await;
    slow.join_with("/room/1", json!({})).await;
    let mut healthy = chat.healthy(address, &["/room/1"]).await;
    chat.say(&mut healthy, 0..SENT).await;
    slow.send("LEAVE_CHANNEL", "LEAVE_CHANNEL", "/room/1", "left").await;
    eventually("it has left", || chat.endpoint.channel("/room/1").expect("ours").member_count() == 1).await;
    chat.say(&mut healthy, SENT..SENT + 2).await;
    assert_eq!(told(&slow.until("left").await), numbers(0..SENT));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_closed_while_it_is_behind_gets_everything_before_the_close_frame() {
    let chat = chat(SlowClient::DropOldest, 1000);
    let (_server, address) = serve(&chat.pond).await;
    let mut slow = Peer::connect_narrow(address, "/", 4096).await;
    slow.join("/room/1", json!({})).await;
    let mut healthy = chat.healthy(address, &["/room/1"]).await;
    chat.say(&mut healthy, 0..SENT).await;
    let connections = chat.endpoint.connections();
    connections.iter().find(|connection| connection.user_id() == "slow").expect("connected").disconnect();
    let mut got = Vec::new();
    while let Ok(message) = slow.message().await {
        got.push(message);
    }
    assert_eq!(told(&got), numbers(0..SENT));
}

/// A session goes on behind a catch-up: what the client has answered for does not come again.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_was_caught_up_with_is_proven_like_everything_else() {
    let chat = chat(SlowClient::DropOldest, 1000);
    let (_server, address) = serve(&chat.pond).await;
    let mut slow = Peer::connect_narrow(address, "/?session=0123456789abcdef", 4096).await;
    slow.join("/room/1", json!({})).await;
    let mut healthy = chat.healthy(address, &["/room/1"]).await;
    chat.say(&mut healthy, 0..SENT).await;
    for number in 0..SENT {
        assert_eq!(slow.next().await["payload"]["number"], json!(number));
    }
    slow.nothing_before_reply("/room/1", "echo").await;
    chat.say(&mut healthy, SENT..SENT + 1).await;
    slow.until("large").await;
    slow.nothing_before_reply("/room/1", "echo").await;
    slow.reset();
    eventually("the loss is noticed", || chat.connections() == 1).await;
    chat.say(&mut healthy, 100..103).await;
    let mut slow = Peer::connect(address, "/?session=0123456789abcdef").await;
    slow.join("/room/1", json!({})).await;
    let recovery = *chat.recoveries.lock().expect("no panic").last().expect("it has joined");
    assert_eq!(recovery, Recovery::Resumed { missed: 3, may_repeat: 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_its_position_is_told_of_a_gap_in_its_place() {
    for over in EVERYWHERE {
        let chat = chat(SlowClient::DropOldest, ROOM);
        let (_server, address) = serve(&chat.pond).await;
        let mut slow = Slow::connect(over, &chat.pond, address, "/").await;
        slow.join_with("/room/1", json!({ "$resume": "" })).await;
        let mut healthy = chat.healthy(address, &["/room/1"]).await;
        chat.say(&mut healthy, 0..SENT).await;
        let messages = slow.catch_up("q").await;
        let at = messages.iter().position(|message| message["event"] == "RESYNC").expect("it is told");
        let resync = &messages[at];
        assert_eq!((&resync["action"], &resync["channelName"]), (&json!("SYSTEM"), &json!("/room/1")), "{over:?}");
        assert_eq!(resync["payload"]["gap"], json!("trimmed"), "{over:?}");
        let offset = |text: &Value| {
            let text = text.as_str().expect("a position");
            text.rsplit('.').next().and_then(|offset| offset.parse::<usize>().ok()).expect("an offset")
        };
        // Everything up to the gap, and then everything behind its position.
        assert_eq!(told(&messages[..at]), numbers(0..at), "{over:?}");
        let last = offset(&resync["payload"]["position"]);
        assert!(last > at && last <= SENT, "{over:?}: {last}");
        assert_eq!(told(&messages[at + 1..]), numbers(last..SENT), "{over:?}");
        assert_eq!(chat.counted.of("channel_gap"), ["/ slow /room/1 trimmed"], "{over:?}");
        chat.say(&mut healthy, SENT..SENT + 1).await;
        assert_eq!(slow.next().await["payload"]["number"], json!(SENT), "{over:?}");
        assert_eq!(chat.connections(), 2, "{over:?}: it stays connected");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gap_handler_says_what_stands_in_the_place_of_a_gap() {
    let chat = chat(SlowClient::DropOldest, ROOM);
    let (begun, go_on) = (Arc::new(Mutex::new(Vec::new())), Arc::new(tokio::sync::Semaphore::new(0)));
    let (noted, waits) = (Arc::clone(&begun), Arc::clone(&go_on));
    chat.lobby.on_gap(move |ctx: GapContext| {
        let waits = Arc::clone(&waits);
        let seen = (ctx.user_id().to_owned(), ctx.param("n").map(str::to_owned), ctx.reason(), ctx.position());
        noted.lock().expect("no panic").push(seen);
        async move {
            waits.acquire().await.expect("open").forget();
            ctx.send("snapshot", &json!({ "channel": ctx.channel().name() }))
        }
    });
    let (_server, address) = serve(&chat.pond).await;
    let mut slow = Slow::connect(Over::Tcp, &chat.pond, address, "/").await;
    slow.join_with("/room/1", json!({})).await;
    let mut healthy = chat.healthy(address, &["/room/1"]).await;
    chat.say(&mut healthy, 0..SENT).await;
    slow.send("BROADCAST", "echo", "/room/1", "q").await;
    let mut before = Vec::new();
    while begun.lock().expect("no panic").is_empty() {
        before.push(slow.next().await);
    }
    // What is said while the handler runs comes behind it.
    chat.say(&mut healthy, SENT..SENT + 2).await;
    go_on.add_permits(1);
    let mut messages = before;
    messages.extend(slow.until("q").await);
    messages.extend([slow.next().await, slow.next().await]);
    let at = messages.iter().position(|message| message["event"] == "snapshot").expect("it is sent");
    assert_eq!(messages[at]["payload"], json!({ "channel": "/room/1" }));
    let (user, param, reason, position) = begun.lock().expect("no panic").remove(0);
    assert_eq!((user.as_str(), param.expect("n").as_str(), reason), ("slow", "1", GapReason::Trimmed));
    assert_eq!(told(&messages[..at]), numbers(0..at));
    assert_eq!(told(&messages[at + 1..]), numbers(position.offset as usize..SENT + 2));
    assert_eq!(chat.counted.of("handler_finished").iter().filter(|line| line.starts_with("gap ")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_gap_handler_the_client_joins_again_and_its_join_handler_sees_the_gap() {
    for fails in [false, true] {
        let chat = chat(SlowClient::DropOldest, ROOM);
        if fails {
            chat.lobby.on_gap(async |_: GapContext| Err::<(), _>(Error::internal("no snapshot")));
        }
        let (_server, address) = serve(&chat.pond).await;
        let mut slow = Peer::connect_narrow(address, "/?session=0123456789abcdef", 4096).await;
        slow.join("/room/1", json!({})).await;
        let mut healthy = chat.healthy(address, &["/room/1"]).await;
        chat.say(&mut healthy, 0..SENT).await;
        let end = slow.closed().await.expect("a close frame");
        assert_eq!((u16::from(end.code), end.reason.as_str()), (1012, "gap"));
        eventually("it is closed", || !chat.counted.of("connection_closed").is_empty()).await;
        let closed = chat.counted.of("connection_closed");
        assert!(closed[0].ends_with(" 1012 gap"), "{closed:?}");
        let mut slow = Peer::connect(address, "/?session=0123456789abcdef").await;
        slow.join("/room/1", json!({})).await;
        let recovery = *chat.recoveries.lock().expect("no panic").last().expect("it has joined");
        assert_eq!(recovery, Recovery::Gap(GapReason::Trimmed));
        let errors = chat.counted.of("error").len();
        assert_eq!(errors, usize::from(fails));
    }
}
