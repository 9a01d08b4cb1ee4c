//! What each option does, for all endpoints and for one that has a value of its own. Not only here:
//!
//! | option | shown by |
//! |---|---|
//! | `check_origin`, `allowed_origins`, `allowed_origin_regexps`, `allow_missing_origin` | `only_pages_of_allowed_origins_…`, `who_sends_no_origin_…`, `by_default_the_page_…`; `event_streams/`; `src/limits/origin.rs` |
//! | `max_connections` | `an_endpoint_has_room_for_so_many_…`, `a_place_is_free_again_…` |
//! | `retry_after` | the same, and `limits.rs` |
//! | `max_connections_per_ip`, `trusted_proxies` | `limits.rs`; `src/limits/address.rs` |
//! | `client_address_header` | `the_client_has_the_address_…`; `src/limits/address.rs` |
//! | `subprotocols` | `a_subprotocol_…`; `endpoints.rs` |
//! | `max_message_size` | `endpoints.rs`, `bad_input.rs`, `metrics.rs` |
//! | `enable_compression` | `compression_is_agreed_to_…`, `slow_clients.rs` |
//! | `read_buffer_size`, `write_buffer_size` | `the_buffers_of_a_socket_…` |
//! | `ping_interval`, `pong_wait` | `isolation.rs`, `an_endpoint_pings_…` |
//! | `heartbeat` | `heartbeats_are_messages_…` |
//! | `write_wait` | `isolation.rs`, `a_close_that_is_not_answered_…`, `a_place_is_free_again_…` |
//! | `send_timeout`, `send_channel_buffer`, `outbox_bytes` | `isolation.rs`, `slow_clients.rs`, `an_endpoint_bounds_…` |
//! | `slow_client` | `slow_clients.rs` |
//! | `pacing_wait`, `pacing_rate`, `pacing_budget` | `overload.rs` |
//! | `receive_channel_buffer`, `max_concurrent_handlers` | `isolation.rs`, `an_endpoint_bounds_…` |
//! | `receive_bytes`, `memory_limit` | `memory.rs` |
//! | `handler_timeout` | `isolation.rs`, `a_handler_has_so_much_time_…` |
//! | `max_channel_name`, `max_channels_per_connection`, `max_pending_joins` | `limits.rs`, `an_endpoint_limits_…` |
//! | `messages_per_second`, `bytes_per_second`, `max_refusals` | `limits.rs`, `an_endpoint_limits_…` |
//! | `max_assigns_size`, `max_presence_size` | `limits.rs`, `an_endpoint_limits_…` |
//! | `max_channel_presence`, `max_presence_list`, `presence_batch` | `overload.rs` |
//! | `canonical_channel_names` | `names_in_another_form_…` |
//! | `event_streams` | `event_streams/` |
//! | `cors_allow_origin`, `cors_allow_credentials` | `pages_may_read_…` |
//! | `cors_allow_headers` | `event_streams/` |
//! | `bus`, `node_name`, `unready_without_bus`, `node_heartbeat`, `node_timeout`, `max_remote_users`, `max_remote_presence` | `cluster/` |
//! | `channel_queue`, `channel_queue_bytes` | `isolation.rs`, `src/edge/connection/mod.rs`, `a_channel_queue_is_full_…` |

use std::collections::{HashMap, HashSet};
use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use pondsocket::testing::Connector;
use pondsocket::{
    CheckOrigin, Connected, ConnectionContext, Endpoint, EndpointOptions, Error, EventContext, JoinContext, Joined,
    Options, Payload, PondSocket, Result, WebSocket,
};
use serde_json::{Value, json};
use socket2::SockRef;
use testkit::{DEADLINE, Message, Peer, Recorder, eventually, serve, serve_in_memory};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;

type TestResult = Result<(), Box<dyn StdError>>;

const SECOND: Duration = Duration::from_secs(1);

async fn anybody(ctx: ConnectionContext) -> Result<Connected> {
    Ok(ctx.accept())
}

async fn everybody(ctx: JoinContext) -> Result<Joined> {
    Ok(ctx.accept())
}

/// A pond with these options, and two endpoints: one that keeps them, and one with its own.
fn pond(options: Options, own: EndpointOptions) -> (PondSocket, [Endpoint; 2], Recorder) {
    let counted = Recorder::default();
    let pond = PondSocket::with_options(options).expect("valid options").metrics(counted.clone());
    let endpoints = [pond.create_endpoint("/all", anybody), pond.create_endpoint("/own", anybody).options(own)];
    for endpoint in &endpoints {
        let lobby = endpoint.create_channel("/room/*", everybody);
        lobby.on_event("echo", async |ctx: EventContext, Payload(value): Payload<Value>| ctx.reply("echo", &value));
        lobby.on_event("wait", async |_: EventContext| std::future::pending::<()>().await);
    }
    (pond, endpoints, counted)
}

/// Asks for a WebSocket as no library does, with these headers: the status and the head of the answer.
async fn upgrade(pond: &PondSocket, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut stream = serve_in_memory(pond, 4096);
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: example.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).await.expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    let head = String::from_utf8(head).expect("text");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head)
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

