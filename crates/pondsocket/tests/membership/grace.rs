//! The presence grace: a user that has lost its last connection stays for a while, so that others do not see it go.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::Method;
use pondsocket::metrics::GraceEvent;
use pondsocket::{
    Endpoint, Error, EventContext, JoinContext, Joined, LeaveContext, Lobby, Metrics, Options, Payload, PondSocket,
    Result, Shutdown, State,
};
use serde_json::{Value, json};
use testkit::{EventPeer, Peer, connect_session, eventually, serve};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tracing::field::Field;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, layer};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(60);
const CHANNEL: &str = "/room/a";

/// The notes of handlers, in order.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    pub(super) fn note(&self, line: String) {
        self.0.lock().expect("no panic").push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }

    pub(super) fn sorted(&self) -> Vec<String> {
        let mut lines = self.lines();
        lines.sort();
        lines
    }
}

/// Records the events of graces.
#[derive(Clone, Default)]
struct GraceLog(Arc<Mutex<Vec<(String, GraceEvent)>>>);

impl Metrics for GraceLog {
    fn presence_grace(&self, endpoint: &str, channel: &str, user: &str, event: GraceEvent) {
        assert_eq!((endpoint, channel), ("/", CHANNEL));
        self.0.lock().expect("no panic").push((user.to_owned(), event));
    }
}

struct House {
    pond: PondSocket,
    endpoint: Endpoint,
    lobby: Lobby,
    /// The leaves that handlers have seen.
    left: Lines,
    graces: GraceLog,
}

/// Admits a user with the assigns and the mood that it asks for.
pub(super) async fn join(ctx: JoinContext, Payload(asked): Payload<Value>) -> Result<Joined> {
    if asked["deny"] == true {
        return Err(Error::forbidden("not any more"));
    }
    if let Some(code) = asked["code"].as_u64() {
        return Err(Error::new(code as u16, "asked for"));
    }
    assert!(asked["panic"] != true, "asked for");
    if asked["late"] == true {
        std::future::pending::<()>().await;
    }
    let mut joined = ctx.accept();
    if let Some(assigns) = asked["assigns"].as_object() {
        for (key, value) in assigns {
            joined = joined.assign(key, value);
        }
    }
    Ok(match asked.get("mood") {
        Some(mood) => joined.track(&json!({ "mood": mood })),
        None => joined,
    })
}

fn house_with(grace: Duration, options: Options) -> House {
    let (left, graces) = (Lines::default(), GraceLog::default());
    let pond = PondSocket::with_options(options).expect("valid options").state(left.clone()).metrics(graces.clone());
    let endpoint = pond.create_endpoint("/", connect_session);
    let lobby = endpoint.create_channel("/room/:name", join);
    lobby.presence_grace(grace);
    lobby.on_event("ask", async |ctx: EventContext| ctx.reply("answered", &json!({})));
    lobby.on_leave(async |ctx: LeaveContext, State(left): State<Lines>| {
        left.note(format!("{} {} {}", ctx.user_id(), ctx.reason(), ctx.returned()));
    });
    House { pond, endpoint, lobby, left, graces }
}

fn house(grace: Duration) -> House {
    house_with(grace, Options::default())
}

impl House {
    fn channel(&self) -> pondsocket::Channel {
        self.endpoint.channel(CHANNEL).expect("a name")
    }

    /// The members, connections and ghosts of the channel; zeros if it is closed.
    fn counts(&self) -> (usize, usize, usize) {
        let snapshot = self.pond.snapshot();
        let channel = snapshot.endpoints[0].channels.first();
        channel.map_or((0, 0, 0), |channel| (channel.members, channel.connections, channel.ghosts))
    }

    async fn until(&self, counts: (usize, usize, usize)) {
        eventually("the members are these", || self.counts() == counts).await;
    }

    async fn until_left(&self, lines: &[&str]) {
        eventually("the leave handler has run", || self.left.lines().len() >= lines.len()).await;
        assert_eq!(self.left.lines(), lines);
    }

