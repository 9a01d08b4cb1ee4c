//! Admission before the upgrade, and the responses to refused clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pondsocket::{
    Connected, ConnectionContext, EndpointOptions, Error, EventContext, JoinContext, Joined, LeaveContext, Options,
    Params, PondSocket, Query, Result, State,
};
use serde::Deserialize;
use serde_json::json;
use testkit::{DEADLINE, Message, Peer, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

async fn anybody(ctx: ConnectionContext) -> Result<Connected> {
    Ok(ctx.accept())
}

async fn everybody(ctx: JoinContext) -> Result<Joined> {
    Ok(ctx.accept())
}

/// Sends bytes unchanged, and reads up to the end of the response head or of the stream.
async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(request).await.expect("it reads");
    let mut answer = Vec::new();
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = tokio::time::timeout(DEADLINE, stream.read_buf(&mut answer)).await.expect("an answer in time");
        if read.expect("readable") == 0 {
            break;
        }
    }
    String::from_utf8_lossy(&answer).to_lowercase()
}

fn upgrade(path: &str, headers: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
    .into_bytes()
}

#[tokio::test]
async fn the_response_to_an_upgrade_comes_together_with_the_first_message() {
    let pond = PondSocket::new();
    pond.create_endpoint("/socket", anybody);
    let (_server, address) = serve(&pond).await;
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(&upgrade("/socket", "")).await.expect("it reads");
    let mut answer = Vec::with_capacity(4096);
    // One read: both are one write, and so one segment.
    tokio::time::timeout(DEADLINE, stream.read_buf(&mut answer)).await.expect("an answer in time").expect("readable");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("\"CONNECTION\""), "{answer}");
}

#[tokio::test]
async fn a_client_that_has_ended_its_side_still_gets_the_response_to_its_upgrade() {
    let pond = PondSocket::new();
    pond.create_endpoint("/socket", anybody);
    let (_server, address) = serve(&pond).await;
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(&upgrade("/socket", "")).await.expect("it reads");
    stream.shutdown().await.expect("connected");
    let mut answer = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("an end in time").expect("readable");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
}

