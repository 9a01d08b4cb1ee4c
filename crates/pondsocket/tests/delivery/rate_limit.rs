//! `RateLimit` around connections, joins and events.

use std::net::SocketAddr;
use std::time::Duration;

use pondsocket::metrics::Limit;
use pondsocket::testing::{CallError, Client, Room};
use pondsocket::{
    Connected, ConnectionContext, Endpoint, EventContext, Handler, JoinContext, Joined, Lobby, Metrics, PondSocket,
    RateLimit, Result, State,
};
use serde_json::json;
use testkit::{Log, TestResult};
use tokio::time::sleep;

/// Records the limits that are reached.
struct LimitLog(Log);

impl Metrics for LimitLog {
    fn limit_reached(&self, endpoint: &str, limit: Limit) {
        self.0.note(format!("{limit} at {endpoint}"));
    }
}

async fn connect(ctx: ConnectionContext, State(log): State<Log>) -> Result<Connected> {
    log.note("connecting");
    let user = ctx.query("user").unwrap_or("ada").to_owned();
    Ok(ctx.accept().user_id(&user))
}

async fn join(ctx: JoinContext, State(log): State<Log>) -> Result<Joined> {
    log.note("joining");
    Ok(ctx.accept())
}

async fn echo(ctx: EventContext, State(log): State<Log>) -> Result<()> {
    log.note("handling");
    ctx.reply(ctx.event(), &())
}

