//! Hooks of connections, joins and messages.

use std::net::SocketAddr;
use std::time::Duration;

use pondsocket::metrics::{CloseReason, Component, ConnectionInfo, HandlerKind};
use pondsocket::testing::Client;
use pondsocket::{
    Channel, Connected, ConnectionContext, Endpoint, EndpointOptions, Error, EventContext, Hooks, JoinContext, Joined,
    Lobby, Metrics, Next, PondSocket, Result, State,
};
use serde_json::json;
use testkit::{Log, Message, Peer, TestResult, serve};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

/// Records every call. Refuses the name `refused`, and panics for the name `panic`.
struct Watch(Log);

fn panic_if(chosen: bool) {
    assert!(!chosen, "as chosen");
}

fn code(outcome: Result<(), &Error>) -> Option<u16> {
    outcome.err().map(Error::code)
}

impl Hooks for Watch {
    fn on_connect(&self, connection: &ConnectionInfo<'_>) -> Result<()> {
        let (user, ip) = (connection.user_id(), connection.client_ip().map(|ip| ip.to_string()));
        let level: u8 = connection.assign("level")?;
        self.0.note(format!("connect {user} {} {ip:?} {level}", connection.endpoint()));
        panic_if(user == "panic on connect");
        if user == "refused" { Err(Error::new(451, "not from here")) } else { Ok(()) }
    }

    fn on_disconnect(&self, connection: &ConnectionInfo<'_>, lasted: Duration, code: u16, reason: CloseReason) {
        self.0.note(format!("disconnect {} {code} {reason} {}", connection.user_id(), lasted.as_secs()));
        panic_if(connection.user_id() == "panic on disconnect");
    }

    fn before_join(&self, ctx: &JoinContext) -> Result<()> {
        self.0.note(format!(
            "before join {} {} {:?}",
            ctx.user_id(),
            ctx.channel().name(),
            ctx.param("room").unwrap_or_default()
        ));
        panic_if(ctx.param("room").unwrap_or_default() == "panic before");
        if ctx.param("room").unwrap_or_default() == "refused" { Err(Error::new(423, "closed")) } else { Ok(()) }
    }

    fn after_join(&self, connection: &ConnectionInfo<'_>, channel: &Channel, outcome: Result<(), &Error>) {
        let members = channel.member_count();
        self.0.note(format!("after join {} {} {:?} {members}", connection.user_id(), channel.name(), code(outcome)));
        panic_if(channel.name() == "/c/panic after");
    }

    fn before_message(&self, ctx: &EventContext) -> Result<()> {
        self.0.note(format!(
            "before message {} {} {:?}",
            ctx.user_id(),
            ctx.event(),
            ctx.param("what").unwrap_or_default()
        ));
        panic_if(ctx.event() == "panic/before");
        if ctx.param("what").unwrap_or_default() == "refused" { Err(Error::forbidden("not that")) } else { Ok(()) }
    }

    fn after_message(
        &self,
        connection: &ConnectionInfo<'_>,
        channel: &Channel,
        event: &str,
        outcome: Result<(), &Error>,
    ) {
        let (user, channel) = (connection.user_id(), channel.name());
        self.0.note(format!("after message {user} {channel} {event} {:?}", code(outcome)));
        panic_if(event == "panic/after");
    }
}

/// Records failures and the handlers that have run.
struct HandlerLog(Log);

impl Metrics for HandlerLog {
    fn error(&self, component: Component, _: &Error) {
        self.0.note(component.as_str());
    }

    fn handler_finished(&self, kind: HandlerKind, _: &str, _: Duration, code: Option<u16>) {
        self.0.note(format!("{kind} {code:?}"));
    }
}

async fn connect(ctx: ConnectionContext, State(log): State<Log>) -> Result<Connected> {
    log.note("connecting");
    let user = ctx.query("user").unwrap_or("ada").to_owned();
    Ok(ctx.accept().user_id(&user).assign("level", &7))
}

async fn join(ctx: JoinContext, State(log): State<Log>) -> Result<Joined> {
    log.note("joining");
    if ctx.param("room").unwrap_or_default() == "full" { Err(Error::conflict("full")) } else { Ok(ctx.accept()) }
}