#[tokio::test]
async fn the_handler_sees_the_whole_request() {
    let pond = PondSocket::new();
    pond.create_endpoint("/api/:tenant/socket/*", async |ctx: ConnectionContext| -> Result<Connected> {
        let seen = json!({
            "tenant": ctx.param("tenant")?,
            "rest": ctx.wildcard(),
            "path": ctx.path(),
            "token": ctx.query("token"),
            "all": ctx.query_all("x").collect::<Vec<_>>(),
            "missing": ctx.query("nope"),
            "bearer": ctx.bearer_token(),
            "cookie": ctx.cookie("session"),
            "header": ctx.header("X-Custom"),
            "method": ctx.request().method.as_str(),
            "local": ctx.remote_addr().is_some_and(|address| address.ip().is_loopback()),
            "id": ctx.connection_id().len(),
        });
        Err(Error::new(418, seen.to_string()))
    });
    let (_server, address) = serve(&pond).await;
    let headers = "Authorization: bearer abc\r\nCookie: a=b; session=\"s 1\"\r\nx-custom: yes\r\n";
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = upgrade("/api/a%2Fb/socket/x%20y/z?token=t%20u+v&x=1&x=2", headers);
    stream.write_all(&request).await.expect("it reads");
    stream.shutdown().await.expect("we say no more");
    let mut answer = String::new();
    tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer)).await.expect("in time").expect("text");
    let body = answer.split("\r\n\r\n").nth(1).expect("a body");
    let seen: serde_json::Value = serde_json::from_str(body).expect("what the handler said");
    let expected = json!({
        "tenant": "a/b", "rest": "x y/z", "path": "/api/a%2Fb/socket/x%20y/z", "token": "t u v", "all": ["1", "2"],
        "missing": null, "bearer": "abc", "cookie": "s 1", "header": "yes", "method": "GET", "local": true, "id": 36,
    });
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn values_that_are_not_ascii_do_not_hide_the_rest_of_a_request() {
    let pond = PondSocket::new();
    pond.create_endpoint("/*", async |ctx: ConnectionContext| -> Result<Connected> {
        let seen = json!({
            "cookies": (["theme", "session", "last", "other"].map(|name| ctx.cookie(name))),
            "headers": (["x-name", "x-latin", "x-twice"].map(|name| ctx.header(name))),
            "bytes": ctx.headers()["x-latin"].as_bytes().len(),
            "bearer": ctx.bearer_token(),
            "query": (["a", "b", "token"].map(|name| ctx.query(name))),
            "subprotocols": ctx.subprotocols().collect::<Vec<_>>(),
        });
        Err(Error::new(418, seen.to_string()))
    });
    let (_server, address) = serve(&pond).await;
    for (theme, is_text) in [(&b"d\xc3\xa4rk"[..], true), (b"d\xe4rk", false)] {
        let head = [
            &b"Connection: keep-alive, \xe4, Upgrade\r\nCookie: theme="[..],
            theme,
            b"; session=abc; \xff=1; last=\"x\"\r\nCookie: \xe4\r\nCookie: other=y\r\n",
            b"X-Name: J\xc3\xb6rg\r\nX-Latin: J\xf6rg\r\nX-Twice: \xff\r\nX-Twice: text\r\n",
            b"Authorization: \xff\r\nAuthorization: Bearer t\r\nSec-WebSocket-Protocol: \xff, pond\r\n",
        ];
        let request = upgrade("/?a=%FF&b=d%C3%A4rk&token=t", "X-Last: 1\r\n");
        let end = request.len() - 2;
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let request = [&request[..end], &head.concat(), b"\r\n"].concat();
        stream.write_all(&request).await.expect("it reads");
        stream.shutdown().await.expect("we say no more");
        let mut answer = Vec::new();
        tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("in time").expect("an answer");
        let answer = String::from_utf8(answer).expect("text");
        let body = answer.split("\r\n\r\n").nth(1).expect("a body");
        let seen: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
        let expected = json!({
            "cookies": [is_text.then_some("d\u{e4}rk"), "abc", "x", "y"],
            "headers": ["J\u{f6}rg", null, "text"],
            "bytes": 4, "bearer": "t", "query": ["\u{fffd}", "d\u{e4}rk", "t"], "subprotocols": ["pond"],
        });
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn a_decline_is_an_http_response_with_code_and_text() {
    let pond = PondSocket::new();
    pond.create_endpoint("/", async |_: ConnectionContext| -> Result<Connected> {
        Err(Error::forbidden("members only"))
    });
    let (_server, address) = serve(&pond).await;
    assert_eq!(Peer::refused(address, "/").await, (403, "members only\n".into()));
    let answer = raw(address, &upgrade("/", "")).await;
    assert!(answer.contains("content-type: text/plain; charset=utf-8\r\n"), "{answer}");
    assert!(answer.contains("x-content-type-options: nosniff\r\n"), "{answer}");
}

#[tokio::test]
async fn the_code_of_a_decline_is_the_http_status() {
    let pond = PondSocket::new();
    pond.create_endpoint("/:code", async |ctx: ConnectionContext| -> Result<Connected> {
        Err(match ctx.param("code")? {
            "400" => Error::bad_request("what?"),
            "401" => Error::unauthorized("who?"),
            "404" => Error::not_found("where?"),
            "409" => Error::conflict("twice"),
            "429" => Error::too_many_requests("slower"),
            "503" => Error::unavailable("later"),
            "504" => Error::timeout("too late"),
            _ => Error::new(451, "not here").with_details(&json!({ "for": "the log" })),
        })
    });
    let (_server, address) = serve(&pond).await;
    for (code, text) in [
        (400, "what?\n"),
        (401, "who?\n"),
        (404, "where?\n"),
        (409, "twice\n"),
        (429, "slower\n"),
        (451, "not here\n"),
        (503, "later\n"),
        (504, "too late\n"),
    ] {
        assert_eq!(Peer::refused(address, &format!("/{code}")).await, (code, text.into()));
    }
}

#[derive(Deserialize)]
struct Door {
    tenant: String,
    floor: u8,
}

#[derive(Deserialize)]
struct VisitQuery {
    name: String,
    tag: Vec<String>,
}

#[tokio::test]
async fn extractors_work_in_connection_handlers_and_name_the_invalid_part() {
    let pond = PondSocket::new().state("ground".to_owned());
    pond.create_endpoint(
        "/:tenant/:floor",
        async |_: ConnectionContext,
               Params(door): Params<Door>,
               Query(visit): Query<VisitQuery>,
               State(state): State<String>|
               -> Result<Connected> {
            let seen = format!("{} {} {} {} {state}", door.tenant, door.floor, visit.name, visit.tag.join("+"));
            Err(Error::forbidden(seen))
        },
    );
    let (_server, address) = serve(&pond).await;
    for (path, code, text) in [
        ("/acme/7?name=ada&tag=x&tag=y", 403, "acme 7 ada x+y ground\n"),
        ("/acme/high?name=ada&tag=x", 400, "invalid parameters: floor: invalid digit found in string\n"),
        ("/acme/7?tag=x", 400, "invalid query: name: missing field `name`\n"),
    ] {
        assert_eq!(Peer::refused(address, path).await, (code, text.into()), "{path}");
    }
}

#[tokio::test]
async fn a_client_that_disconnects_before_the_decision_leaves_nothing_behind() {
    let pond = PondSocket::new();
    let dropped = Arc::new(Notify::new());
    let (begun, gone) = (Arc::new(Notify::new()), Arc::clone(&dropped));
    let began = Arc::clone(&begun);
    let endpoint = pond.create_endpoint("/", move |ctx: ConnectionContext| {
        let (began, gone) = (Arc::clone(&began), NotifyOnDrop(Arc::clone(&gone)));
        async move {
            let _gone = gone;
            began.notify_one();
            std::future::pending::<()>().await;
            Ok(ctx.accept()) as Result<Connected>
        }
    });
    let (_server, address) = serve(&pond).await;
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(&upgrade("/", "")).await.expect("it reads");
    tokio::time::timeout(DEADLINE, begun.notified()).await.expect("the handler is called");
    drop(stream);
    tokio::time::timeout(DEADLINE, dropped.notified()).await.expect("the handler is cancelled");
    assert_eq!(endpoint.connections().len(), 0);
}

struct NotifyOnDrop(Arc<Notify>);

impl Drop for NotifyOnDrop {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn internal_errors_of_a_connection_handler_are_not_sent() {
    let pond = PondSocket::with_options(Options::default().handler_timeout(Duration::from_millis(50))).expect("valid");
    pond.create_endpoint("/error", async |_: ConnectionContext| -> Result<Connected> {
        Err(Error::internal("the database password is hunter2"))
    });
    pond.create_endpoint("/panic", async |ctx: ConnectionContext| -> Result<Connected> {
        assert!(ctx.query("x").is_some(), "secret");
        Ok(ctx.accept())
    });
    pond.create_endpoint("/value", async |ctx: ConnectionContext| -> Result<Connected> {
        Ok(ctx.accept().reply("ACKNOWLEDGE", &()))
    });
    pond.create_endpoint("/user", async |ctx: ConnectionContext| -> Result<Connected> {
        Ok(ctx.accept().user_id("GATEWAY"))
    });
    pond.create_endpoint("/slow", async |ctx: ConnectionContext| -> Result<Connected> {
        std::future::pending::<()>().await;
        Ok(ctx.accept())
    });
    let (_server, address) = serve(&pond).await;
    for path in ["/error", "/panic", "/value", "/user"] {
        assert_eq!(Peer::refused(address, path).await, (500, "internal error\n".into()), "{path}");
    }
    assert_eq!(Peer::refused(address, "/slow").await.0, 504);
}

#[tokio::test]
async fn requests_that_are_no_upgrade_are_refused_with_the_reason() {
    let pond = PondSocket::new();
    pond.create_endpoint("/ws", anybody);
    let (_server, address) = serve(&pond).await;
    let good = String::from_utf8(upgrade("/ws", "")).expect("text");
    for (what, request, status) in [
        ("a plain GET", "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "426"),
        ("another version", good.replace("Version: 13", "Version: 8"), "426"),
        ("a short key", good.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), "400"),
        ("no key", good.replace("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), "400"),
        ("no upgrade header", good.replace("Upgrade: websocket\r\n", ""), "426"),
        ("another upgrade", good.replace("Upgrade: websocket", "Upgrade: h2c"), "426"),
        ("HTTP/1.0", good.replace("HTTP/1.1", "HTTP/1.0"), "426"),
        ("no connection header", good.replace("Connection: Upgrade\r\n", ""), "400"),
        ("a POST", good.replace("GET", "POST"), "400"),
        ("another method", good.replace("GET", "PUT"), "405"),
        ("an unknown path", good.replace("/ws", "/nowhere"), "404"),
    ] {
        let answer = raw(address, request.as_bytes()).await;
        assert_eq!(answer.get(9..12), Some(status), "{what}: {answer}");
        assert!(answer.contains("content-type: text/plain; charset=utf-8\r\n"), "{what}: {answer}");
        if status == "426" {
            assert!(answer.contains("sec-websocket-version: 13\r\n"), "{what}: {answer}");
            assert!(answer.contains("upgrade: websocket\r\n"), "{what}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_request_of_a_host_that_cannot_upgrade_is_answered() {
    use tower_service::Service;
    let pond = PondSocket::new();
    pond.create_endpoint("/ws", anybody);
    let request = |version| {
        let request = http::Request::get("/ws").version(version).header("host", "x").header("connection", "Upgrade");
        let request = request.header("upgrade", "websocket").header("sec-websocket-version", "13");
        request.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==").body(String::new()).expect("a request")
    };
    for (version, status) in [(http::Version::HTTP_2, 426), (http::Version::HTTP_11, 500)] {
        let answer = pond.service().call(request(version)).await.expect("infallible");
        assert_eq!(answer.status(), status, "{version:?}");
    }
}

#[tokio::test]
async fn the_first_matching_endpoint_decides_or_passes_on() {
    let pond = PondSocket::new();
    pond.create_endpoint("/:name", async |ctx: ConnectionContext| -> Result<Connected> {
        if ctx.param("name")? == "second" { ctx.pass() } else { Err(Error::new(421, "first")) }
    });
    pond.create_endpoint("/second", async |_: ConnectionContext| -> Result<Connected> {
        Err(Error::new(422, "second"))
    });
    let (_server, address) = serve(&pond).await;
    assert_eq!(Peer::refused(address, "/any").await.0, 421);
    assert_eq!(Peer::refused(address, "/second").await.0, 422);
}

#[tokio::test]
async fn the_connection_message_is_first_and_replies_of_the_endpoint_follow() {
    let pond = PondSocket::new();
    pond.create_endpoint("/", async |ctx: ConnectionContext| -> Result<Connected> {
        Ok(ctx.accept().user_id("ada").reply("hello", &json!({ "n": 1 })))
    });
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect_silently(address, "/").await;
    let first = peer.next().await;
    assert_eq!(
        (&first["action"], &first["event"], &first["channelName"]),
        (&json!("CONNECT"), &json!("CONNECTION"), &json!("GATEWAY"))
    );
    assert_eq!(first["payload"]["id"], first["payload"]["connectionId"]);
    let second = peer.next().await;
    assert_eq!(
        (&second["action"], &second["event"], &second["payload"]),
        (&json!("SYSTEM"), &json!("hello"), &json!({ "n": 1 }))
    );
}

#[tokio::test]
async fn the_user_id_is_the_connection_id_unless_the_handler_sets_one() {
    let pond = PondSocket::new();
    let endpoint = pond.create_endpoint("/", async |ctx: ConnectionContext| -> Result<Connected> {
        let user = ctx.query("user").map(str::to_owned);
        let id = ctx.connection_id();
        let connected = ctx.accept().assign("id", &id);
        Ok(match user {
            Some(user) => connected.user_id(&user),
            None => connected,
        })
    });
    let (_server, address) = serve(&pond).await;
    let nobody = Peer::connect(address, "/").await;
    let ada = Peer::connect(address, "/?user=ada").await;
    for (peer, user) in [(&nobody, nobody.id.as_str()), (&ada, "ada")] {
        let connection = endpoint.connection(&peer.id).expect("it is there");
        assert_eq!((connection.id().as_str(), connection.user_id()), (peer.id.as_str(), user));
        assert_eq!(connection.user().id(), user);
        assert_eq!(connection.user().assign::<String>("id").expect("text"), peer.id);
    }
    assert!(endpoint.connection("ada").is_none(), "a user id is no connection id");
    let long = "x".repeat(129);
    for user in ["", "CHANNEL", "ENDPOINT", "a%0Ab", &long] {
        assert_eq!(Peer::refused(address, &format!("/?user={user}")).await.0, 500, "{user}");
    }
}

#[tokio::test]
async fn a_join_in_the_same_segment_as_the_upgrade_is_not_lost() {
    let pond = PondSocket::new();
    pond.create_endpoint("/", anybody).create_channel("/c", everybody);
    let (_server, address) = serve(&pond).await;
    let text = r#"{"action":"JOIN_CHANNEL","event":"JOIN_CHANNEL","channelName":"/c","requestId":"r","payload":{}}"#;
    let mut bytes = upgrade("/", "");
    bytes.extend_from_slice(&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0]);
    bytes.extend_from_slice(text.as_bytes());
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream.write_all(&bytes).await.expect("it reads");
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains("ACKNOWLEDGE") {
        let read = tokio::time::timeout(DEADLINE, stream.read_buf(&mut answer)).await.expect("the acknowledgement");
        assert!(read.expect("readable") > 0, "the stream has ended");
    }
}

#[tokio::test]
async fn an_endpoint_may_have_its_own_message_limit() {
    let pond = PondSocket::new();
    let small = EndpointOptions { max_message_size: Some(1000), ..EndpointOptions::default() };
    let _endpoint = pond.create_endpoint("/small", anybody).options(small);
    pond.create_endpoint("/normal", anybody);
    let (_server, address) = serve(&pond).await;
    let sized = |size: usize| json!({ "pad": "x".repeat(size - r#"{"pad":""}"#.len()) }).to_string();
    let long = sized(1001);

    let mut peer = Peer::connect(address, "/small").await;
    peer.text(&sized(1000)).await;
    assert_eq!(peer.next().await["payload"]["code"], 400, "as long as may be: it is looked at");
    peer.text(&long).await;
    assert_eq!(peer.closed().await.map(|frame| u16::from(frame.code)), Some(1009));

    // In fragments, each of which is within the limit.
    let mut peer = Peer::connect(address, "/small").await;
    let (half, rest) = long.split_at(600);
    peer.fragment(half.as_bytes(), true, false).await;
    peer.fragment(rest.as_bytes(), false, true).await;
    assert_eq!(peer.closed().await.map(|frame| u16::from(frame.code)), Some(1009));

    let mut peer = Peer::connect(address, "/normal").await;
    peer.text(&long).await;
    peer.text("{").await;
    assert_eq!(peer.next().await["payload"]["code"], 400, "the connection goes on");
}

#[tokio::test]
async fn a_close_frame_is_answered_with_the_same_code() {
    let pond = PondSocket::new();
    pond.create_endpoint("/", anybody);
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame { code: 4001.into(), reason: "bye".into() };
    peer.socket.close(Some(frame)).await.expect("open");
    assert_eq!(peer.closed().await.map(|frame| u16::from(frame.code)), Some(4001));
}

#[tokio::test]
async fn a_raw_websocket_carries_messages_without_the_pondsocket_protocol() {
    use futures_util::SinkExt;
    let pond = PondSocket::new();
    pond.create_websocket("/echo", async |mut socket: pondsocket::WebSocket| {
        while let Some(message) = socket.recv().await {
            if message == pondsocket::Message::Text("bye".into()) {
                return socket.close(4000, "as you wish").await;
            }
            if socket.send(message).await.is_err() {
                return;
            }
        }
    });
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect_silently(address, "/echo").await;
    peer.text("hello").await;
    assert_eq!(peer.frame().await, Some(Message::text("hello")));
    peer.socket.send(Message::binary(vec![0, 159])).await.expect("open");
    assert_eq!(peer.frame().await, Some(Message::binary(vec![0, 159])));
    peer.text("bye").await;
    assert_eq!(
        peer.closed().await.map(|frame| (u16::from(frame.code), frame.reason.to_string())),
        Some((4000, "as you wish".into()))
    );
}

#[test]
fn patterns_are_checked_when_they_are_registered() {
    let pond = PondSocket::new();
    let endpoint = pond.try_create_endpoint("/a/:x", anybody).expect("valid");
    assert_eq!(pond.try_create_endpoint("/a/:x", anybody).expect_err("taken").code(), 409);
    assert_eq!(pond.try_create_endpoint("/a/:x/:x", anybody).expect_err("invalid").code(), 400);
    let lobby = endpoint.try_create_channel("/c", everybody).expect("valid");
    assert_eq!(endpoint.try_create_channel("/c", everybody).expect_err("taken").code(), 409);
    assert_eq!(endpoint.try_create_channel("/c*", everybody).expect_err("invalid").code(), 400);
    let handler = async |_: EventContext| {};
    lobby.try_on_event("e", handler).expect("valid");
    assert_eq!(lobby.try_on_event("e", handler).expect_err("taken").code(), 409);
    assert_eq!(endpoint.channel("/other").expect_err("no pattern").code(), 404);
    assert_eq!(pond.endpoints().iter().map(|endpoint| endpoint.path().to_owned()).collect::<Vec<_>>(), ["/a/:x"]);
}

#[test]
#[should_panic(expected = "invalid pattern `/a?b`")]
fn an_invalid_pattern_panics_and_is_named() {
    PondSocket::new().create_endpoint("/a?b", anybody);
}

#[test]
fn a_registration_that_panics_names_the_line_of_the_application() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let before = std::panic::take_hook();
    let here = std::thread::current().id();
    std::panic::set_hook(Box::new(move |panic| {
        // Other tests of this process may panic meanwhile, on purpose.
        if std::thread::current().id() == here {
            sender.send(panic.location().map(|at| at.file().to_owned())).expect("the receiver is alive");
        } else {
            before(panic);
        }
    }));
    let endpoint = PondSocket::new().create_endpoint("/", anybody);
    let lobby = endpoint.create_channel("/c", everybody);
    let mistakes: [&dyn Fn(); 5] = [
        &|| drop(PondSocket::new().create_endpoint("/a?b", anybody)),
        &|| drop(PondSocket::new().create_websocket("/a?b", async |_| {})),
        &|| drop(endpoint.create_channel("/c", everybody)),
        &|| drop(lobby.on_event("a?b", async |_: pondsocket::EventContext| {}).clone()),
        &|| drop(Error::new(200, "fine")),
    ];
    for mistake in mistakes {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(mistake)).expect_err("a mistake");
        let file = receiver.recv().expect("a panic").expect("a location");
        assert_eq!(file, file!());
    }
    drop(std::panic::take_hook());
}

#[test]
#[should_panic(expected = "the channel pattern `/c` is registered already")]
fn a_duplicate_pattern_panics_and_is_named() {
    let endpoint = PondSocket::new().create_endpoint("/", anybody);
    endpoint.create_channel("/c", everybody);
    endpoint.create_channel("/c", everybody);
}

/// The panic message of a registration.
fn panic_of(register: impl FnOnce()) -> String {
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(register)).expect_err("a panic");
    panic.downcast::<String>().map_or_else(|_| "no text".into(), |text| *text)
}

#[test]
fn a_missing_state_panics_at_registration_and_its_type_is_named() {
    let pond = PondSocket::new().state("known".to_owned());
    let endpoint = pond.create_endpoint("/", anybody);
    let lobby = endpoint.create_channel("/c", everybody);
    lobby.on_event("known", async |_: EventContext, State(_): State<String>| {});
    let texts = [
        panic_of(|| {
            let connect = async |ctx: ConnectionContext, State(_): State<u32>| Ok(ctx.accept());
            pond.create_endpoint("/other", connect);
        }),
        panic_of(|| {
            endpoint.create_channel("/other", async |ctx: JoinContext, State(_): State<u32>| Ok(ctx.accept()));
        }),
        panic_of(|| {
            lobby.on_event("other", async |_: EventContext, State(_): State<u32>| {});
        }),
        panic_of(|| {
            lobby.on_leave(async |_: LeaveContext, State(_): State<u32>| {});
        }),
    ];
    for text in texts {
        assert_eq!(text, "a handler asks for State<u32>: call .state(u32) on the PondSocket first");
    }
    // The call that panicked has registered nothing.
    assert_eq!(pond.endpoints().len(), 1);
    endpoint.create_channel("/other", everybody);
}

#[test]
#[should_panic(expected = "state, metrics and hooks are set before endpoints are created")]
fn state_must_be_set_before_endpoints() {
    let pond = PondSocket::new();
    pond.create_endpoint("/", anybody);
    let _ = pond.state(5_u32);
}