    fn graces(&self) -> Vec<(String, GraceEvent)> {
        self.graces.0.lock().expect("no panic").clone()
    }

    fn events_of(&self, user: &str) -> Vec<GraceEvent> {
        self.graces().into_iter().filter(|(name, _)| name == user).map(|(_, event)| event).collect()
    }
}

async fn enter(address: SocketAddr, user: &str, payload: Value) -> Peer {
    let mut peer = Peer::connect(address, &format!("/?user={user}")).await;
    peer.join(CHANNEL, payload).await;
    peer
}

/// A member that watches, and has read the presence list.
async fn watcher(address: SocketAddr) -> Peer {
    let mut bob = enter(address, "bob", json!({ "mood": "calm" })).await;
    bob.until("JOIN").await;
    bob
}

/// A member that the watcher has seen.
async fn seen(address: SocketAddr, bob: &mut Peer) -> Peer {
    let mut ada = enter(address, "ada", json!({ "mood": "glad" })).await;
    ada.until("JOIN").await;
    bob.until("JOIN").await;
    ada
}

async fn sees_nothing(bob: &mut Peer) {
    bob.nothing_before_reply(CHANNEL, "ask").await;
}

fn moods(message: &Value) -> Vec<String> {
    let list = message["payload"]["presence"].as_array().expect("a list");
    let mut moods: Vec<_> = list.iter().map(|entry| entry["mood"].as_str().expect("a mood").to_owned()).collect();
    moods.sort();
    moods
}

#[tokio::test]
async fn a_user_that_reconnects_is_not_seen_to_leave_or_join() {
    let house = house(LONG);
    let (_server, address) = serve(&house.pond).await;
    let mut bob = watcher(address).await;
    let ada = seen(address, &mut bob).await;
    ada.reset();
    house.until((2, 1, 1)).await;
    sees_nothing(&mut bob).await;
    // It is a member for everybody: in the list of a newcomer, in counts, and in user lists.
    assert_eq!((house.channel().member_count(), house.channel().users().await.users.len()), (2, 2));
    let delivery = house.channel().broadcast_to(["ada"], "said", &json!({})).expect("room");
    assert_eq!(delivery.local, 1);
    let mut cleo = enter(address, "cleo", json!({ "mood": "new" })).await;
    assert_eq!(moods(&cleo.until("JOIN").await), ["calm", "glad", "new"]);
    bob.until("JOIN").await;

    let mut ada = enter(address, "ada", json!({ "mood": "glad" })).await;
    assert_eq!(moods(&ada.until("JOIN").await), ["calm", "glad", "new"], "the list for itself");
    sees_nothing(&mut ada).await;
    sees_nothing(&mut bob).await;
    assert_eq!((house.counts(), house.left.lines().len()), ((3, 3, 0), 0));
    assert_eq!(house.events_of("ada"), [GraceEvent::Began, GraceEvent::Returned]);
    // And it leaves as any member.
    ada.leave(CHANNEL).await;
    assert_eq!(bob.until("LEAVE").await["payload"]["changed"]["mood"], json!("glad"));
    house.until_left(&["ada explicit_leave false"]).await;
}

#[tokio::test]
async fn a_user_that_comes_back_as_another_is_seen_to_change() {
    let house = house(LONG);
    let (_server, address) = serve(&house.pond).await;
    let mut bob = watcher(address).await;
    let mut ada = enter(address, "ada", json!({ "mood": "glad", "assigns": { "seat": 7, "plan": "gold" } })).await;
    ada.until("JOIN").await;
    bob.until("JOIN").await;
    ada.reset();
    house.until((2, 1, 1)).await;
    let payload = json!({ "mood": "sad", "assigns": { "plan": "free" } });
    let _ada = enter(address, "ada", payload).await;
    let update = bob.next().await;
    assert_eq!((&update["event"], &update["payload"]["changed"]["mood"]), (&json!("UPDATE"), &json!("sad")));
    let ada = house.channel().user("ada").await.expect("a member");
    assert_eq!(ada.assigns::<Value>().expect("a map"), json!({ "seat": 7, "plan": "free" }));
}

