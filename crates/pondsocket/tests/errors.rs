//! The public part of errors, which clients receive, and the internal part, which is only logged.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pondsocket::metrics::ConnectionInfo;
use pondsocket::{
    Channel, ConnectionContext, Error, EventContext, Hooks, JoinContext, LeaveContext, Next, Outgoing, OutgoingContext,
    PondSocket, Result,
};
use serde::Serialize;
use serde::ser::{Error as _, Serializer};
use serde_json::{Value, json};
use testkit::{Log, Peer, eventually, serve};
use tracing_subscriber::EnvFilter;

/// One error of each kind, by its name.
fn error(name: &str) -> Error {
    match name {
        "bad_request" => Error::bad_request("what?"),
        "unauthorized" => Error::unauthorized("who?"),
        "forbidden" => Error::forbidden("no").with_details(&json!({ "role": "guest" })),
        "not_found" => Error::not_found("where?"),
        "conflict" => Error::conflict("twice"),
        "too_large" => Error::too_large("too much"),
        "too_many_requests" => Error::too_many_requests("slower").with_retry_after(Duration::from_millis(1500)),
        "internal" => Error::internal("the reason").with_details(&json!({ "ticket": 7 })),
        "unavailable" => {
            Error::unavailable("later").with_retry_after(Duration::from_secs(2)).with_details(&json!({ "queue": 3 }))
        }
        "timeout" => Error::timeout("too late"),
        _ => Error::new(418, "short and stout").with_details(&5),
    }
}

/// The name, code, text, whether it is temporary, and the details.
fn errors() -> [(&'static str, u16, &'static str, bool, Option<Value>); 11] {
    [
        ("bad_request", 400, "what?", false, None),
        ("unauthorized", 401, "who?", false, None),
        ("forbidden", 403, "no", false, Some(json!({ "role": "guest" }))),
        ("not_found", 404, "where?", false, None),
        ("conflict", 409, "twice", false, None),
        ("too_large", 413, "too much", false, None),
        ("too_many_requests", 429, "slower", false, Some(json!({ "retryAfterMs": 1500 }))),
        ("internal", 500, "internal error", false, Some(json!({ "ticket": 7 }))),
        ("unavailable", 503, "later", true, Some(json!({ "retryAfterMs": 2000, "queue": 3 }))),
        ("timeout", 504, "too late", true, None),
        ("teapot", 418, "short and stout", false, None),
    ]
}

#[tokio::test]
async fn each_constructor_has_its_code_and_clients_see_text_and_details() {
    let pond = PondSocket::new();
    let endpoint = pond.create_endpoint("/:how", async |ctx: ConnectionContext| match ctx.param("how")? {
        "in" => Ok(ctx.accept()),
        how => Err(error(how)),
    });
    let lobby = endpoint.create_channel("/c/:how", async |ctx: JoinContext| match ctx.param("how")? {
        "in" => Ok(ctx.accept()),
        how => Err(error(how)),
    });
    lobby.on_event(":what", async |ctx: EventContext| -> Result<()> { Err(error(ctx.param("what")?)) });
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/in").await;
    peer.join("/c/in", json!({})).await;
    for (name, code, text, temporary, details) in errors() {
        assert_eq!(Peer::refused(address, &format!("/{name}")).await, (code, format!("{text}\n")));

        let payload = |channel: &str, details: Option<&Value>| {
            let mut payload = json!({
                "code": code, "status": code, "message": text, "temporary": temporary, "channelName": channel,
            });
            if let Some(details) = details {
                payload["details"] = details.clone();
            }
            payload
        };
        let id = peer.event("/c/in", name, json!({})).await;
        let failed = peer.next().await;
        let expected = json!({
            "action": "SYSTEM", "event": "INTERNAL_ERROR", "channelName": "/c/in", "requestId": id,
            "payload": payload("/c/in", details.as_ref()),
        });
        assert_eq!(failed, expected);

        let channel = format!("/c/{name}");
        let mut inner = details.unwrap_or_else(|| json!({}));
        inner["statusCode"] = json!(code);
        let mut expected = payload(&channel, Some(&inner));
        expected["statusCode"] = json!(code);
        assert_eq!(peer.join_declined(&channel, json!({})).await, expected);
    }
}

/// All log lines of this crate in this process.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Captured {
    fn start() -> Captured {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_env_filter(EnvFilter::new("pondsocket=debug"))
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("only one test captures");
        captured
    }

    /// The lines that contain a text.
    fn lines(&self, text: &str) -> Vec<String> {
        let log = self.0.lock().expect("no panic");
        let log = std::str::from_utf8(&log).expect("text");
        log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

/// A value whose serialisation fails with a reason.
struct Broken(&'static str);

impl Serialize for Broken {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom(self.0))
    }
}

/// Hooks that panic in the chosen method.
struct Panicking;

impl Hooks for Panicking {
    fn on_connect(&self, connection: &ConnectionInfo<'_>) -> Result<()> {
        assert!(connection.user_id() != "hook", "secret of on_connect");
        Ok(())
    }

    fn after_join(&self, _: &ConnectionInfo<'_>, channel: &Channel, _: Result<(), &Error>) {
        assert!(channel.name() != "/c/hook", "secret of after_join");
    }

    fn before_message(&self, ctx: &EventContext) -> Result<()> {
        assert!(ctx.event() != "hook", "secret of before_message");
        Ok(())
    }
}