/// The status of a refusal and its `Retry-After`.
async fn refusal(client: &Connector, path: &str) -> (u16, Option<String>) {
    let refused = client.connect(path).await.expect_err("not let in");
    let refused = refused.refusal().expect("over HTTP");
    let after = refused.headers().get("retry-after").map(|after| after.to_str().expect("text").to_owned());
    (refused.status().as_u16(), after)
}

/// A client that reads, and so answers pings and closes, only when it is told to.
async fn passive(pond: &PondSocket, path: &str) -> WebSocketStream<DuplexStream> {
    let url = format!("ws://localhost{path}");
    let mut socket = tokio_tungstenite::client_async(url, serve_in_memory(pond, 4096)).await.expect("let in").0;
    assert!(text(&mut socket).await.contains("CONNECTION"));
    for room in 1..=2 {
        say(&mut socket, "JOIN_CHANNEL", "JOIN_CHANNEL", &format!("/room/{room}")).await;
        assert!(text(&mut socket).await.contains("ACKNOWLEDGE"));
    }
    socket
}

async fn say(socket: &mut WebSocketStream<DuplexStream>, action: &str, event: &str, channel: &str) {
    let message = json!({ "action": action, "event": event, "channelName": channel, "requestId": "q", "payload": {} });
    socket.send(Message::text(message.to_string())).await.expect("open");
}

async fn text(socket: &mut WebSocketStream<DuplexStream>) -> String {
    socket.next().await.expect("open").expect("a frame").into_text().expect("text").to_string()
}

/// Reads to the end, and so answers a close: its code, or 1006 if the stream just ended.
async fn closed(socket: &mut WebSocketStream<DuplexStream>) -> u16 {
    let mut code = 1006;
    while let Some(Ok(frame)) = socket.next().await {
        if let Message::Close(Some(frame)) = frame {
            code = frame.code.into();
        }
    }
    code
}

/// Waits until all connections of an endpoint have gone, and checks when that is, to a tenth of a second.
async fn gone_after(endpoint: &Endpoint, start: Instant, expected: Duration) {
    while !endpoint.connections().is_empty() {
        assert!(start.elapsed() < 600 * SECOND, "it stays");
        sleep(SECOND / 100).await;
    }
    let elapsed = start.elapsed();
    assert!(elapsed >= expected && elapsed < expected + SECOND / 10, "{elapsed:?} in place of {expected:?}");
}