#[tokio::test]
async fn a_user_that_does_not_come_back_leaves_once() {
    let house = house(Duration::from_millis(300));
    let (_server, address) = serve(&house.pond).await;
    let mut bob = watcher(address).await;
    let ada = seen(address, &mut bob).await;
    let lost = tokio::time::Instant::now();
    ada.reset();
    assert_eq!(bob.next().await["event"], json!("LEAVE"));
    assert!(lost.elapsed() >= Duration::from_millis(300), "too early: {:?}", lost.elapsed());
    house.until_left(&["ada connection_closed false"]).await;
    assert_eq!(house.events_of("ada"), [GraceEvent::Began, GraceEvent::Expired]);
    assert_eq!(house.counts(), (1, 1, 0));
    // The next time it is a new member.
    let mut ada = seen(address, &mut bob).await;
    sees_nothing(&mut ada).await;
    assert_eq!(house.left.lines().len(), 1);
}

#[tokio::test]
async fn a_channel_stays_open_for_its_last_member() {
    let house = house(Duration::from_millis(400));
    let (_server, address) = serve(&house.pond).await;
    // One that shows nothing: its end queues no message.
    let ada = enter(address, "ada", json!({ "assigns": { "seat": 7 } })).await;
    ada.reset();
    house.until((1, 0, 1)).await;
    let ada = enter(address, "ada", json!({})).await;
    assert_eq!(house.channel().user("ada").await.expect("a member").assign::<u8>("seat").expect("set"), 7);
    ada.reset();
    house.until_left(&["ada connection_closed false"]).await;
    eventually("the channel is closed", || house.pond.snapshot().endpoints[0].channels.is_empty()).await;
}

#[tokio::test]
async fn one_of_several_connections_begins_no_grace() {
    let house = house(LONG);
    let (_server, address) = serve(&house.pond).await;
    let first = enter(address, "ada", json!({})).await;
    let second = enter(address, "ada", json!({})).await;
    first.reset();
    house.until((1, 1, 0)).await;
    second.reset();
    house.until((1, 0, 1)).await;
    assert_eq!(house.events_of("ada"), [GraceEvent::Began]);
}

#[tokio::test]
async fn a_declined_join_ends_the_grace_at_once() {
    let house = house(LONG);
    let (_server, address) = serve(&house.pond).await;
    let mut bob = watcher(address).await;
    let ada = seen(address, &mut bob).await;
    ada.reset();
    house.until((2, 1, 1)).await;
    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join_declined(CHANNEL, json!({ "deny": true })).await;
    assert_eq!(bob.next().await["event"], json!("LEAVE"));
    house.until_left(&["ada connection_closed false"]).await;
    assert_eq!(house.events_of("ada"), [GraceEvent::Began, GraceEvent::Declined]);
    assert_eq!(house.counts(), (1, 1, 0));
    // A declined join of one that is no ghost ends nothing.
    ada.join_declined(CHANNEL, json!({ "deny": true })).await;
    sees_nothing(&mut bob).await;
    assert_eq!(house.left.lines().len(), 1);
}

#[tokio::test]
async fn a_failure_of_the_server_ends_no_grace() {
    let house = house_with(LONG, Options::default().handler_timeout(Duration::from_millis(100)));
    let (_server, address) = serve(&house.pond).await;
    let mut bob = watcher(address).await;
    seen(address, &mut bob).await.reset();
    house.until((2, 1, 1)).await;
    let mut ada = Peer::connect(address, "/?user=ada").await;
    for (asked, code) in [
        (json!({ "code": 500 }), 500),
        (json!({ "code": 503 }), 503),
        (json!({ "code": 504 }), 504),
        (json!({ "panic": true }), 500),
        (json!({ "late": true }), 504),
    ] {
        assert_eq!(ada.join_declined(CHANNEL, asked).await["code"], json!(code));
        assert_eq!(house.counts(), (2, 1, 1), "{code}");
    }
    ada.join(CHANNEL, json!({ "mood": "glad" })).await;
    sees_nothing(&mut bob).await;
    assert_eq!(house.events_of("ada"), [GraceEvent::Began, GraceEvent::Returned]);
    assert!(house.left.lines().is_empty());
}