/// A pond, with the records of its handlers and metrics.
fn pond() -> (PondSocket, Endpoint, Lobby, Log) {
    let log = Log::default();
    let pond = PondSocket::new().state(log.clone()).metrics(LimitLog(log.clone()));
    let endpoint = pond.create_endpoint("/", connect);
    let lobby = endpoint.create_channel("/c/:room", join);
    (pond, endpoint, lobby, log)
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

async fn enter(pond: &PondSocket, user: &str) -> (Client, Room) {
    let client = pond.test_client().connect(&format!("/?user={user}")).await.expect("let in");
    let room = client.join("/c/1", json!({})).await.expect("joined");
    (client, room)
}

/// The retry time of a refusal, in milliseconds.
fn retry_after(refused: Result<impl std::fmt::Debug, CallError>) -> u64 {
    let error = refused.unwrap_err();
    let refused = error.rejection().expect("refused");
    assert_eq!((refused.code(), refused.message()), (429, "rate limit exceeded"));
    refused.details()["retryAfterMs"].as_u64().expect("a time")
}

#[tokio::test(start_paused = true)]
async fn connections_are_limited_by_their_address() -> TestResult {
    let (pond, endpoint, _, log) = pond();
    let limit = RateLimit::per_ip(0.1, 2);
    endpoint.layer(limit.clone());
    let door = pond.test_client();
    let from = |text: &str| door.clone().peer(address(text));
    for n in 0..2 {
        from("192.0.2.7:1").connect("/").await.unwrap_or_else(|error| panic!("{n}: {error}"));
    }
    assert_eq!(log.take(), ["connecting", "connecting"]);
    sleep(Duration::from_millis(1500)).await;
    let refused = from("192.0.2.7:2").connect("/").await.unwrap_err();
    let refusal = refused.refusal().expect("refused over HTTP");
    assert_eq!((refusal.status().as_u16(), refusal.text()), (429, "rate limit exceeded".to_owned()));
    assert_eq!(refusal.headers()["retry-after"], "9", "8.5 s, and not too early");
    assert_eq!(log.take(), ["rate_limit at /"], "its handler was not called");

    from("192.0.2.8:1").connect("/").await?;
    // A network of 64 bits is one address.
    from("[2001:db8::1]:1").connect("/").await?;
    from("[2001:db8::2]:1").connect("/").await?;
    assert_eq!(from("[2001:db8::3]:1").connect("/").await.unwrap_err().code(), Some(429));
    from("[2001:db8:0:1::1]:1").connect("/").await?;

    sleep(Duration::from_millis(8500)).await;
    from("192.0.2.7:3").connect("/").await?;
    assert_eq!(from("192.0.2.7:4").connect("/").await.unwrap_err().code(), Some(429), "only one has grown back");
    limit.reset("192.0.2.7");
    from("192.0.2.7:5").connect("/").await?;
    for _ in 0..2 {
        limit.reset("2001:db8::3");
        from("[2001:db8::3]:2").connect("/").await?;
        from("[2001:db8::4]:2").connect("/").await?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn connections_without_a_known_address_share_a_bucket() -> TestResult {
    let (pond, endpoint, ..) = pond();
    endpoint.layer(RateLimit::per_user(1.0, 1));
    pond.test_client().connect("/?user=ada").await?;
    let refused = pond.test_client().connect("/?user=bob").await.unwrap_err();
    assert_eq!(
        (refused.code(), &refused.refusal().expect("over HTTP").headers()["retry-after"]),
        (Some(429), &"1".parse()?)
    );
    pond.test_client().peer(address("192.0.2.7:1")).connect("/").await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn joins_are_limited_by_user() -> TestResult {
    let (pond, endpoint, _, log) = pond();
    endpoint.layer_joins(RateLimit::per_user(0.5, 2));
    let door = pond.test_client();
    let (one, two) = (door.connect("/?user=ada").await?, door.connect("/?user=ada").await?);
    let bob = door.connect("/?user=bob").await?;
    log.take();
    one.join("/c/1", json!({})).await?;
    two.join("/c/1", json!({})).await?;
    assert_eq!(log.take(), ["joining", "joining"]);
    assert_eq!(retry_after(one.join("/c/2", json!({})).await), 2000);
    assert_eq!(log.take(), ["rate_limit at /"], "its handler was not called");
    bob.join("/c/1", json!({})).await?;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(retry_after(two.join("/c/2", json!({})).await), 1500);
    sleep(Duration::from_millis(1500)).await;
    two.join("/c/2", json!({})).await?;
    assert_eq!(retry_after(one.join("/c/2", json!({})).await), 2000);
    Ok(())
}

/// Returns whether an event is handled.
async fn is_handled(room: &Room, event: &str) -> bool {
    match room.request(event, json!({})).await {
        Ok(_) => true,
        refused => {
            retry_after(refused);
            false
        }
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_limited_for_the_whole_lobby_and_for_one_handler() -> TestResult {
    let (pond, _, lobby, log) = pond();
    lobby
        .layer(RateLimit::per_user(1.0, 3))
        .on_event("search", echo.layer(RateLimit::per_user(0.25, 1)))
        .on_event("echo", echo);
    let (_ada, ada) = enter(&pond, "ada").await;
    let (_bob, bob) = enter(&pond, "bob").await;
    log.take();
    assert!(is_handled(&ada, "search").await);
    assert_eq!(retry_after(ada.request("search", json!({})).await), 4000, "of the handler");
    assert!(is_handled(&ada, "echo").await);
    assert_eq!(log.take(), ["handling", "rate_limit at /", "handling"]);
    assert_eq!(retry_after(ada.request("echo", json!({})).await), 1000, "of the lobby");
    assert_eq!(retry_after(ada.request("nonsense", json!({})).await), 1000, "events without a handler count too");
    assert!(is_handled(&bob, "search").await);
    sleep(Duration::from_secs(4)).await;
    assert!(is_handled(&ada, "search").await);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_subject_of_a_limit_is_a_user_a_connection_an_address_or_any_key() -> TestResult {
    let (pond, _, lobby, _) = pond();
    let by_table = |ctx: &EventContext| format!("{} at {}", ctx.user_id(), ctx.param("table").unwrap_or_default());
    lobby
        .on_event("user", echo.layer(RateLimit::per_user(1.0, 1)))
        .on_event("connection", echo.layer(RateLimit::per_connection(1.0, 1)))
        .on_event("ip", echo.layer(RateLimit::per_ip(1.0, 1)))
        .on_event("key/:table", echo.layer(RateLimit::per_key(1.0, 1, by_table)));
    let mut rooms = Vec::new();
    for (user, from) in [("ada", "192.0.2.1:1"), ("ada", "192.0.2.2:1"), ("bob", "192.0.2.2:2")] {
        let client = pond.test_client().peer(address(from)).connect(&format!("/?user={user}")).await?;
        rooms.push(client.join("/c/1", json!({})).await?);
    }
    let [ada, second, bob] = &rooms[..] else { unreachable!("three have joined") };
    for (event, expected) in [
        ("user", [true, false, false, true]),
        ("connection", [true, false, true, true]),
        ("ip", [true, false, true, false]),
        ("key/1", [true, false, false, true]),
        ("key/2", [true, false, false, true]),
    ] {
        let mut handled = Vec::new();
        for room in [ada, ada, second, bob] {
            handled.push(is_handled(room, event).await);
        }
        assert_eq!(handled, expected, "{event}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn clones_share_their_buckets_and_a_reset_is_for_one_key() -> TestResult {
    let (pond, _, lobby, _) = pond();
    let limit = RateLimit::per_user(0.01, 3);
    lobby
        .layer_join(limit.clone())
        .on_event("a", echo.layer(limit.clone()))
        .on_event("b", echo.layer(limit.clone()))
        .on_event("other", echo.layer(RateLimit::per_user(0.01, 1)));
    let (client, ada) = enter(&pond, "ada").await;
    let (_bob, bob) = enter(&pond, "bob").await;
    assert!(is_handled(&ada, "a").await && is_handled(&ada, "b").await);
    assert!(!is_handled(&ada, "a").await && !is_handled(&ada, "b").await);
    assert_eq!(client.join("/c/2", json!({})).await.unwrap_err().code(), Some(429));
    assert!(is_handled(&bob, "a").await && is_handled(&bob, "b").await && !is_handled(&bob, "b").await);
    assert!(is_handled(&ada, "other").await && !is_handled(&ada, "other").await);
    limit.reset("ada");
    client.join("/c/2", json!({})).await?;
    assert!(is_handled(&ada, "a").await && is_handled(&ada, "b").await && !is_handled(&ada, "a").await);
    assert!(!is_handled(&bob, "a").await && !is_handled(&ada, "other").await);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_refused_too_often_in_a_row_is_closed() -> TestResult {
    let (pond, endpoint, lobby, log) = pond();
    lobby.on_event("echo", echo).layer(RateLimit::per_connection(1.0, 1).close_after(3));
    endpoint.create_channel("/limited", join).layer_join(RateLimit::per_user(1.0, 1).close_after(1));
    let (ada, room) = enter(&pond, "ada").await;
    let (bob, bobs) = enter(&pond, "bob").await;
    for _ in 0..2 {
        // Two refusals with an accepted request between them are not in a row.
        assert!(is_handled(&room, "echo").await);
        assert!(!is_handled(&room, "echo").await && !is_handled(&room, "echo").await);
        sleep(Duration::from_secs(1)).await;
    }
    assert!(is_handled(&room, "echo").await);
    log.take();
    let refused = [room.request("echo", json!({})), room.request("echo", json!({})), room.request("echo", json!({}))];
    for refused in refused {
        assert_eq!(retry_after(refused.await), 1000, "the last one is told, too");
    }
    let closed = ada.closed().await?;
    assert_eq!((closed.code, closed.reason.as_str()), (Some(1008), "rate limit exceeded"));
    assert_eq!(log.take(), ["rate_limit at /"; 3]);

    assert!(is_handled(&bobs, "echo").await, "another is not concerned");
    bob.join("/limited", json!({})).await?.leave().await?;
    assert_eq!(retry_after(bob.join("/limited", json!({})).await), 1000);
    assert_eq!(bob.closed().await?.code, Some(1008));
    Ok(())
}

#[test]
fn an_invalid_limit_is_refused() {
    let panics = |make: fn() -> RateLimit| std::panic::catch_unwind(make).is_err();
    assert!(panics(|| RateLimit::per_user(0.0, 1)));
    assert!(panics(|| RateLimit::per_user(f64::NAN, 1)));
    assert!(panics(|| RateLimit::per_connection(1.0, 0)));
    assert!(panics(|| RateLimit::per_ip(1.0, 1).close_after(0)));
    assert!(panics(|| RateLimit::per_ip(1.0, 1).max_keys(0)));
    assert!(!panics(|| RateLimit::per_ip(1.0, 1).max_keys(1).close_after(1)));
}