// --- At the door --------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn only_pages_of_allowed_origins_come_to_the_handler() -> TestResult {
    let asked = Arc::new(AtomicUsize::new(0));
    let options = Options::default().allowed_origins(["https://example.org"]);
    let options = options.allowed_origin_regexps([r"https://[a-z]+\.example\.org"]);
    let counted = Recorder::default();
    let pond = PondSocket::with_options(options.check_origin(true))?.metrics(counted.clone());
    let star = EndpointOptions::default().allowed_origins(["*"]);
    let open = EndpointOptions::default().check_origin(CheckOrigin::Off);
    let none = EndpointOptions {
        allowed_origins: Some(Vec::new()),
        allowed_origin_regexps: Some(Vec::new()),
        ..Default::default()
    };
    for (path, own) in [("/listed", EndpointOptions::default()), ("/star", star), ("/open", open), ("/none", none)] {
        let asked = Arc::clone(&asked);
        let connect = move |ctx: ConnectionContext| {
            asked.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, Error>(ctx.accept()) }
        };
        let _endpoint = pond.create_endpoint(path, connect).options(own);
    }
    let (good, app, evil) = ("https://example.org", "https://app.example.org", "https://example.org.evil.net");
    for (path, origin, let_in) in [
        ("/listed", good, true),
        ("/listed", app, true),
        ("/listed", evil, false),
        ("/listed", "http://example.org", false),
        ("/listed", "null", false),
        ("/star", evil, true),
        ("/open", evil, true),
        ("/none", good, false),
    ] {
        let before = asked.load(Ordering::SeqCst);
        match pond.test_client().header("origin", origin).connect(path).await {
            Ok(_) => assert!(let_in, "{path} lets {origin} in"),
            Err(refused) => {
                assert!(!let_in, "{path} refuses {origin}");
                let refused = refused.refusal().ok_or("over HTTP")?;
                assert_eq!((refused.status().as_u16(), &*refused.text()), (403, "origin not allowed"));
            }
        }
        assert_eq!(
            asked.load(Ordering::SeqCst) - before,
            usize::from(let_in),
            "{path}, {origin}: is the handler asked?"
        );
    }
    assert_eq!(counted.of("connection_declined").len(), 4);
    assert_eq!(counted.of("connection_declined")[0], "/listed 403 origin");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn who_sends_no_origin_is_let_in_unless_that_is_forbidden() -> TestResult {
    let options = Options::default().check_origin(true).allowed_origins(["https://example.org"]);
    let strict = EndpointOptions { allow_missing_origin: Some(false), ..Default::default() };
    let (pond, ..) = pond(options, strict);
    pond.test_client().connect("/all").await?;
    assert_eq!(refusal(&pond.test_client(), "/own").await, (403, None));
    pond.test_client().header("origin", "https://example.org").connect("/own").await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn by_default_the_page_of_another_origin_is_let_in_only_without_what_its_visitor_is_known_by() -> TestResult {
    let off = EndpointOptions { check_origin: Some(CheckOrigin::Off), ..Default::default() };
    let (pond, _, counted) = pond(Options::default(), off);
    let _raw = pond.create_websocket("/raw", async |mut socket: WebSocket| while socket.recv().await.is_some() {});
    let status = async |path: &str, lines: &[(&str, &str)]| upgrade(&pond, path, lines).await.0;
    let (evil, own, cookie) = (("origin", "https://evil.net"), ("origin", "https://example.org"), ("cookie", "id=ada"));
    for path in ["/all", "/raw"] {
        for credentials in [cookie, ("authorization", "Basic YTpi")] {
            assert_eq!(status(path, &[evil, credentials]).await, 403, "{path}, {credentials:?}");
            assert_eq!(status(path, &[own, credentials]).await, 101, "{path}, {credentials:?}");
            assert_eq!(status(path, &[credentials]).await, 101, "{path}, {credentials:?}");
        }
        assert_eq!(status(path, &[evil]).await, 101, "{path}");
        assert_eq!(status(path, &[evil, ("authorization", "Bearer a")]).await, 101, "{path}");
    }
    assert_eq!(status("/own", &[evil, cookie]).await, 101);
    let declined = ["/all 403 origin", "/all 403 origin", "/raw 403 origin", "/raw 403 origin"];
    assert_eq!(counted.of("connection_declined"), declined);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_client_has_the_address_that_is_told_in_the_header_that_is_named() -> TestResult {
    for (header, expected) in [("X-Forwarded-For", "1.1.1.1"), ("Forwarded", "2.2.2.2"), ("X-Real-IP", "3.3.3.3")] {
        let options = Options::default().trusted_proxies(["127.0.0.1"]);
        let pond = PondSocket::with_options(options.client_address_header(header.into()))?;
        let told = Arc::new(Mutex::new(None));
        let tell = Arc::clone(&told);
        pond.create_endpoint("/", move |ctx: ConnectionContext| {
            *tell.lock().expect("whole") = ctx.client_ip();
            async { Ok::<_, Error>(ctx.accept()) }
        });
        let client = pond.test_client().peer("127.0.0.1:1".parse()?).header("x-forwarded-for", "1.1.1.1");
        client.header("forwarded", "for=2.2.2.2").header("x-real-ip", "3.3.3.3").connect("/").await?;
        assert_eq!(*told.lock().expect("whole"), Some(expected.parse()?), "{header}");
    }
    Ok(())
}

#[test]
fn an_option_that_is_a_list_takes_whatever_yields_texts() {
    const FIXED: &[&str] = &["https://a.example", "https://b.example"];
    let owned: Vec<String> = FIXED.iter().map(|origin| (*origin).to_owned()).collect();
    for options in [
        Options::default().allowed_origins(["https://a.example", "https://b.example"]),
        Options::default().allowed_origins(FIXED),
        Options::default().allowed_origins(owned.clone()),
        Options::default().allowed_origins(&owned),
        Options::default().allowed_origins("https://a.example https://b.example".split(' ')),
        Options::default().allowed_origins(["a", "b"].map(|name| format!("https://{name}.example"))),
    ] {
        assert_eq!(options.allowed_origins, owned);
    }
    let (patterns, proxies) = ([r"https://[a-z]+\.example"], ["10.0.0.0/8", "::1"]);
    let options = Options::default()
        .allowed_origin_regexps(patterns)
        .trusted_proxies(proxies)
        .subprotocols(["pond", "chat"])
        .cors_allow_headers(["X-Request-ID"]);
    assert_eq!((&*options.allowed_origin_regexps, &*options.trusted_proxies), (&*texts(&patterns), &*texts(&proxies)));
    assert_eq!(
        (&*options.subprotocols, &*options.cors_allow_headers),
        (&*texts(&["pond", "chat"]), &*texts(&["X-Request-ID"]))
    );

    let own = EndpointOptions::default()
        .allowed_origins(FIXED)
        .allowed_origin_regexps(patterns)
        .subprotocols(Vec::<String>::new())
        .cors_allow_headers(["X-Request-ID"].into_iter().rev());
    assert_eq!((own.allowed_origins, own.allowed_origin_regexps), (Some(owned), Some(texts(&patterns))));
    assert_eq!((own.subprotocols, own.cors_allow_headers), (Some(Vec::new()), Some(texts(&["X-Request-ID"]))));
    assert_eq!(own.check_origin, None, "the rest is that of all endpoints");
}

#[tokio::test(start_paused = true)]
async fn a_subprotocol_is_agreed_to_if_the_client_offers_it_and_no_other_is_ever_told() -> TestResult {
    let options = Options::default().subprotocols(["pond", "chat"]);
    let own = EndpointOptions { subprotocols: Some(Vec::new()), ..Default::default() };
    let (pond, ..) = pond(options, own);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    pond.create_websocket("/raw", move |socket: WebSocket| {
        let offered: Vec<_> = socket.subprotocols().map(str::to_owned).collect();
        tell.lock().expect("whole").push((offered, socket.subprotocol().map(str::to_owned)));
        async {}
    });
    pond.create_endpoint("/last", async |ctx: ConnectionContext| {
        let last = ctx.subprotocols().last().unwrap_or("none").to_owned();
        Ok::<_, Error>(ctx.accept().subprotocol(&last))
    });
    let agreed = async |path: &str, offered: Option<&str>| -> Result<Option<String>, u16> {
        let lines: Vec<_> = offered.map(|offered| ("sec-websocket-protocol", offered)).into_iter().collect();
        let (status, head) = upgrade(&pond, path, &lines).await;
        assert!(!head.contains("token"), "{head}");
        let named = head.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        if status == 101 { Ok(named.map(str::to_owned)) } else { Err(status) }
    };
    for (path, offered, expected) in [
        ("/all", Some("pond, token.abc"), Ok(Some("pond"))),
        ("/all", Some("token.abc, chat, pond"), Ok(Some("pond"))),
        ("/all", Some("token.abc,chat"), Ok(Some("chat"))),
        ("/all", Some("token.abc"), Ok(None)),
        ("/all", None, Ok(None)),
        ("/own", Some("pond"), Ok(None)),
        ("/last", Some("pond, chat"), Ok(Some("chat"))),
        ("/last", None, Err(500)),
        ("/raw", Some("token.abc, pond"), Ok(Some("pond"))),
        ("/raw", Some("token.abc"), Ok(None)),
    ] {
        let answered = agreed(path, offered).await;
        assert_eq!(answered, expected.map(|name| name.map(str::to_owned)), "{path}, {offered:?}");
    }
    eventually("both have run", || told.lock().expect("whole").len() == 2).await;
    let told = told.lock().expect("whole");
    assert_eq!(told[0], (texts(&["token.abc", "pond"]), Some("pond".to_owned())));
    assert_eq!(told[1], (texts(&["token.abc"]), None));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_has_room_for_so_many_and_says_when_to_try_again() -> TestResult {
    let own = EndpointOptions { max_connections: Some(2), retry_after: Some(SECOND * 9), ..EndpointOptions::default() };
    let (pond, endpoints, counted) = pond(Options::default().max_connections(1), own);
    let client = pond.test_client();
    let first = client.connect("/all").await?;
    assert_eq!(refusal(&client, "/all").await, (503, Some("5".into())));
    let _own = (client.connect("/own").await?, client.connect("/own").await?);
    assert_eq!(refusal(&client, "/own").await, (503, Some("9".into())));
    assert_eq!(counted.of("connection_declined"), ["/all 503 connection_limit", "/own 503 connection_limit"]);
    assert_eq!(counted.of("handler_finished").len(), 3, "the handler is not asked");
    first.close();
    eventually("it has gone", || endpoints[0].connections().is_empty()).await;
    client.connect("/all").await?;
    pond.shutdown(SECOND).await;
    assert_eq!(refusal(&client, "/own").await, (503, Some("9".into())), "nor while it drains");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_place_is_free_again_however_its_holder_goes() -> TestResult {
    let (pond, _, counted) = pond(Options::default().max_connections(1), EndpointOptions::default());
    let own = || EndpointOptions { write_wait: Some(3 * SECOND), ..Default::default() };
    let (asked, door) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (ask, wait) = (Arc::clone(&asked), Arc::clone(&door));
    let door_endpoint = pond.create_endpoint("/door", move |_: ConnectionContext| {
        let (ask, wait) = (Arc::clone(&ask), Arc::clone(&wait));
        async move {
            ask.notify_one();
            wait.notified().await;
            Err::<Connected, _>(Error::forbidden("no"))
        }
    });
    let _door = door_endpoint.options(own());
    let _raw = pond.create_websocket("/raw", async |socket: WebSocket| socket.close(1000, "").await).options(own());
    let client = pond.test_client();
    let admitted = |path: &str| {
        let endpoints = pond.snapshot().endpoints;
        endpoints.iter().find(|endpoint| endpoint.path == path).map(|endpoint| endpoint.admitted)
    };

    // Declined.
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { refusal(&client, "/door").await }
    });
    asked.notified().await;
    assert_eq!(refusal(&client, "/door").await, (503, Some("5".into())), "a decision takes a place");
    door.notify_one();
    assert_eq!(waiting.await?.0, 403);
    assert_eq!(admitted("/door"), Some(0));

    // Gone before the decision.
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { drop(client.connect("/door").await) }
    });
    asked.notified().await;
    waiting.abort();
    eventually("the place is free", || admitted("/door") == Some(0)).await;

    // Let in, but it does not read the answer: the upgrade never completes.
    for (path, after) in [("/all", 10 * SECOND), ("/raw", 3 * SECOND)] {
        let mut stream = serve_in_memory(&pond, 16);
        let start = Instant::now();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        eventually("it is let in", || admitted(path) == Some(1)).await;
        while admitted(path) == Some(1) {
            assert!(start.elapsed() < 60 * SECOND, "{path}: the place is never free");
            sleep(SECOND / 100).await;
        }
        assert!(start.elapsed() >= after && start.elapsed() < after + SECOND / 10, "{path}: {:?}", start.elapsed());
    }
    let declined = counted.of("connection_declined");
    assert_eq!(declined[2..], ["/all 101 upgrade", "/raw 101 upgrade"], "{declined:?}");
    Ok(())
}