#[tokio::test]
async fn a_channel_that_is_closed_keeps_no_ghosts() {
    let house = house(LONG);
    let (_server, address) = serve(&house.pond).await;
    let (ada, _bob) = (enter(address, "ada", json!({})).await, enter(address, "bob", json!({})).await);
    ada.reset();
    house.until((2, 1, 1)).await;
    house.channel().close();
    house.until((0, 0, 0)).await;
    eventually("both have left", || house.left.lines().len() == 2).await;
}

/// The end of a connection, and if its user stays for a while.
#[tokio::test]
async fn only_connections_that_were_lost_begin_a_grace() {
    let closes = [(1000, false), (1001, true), (1012, true), (1013, true), (4000, false)];
    for (code, stays) in closes.map(|(code, stays)| (Some(code), stays)).into_iter().chain([(None, false)]) {
        let house = house(LONG);
        let (_server, address) = serve(&house.pond).await;
        let mut ada = enter(address, "ada", json!({})).await;
        let frame = code.map(|code: u16| CloseFrame { code: code.into(), reason: "".into() });
        ada.socket.close(frame).await.expect("it is open");
        ended(&house, stays, &format!("{code:?}")).await;
    }
    // A page that is closed leaves 1001; the application that disconnects means it.
    let disconnected = house(LONG);
    let (_server, address) = serve(&disconnected.pond).await;
    let ada = enter(address, "ada", json!({})).await;
    disconnected.endpoint.connections()[0].disconnect();
    ended(&disconnected, false, "disconnected").await;
    drop(ada);

    let invalid = house(LONG);
    let (_server, address) = serve(&invalid.pond).await;
    let mut ada = enter(address, "ada", json!({})).await;
    ada.bytes(&[0xff; 8]).await;
    ended(&invalid, false, "a protocol error").await;
}

async fn ended(house: &House, stays: bool, how: &str) {
    eventually("the connection has ended", || house.pond.snapshot().endpoints[0].connections == 0).await;
    match stays {
        true => eventually(how, || house.counts() == (1, 0, 1)).await,
        false => {
            eventually(how, || house.counts() == (0, 0, 0)).await;
            house.until_left(&["ada connection_closed false"]).await;
            assert!(house.graces().is_empty(), "{how}");
        }
    }
}

#[tokio::test]
async fn a_silent_client_stays_for_a_while() {
    let options = Options::default().ping_interval(Duration::from_millis(100)).pong_wait(Duration::from_millis(300));
    let house = house_with(LONG, options);
    let (_server, address) = serve(&house.pond).await;
    // It is not polled any more, and so answers no ping.
    let _ada = enter(address, "ada", json!({})).await;
    house.until((1, 0, 1)).await;
}

#[tokio::test]
async fn an_event_stream_stays_for_a_while_unless_its_client_deletes_it() {
    let house = house(LONG);
    let (_server, address) = serve(&house.pond).await;
    let mut bob = watcher(address).await;
    let mut ada = EventPeer::connect(address, "/?user=ada").await;
    ada.join(CHANNEL, json!({ "mood": "glad" })).await;
    bob.until("JOIN").await;
    drop(ada);
    house.until((2, 1, 1)).await;
    sees_nothing(&mut bob).await;
    let mut ada = EventPeer::connect(address, "/?user=ada").await;
    ada.join(CHANNEL, json!({ "mood": "glad" })).await;
    assert_eq!(moods(&ada.until("JOIN").await), ["calm", "glad"]);
    sees_nothing(&mut bob).await;
    assert_eq!(ada.ask(Method::DELETE, "").await.status(), 204);
    assert_eq!(bob.next().await["event"], json!("LEAVE"));
    house.until_left(&["ada connection_closed false"]).await;
    assert_eq!(house.events_of("ada"), [GraceEvent::Began, GraceEvent::Returned]);
}

