//! The log: events and spans of the server with their targets, levels and fields. docs/operations.md
//! lists them.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pondsocket::metrics::{CloseReason, ConnectionInfo, Metrics};
use pondsocket::testing::Client;
use pondsocket::{
    Connected, ConnectionContext, Endpoint, EndpointOptions, Error, EventContext, Hooks, JoinContext, Joined,
    LeaveContext, Lobby, Options, Outgoing, OutgoingContext, Payload, PondSocket, Result, Server,
};
use serde_json::json;
use testkit::{TestResult, eventually};
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Level, Subscriber, span};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

// --- A subscriber that writes everything down -------------------------------------------------------------------------

/// The lines that were logged on this thread since it was made.
struct Log {
    lines: Arc<Mutex<Vec<Line>>>,
    _guard: DefaultGuard,
}

#[derive(Clone, Debug)]
struct Line {
    level: Level,
    target: String,
    message: String,
    fields: Fields,
    /// The names of its spans, the outermost first, and all their fields.
    spans: Vec<&'static str>,
    around: Fields,
}

#[derive(Clone, Debug, Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl Fields {
    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn names(&self) -> Vec<&'static str> {
        self.0.keys().copied().collect()
    }
}

struct Capture(Arc<Mutex<Vec<Line>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Capture {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = ctx.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &tracing::Event<'_>, ctx: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (mut spans, mut around) = (Vec::new(), Fields::default());
        for span in ctx.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            spans.push(span.name());
            around.0.extend(span.extensions().get::<Fields>().cloned().unwrap_or_default().0);
        }
        let message = fields.0.remove("message").unwrap_or_default();
        let (level, target) = (*event.metadata().level(), event.metadata().target().to_owned());
        let line = Line { level, target, message, fields, spans, around };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

impl Log {
    /// Begins to record the events of this thread. These tests have one thread each.
    fn begin() -> Log {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let subscriber = Registry::default().with(Capture(Arc::clone(&lines)));
        Log { lines, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Ours and the application's.
    fn all(&self) -> Vec<Line> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|line| line.target.starts_with("pondsocket") || line.target == "app").cloned().collect()
    }

    fn of(&self, target: &str, message: &str) -> Vec<Line> {
        self.all().into_iter().filter(|line| line.target == target && line.message == message).collect()
    }

    /// The only event of this target with this message.
    fn one(&self, target: &str, message: &str) -> Line {
        let mut found = self.of(target, message);
        assert_eq!(found.len(), 1, "{target}: {message}: {found:?}, of {:?}", self.all());
        found.remove(0)
    }

    fn levels(&self, target: &str) -> Vec<Level> {
        self.all().iter().filter(|line| line.target == target).map(|line| line.level).collect()
    }
}

// --- Ponds --------------------------------------------------------------------------------------------------------------

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    tracing::info!(target: "app", "connecting");
    let name = ctx.query("name").unwrap_or("ada").to_owned();
    Ok(ctx.accept().user_id(&name))
}

async fn join(ctx: JoinContext) -> Result<Joined> {
    tracing::info!(target: "app", "joining");
    Ok(ctx.accept())
}

async fn say(ctx: EventContext) -> Result<()> {
    tokio::task::yield_now().await;
    tracing::info!(target: "app", "saying");
    ctx.broadcast("said", &json!({})).map(drop)
}

fn pond_of(pond: PondSocket) -> (PondSocket, Endpoint, Lobby) {
    let endpoint = pond.create_endpoint("/in", connect);
    let lobby = endpoint.create_channel("/room/:n", join);
    lobby.on_event("say", say);
    lobby.on_leave(async |_: LeaveContext| {
        tokio::task::yield_now().await;
        tracing::info!(target: "app", "leaving");
    });
    (pond, endpoint, lobby)
}

fn pond(options: Options) -> (PondSocket, Endpoint, Lobby) {
    pond_of(PondSocket::with_options(options).expect("valid options"))
}