/// The answer to an upgrade request with these headers, down to its end.
async fn head(stream: &mut TcpStream, path: &str, headers: &str) -> String {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(DEADLINE, stream.read_u8()).await.expect("in time").expect("an answer"));
    }
    String::from_utf8(head).expect("text").to_lowercase()
}

#[tokio::test]
async fn compression_is_agreed_to_where_it_is_on_and_where_the_client_offers_it() {
    let own = EndpointOptions { enable_compression: Some(true), ..Default::default() };
    let (pond, ..) = pond(Options::default(), own);
    let (_server, address) = serve(&pond).await;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    for (path, headers, agreed) in [("/all", offer, false), ("/own", "", false), ("/own", offer, true)] {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let head = head(&mut stream, path, headers).await;
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert_eq!(head.contains("permessage-deflate"), agreed, "{path}, {headers}");
    }
}

#[tokio::test]
async fn pages_may_read_the_answers_of_an_endpoint_that_says_so() {
    let options = Options::default().cors_allow_origin("https://example.org".into()).cors_allow_credentials(true);
    let own = EndpointOptions {
        cors_allow_origin: Some("*".into()),
        cors_allow_credentials: Some(false),
        max_connections: Some(1),
        ..Default::default()
    };
    let (pond, ..) = pond(options, own);
    let silent = EndpointOptions { cors_allow_origin: Some(String::new()), ..Default::default() };
    let _silent = pond.create_endpoint("/silent", anybody).options(silent);
    let (_server, address) = serve(&pond).await;
    let _full = Peer::connect(address, "/own").await;
    for (path, status, origin, credentials) in [
        ("/all", 101, Some("https://example.org"), true),
        ("/own", 503, Some("*"), false),
        ("/silent", 101, None, true),
    ] {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let head = head(&mut stream, path, "Origin: https://example.org\r\n").await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
        let line = |name: &str| head.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        assert_eq!(line("access-control-allow-origin:").as_deref(), origin, "{path}");
        let allowed = line("access-control-allow-credentials:");
        assert_eq!(allowed.as_deref(), Some("true").filter(|_| credentials && origin.is_some()), "{path}");
    }
}