#[tokio::test]
async fn a_ghost_can_be_changed_evicted_and_removed() {
    let house = house(LONG);
    let (_server, address) = serve(&house.pond).await;
    let mut bob = watcher(address).await;
    let channel = house.channel();
    let ada = seen(address, &mut bob).await;
    ada.reset();
    house.until((2, 1, 1)).await;
    channel.update_presence("ada", &json!({ "mood": "away" })).await.expect("a member");
    assert_eq!(bob.next().await["payload"]["changed"]["mood"], json!("away"));
    channel.update_assigns("ada", "seat", &8).await.expect("a member");
    assert_eq!(channel.user("ada").await.expect("a member").assign::<u8>("seat").expect("set"), 8);
    channel.untrack("ada").expect("a member");
    assert_eq!(bob.next().await["event"], json!("LEAVE"));
    channel.track("ada", &json!({ "mood": "back" })).expect("a member");
    assert_eq!(bob.next().await["event"], json!("JOIN"));
    channel.evict("ada", "spam").await.expect("a member");
    assert_eq!([bob.next().await["event"].clone(), bob.next().await["event"].clone()], ["user_evicted", "LEAVE"]);
    house.until_left(&["ada evicted:spam false"]).await;

    let ada = seen(address, &mut bob).await;
    ada.reset();
    house.until((2, 1, 1)).await;
    channel.remove("ada", "gone").await.expect("a member");
    assert_eq!(bob.next().await["event"], json!("LEAVE"));
    house.until_left(&["ada evicted:spam false", "ada gone false"]).await;
    let once = [GraceEvent::Began, GraceEvent::Removed];
    assert_eq!(house.events_of("ada"), [once, once].concat());
}

#[tokio::test]
async fn a_user_without_a_name_comes_back_by_its_session() {
    let house = house(LONG);
    let (_server, address) = serve(&house.pond).await;
    let mut bob = watcher(address).await;
    let path = "/?key=4f0c2f55-session-of-nobody";
    let mut nobody = Peer::connect(address, path).await;
    nobody.join(CHANNEL, json!({ "mood": "shy" })).await;
    nobody.until("JOIN").await;
    bob.until("JOIN").await;
    nobody.reset();
    house.until((2, 1, 1)).await;
    let mut nobody = Peer::connect(address, path).await;
    nobody.join(CHANNEL, json!({ "mood": "shy" })).await;
    assert_eq!(moods(&nobody.until("JOIN").await), ["calm", "shy"]);
    sees_nothing(&mut bob).await;
    assert_eq!(house.counts(), (2, 2, 0));

    // Without a session it could not come back as the same user.
    let mut stranger = Peer::connect(address, "/").await;
    stranger.join(CHANNEL, json!({ "mood": "odd" })).await;
    bob.until("JOIN").await;
    stranger.reset();
    assert_eq!(bob.next().await["event"], json!("LEAVE"));
}

/// Notes warnings of this thread.
struct Warnings(Lines);

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _: layer::Context<'_, S>) {
        let mut line = String::new();
        event.record(&mut |field: &Field, value: &dyn fmt::Debug| line += &format!("{field}: {value:?}, "));
        if *event.metadata().level() == Level::WARN {
            self.0.note(line);
        }
    }
}

#[tokio::test]
async fn a_grace_that_is_in_vain_for_users_without_a_name_is_logged_once() {
    let warnings = Lines::default();
    let _guard = tracing::subscriber::set_default(Registry::default().with(Warnings(warnings.clone())));
    let house = house(LONG);
    let (_server, address) = serve(&house.pond).await;
    enter(address, "ada", json!({})).await;
    let mut named = Peer::connect(address, &format!("/?key={}", "k".repeat(22))).await;
    named.join(CHANNEL, json!({})).await;
    assert_eq!(warnings.lines(), [""; 0]);
    for _ in 0..2 {
        Peer::connect(address, "/").await.join(CHANNEL, json!({})).await;
    }
    let text = "presence grace in vain: users have neither an id of their own nor a session";
    assert_eq!(warnings.lines(), [format!("message: {text}, endpoint: \"/\", pattern: \"/room/:name\", ")]);
}