/// A pond, with the records of its hooks, handlers and metrics.
fn pond() -> (PondSocket, Endpoint, Lobby, Log, Log) {
    let (log, counted) = (Log::default(), Log::default());
    let pond = PondSocket::new().state(log.clone()).hooks(Watch(log.clone())).metrics(HandlerLog(counted.clone()));
    let endpoint = pond.create_endpoint("/", connect);
    let lobby = endpoint.create_channel("/c/:room", join);
    let handler = async |ctx: EventContext, State(log): State<Log>| match ctx.event() {
        "fail" => Err(Error::conflict("no")),
        event => {
            log.note("handling");
            ctx.reply(event, &())
        }
    };
    lobby.on_event("panic/*", handler).on_event(":what", handler);
    (pond, endpoint, lobby, log, counted)
}

async fn client(pond: &PondSocket, user: &str) -> Client {
    let user = user.replace(' ', "+");
    pond.test_client().connect(&format!("/?user={user}")).await.expect("let in")
}

#[tokio::test(start_paused = true)]
async fn hooks_run_around_layers_and_handlers_and_receive_the_outcome() -> TestResult {
    let (pond, endpoint, lobby, log, counted) = pond();
    endpoint.layer_joins(async |ctx: JoinContext, State(log): State<Log>, next: Next<JoinContext>| {
        log.note("layer");
        next.run(ctx).await
    });
    lobby.layer(async |ctx: EventContext, State(log): State<Log>, next: Next<EventContext>| {
        log.note("layer");
        next.run(ctx).await
    });
    let client = pond.test_client().peer("192.0.2.7:9".parse::<SocketAddr>()?).connect("/").await?;
    assert_eq!(log.take(), ["connecting", r#"connect ada / Some("192.0.2.7") 7"#]);
    let room = client.join("/c/1", json!({})).await?;
    assert_eq!(log.take(), [r#"before join ada /c/1 "1""#, "layer", "joining", "after join ada /c/1 None 1"]);
    room.request("echo", json!({})).await?;
    let around = [r#"before message ada echo "echo""#, "layer", "handling", "after message ada /c/1 echo None"];
    assert_eq!(log.take(), around);

    room.request("fail", json!({})).await.unwrap_err();
    assert_eq!(log.take(), [r#"before message ada fail "fail""#, "layer", "after message ada /c/1 fail Some(409)"]);
    room.request("no/such", json!({})).await.unwrap_err();
    assert_eq!(log.take(), [r#"before message ada no/such """#, "layer", "after message ada /c/1 no/such Some(404)"]);
    client.join("/c/full", json!({})).await.unwrap_err();
    assert_eq!(
        log.take(),
        [r#"before join ada /c/full "full""#, "layer", "joining", "after join ada /c/full Some(409) 0"]
    );
    client.join("/nowhere", json!({})).await.unwrap_err();
    assert_eq!(log.take(), [r#"before join ada /nowhere """#, "after join ada /nowhere Some(404) 0"]);
    // A second join of a member calls no hook.
    client.join("/c/1", json!({})).await?;
    assert_eq!(log.take(), Vec::<String>::new());
    let expected =
        ["connection None", "join None", "event None", "event Some(409)", "event Some(404)", "join Some(409)"];
    assert_eq!(counted.take(), expected);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_a_hook_is_an_http_response() -> TestResult {
    let (pond, endpoint, _, log, counted) = pond();
    let door = pond.test_client();
    let refused = door.connect("/?user=refused").await.unwrap_err();
    assert_eq!((refused.code(), refused.refusal().map(|why| why.text())), (Some(451), Some("not from here".into())));
    assert_eq!(counted.take(), ["connection None"], "the handler had let it in");
    let refused = door.connect("/?user=panic+on+connect").await.unwrap_err();
    assert_eq!((refused.code(), refused.refusal().map(|why| why.text())), (Some(500), Some("internal error".into())));
    assert_eq!(counted.take(), ["connection None", "hook"]);
    sleep(Duration::from_secs(1)).await;
    let asked = ["connecting", "connect refused / None 7", "connecting", "connect panic on connect / None 7"];
    assert_eq!(log.take(), asked, "and nothing of a disconnection");
    assert_eq!(endpoint.connections().len(), 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_join_or_message_that_a_hook_refuses_is_not_handled() -> TestResult {
    let (pond, _, _, log, counted) = pond();
    let client = client(&pond, "ada").await;
    log.take();
    counted.take();
    let declined = client.join("/c/refused", json!({})).await.unwrap_err();
    assert_eq!(declined.rejection().map(|why| (why.code(), why.message())), Some((423, "closed")));
    let refused = "after join ada /c/refused Some(423) 0";
    assert_eq!(log.take(), [r#"before join ada /c/refused "refused""#, refused]);
    assert_eq!(counted.take(), Vec::<String>::new(), "no handler has run");

    let room = client.join("/c/1", json!({})).await?;
    log.take();
    counted.take();
    let failed = room.request("refused", json!({})).await.unwrap_err();
    assert_eq!(failed.rejection().map(|why| (why.code(), why.message())), Some((403, "not that")));
    assert_eq!(log.take(), [r#"before message ada refused "refused""#, "after message ada /c/1 refused Some(403)"]);
    assert_eq!(counted.take(), Vec::<String>::new());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_affects_only_its_call() -> TestResult {
    let (pond, endpoint, _, log, counted) = pond();
    let ada = client(&pond, "panic on disconnect").await;
    counted.take();
    let declined = ada.join("/c/panic before", json!({})).await.unwrap_err();
    assert_eq!(declined.rejection().map(|why| (why.code(), why.message())), Some((500, "internal error")));
    assert_eq!(counted.take(), ["hook"]);
    let room = ada.join("/c/panic after", json!({})).await?;
    assert_eq!(counted.take(), ["join None", "hook"]);
    let failed = room.request("panic/before", json!({})).await.unwrap_err();
    assert_eq!(failed.rejection().map(|why| (why.code(), why.message())), Some((500, "internal error")));
    assert_eq!(counted.take(), ["hook"]);
    assert_eq!(room.request("panic/after", json!({})).await?, json!({}));
    assert_eq!(counted.take(), ["event None", "hook"]);
    assert_eq!(room.request("echo", json!({})).await?, json!({}));
    counted.take();
    log.take();
    ada.close();
    assert_eq!(ada.closed().await?.code, Some(1000));
    assert_eq!(log.next().await, ["disconnect panic on disconnect 1000 client 0"]);
    assert_eq!(counted.take(), ["hook"]);
    // The connection has left nothing behind.
    sleep(Duration::from_secs(1)).await;
    assert_eq!((endpoint.connections().len(), pond.snapshot().endpoints[0].admitted), (0, 0));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_disconnection_tells_how_long_the_connection_lasted() -> TestResult {
    let (pond, _, _, log, _) = pond();
    let client = client(&pond, "ada").await;
    sleep(Duration::from_secs(90)).await;
    log.take();
    client.close();
    client.closed().await?;
    assert_eq!(log.next().await, ["disconnect ada 1000 client 90"]);
    Ok(())
}

#[tokio::test]
async fn a_disconnection_tells_the_close_code_that_was_sent_first() {
    let (pond, endpoint, _, log, _) = pond();
    let small = EndpointOptions { max_message_size: Some(1024), ..Default::default() };
    let endpoint = endpoint.options(small);
    let (_server, address) = serve(&pond).await;
    let going_away = CloseFrame { code: 4001.into(), reason: "bye".into() };
    let normal = CloseFrame { code: 1000.into(), reason: "".into() };
    for (how, expected) in [
        ("normal", "1000 client"),
        ("own", "4001 client"),
        ("empty", "1005 client"),
        ("drop", "1006 lost"),
        ("disconnect", "1000 server"),
        ("large", "1009 protocol"),
        ("nonsense", "1002 protocol"),
    ] {
        let mut peer = Peer::connect(address, "/").await;
        peer.join("/c/1", json!({})).await;
        log.take();
        match how {
            "normal" => peer.socket.close(Some(normal.clone())).await.expect("open"),
            "own" => peer.socket.close(Some(going_away.clone())).await.expect("open"),
            "empty" => peer.socket.close(None).await.expect("open"),
            "disconnect" => endpoint.disconnect(&peer.id).expect("it is there"),
            "large" => peer.text(&"x".repeat(2000)).await,
            // A reserved opcode (RFC 6455 section 5.2).
            "nonsense" => peer.bytes(&[0x83, 0x80, 0, 0, 0, 0]).await,
            _ => {}
        }
        if how != "drop" {
            while !matches!(peer.frame().await, None | Some(Message::Close(_))) {}
        }
        drop(peer);
        let told = log.next().await;
        assert_eq!(told, [format!("disconnect ada {expected} 0")], "{how}");
    }
}