fn leaky() -> PondSocket {
    let pond = PondSocket::new().hooks(Panicking);
    let endpoint = pond.create_endpoint("/:how", async |ctx: ConnectionContext| match ctx.param("how")? {
        "error" => Err(Error::internal("secret of a connection")),
        "panic" => panic!("secret of a connection's panic"),
        "source" => Err(Error::forbidden("no").with_source("secret of a refusal")),
        "encode" => Ok(ctx.accept().assign("x", &Broken("secret of a connection's assign"))),
        "hook" => Ok(ctx.accept().user_id("hook")),
        _ => Ok(ctx.accept().assign("text", "secret of an assign")),
    });
    let lobby = endpoint.create_channel("/c/:how", async |ctx: JoinContext| match ctx.param("how")? {
        "error" => Err(Error::internal("secret of a join")),
        "panic" => panic!("secret of a join's panic"),
        "source" => Err(Error::conflict("full").with_source("secret of a decline")),
        "encode" => Ok(ctx.accept().reply("x", &Broken("secret of a join's reply"))),
        "type" => ctx.assign::<u8>("text").map(|_| ctx.accept()),
        _ => Ok(ctx.accept()),
    });
    lobby
        .on_event("error", async |_: EventContext| -> Result<()> { Err(Error::internal("secret of an event")) })
        .on_event("panic", async |_: EventContext| -> Result<()> { panic!("secret of an event's panic") })
        .on_event("source", async |_: EventContext| -> Result<()> {
            Err(Error::unavailable("later").with_source("secret of a failure"))
        })
        .on_event("encode", async |ctx: EventContext| ctx.broadcast("x", &Broken("secret of a broadcast")))
        .on_event("type", async |ctx: EventContext| ctx.assign::<u8>("text").map(drop))
        .on_event("layer", async |_: EventContext| {})
        .on_event("out", async |ctx: EventContext| ctx.broadcast("out", &json!({})))
        .on_event("end", async |ctx: EventContext| ctx.reply("end", &()))
        .layer(async |ctx: EventContext, next: Next<EventContext>| {
            assert!(ctx.event() != "layer", "secret of a layer");
            next.run(ctx).await
        })
        .on_outgoing("out", |_: &OutgoingContext| -> Result<Outgoing> { panic!("secret of an outgoing handler") })
        .on_leave(async |_: LeaveContext| -> Result<()> { Err(Error::internal("secret of a leave")) });
    pond
}

/// Causes every failure, and returns all messages that a client receives.
async fn provoke(address: SocketAddr, heard: &Log) {
    for how in ["error", "panic", "source", "encode", "hook"] {
        heard.note(Peer::refused(address, &format!("/{how}")).await.1);
    }
    let mut peer = Peer::connect(address, "/in").await;
    for how in ["error", "panic", "source", "encode", "type"] {
        heard.note(peer.join_declined(&format!("/c/{how}"), json!({})).await.to_string());
    }
    for channel in ["/c/hook", "/c/in"] {
        peer.join(channel, json!({})).await;
    }
    for event in ["error", "panic", "source", "encode", "type", "layer", "hook", "out", "end"] {
        peer.event("/c/in", event, json!({})).await;
    }
    peer.send("LEAVE_CHANNEL", "LEAVE_CHANNEL", "/c/in", json!({})).await;
    loop {
        let message = peer.next().await;
        heard.note(message.to_string());
        if message["event"] == "EXIT_ACKNOWLEDGE" {
            return;
        }
    }
}

#[tokio::test]
async fn causes_of_internal_errors_are_logged_and_never_sent() {
    let (pond, log, heard) = (leaky(), Captured::start(), Log::default());
    let (_server, address) = serve(&pond).await;
    provoke(address, &heard).await;
    let heard = heard.take();
    // The refusals and declines, an answer to each event but `out`, and the acknowledgement of the leave.
    assert_eq!(heard.len(), 5 + 5 + 8 + 1, "{heard:#?}");
    assert_eq!(heard.iter().filter(|text| text.contains("internal error")).count(), 4 + 4 + 6);
    assert_eq!(heard.iter().filter(|text| text.contains("secret")).collect::<Vec<_>>(), Vec::<&String>::new());

    for (secret, level) in [
        ("a connection\"", "ERROR"),
        ("a connection's panic", "ERROR"),
        ("a refusal", "DEBUG"),
        ("a connection's assign", "ERROR"),
        ("on_connect", "ERROR"),
        ("a join\"", "ERROR"),
        ("a join's panic", "ERROR"),
        ("a decline", "DEBUG"),
        ("a join's reply", "ERROR"),
        ("after_join", "ERROR"),
        ("an event\"", "ERROR"),
        ("an event's panic", "ERROR"),
        ("a failure", "DEBUG"),
        ("a broadcast", "ERROR"),
        ("a layer", "ERROR"),
        ("before_message", "ERROR"),
        ("an outgoing handler", "ERROR"),
        ("a leave", "ERROR"),
    ] {
        eventually(secret, || !log.lines(&format!("secret of {secret}")).is_empty()).await;
        let lines = log.lines(&format!("secret of {secret}"));
        assert_eq!((lines.len(), lines[0].contains(&format!(" {level} "))), (1, true), "{lines:#?}");
    }
    assert_eq!(log.lines("secret of an assign").len(), 2, "of the join and of the event that read another type");
}