#[tokio::test]
async fn over_the_limit_a_user_leaves_at_once() {
    let house = house_with(LONG, Options::default().max_ghosts(1));
    let (_server, address) = serve(&house.pond).await;
    let (ada, cleo) = (enter(address, "ada", json!({})).await, enter(address, "cleo", json!({})).await);
    ada.reset();
    house.until((2, 1, 1)).await;
    cleo.reset();
    house.until_left(&["cleo connection_closed false"]).await;
    // A ghost that comes back makes room for another one.
    let ada = enter(address, "ada", json!({})).await;
    let cleo = enter(address, "cleo", json!({})).await;
    cleo.reset();
    house.until((2, 1, 1)).await;
    drop(ada);
}

#[tokio::test]
async fn a_shutdown_runs_the_leave_handlers_of_ghosts_and_waits_for_none() {
    let house = house(LONG);
    let (_server, address) = serve(&house.pond).await;
    let (ada, _bob) = (enter(address, "ada", json!({})).await, enter(address, "bob", json!({})).await);
    ada.reset();
    house.until((2, 1, 1)).await;
    let (begun, pond) = (tokio::time::Instant::now(), house.pond.clone());
    let mut cleo = enter(address, "cleo", json!({})).await;
    let closing = tokio::spawn(async move { cleo.closed().await });
    let closing_bob = tokio::spawn(async move {
        let mut bob = _bob;
        bob.closed().await
    });
    let report = pond.shutdown(Shutdown::within(Duration::from_secs(20)).for_restart()).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "it has waited for ghosts: {:?}", begun.elapsed());
    assert_eq!((report.cut, report.abandoned), (0, 0));
    let mut left = house.left.lines();
    left.sort();
    let expected = ["ada", "bob", "cleo"].map(|user| format!("{user} connection_closed false"));
    assert_eq!(left, expected);
    let code = |frame: Option<CloseFrame>| frame.map(|frame| u16::from(frame.code));
    assert_eq!(code(closing.await.expect("no panic")), Some(1012));
    assert_eq!(code(closing_bob.await.expect("no panic")), Some(1012));
    assert_eq!(house.counts(), (0, 0, 0));
}

#[tokio::test]
async fn a_handler_that_still_runs_acts_for_the_ghost() {
    let house = house(LONG);
    let (begin, go) = (Lines::default(), Arc::new(tokio::sync::Notify::new()));
    let (begun, wait) = (begin.clone(), Arc::clone(&go));
    house.lobby.on_event("slow", move |ctx: EventContext| {
        let (begun, wait) = (begun.clone(), Arc::clone(&wait));
        async move {
            begun.note("begun".to_owned());
            wait.notified().await;
            ctx.set_assign("done", &true)?;
            begun.note(ctx.user()?.assigns::<Value>()?.to_string());
            Ok::<_, Error>(())
        }
    });
    let (_server, address) = serve(&house.pond).await;
    let mut ada = enter(address, "ada", json!({})).await;
    ada.event(CHANNEL, "slow", json!({})).await;
    eventually("it runs", || begin.lines().len() == 1).await;
    ada.reset();
    house.until((1, 0, 1)).await;
    go.notify_one();
    eventually("it has ended", || begin.lines().len() == 2).await;
    assert_eq!(begin.lines()[1], r#"{"done":true}"#);
    assert!(house.left.lines().is_empty());
}

#[test]
#[should_panic(expected = "60 seconds")]
fn a_grace_of_more_than_a_minute_is_refused() {
    house(Duration::from_millis(60_001));
}