// --- Sockets and time ---------------------------------------------------------------------------------------------------

/// The server's end of each connection, to look at.
async fn accept_with_duplicates(
    pond: PondSocket,
) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<std::net::TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (sender, duplicates) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = stream.into_std().expect("a socket");
            if sender.send(stream.try_clone().expect("a duplicate")).is_err() {
                return;
            }
            let io = TokioIo::new(TcpStream::from_std(stream).expect("a socket"));
            let pond = pond.clone();
            let service =
                hyper::service::service_fn(move |request| tower_service::Service::call(&mut pond.service(), request));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service).with_upgrades());
        }
    });
    (address, duplicates)
}

#[tokio::test]
async fn the_buffers_of_a_socket_are_as_large_as_asked_for() {
    let options = Options::default().read_buffer_size(20_000).write_buffer_size(30_000);
    let own = EndpointOptions { read_buffer_size: Some(40_000), write_buffer_size: Some(50_000), ..Default::default() };
    let (pond, ..) = pond(options, own);
    let unset = EndpointOptions { read_buffer_size: Some(0), write_buffer_size: Some(0), ..Default::default() };
    let _system = pond.create_endpoint("/system", anybody).options(unset);
    let (address, mut duplicates) = accept_with_duplicates(pond).await;
    // Linux doubles what it is asked for, for its own book-keeping.
    let factor = if cfg!(target_os = "linux") { 2 } else { 1 };
    for (path, receive, send) in [("/all", 20_000, 30_000), ("/own", 40_000, 50_000)] {
        let _peer = Peer::connect(address, path).await;
        let socket = duplicates.recv().await.expect("accepted");
        let socket = SockRef::from(&socket);
        let sizes = (socket.recv_buffer_size().expect("known"), socket.send_buffer_size().expect("known"));
        assert_eq!(sizes, (factor * receive, factor * send), "{path}");
        assert!(socket.tcp_nodelay().expect("known"), "{path}: small frames do not wait for others");
    }
    let _peer = Peer::connect(address, "/system").await;
    let socket = duplicates.recv().await.expect("accepted");
    let sizes = [SockRef::from(&socket).recv_buffer_size(), SockRef::from(&socket).send_buffer_size()];
    let ours = [20_000, 30_000, 40_000, 50_000].map(|size| size * factor);
    assert!(sizes.iter().flatten().all(|size| !ours.contains(size)), "left to the system: {sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_pings_and_waits_as_long_as_it_says() {
    let options = Options::default().ping_interval(20 * SECOND).pong_wait(40 * SECOND);
    let own = EndpointOptions { ping_interval: Some(4 * SECOND), pong_wait: Some(10 * SECOND), ..Default::default() };
    let (pond, endpoints, counted) = pond(options, own);
    for (path, endpoint, every, wait) in [("/all", &endpoints[0], 20, 40), ("/own", &endpoints[1], 4, 10)] {
        let mut answering = passive(&pond, path).await;
        let start = Instant::now();
        for number in 1..=5 {
            assert!(matches!(answering.next().await, Some(Ok(Message::Ping(_)))), "{path}");
            let elapsed = start.elapsed().as_secs_f64();
            assert!((elapsed - f64::from(every * number)).abs() < 0.1, "{path}: ping {number} after {elapsed} s");
            // The pong is sent with the next read.
            answering.flush().await.expect("open");
        }
        let heard = Instant::now();
        gone_after(endpoint, heard, SECOND * wait).await;
        assert_eq!(closed(&mut answering).await, 1006, "it would not read a close frame");
    }
    let reasons: Vec<_> = counted.of("connection_closed").iter().map(|line| line.ends_with("1006 silent")).collect();
    assert_eq!(reasons, [true, true]);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_messages_and_come_only_where_they_are_wanted() -> TestResult {
    let own = EndpointOptions { heartbeat: Some(Some(2 * SECOND)), ..Default::default() };
    let (pond, ..) = pond(Options::default().heartbeat(Some(7 * SECOND)), own);
    let never = EndpointOptions { heartbeat: Some(None), ..Default::default() };
    let _never = pond.create_endpoint("/never", anybody).options(never);
    let client = pond.test_client().deadline(60 * SECOND);
    for (path, every) in [("/all", 7), ("/own", 2)] {
        let mut ada = client.connect(path).await?;
        let start = Instant::now();
        for number in 1..=3 {
            assert_eq!(ada.next("HEARTBEAT").await?, json!({}));
            let elapsed = start.elapsed().as_secs_f64();
            assert!((elapsed - f64::from(every * number)).abs() < 0.1, "{path}: number {number} after {elapsed} s");
        }
    }
    let mut quiet = client.connect("/never").await?;
    quiet.next("HEARTBEAT").await.expect_err("none comes within a minute");

    let mut socket = passive(&pond, "/own").await;
    let message: Value = serde_json::from_str(&text(&mut socket).await)?;
    assert_eq!((&message["action"], &message["channelName"]), (&json!("SYSTEM"), &json!("GATEWAY")));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_not_answered_ends_after_write_wait() {
    let own = EndpointOptions { write_wait: Some(3 * SECOND), ..Default::default() };
    let (pond, endpoints, counted) = pond(Options::default().write_wait(6 * SECOND), own);
    for (path, endpoint, wait) in [("/all", &endpoints[0], 6), ("/own", &endpoints[1], 3)] {
        let mut socket = passive(&pond, path).await;
        let start = Instant::now();
        endpoint.connections().iter().for_each(pondsocket::Connection::disconnect);
        let closing = || pond.snapshot().endpoints.iter().map(|endpoint| endpoint.closing).sum::<usize>();
        assert_eq!(closing(), 1);
        while closing() == 1 {
            sleep(SECOND / 100).await;
        }
        let elapsed = start.elapsed();
        assert!(elapsed >= SECOND * wait && elapsed < SECOND * wait + SECOND / 10, "{path}: {elapsed:?}");
        assert_eq!(closed(&mut socket).await, 1000, "it was told");
    }
    let closed = counted.of("connection_closed");
    assert!(closed[0].ends_with("6s 1000 server") && closed[1].ends_with("3s 1000 server"), "{closed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_has_so_much_time_wherever_it_runs() -> TestResult {
    let own = EndpointOptions { handler_timeout: Some(2 * SECOND), ..Default::default() };
    let (pond, endpoints, _) = pond(Options::default().internal_queue_timeout(5 * SECOND), own.clone());
    for endpoint in &endpoints {
        endpoint.create_channel("/slow", async |_: JoinContext| std::future::pending::<Result<Joined>>().await);
    }
    let hang = async |_: ConnectionContext| std::future::pending::<Result<Connected>>().await;
    pond.create_endpoint("/hang/all", hang);
    let _own = pond.create_endpoint("/hang/own", hang).options(own);
    let client = pond.test_client().deadline(60 * SECOND);
    for (path, limit) in [("/all", 5), ("/own", 2)] {
        let elapsed = |start: Instant| (start.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let start = Instant::now();
        assert_eq!(refusal(&client, &format!("/hang{path}")).await, (504, None));
        assert_eq!(elapsed(start), f64::from(limit), "{path}: at the door");
        let ada = client.connect(path).await?;
        let start = Instant::now();
        assert_eq!(ada.join("/slow", json!({})).await.expect_err("too slow").code(), Some(504));
        assert_eq!(elapsed(start), f64::from(limit), "{path}: a join");
        let room = ada.join("/room/1", json!({})).await?;
        let start = Instant::now();
        assert_eq!(room.request("wait", json!({})).await.expect_err("too slow").code(), Some(504));
        assert_eq!(elapsed(start), f64::from(limit), "{path}: an event");
    }
    Ok(())
}

// --- Queues and limits --------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn an_endpoint_bounds_what_waits_as_it_says() -> TestResult {
    let frames = EndpointOptions { send_channel_buffer: Some(2), ..Default::default() };
    let bytes = EndpointOptions { outbox_bytes: Some(20_000), ..Default::default() };
    for own in [frames, bytes] {
        let own = EndpointOptions { send_timeout: Some(2 * SECOND), ..own };
        let (pond, endpoints, counted) = pond(Options::default(), own);
        let mut sockets = [passive(&pond, "/all").await, passive(&pond, "/own").await];
        let start = Instant::now();
        for endpoint in &endpoints {
            for _ in 0..4 {
                endpoint.channel("/room/1")?.broadcast("large", &json!({ "filler": "x".repeat(10_000) }))?;
            }
        }
        gone_after(&endpoints[1], start, 2 * SECOND).await;
        assert_eq!(closed(&mut sockets[1]).await, 1013);
        eventually("it is counted", || counted.of("connection_closed").len() == 1).await;
        assert!(counted.of("connection_closed")[0].ends_with("1013 too_slow"));
        assert_eq!(endpoints[0].connections().len(), 1, "the other one has more room");
    }

    let few = EndpointOptions {
        max_concurrent_handlers: Some(1),
        receive_channel_buffer: Some(2),
        write_wait: Some(3 * SECOND),
        ..Default::default()
    };
    let (pond, endpoints, counted) = pond(Options::default(), few);
    let mut sockets = [passive(&pond, "/all").await, passive(&pond, "/own").await];
    for socket in &mut sockets {
        say(socket, "BROADCAST", "wait", "/room/1").await;
        say(socket, "BROADCAST", "echo", "/room/2").await;
    }
    assert!(text(&mut sockets[0]).await.contains("echo"), "there are ten handlers");
    let start = Instant::now();
    say(&mut sockets[1], "BROADCAST", "wait", "/room/1").await;
    gone_after(&endpoints[1], start, 3 * SECOND).await;
    assert_eq!(closed(&mut sockets[1]).await, 1013, "one runs, two wait, and nothing moves");
    eventually("it is counted", || counted.of("connection_closed").len() == 1).await;
    assert!(counted.of("connection_closed")[0].ends_with("1013 too_many_messages"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_limits_its_clients_as_it_says() -> TestResult {
    let small = EndpointOptions {
        max_channel_name: Some(8),
        max_channels_per_connection: Some(1),
        max_assigns_size: Some(20),
        max_presence_size: Some(20),
        ..Default::default()
    };
    let (pond, endpoints, counted) = pond(Options::default(), small);
    let client = pond.test_client();
    for (path, endpoint, refused) in [("/all", &endpoints[0], false), ("/own", &endpoints[1], true)] {
        let ada = client.connect(path).await?;
        let _long = ada.join("/room/123", json!({})).await.map_err(|error| assert!(refused, "{error}"));
        let _room = ada.join("/room/1", json!({})).await?;
        let _second = ada.join("/room/2", json!({})).await.map_err(|error| assert!(refused, "{error}"));
        let channel = endpoint.channel("/room/1")?;
        let value = "x".repeat(20);
        assert_eq!(channel.update_assigns(ada.id(), "key", &value).await.is_err(), refused);
        assert_eq!(channel.track(ada.id(), &json!({ "key": value })).is_err(), refused);
    }
    assert_eq!(counted.of("limit_reached"), ["/own channel_name", "/own channels", "/own assigns", "/own presence"]);

    for own in [
        EndpointOptions { messages_per_second: Some(2), ..Default::default() },
        EndpointOptions { bytes_per_second: Some(220), ..Default::default() },
    ] {
        let own = EndpointOptions { max_refusals: Some(2), max_pending_joins: Some(1), ..own };
        let (pond, ..) = self::pond(Options::default(), own);
        for (path, code) in [("/all", None), ("/own", Some(1008))] {
            let ada = pond.test_client().connect(path).await?;
            let room = ada.join("/room/1", json!({})).await?;
            for _ in 0..4 {
                room.send("echo", json!({}));
            }
            match code {
                Some(_) => assert_eq!(ada.closed().await?.code, code),
                None => assert_eq!(room.request("echo", json!({ "n": 1 })).await?["n"], 1),
            }
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn names_in_another_form_are_no_names_where_one_form_is_asked_for() -> TestResult {
    let own = EndpointOptions { canonical_channel_names: Some(true), ..Default::default() };
    let (pond, endpoints, _) = pond(Options::default(), own);
    let client = pond.test_client();
    let (all, own) = (client.connect("/all").await?, client.connect("/own").await?);
    for (name, is_canonical) in [
        ("/room/1", true),
        ("/room/1?x=//", true),
        ("/room", true),
        ("room/1", false),
        ("//room/1", false),
        ("/room//1", false),
        ("/room/1/", false),
        ("/room/1/?x", false),
    ] {
        all.join(name, json!({})).await?;
        let declined = own.join(name, json!({})).await.err().and_then(|error| error.code());
        assert_eq!(declined, if is_canonical { None } else { Some(404) }, "{name}");
        assert_eq!(endpoints[1].channel(name).is_ok(), is_canonical, "{name}");
    }
    Ok(())
}

/// Nothing is delivered while this test does not wait.
#[tokio::test(start_paused = true)]
async fn a_channel_queue_is_full_at_four_times_its_messages_or_bytes() -> TestResult {
    let payload = json!({ "filler": "x".repeat(1000) });
    for (options, most) in [
        (Options::default().channel_queue(3), 12),
        // Each takes some 1100 bytes.
        (Options::default().channel_queue_bytes(3 * 1100), 12),
    ] {
        let (pond, endpoints, counted) = pond(options, EndpointOptions::default());
        let ada = pond.test_client().connect("/all").await?;
        let mut room = ada.join("/room/1", json!({})).await?;
        let channel = endpoints[0].channel("/room/1")?;
        let sent: Vec<_> = (0..20).map(|_| channel.broadcast("news", &payload).map_err(|error| error.code())).collect();
        let accepted = sent.iter().filter(|sent| sent.is_ok()).count();
        assert!((most..=most + 1).contains(&accepted), "{accepted} were accepted");
        assert!(sent[accepted..].iter().all(|sent| sent.as_ref().err() == Some(&503)), "{sent:?}");
        assert_eq!(counted.of("limit_reached"), vec!["/all channel_queue"; 20 - accepted]);
        timeout(SECOND, channel.ready()).await?;
        channel.broadcast("after", &json!({}))?;
        room.next("after").await?;
    }
    Ok(())
}

#[test]
fn the_table_above_names_every_option() {
    let options = format!("{:#?}", Options::default());
    let fields = options.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
    let table: String = include_str!("options.rs").lines().take_while(|line| line.starts_with("//!")).collect();
    let mut count = 0;
    for (field, _) in fields.filter(|(field, _)| !field.starts_with(' ')) {
        assert!(table.contains(&format!("`{field}`")), "{field}");
        count += 1;
    }
    assert!(count > 30, "{options}");
}

/// Options that limit nothing.
const NO_LIMITS: [&str; 20] = [
    "allowed_origins",
    "allowed_origin_regexps",
    "bus",
    "client_address_header",
    "cors_allow_credentials",
    "cors_allow_headers",
    "cors_allow_origin",
    "enable_compression",
    "event_streams",
    "heartbeat",
    "node_heartbeat",
    "node_name",
    "node_timeout",
    "read_buffer_size",
    "retry_after",
    "slow_client",
    "subprotocols",
    "trusted_proxies",
    "unready_without_bus",
    "write_buffer_size",
];

#[test]
fn the_table_for_operators_has_every_limit_with_its_default_and_a_reason() {
    let options = format!("{:#?}", Options::default());
    let fields = options.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
    let defaults: HashMap<_, _> = fields.map(|(field, value)| (field, value.trim_end_matches(','))).collect();
    let guide = include_str!("../../../../docs/operations.md");
    let section = guide.split("## Limits").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let table = section.lines().skip_while(|line| !line.starts_with("| option ")).skip(2);
    let mut listed = HashSet::new();
    for row in table.take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [option, default, _, _, _, why] = cells[..] else { panic!("not six cells: {row}") };
        assert!(!why.is_empty(), "why? {row}");
        let named: Vec<_> = option.split('`').skip(1).step_by(2).filter(|name| defaults.contains_key(name)).collect();
        let said: Vec<_> = default.split(", ").filter(|text| !text.is_empty()).collect();
        assert_eq!(named.len(), said.len(), "as many defaults as options: {row}");
        for (name, said) in named.into_iter().zip(said) {
            assert_eq!(as_debugged(said), defaults[name], "{name}: {row}");
            listed.insert(name);
        }
    }
    let missing = defaults.keys().filter(|field| !listed.contains(**field) && !NO_LIMITS.contains(field));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&&str>::new(), "no row of docs/operations.md names them");
}

/// A default of the table as the options print it.
fn as_debugged(said: &str) -> String {
    let said = said.split(':').next().unwrap_or_default().trim_matches('`');
    match said.split_once(' ') {
        Some((number, "KiB")) => (number.parse::<usize>().expect("a number") * 1024).to_string(),
        Some((number, "MiB")) => (number.parse::<usize>().expect("a number") * 1024 * 1024).to_string(),
        Some((number, "bytes")) => number.to_owned(),
        Some((number, unit @ ("s" | "ms"))) => format!("{number}{unit}"),
        None if said == "on" => "true".into(),
        None if said == "off" => "false".into(),
        None if said == "none" => "None".into(),
        _ => said.to_owned(),
    }
}