async fn enter(pond: &PondSocket) -> Result<Client, Box<dyn StdError>> {
    Ok(pond.test_client().connect("/in").await?)
}

// --- Tests --------------------------------------------------------------------------------------------------------------

#[tokio::test(start_paused = true)]
async fn the_events_of_a_connection_are_logged_below_the_level_of_warnings() -> TestResult {
    let (log, (pond, ..)) = (Log::begin(), pond(Options::default()));
    let ada = pond.test_client().peer("1.2.3.4:5".parse()?).connect("/in").await?;
    let mut room = ada.join("/room/1", json!({})).await?;
    room.send("say", json!({}));
    room.next("said").await?;
    room.leave().await?;
    ada.close();
    eventually("it is closed", || log.of("pondsocket::connection", "closed").len() == 1).await;

    let opened = log.one("pondsocket::connection", "opened");
    assert_eq!((opened.fields.get("connection"), opened.fields.get("user")), (ada.id(), "ada"));
    assert_eq!((opened.fields.get("ip"), opened.spans), ("Some(1.2.3.4)", vec!["connection"]));
    assert_eq!(opened.around.names(), ["connection", "endpoint", "user"]);
    assert_eq!((opened.around.get("connection"), opened.around.get("endpoint")), (ada.id(), "/in"));

    let joined = log.one("pondsocket::channel", "joined");
    assert_eq!(joined.fields.names(), ["channel", "connection", "first", "user"]);
    assert_eq!((joined.fields.get("channel"), joined.fields.get("first")), ("/room/1", "true"));
    let received = log.one("pondsocket::message", "received");
    assert_eq!(received.fields.names(), ["bytes", "channel", "connection", "event"]);
    assert_eq!((received.level, received.fields.get("event")), (Level::TRACE, "say"));
    let broadcast = log.one("pondsocket::message", "broadcast");
    assert_eq!(broadcast.fields.names(), ["channel", "endpoint", "event", "members"]);
    assert_eq!((broadcast.level, broadcast.fields.get("members")), (Level::TRACE, "1"));
    let left = log.one("pondsocket::channel", "left");
    assert_eq!(left.fields.names(), ["channel", "endpoint", "reason", "user"]);
    assert_eq!(left.fields.get("reason"), "explicit_leave");
    for message in ["opened", "closed"] {
        assert_eq!(log.one("pondsocket::channel", message).fields.names(), ["channel", "endpoint"]);
    }
    let closed = log.one("pondsocket::connection", "closed");
    assert_eq!(closed.fields.names(), ["code", "connection", "lasted", "reason", "text", "user"]);
    assert_eq!((closed.fields.get("code"), closed.fields.get("reason")), ("1000", "client"));
    assert_eq!(closed.spans, ["connection"]);
    let alarming: Vec<_> =
        log.all().into_iter().filter(|line| line.level < Level::DEBUG && line.target != "app").collect();
    assert!(alarming.is_empty(), "{alarming:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn handlers_run_in_spans_with_connection_user_channel_and_event() -> TestResult {
    let (log, (pond, endpoint, _)) = (Log::begin(), pond(Options::default()));
    let ada = enter(&pond).await?;
    let mut room = ada.join("/room/1", json!({})).await?;
    room.send("say", json!({}));
    room.next("said").await?;
    room.leave().await?;
    eventually("the leave handler has run", || log.of("app", "leaving").len() == 1).await;
    let connecting = log.one("app", "connecting");
    assert_eq!((connecting.spans, connecting.around.get("endpoint")), (vec!["connect"], "/in"));
    assert_eq!(connecting.around.get("connection"), ada.id(), "it has that id from the beginning");
    for (what, span, fields) in [
        ("joining", "join", vec!["channel", "connection", "endpoint", "request_id", "user"]),
        ("saying", "event", vec!["channel", "connection", "endpoint", "event", "request_id", "user"]),
        ("leaving", "leave", vec!["channel", "connection", "endpoint", "reason", "user"]),
    ] {
        let line = log.one("app", what);
        assert_eq!(line.spans, ["connection", span]);
        assert_eq!(line.around.names(), fields, "{what}");
        assert_eq!((line.around.get("connection"), line.around.get("channel")), (ada.id(), "/room/1"), "{what}");
    }
    assert_eq!(log.one("app", "saying").around.get("event"), "say");
    assert_eq!(log.one("app", "leaving").around.get("reason"), "explicit_leave");

    let _again = ada.join("/room/2", json!({})).await?;
    endpoint.channel("/room/2")?.evict("ada", "spam").await?;
    eventually("its leave handler has run", || log.of("app", "leaving").len() == 2).await;
    let evicted = log.of("app", "leaving").remove(1);
    assert_eq!(evicted.spans, ["leave"], "the leave handler runs outside of the span of the eviction");
    assert_eq!(evicted.around.names(), ["channel", "endpoint", "reason", "user"]);
    assert_eq!((evicted.around.get("user"), evicted.around.get("reason")), ("ada", "evicted:spam"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn mistakes_of_a_client_are_logged_at_debug() -> TestResult {
    let options = Options::default().messages_per_second(6).max_channel_name(8).max_connections_per_ip(1);
    let (log, (pond, endpoint, _)) = (Log::begin(), pond(options));
    endpoint.create_channel("/closed", async |_: JoinContext| Err::<Joined, _>(Error::forbidden("members only")));
    let door = pond.test_client().peer("1.2.3.4:5".parse()?);
    let ada = door.connect("/in").await?;
    door.connect("/in").await.expect_err("a second one");
    pond.test_client().header("upgrade", "smoke-signals").connect("/in").await.expect_err("no upgrade");
    let room = ada.join("/room/1", json!({})).await?;
    ada.join("/closed", json!({})).await.expect_err("declined");
    ada.join("/room/too-long", json!({})).await.expect_err("declined");
    room.request("dance", json!({})).await.expect_err("it has no handler");
    room.send("", json!({}));
    room.send("say", json!({}));
    room.send("say", json!({}));
    eventually("it was too fast", || log.of("pondsocket::limit", "limit reached").len() == 2).await;

    let declined = log.of("pondsocket::connection", "declined");
    let reasons: Vec<_> = declined.iter().map(|line| line.fields.get("reason")).collect();
    assert_eq!(reasons, ["address_limit", "handshake"]);
    assert_eq!(declined[0].fields.names(), ["endpoint", "error", "reason"]);
    let joins = log.of("pondsocket::handler", "join declined");
    assert_eq!(joins.len(), 2);
    assert_eq!(joins[1].fields.get("channel"), "/room/too-long", "no span tells of it: no handler was asked");
    assert_eq!(joins[0].fields.names(), ["error", "pattern"], "its spans tell the rest");
    assert_eq!((joins[0].fields.get("pattern"), &*joins[0].spans), ("/closed", &["connection", "join"][..]));
    assert_eq!((joins[0].around.get("channel"), joins[0].around.get("user")), ("/closed", "ada"));
    assert!(joins[0].fields.get("error").contains("members only"), "{joins:?}");
    let failed = log.one("pondsocket::handler", "event handler failed");
    assert_eq!((failed.around.get("user"), failed.spans), ("ada", vec!["connection", "event"]));
    let malformed = log.one("pondsocket::message", "malformed");
    assert_eq!(malformed.fields.names(), ["connection", "reason", "user"]);
    let limits = log.of("pondsocket::limit", "limit reached");
    let limits: Vec<_> = limits.iter().map(|line| (line.fields.get("limit"), line.fields.get("user"))).collect();
    assert_eq!(limits, [("channel_name", "ada"), ("messages", "ada")]);
    for target in ["connection", "handler", "message", "limit"] {
        let levels = log.levels(&format!("pondsocket::{target}"));
        assert!(levels.iter().all(|level| *level >= Level::DEBUG), "{target}: {levels:?}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn limits_of_the_server_are_logged_at_warn() -> TestResult {
    let options = Options::default().channel_queue(2).max_connections(1).handler_timeout(Duration::from_secs(3));
    let (log, (pond, endpoint, lobby)) = (Log::begin(), pond(options));
    lobby.on_event("hang", async |_: EventContext| std::future::pending::<()>().await);
    let ada = enter(&pond).await?;
    pond.test_client().connect("/in").await.expect_err("no room");
    let declined = log.one("pondsocket::connection", "declined");
    assert_eq!((declined.level, declined.fields.get("reason")), (Level::WARN, "connection_limit"));

    let room = ada.join("/room/1", json!({})).await?;
    let channel = endpoint.channel("/room/1")?;
    let refused = (0..9).map(|_| channel.broadcast("flood", &json!({}))).filter(Result::is_err).count();
    let full = log.of("pondsocket::limit", "limit reached");
    assert_eq!((full.len(), full[0].level, full[0].fields.get("limit")), (refused, Level::WARN, "channel_queue"));
    assert_eq!(full[0].fields.names(), ["channel", "endpoint", "limit"]);

    room.request("hang", json!({})).await.expect_err("cancelled");
    let cancelled = log.one("pondsocket::handler", "cancelled at its deadline");
    assert_eq!((cancelled.level, cancelled.spans), (Level::WARN, vec!["connection", "event"]));
    assert_eq!((cancelled.fields.names(), cancelled.fields.get("pattern")), (vec!["pattern"], "hang"));
    assert_eq!((cancelled.around.get("event"), cancelled.around.get("user")), ("hang", "ada"));

    let own = EndpointOptions { handler_timeout: Some(Duration::from_secs(1)), ..Default::default() };
    let hang = async |_: ConnectionContext| std::future::pending::<Result<Connected>>().await;
    let _slow = pond.create_endpoint("/slow", hang).options(own);
    pond.test_client().connect("/slow").await.expect_err("too late");
    let declined = log.of("pondsocket::connection", "declined").remove(1);
    assert_eq!((declined.level, declined.fields.get("reason")), (Level::WARN, "timeout"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_refused_page_is_logged_with_the_option_that_would_allow_it() -> TestResult {
    for (origin, hint) in [
        ("https://other.example:8443", "add \"https://other.example:8443\" to `allowed_origins`; if it is this server"),
        ("null", "add \"null\" to `allowed_origins`"),
        ("file://", "add \"file://\" to `allowed_origins`"),
        ("capacitor://localhost", "add \"capacitor://localhost\" to `allowed_origins`"),
        ("app://.", "add \"app://.\" to `allowed_origins`"),
    ] {
        let options = Options::default().trusted_proxies(["10.0.0.1"]);
        let (log, (pond, ..)) = (Log::begin(), pond(options.clone()));
        let client = |pond: &PondSocket| {
            let client = pond.test_client().header("origin", origin).header("cookie", "id=ada");
            client.peer("10.0.0.1:1".parse().expect("an address")).header("x-forwarded-host", "site.example")
        };
        client(&pond).connect("/in").await.expect_err("refused");
        let line = log.one("pondsocket::connection", "origin not allowed");
        assert_eq!((line.level, line.fields.get("origin")), (Level::WARN, &*format!("{origin:?}")));
        assert_eq!(line.fields.get("forwarded_host"), "\"site.example\"");
        assert_eq!(line.fields.names(), ["endpoint", "forwarded_host", "hint", "host", "origin"]);
        assert!(line.fields.get("hint").contains(hint), "{}", line.fields.get("hint"));

        // The advice in the log line works.
        let (pond, ..) = self::pond(options.allowed_origins([origin]));
        client(&pond).connect("/in").await?;
    }
    Ok(())
}

// --- Lines as operators read them ---------------------------------------------------------------------------------------

/// The output of a subscriber with a filter on this thread, as text.
struct Printed {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: DefaultGuard,
}

impl Printed {
    fn begin(filter: &str) -> Printed {
        #[derive(Clone)]
        struct Buffer(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Buffer {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let text = Arc::new(Mutex::new(Vec::new()));
        let buffer = Buffer(Arc::clone(&text));
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
        let subscriber = subscriber.without_time().with_writer(move || buffer.clone()).finish();
        Printed { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines with this message.
    fn lines(&self, message: &str) -> Vec<String> {
        let text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).lines().filter(|line| line.contains(message)).map(str::to_owned).collect()
    }

    fn one(&self, message: &str) -> String {
        let mut lines = self.lines(message);
        assert_eq!(lines.len(), 1, "{message}: {lines:?}");
        lines.remove(0)
    }
}

/// Checks that a failure has exactly these fields.
fn assert_fields(line: &str, expected: &[&str]) {
    const NAMES: [&str; 14] = [
        "endpoint",
        "connection",
        "user",
        "channel",
        "event",
        "request_id",
        "reason",
        "pattern",
        "call",
        "error",
        "details",
        "backtrace",
        "source",
        "component",
    ];
    for name in NAMES {
        let count = line.match_indices(&format!("{name}=")).filter(|(at, _)| line[..*at].ends_with([' ', '{'])).count();
        let wanted = usize::from(expected.iter().any(|field| field.split('=').next() == Some(name)));
        assert_eq!(count, wanted, "{name}: {line}");
    }
    for field in expected.iter().filter(|field| field.contains('=')) {
        assert!(line.contains(field), "{field}: {line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_logged_with_event_pattern_and_call_without_its_spans() -> TestResult {
    for (filter, request_id) in [
        ("pondsocket=trace", "request_id"),
        ("pondsocket=info", ""),
        ("pondsocket=error", ""),
        ("pondsocket::handler=debug", "request_id"),
    ] {
        let (log, (pond, endpoint, lobby)) = (Printed::begin(filter), pond(Options::default()));
        lobby.on_event("read/*", async |ctx: EventContext| ctx.assigns::<Vec<u8>>().map(drop));
        lobby.on_event("send/:to", async |ctx: EventContext| ctx.broadcast("sent", &"no object").map(drop));
        lobby.on_event("skip/:what", async |ctx: EventContext| ctx.pass::<()>());
        lobby.on_event("skip/*", async |_: EventContext| Err::<(), _>(Error::internal("twice\nas long")));
        let wrapped = async |ctx: EventContext| ctx.evict("eve", "spam").await.map_err(Error::internal);
        lobby.on_event("wrapped", wrapped);
        lobby.on_leave(async |ctx: LeaveContext| ctx.presence::<u8>().map(drop));
        endpoint.create_channel("/show/:n", async |ctx: JoinContext| Ok::<_, Error>(ctx.accept().track(&7)));
        let ada = enter(&pond).await?;
        let mut room = ada.join("/room/1", json!({})).await?;
        let who = ["endpoint=\"/in\"", "connection", "user", "channel=\"/room/1\""];
        let failed = async |event: &str, fields: &[&str]| -> TestResult {
            room.request(event, json!({})).await.expect_err("fails");
            let line = log.lines("event handler failed").pop().ok_or("no line")?;
            let event = format!("event=\"{event}\"");
            let expected: Vec<_> = who.iter().chain(fields).copied().chain([&*event, request_id]).collect();
            assert_fields(&line, &expected);
            Ok(())
        };
        let keys = "error=\"internal error (500): assigns: invalid type";
        failed("read/all", &["pattern=\"read/*\"", "call=\"ctx.assigns\"", keys]).await?;
        let no_object = "error=\"internal error (500): ";
        failed("send/bob", &["pattern=\"send/:to\"", "call=\"ctx.broadcast\"", no_object]).await?;
        failed("skip/it", &["pattern=\"skip/*\"", "error=\"internal error (500): twice\\nas long\""]).await?;

        let cause = "error=\"internal error (500): no such member (404)\"";
        failed("wrapped", &["pattern=\"wrapped\"", "call=\"ctx.evict\"", cause]).await?;

        ada.join("/show/1", json!({})).await.expect_err("declined");
        let declined = ["endpoint", "connection", "user", "channel=\"/show/1\"", "pattern=\"/show/:n\"", request_id];
        let declined = declined.into_iter().chain(["call=\"accept().track\"", "error"]).collect::<Vec<_>>();
        assert_fields(&log.one("join declined"), &declined);

        room.leave().await?;
        eventually("the leave handler has run", || !log.lines("leave handler failed").is_empty()).await;
        let _again = ada.join("/room/2", json!({})).await?;
        endpoint.channel("/room/2")?.evict("ada", "spam").await?;
        eventually("it has run again", || log.lines("leave handler failed").len() == 2).await;
        let [left, evicted] = &*log.lines("leave handler failed") else { panic!("two lines") };
        let reason = if request_id.is_empty() { "" } else { "reason" };
        let fields = ["endpoint=\"/in\"", "user", "pattern=\"/room/:n\"", "call=\"ctx.presence\"", "error", reason];
        // The span of the connection is around the first handler.
        let first = if filter == "pondsocket=error" || filter.contains("handler") { "" } else { "connection" };
        assert_fields(left, &fields.into_iter().chain(["channel=\"/room/1\"", first]).collect::<Vec<_>>());
        assert_fields(evicted, &fields.into_iter().chain(["channel=\"/room/2\""]).collect::<Vec<_>>());
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_mistake_of_a_client_is_a_line_with_the_extractor_that_found_it() -> TestResult {
    let (log, (pond, _, lobby)) = (Printed::begin("pondsocket=debug"), pond(Options::default()));
    lobby.on_event("add", async |_: EventContext, Payload(_): Payload<BTreeMap<String, u8>>| {});
    let room = enter(&pond).await?.join("/room/1", json!({})).await?;
    room.request("add", json!({ "a": "b" })).await.expect_err("refused");
    let fields = ["endpoint", "connection", "user", "channel", "event=\"add\"", "request_id", "pattern=\"add\""];
    let found = ["call=\"Payload\"", "error=\"invalid payload: a: ", "details"];
    assert_fields(&log.one("event handler failed"), &fields.into_iter().chain(found).collect::<Vec<_>>());
    Ok(())
}

struct PanickingObserver;

impl Hooks for PanickingObserver {
    fn on_connect(&self, connection: &ConnectionInfo<'_>) -> Result<()> {
        assert_ne!(connection.user_id(), "eve", "on purpose");
        Ok(())
    }

    fn on_disconnect(&self, _: &ConnectionInfo<'_>, _: Duration, _: u16, _: CloseReason) {
        panic!("on purpose");
    }
}

impl Metrics for PanickingObserver {
    fn connection_opened(&self, _: &ConnectionInfo<'_>) {
        panic!("on purpose");
    }
}

#[tokio::test(start_paused = true)]
async fn internal_failures_are_logged_at_error_with_the_reason() -> TestResult {
    let (log, (pond, endpoint, lobby)) =
        (Log::begin(), pond_of(PondSocket::new().metrics(PanickingObserver).hooks(PanickingObserver)));
    pond.create_endpoint("/broken", async |_: ConnectionContext| Err::<Connected, _>(Error::internal("the database")));
    endpoint.create_channel("/broken", async |_: JoinContext| Err::<Joined, _>(Error::internal("the database")));
    lobby.on_event("broken", async |_: EventContext| Err::<(), _>(Error::internal("the database")));
    lobby.on_outgoing("broken", |_: &OutgoingContext| Err::<Outgoing, _>(Error::internal("the database")));
    lobby.on_leave(async |_: LeaveContext| Err::<(), _>(Error::unavailable("the database")));
    let client = pond.test_client();
    client.connect("/broken").await.expect_err("declined");
    client.connect("/in?name=eve").await.expect_err("declined");
    let ada = enter(&pond).await?;
    ada.join("/broken", json!({})).await.expect_err("declined");
    let mut room = ada.join("/room/1", json!({})).await?;
    room.request("broken", json!({})).await.expect_err("an error");
    endpoint.channel("/room/1")?.broadcast("broken", &json!({}))?;
    room.leave().await?;
    ada.close();
    eventually("the panic of a hook without a caller is logged", || {
        log.of("pondsocket::hooks", "a hook panicked").len() == 1
    })
    .await;

    for (target, message, fields, spans) in [
        ("handler", "join declined", vec!["error", "pattern"], vec!["connection", "join"]),
        ("handler", "event handler failed", vec!["error", "pattern"], vec!["connection", "event"]),
        ("handler", "leave handler failed", vec!["error", "pattern"], vec!["connection", "leave"]),
        ("outgoing", "outgoing handler failed", vec!["channel", "endpoint", "error", "event", "pattern"], vec![]),
        ("metrics", "the application's metrics panicked", vec![], vec![]),
    ] {
        let line = log.one(&format!("pondsocket::{target}"), message);
        assert_eq!((line.level, line.fields.names(), line.spans), (Level::ERROR, fields, spans), "{message}");
        let error = line.fields.get("error");
        assert!(target == "metrics" || error.contains("the database"), "{message}: {error}");
    }
    let failed = log.of("pondsocket::handler", "connection handler failed");
    assert_eq!((failed.len(), failed[0].level), (2, Level::ERROR), "that of /broken, and a hook for eve");
    assert_eq!(failed[0].fields.names(), ["component", "endpoint", "error"]);
    let components: Vec<_> = failed.iter().map(|line| line.fields.get("component")).collect();
    assert_eq!(components, ["connection_handler", "hook"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_start_and_end_of_a_server_are_logged() -> TestResult {
    let (log, (pond, ..)) = (Log::begin(), pond(Options::default()));
    let mut server = Server::new(pond.clone());
    server.start("127.0.0.1:0").await?;
    let address = server.local_addr().ok_or("it runs")?.to_string();
    let _ada = enter(&pond).await?;
    server.stop(Duration::from_secs(5)).await;
    let expected = [
        ("listening", vec!["address"]),
        ("shutting down", vec!["connections", "timeout"]),
        ("shut down", vec!["abandoned", "closed", "cut", "took"]),
        ("stopped", vec!["address"]),
    ];
    for (message, fields) in expected {
        let line = log.one("pondsocket::server", message);
        assert_eq!((line.level, line.fields.names()), (Level::INFO, fields), "{message}");
    }
    assert_eq!(log.one("pondsocket::server", "listening").fields.get("address"), address);
    let end = log.one("pondsocket::server", "shut down");
    assert_eq!((end.fields.get("closed"), end.fields.get("cut")), ("1", "0"));
    Ok(())
}

/// An event without an explicit target would have the path of a module, which is not stable.
#[test]
fn every_event_and_span_has_a_target_that_the_guide_for_operators_names() {
    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path());
        entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
    }
    let guide = include_str!("../../../docs/operations.md");
    let mut found = 0;
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&path).expect("text");
        for macro_name in
            ["trace!(", "debug!(", "info!(", "warn!(", "error!(", "tracing::event!(", "debug_span!(", "info_span!("]
        {
            for (at, _) in text.match_indices(macro_name) {
                let arguments = text[at + macro_name.len()..].trim_start();
                let target = arguments.strip_prefix("target: \"").and_then(|rest| rest.split('"').next());
                let is_known = target.is_some_and(|target| guide.contains(&format!("`{target}`")));
                assert!(is_known, "{}: {macro_name}{}", path.display(), arguments.lines().next().unwrap_or_default());
                found += 1;
            }
        }
    }
    assert!(found > 30, "only {found}: has the code moved?");
}
