//! Layers around handlers: when they run, and what they can do.

use std::future::Ready;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pondsocket::handler::Context;
use pondsocket::testing::{Client, Kind, Room};
use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, Handler, JoinContext, Joined, LeaveContext, Lobby,
    Next, Outgoing, OutgoingContext, OutgoingHandler, OutgoingNext, Params, Payload, PondSocket, Query, Result, State,
};
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::Log;
use tokio::time::{Instant, sleep};

type TestResult = std::result::Result<(), Box<dyn std::error::Error>>;

type Answering<C> = Pin<Box<dyn Future<Output = Result<<C as Context>::Answer>> + Send>>;

/// A layer that notes when it is entered and when it is left.
fn noting<C: Context>(log: &Log, name: &'static str) -> impl Fn(C, Next<C>) -> Answering<C> + Send + Sync + 'static {
    let log = log.clone();
    move |ctx, next| {
        let log = log.clone();
        Box::pin(async move {
            log.note(format!("{name} in"));
            let answer = next.run(ctx).await;
            log.note(format!("{name} out"));
            answer
        })
    }
}

/// The same around outgoing messages.
fn noting_outgoing(
    log: &Log,
    name: &'static str,
) -> impl Fn(&OutgoingContext, OutgoingNext) -> Result<Outgoing> + use<> {
    let log = log.clone();
    move |ctx, next| {
        log.note(format!("{name} in"));
        let answer = next.run(ctx);
        log.note(format!("{name} out"));
        answer
    }
}

/// A layer in which nothing goes well.
fn panicking<C: Context>(_: C, _: Next<C>) -> Answering<C> {
    panic!("a layer panics")
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    Ok(ctx.accept().user_id("ada"))
}

async fn join(ctx: JoinContext) -> Result<Joined> {
    Ok(ctx.accept())
}

async fn echo(ctx: EventContext) -> Result<()> {
    ctx.reply("echo", &ctx.payload::<Value>()?)
}

/// Handlers and layers take the log as their state.
fn logged() -> (PondSocket, Log) {
    let log = Log::default();
    (PondSocket::new().state(log.clone()), log)
}

fn pond() -> (PondSocket, Endpoint, Lobby, Log) {
    let (pond, log) = logged();
    let endpoint = pond.create_endpoint("/", connect);
    let lobby = endpoint.create_channel("/c/:room", join);
    lobby.on_event("echo", echo);
    (pond, endpoint, lobby, log)
}

async fn enter(pond: &PondSocket) -> (Client, Room) {
    let client = pond.test_client().connect("/").await.expect("let in");
    let room = client.join("/c/1", json!({})).await.expect("joined");
    (client, room)
}

/// What ran from the outside in, when every layer was left in the reverse order.
fn nested(names: &[&str]) -> Vec<String> {
    let (layers, handler) = names.split_at(names.len() - 1);
    let ins = layers.iter().map(|name| format!("{name} in"));
    let outs = layers.iter().rev().map(|name| format!("{name} out"));
    ins.chain([handler[0].to_owned()]).chain(outs).collect()
}

#[tokio::test(start_paused = true)]
async fn layers_nest_from_the_endpoint_over_the_lobby_to_the_handler() -> TestResult {
    let (pond, log) = logged();
    let connect = async |ctx: ConnectionContext, State(log): State<Log>| {
        log.note("handler");
        connect(ctx).await
    };
    let join = async |ctx: JoinContext, State(log): State<Log>| {
        log.note("handler");
        join(ctx).await
    };
    let say = async |ctx: EventContext, State(log): State<Log>| {
        log.note("handler");
        ctx.broadcast("say", &())
    };
    let left = async |_: LeaveContext, State(log): State<Log>| log.note("handler");
    let said = |_: &OutgoingContext, State(log): State<Log>| {
        log.note("handler");
        Outgoing::Pass
    };
    let connect = connect.layer(noting(&log, "inner")).layer(noting(&log, "outer"));
    let endpoint = pond.create_endpoint("/", connect);
    endpoint
        .layer(noting(&log, "endpoint 1"))
        .layer_joins(noting(&log, "endpoint 1"))
        .layer_events(noting(&log, "endpoint 1"))
        .layer_leaves(noting(&log, "endpoint 1"));
    let lobby = endpoint.create_channel("/c/:room", join.layer(noting(&log, "inner")).layer(noting(&log, "outer")));
    lobby
        .layer_join(noting(&log, "lobby 1"))
        .layer(noting(&log, "lobby 1"))
        .layer_leave(noting(&log, "lobby 1"))
        .on_event("say", say.layer(noting(&log, "inner")).layer(noting(&log, "outer")))
        .on_leave(left.layer(noting(&log, "inner")).layer(noting(&log, "outer")))
        .layer_join(noting(&log, "lobby 2"))
        .layer(noting(&log, "lobby 2"))
        .layer_leave(noting(&log, "lobby 2"));
    endpoint
        .layer(noting(&log, "endpoint 2"))
        .layer_joins(noting(&log, "endpoint 2"))
        .layer_events(noting(&log, "endpoint 2"))
        .layer_leaves(noting(&log, "endpoint 2"));
    let all = ["endpoint 1", "endpoint 2", "lobby 1", "lobby 2", "outer", "inner", "handler"];

    let client = pond.test_client().connect("/").await?;
    assert_eq!(log.take(), nested(&["endpoint 1", "endpoint 2", "outer", "inner", "handler"]));
    let mut room = client.join("/c/1", json!({})).await?;
    assert_eq!(log.take(), nested(&all), "of the join");
    room.send("say", json!({}));
    room.next("say").await?;
    assert_eq!(log.take(), nested(&all), "of the event");

    endpoint.layer_outgoing(noting_outgoing(&log, "endpoint 1"));
    lobby
        .layer_outgoing(noting_outgoing(&log, "lobby 1"))
        .on_outgoing("say", said.layer(noting_outgoing(&log, "inner")).layer(noting_outgoing(&log, "outer")))
        .layer_outgoing(noting_outgoing(&log, "lobby 2"));
    endpoint.layer_outgoing(noting_outgoing(&log, "endpoint 2"));
    room.send("say", json!({}));
    room.next("say").await?;
    assert_eq!(log.take(), [nested(&all), nested(&all)].concat(), "of the event, and of the message that it sent");

    room.leave().await?;
    assert_eq!(log.take(), nested(&all), "of the leave");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_does_not_go_on_decides_alone() -> TestResult {
    let (pond, endpoint, lobby, log) = pond();
    endpoint.layer(async |ctx: ConnectionContext, next: Next<ConnectionContext>| -> Result<Connected> {
        match ctx.query("as") {
            Some("robot") => Err(Error::forbidden("no robots")),
            Some("guest") => Ok(ctx.accept().user_id("guest")),
            _ => next.run(ctx).await,
        }
    });
    lobby
        .layer_join(async |ctx: JoinContext, next: Next<JoinContext>| match ctx.user_id() {
            "guest" if ctx.param("room")? == "9" => Err(Error::unauthorized("members only")),
            "guest" => Ok(ctx.accept().reply("welcome", &json!({ "by": "the layer" }))),
            _ => next.run(ctx).await,
        })
        .layer(async |ctx: EventContext, next: Next<EventContext>| match ctx.user_id() {
            "guest" => ctx.reply("echo", &json!({ "by": "the layer" })),
            _ => next.run(ctx).await,
        });
    lobby
        .layer_leave(async |ctx: LeaveContext, State(log): State<Log>, next: Next<LeaveContext>| match ctx.user_id() {
            "guest" => {
                log.note("the layer");
                Ok(())
            }
            _ => next.run(ctx).await,
        })
        .on_leave(async |ctx: LeaveContext, State(log): State<Log>| log.note(ctx.user_id()));

    let door = pond.test_client();
    let robot = door.connect("/?as=robot").await.unwrap_err();
    assert_eq!((robot.code(), robot.refusal().map(|refusal| refusal.text())), (Some(403), Some("no robots".into())));
    let guest = door.connect("/?as=guest").await?;
    let refused = guest.join("/c/9", json!({})).await.unwrap_err();
    assert_eq!(refused.rejection().map(|why| (why.code(), why.message())), Some((401, "members only")));
    let mut room = guest.join("/c/1", json!({})).await?;
    assert_eq!(room.next("welcome").await?, json!({ "by": "the layer" }));
    assert_eq!(room.request("echo", json!({ "by": "me" })).await?, json!({ "by": "the layer" }));
    room.leave().await?;
    assert_eq!(log.take(), ["the layer"]);

    let (_ada, mut adas) = enter(&pond).await;
    assert_eq!(adas.request("echo", json!({ "by": "me" })).await?, json!({ "by": "me" }));
    adas.leave().await?;
    assert_eq!(log.take(), ["ada"]);
    Ok(())
}

/// What a layer passes on.
#[derive(Clone, Debug, PartialEq)]
struct Tenant(&'static str);

#[tokio::test(start_paused = true)]
async fn a_layer_changes_what_comes_in_and_what_is_answered() -> TestResult {
    let pond = PondSocket::new();
    let endpoint = pond.create_endpoint("/", async |ctx: ConnectionContext| -> Result<Connected> {
        let tenant = ctx.request().extensions.get::<Tenant>().expect("the layer's").0;
        let header = ctx.header("x-added").expect("the layer's").to_owned();
        Ok(ctx.accept().assign("tenant", &tenant).assign("header", &header))
    });
    endpoint.layer(async |mut ctx: ConnectionContext, next: Next<ConnectionContext>| {
        ctx.request_mut().extensions.insert(Tenant("acme"));
        ctx.request_mut().headers.insert("x-added", "yes".parse().expect("a value"));
        Ok(next.run(ctx).await?.assign("added", &1).user_id("renamed"))
    });
    let lobby = endpoint.create_channel("/c/:room", async |ctx: JoinContext, Payload(payload): Payload<Value>| {
        let tenant = ctx.extensions().get::<Tenant>().expect("the layer's").0;
        Ok::<_, Error>(ctx.accept().assign("payload", &payload).assign("seen", &tenant))
    });
    lobby
        .layer_join(async |mut ctx: JoinContext, next: Next<JoinContext>| {
            let mut payload: Value = ctx.payload()?;
            payload["layer"] = json!(true);
            ctx.set_payload(&payload)?;
            ctx.extensions_mut().insert(Tenant("of the join"));
            Ok(next.run(ctx).await?.assign("joined", &2).reply("joined", &json!({ "by": "the layer" })))
        })
        .layer(async |mut ctx: EventContext, next: Next<EventContext>| {
            let mut payload: Value = ctx.payload()?;
            payload["layer"] = json!(ctx.event());
            ctx.set_payload(&payload)?;
            ctx.extensions_mut().insert(Tenant("of the event"));
            next.run(ctx).await
        })
        .on_event("all", async |ctx: EventContext, Payload(payload): Payload<Value>| {
            let tenant = ctx.extensions().get::<Tenant>().expect("the layer's").0;
            let assigns: Value = ctx.assigns()?;
            ctx.reply("all", &json!({ "payload": payload, "tenant": tenant, "assigns": assigns, "me": ctx.user_id() }))
        });

    let client = pond.test_client().connect("/").await?;
    let mut room = client.join("/c/1", json!({ "mine": 1 })).await?;
    assert_eq!(room.next("joined").await?, json!({ "by": "the layer" }));
    let expected = json!({
        "payload": { "mine": 2, "layer": "all" },
        "tenant": "of the event",
        "me": "renamed",
        "assigns": {
            "tenant": "acme", "header": "yes", "added": 1, "joined": 2, "seen": "of the join",
            "payload": { "mine": 1, "layer": true },
        },
    });
    assert_eq!(room.request("all", json!({ "mine": 2 })).await?, expected);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_layer_takes_only_an_object_for_a_payload() {
    let (pond, _, lobby, _) = pond();
    lobby.layer(async |mut ctx: EventContext, next: Next<EventContext>| {
        assert_eq!(ctx.set_payload(&[1, 2]).map_err(|error| error.code()), Err(500));
        next.run(ctx).await
    });
    let (_ada, room) = enter(&pond).await;
    let echoed = room.request("echo", json!({ "still": "mine" })).await.expect("a reply");
    assert_eq!(echoed, json!({ "still": "mine" }));
}

#[tokio::test(start_paused = true)]
async fn a_layer_measures_what_runs_inside() {
    let (pond, _, lobby, log) = pond();
    lobby
        .on_event("slow", async |ctx: EventContext| {
            sleep(Duration::from_secs(3)).await;
            ctx.reply("slow", &())
        })
        .layer(async |ctx: EventContext, State(log): State<Log>, next: Next<EventContext>| {
            let start = Instant::now();
            let answer = next.run(ctx).await;
            log.note(format!("{} s", start.elapsed().as_secs()));
            answer
        });
    let (_ada, room) = enter(&pond).await;
    room.request("slow", json!({})).await.expect("a reply");
    assert_eq!(log.take(), ["3 s"]);
}

#[tokio::test(start_paused = true)]
async fn a_layer_runs_within_the_deadline_of_its_handler() {
    let (pond, _, lobby, _) = pond();
    lobby.layer(async |ctx: EventContext, next: Next<EventContext>| {
        sleep(Duration::from_secs(20)).await;
        next.run(ctx).await
    });
    lobby.on_event("slow", async |ctx: EventContext| {
        sleep(Duration::from_secs(20)).await;
        ctx.reply("slow", &())
    });
    let patient = pond.test_client().deadline(Duration::from_secs(60));
    let client = patient.connect("/").await.expect("let in");
    let room = client.join("/c/1", json!({})).await.expect("joined");
    let start = Instant::now();
    let late = room.request("slow", json!({})).await.unwrap_err();
    assert_eq!((late.code(), start.elapsed().as_secs()), (Some(504), 30));
    assert_eq!(room.request("echo", json!({ "a": 1 })).await.expect("in time"), json!({ "a": 1 }));
}

/// Makes something else of what failed: whatever is unexpected may be tried again.
async fn recover<C: Context>(ctx: C, next: Next<C>) -> Result<C::Answer> {
    next.run(ctx).await.map_err(|error| match error.code() {
        500 => Error::unavailable("try again").with_details(&json!({ "was": error.message() })),
        _ => error,
    })
}

#[tokio::test(start_paused = true)]
async fn a_layer_recovers_from_errors_and_panics() -> TestResult {
    let (pond, log) = logged();
    let endpoint = pond.create_endpoint("/:how", async |ctx: ConnectionContext| match ctx.param("how")? {
        "panic" => panic!("at the door"),
        _ => Ok::<_, Error>(ctx.accept()),
    });
    endpoint
        .layer(recover::<ConnectionContext>)
        .layer_joins(recover::<JoinContext>)
        .layer_events(recover::<EventContext>);
    let lobby = endpoint.create_channel("/c/:how", async |ctx: JoinContext| match ctx.param("how")? {
        "error" => Err(Error::internal("the database is gone")),
        "panic" => panic!("in the join handler"),
        _ => Ok(ctx.accept()),
    });
    lobby
        .on_event("error", async |_: EventContext| -> Result<()> { Err(Error::internal("no such table")) })
        .on_event("other", async |_: EventContext| -> Result<()> { Err(Error::conflict("taken")) })
        .on_event("panic", async |_: EventContext| -> Result<()> { panic!("in the event handler") })
        .on_event("early panic", |_: EventContext| -> Ready<()> { panic!("before there is a future") })
        .on_event(
            "ignored",
            (async |_: EventContext| -> Result<()> { Err(Error::internal("never mind")) }).layer(
                async |ctx: EventContext, next: Next<EventContext>| {
                    let (channel, user) = (ctx.channel(), ctx.user_id().to_owned());
                    let Err(error) = next.run(ctx).await else { return Ok(()) };
                    channel.broadcast_to([user], "sorry", &json!({ "code": error.code() })).map(drop)
                },
            ),
        )
        .on_leave(async |_: LeaveContext| -> Result<()> { panic!("in the leave handler") })
        .layer_leave(async |ctx: LeaveContext, State(log): State<Log>, next: Next<LeaveContext>| {
            log.note(next.run(ctx).await.unwrap_err().message());
        });

    let door = pond.test_client();
    let refused = door.connect("/panic").await.unwrap_err();
    assert_eq!((refused.code(), refused.refusal().map(|why| why.text())), (Some(503), Some("try again".into())));
    let client = door.connect("/calm").await?;
    for how in ["error", "panic"] {
        let declined = client.join(&format!("/c/{how}"), json!({})).await.unwrap_err();
        let declined = declined.rejection().expect("declined");
        assert_eq!((declined.code(), declined.message()), (503, "try again"), "{how}");
        assert_eq!(declined.details(), &json!({ "statusCode": 503, "was": "internal error" }), "{how}");
    }
    let mut room = client.join("/c/calm", json!({})).await?;
    for how in ["error", "panic", "early panic"] {
        let failed = room.request(how, json!({})).await.unwrap_err();
        let failed = failed.rejection().expect("an error");
        assert_eq!((failed.code(), failed.details()), (503, &json!({ "was": "internal error" })), "{how}");
    }
    assert_eq!(room.request("other", json!({})).await.unwrap_err().code(), Some(409));
    room.send("ignored", json!({}));
    assert_eq!(room.next("sorry").await?, json!({ "code": 500 }));
    room.assert_silence().await;
    room.leave().await?;
    assert_eq!(log.take(), ["internal error"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_panics_hurts_only_its_call() -> TestResult {
    let (pond, log) = logged();
    let endpoint = pond.create_endpoint("/", connect);
    pond.create_endpoint("/bad", connect).layer(panicking::<ConnectionContext>);
    endpoint.create_channel("/bad", join.layer(panicking::<JoinContext>));
    let lobby = endpoint.create_channel("/c/:room", join);
    lobby
        .on_event("echo", echo)
        .on_event("bad", echo.layer(panicking::<EventContext>))
        .on_event(
            "late",
            echo.layer(async |ctx: EventContext, next: Next<EventContext>| -> Result<()> {
                next.run(ctx).await?;
                panic!("after the handler")
            }),
        )
        .on_event("caught", echo.layer(panicking::<EventContext>).layer(recover::<EventContext>))
        .layer_leave(noting(&log, "outer"))
        .layer_leave(panicking::<LeaveContext>);

    let door = pond.test_client();
    let refused = door.connect("/bad").await.unwrap_err();
    assert_eq!((refused.code(), refused.refusal().map(|why| why.text())), (Some(500), Some("internal error".into())));
    let client = door.connect("/").await?;
    assert_eq!(client.join("/bad", json!({})).await.unwrap_err().code(), Some(500));
    let mut room = client.join("/c/1", json!({})).await?;
    assert_eq!(room.request("bad", json!({})).await.unwrap_err().code(), Some(500));
    assert_eq!(room.request("caught", json!({})).await.unwrap_err().code(), Some(503));
    room.send("late", json!({ "a": 1 }));
    assert_eq!(room.next_message().await?.payload, json!({ "a": 1 }), "the handler had replied");
    assert_eq!(room.next_message().await?.payload["code"], 500);
    assert_eq!(room.request("echo", json!({ "a": 2 })).await?, json!({ "a": 2 }));
    room.leave().await?;
    assert_eq!(log.take(), ["outer in", "outer out"]);
    assert_eq!(client.join("/c/1", json!({})).await?.request("echo", json!({})).await?, json!({}));
    Ok(())
}

#[derive(Deserialize)]
struct Visit {
    age: u8,
}

#[derive(Deserialize)]
struct Where {
    room: u8,
}

#[tokio::test(start_paused = true)]
async fn layers_take_extractors_and_an_ill_typed_field_is_named() -> TestResult {
    let pond = PondSocket::new().state(18_u8);
    let endpoint = pond.create_endpoint("/", connect);
    endpoint.layer(
        async |ctx: ConnectionContext,
               Query(visit): Query<Visit>,
               State(least): State<u8>,
               next: Next<ConnectionContext>| {
            if visit.age < least {
                return Err(Error::forbidden(format!("not before {least}")));
            }
            next.run(ctx).await
        },
    );
    let lobby = endpoint.create_channel("/c/:room", join);
    lobby
        .layer_join(async |ctx: JoinContext, Params(at): Params<Where>, Payload(_): Payload<Visit>, next: Next<_>| {
            Ok(next.run(ctx).await?.reply("room", &json!({ "at": at.room })))
        })
        .layer(async |ctx: EventContext, Payload(visit): Payload<Visit>, next: Next<EventContext>| {
            let channel = ctx.channel();
            next.run(ctx).await?;
            channel.broadcast("age", &json!({ "age": visit.age })).map(drop)
        })
        .on_event("echo", echo);

    let door = pond.test_client();
    for (path, code, text) in [
        ("/?age=17", 403, "not before 18"),
        ("/?age=old", 400, "invalid query: age: invalid digit found in string"),
        ("/", 400, "invalid query: age: missing field `age`"),
    ] {
        let refused = door.connect(path).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.refusal().map(|why| why.text())),
            (Some(code), Some(text.into())),
            "{path}"
        );
    }
    let client = door.connect("/?age=18").await?;
    for (channel, payload, field) in [
        ("/c/first", json!({ "age": 1 }), "room"),
        ("/c/1", json!({ "age": "old" }), "age"),
        ("/c/1", json!({}), "age"),
    ] {
        let declined = client.join(channel, &payload).await.unwrap_err();
        let declined = declined.rejection().expect("declined");
        assert_eq!((declined.code(), &declined.details()["field"]), (400, &json!(field)), "{channel} {payload}");
    }
    let mut room = client.join("/c/1", json!({ "age": 1 })).await?;
    assert_eq!(room.next("room").await?, json!({ "at": 1 }));
    let failed = room.request("echo", json!({ "age": [] })).await.unwrap_err();
    let failed = failed.rejection().expect("an error");
    assert_eq!((failed.code(), failed.details()), (400, &json!({ "field": "age" })));
    room.assert_silence().await;
    assert_eq!(room.request("echo", json!({ "age": 5 })).await?, json!({ "age": 5 }));
    assert_eq!(room.next("age").await?, json!({ "age": 5 }));
    Ok(())
}

#[test]
fn a_layer_that_asks_for_a_missing_state_is_refused_at_its_registration() {
    let (_, endpoint, lobby, _) = pond();
    async fn layer<C: Context>(ctx: C, State(_): State<Vec<u8>>, next: Next<C>) -> Result<C::Answer> {
        next.run(ctx).await
    }
    let registrations: [&dyn Fn(); 6] = [
        &|| _ = endpoint.layer(layer::<ConnectionContext>),
        &|| _ = endpoint.layer_joins(layer::<JoinContext>),
        &|| _ = lobby.layer(layer::<EventContext>),
        &|| _ = lobby.layer_leave(layer::<LeaveContext>),
        &|| _ = lobby.on_event("x", echo.layer(layer::<EventContext>)),
        &|| {
            _ = lobby
                .layer_outgoing(|ctx: &OutgoingContext, State(_): State<Vec<u8>>, next: OutgoingNext| next.run(ctx))
        },
    ];
    for (at, register) in registrations.iter().enumerate() {
        let panic = catch_unwind(AssertUnwindSafe(register)).expect_err("no such state");
        let text = panic.downcast_ref::<String>().expect("a text");
        assert!(text.contains("State<alloc::vec::Vec<u8>>"), "{at}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn layers_see_events_without_a_handler_and_leaves_without_one() -> TestResult {
    let (pond, endpoint, lobby, log) = pond();
    lobby.layer(async |ctx: EventContext, State(log): State<Log>, next: Next<EventContext>| {
        let event = ctx.event().to_owned();
        let answer = next.run(ctx).await;
        log.note(format!("{event}: {:?}", answer.as_ref().map_err(Error::code)));
        answer
    });
    endpoint.layer_leaves(async |ctx: LeaveContext, State(log): State<Log>, next: Next<LeaveContext>| {
        let (user, reason) = (ctx.user_id().to_owned(), ctx.reason().to_string());
        let answer = next.run(ctx).await;
        log.note(format!("{user}: {reason}: {answer:?}"));
        answer
    });
    let (_ada, mut room) = enter(&pond).await;
    room.send("dance", json!({}));
    let answer = room.next_message().await?;
    assert_eq!((answer.kind, answer.event.as_str()), (Kind::System, "NOT_FOUND"), "as without a layer");
    assert_eq!((&answer.payload["code"], &answer.payload["details"]), (&json!(404), &json!({ "event": "dance" })));
    room.request("echo", json!({})).await?;
    room.leave().await?;
    assert_eq!(log.take(), ["dance: Err(404)", "echo: Ok(())", "ada: explicit_leave: Ok(())"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_layer_of_the_lobby_knows_what_the_pattern_of_the_event_matched() -> TestResult {
    let (pond, _, lobby, _) = pond();
    lobby
        .layer(async |ctx: EventContext, next: Next<EventContext>| match ctx.param("table")? {
            "7" => Err(Error::forbidden(format!("reserved for {}", ctx.query("for").unwrap_or("nobody")))),
            _ => next.run(ctx).await,
        })
        .on_event("move/:table", echo);
    let (_ada, room) = enter(&pond).await;
    assert_eq!(room.request("move/6", json!({ "a": 1 })).await?, json!({ "a": 1 }));
    let refused = room.request("move/7?for=bob", json!({})).await.unwrap_err();
    assert_eq!(refused.rejection().map(|why| (why.code(), why.message())), Some((403, "reserved for bob")));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn layers_affect_what_comes_after_their_registration() -> TestResult {
    let (pond, endpoint, lobby, log) = pond();
    let (client, mut room) = enter(&pond).await;
    room.request("echo", json!({})).await?;
    assert_eq!(log.take(), Vec::<String>::new());

    lobby.layer(noting(&log, "lobby"));
    room.request("echo", json!({})).await?;
    assert_eq!(log.take(), ["lobby in", "lobby out"]);
    endpoint.layer_events(noting(&log, "endpoint"));
    room.request("echo", json!({})).await?;
    assert_eq!(log.take(), ["endpoint in", "lobby in", "lobby out", "endpoint out"]);
    lobby.layer_leave(noting(&log, "leave"));
    room.leave().await?;
    assert_eq!(log.take(), ["leave in", "leave out"]);
    endpoint.layer_joins(noting(&log, "join"));
    client.join("/c/1", json!({})).await?;
    assert_eq!(log.take(), ["join in", "join out"]);
    endpoint.layer(noting(&log, "connection"));
    pond.test_client().connect("/").await?;
    assert_eq!(log.take(), ["connection in", "connection out"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_passed_on_keeps_what_was_changed() -> TestResult {
    let (pond, _, lobby, log) = pond();
    lobby
        .layer(async |mut ctx: EventContext, next: Next<EventContext>| {
            ctx.set_payload(&json!({ "by": ["lobby"] }))?;
            next.run(ctx).await
        })
        .on_event(
            "play/:game",
            (async |ctx: EventContext| match ctx.param("game")? {
                "chess" => ctx.reply("first", &()),
                _ => ctx.pass(),
            })
            .layer(async |mut ctx: EventContext, next: Next<EventContext>| {
                let mut payload: Value = ctx.payload()?;
                payload["by"].as_array_mut().expect("a list").push(json!("first"));
                ctx.set_payload(&payload)?;
                ctx.extensions_mut().insert(Tenant("first"));
                next.run(ctx).await
            })
            .layer(noting(&log, "first")),
        )
        .on_event("other/:any", async |_: EventContext| -> Result<()> { panic!("it does not match") })
        .on_event(
            "*",
            (async |ctx: EventContext, Payload(payload): Payload<Value>, State(log): State<Log>| {
                if ctx.wildcard() == Some("play/dice") {
                    return ctx.pass();
                }
                log.note(format!(
                    "{:?} {:?} {:?}",
                    ctx.extensions().get::<Tenant>(),
                    ctx.wildcard(),
                    ctx.param("game").unwrap_or_default()
                ));
                ctx.reply("second", &payload)
            })
            .layer(noting(&log, "second")),
        );
    let (_ada, mut room) = enter(&pond).await;
    for (event, answer) in [("play/chess", "first"), ("play/go", "second")] {
        room.send(event, json!({}));
        let reply = room.next_message().await?;
        assert_eq!(reply.event, answer, "{event}");
        if answer == "second" {
            assert_eq!(reply.payload, json!({ "by": ["lobby", "first"] }));
        }
    }
    let second = r#"Some(Tenant("first")) Some("play/go") """#;
    assert_eq!(
        log.take(),
        ["first in", "first out", "first in", "first out", "second in", second, "second out"],
        "one after the other, not one within the other"
    );
    room.send("play/dice", json!({}));
    let nobody = room.next_message().await?;
    assert_eq!((nobody.event.as_str(), &nobody.payload["code"]), ("NOT_FOUND", &json!(404)), "all have passed it on");
    assert_eq!(nobody.payload["details"], json!({ "event": "play/dice" }));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_join_that_is_passed_on_keeps_what_was_changed_and_belongs_to_who_accepts() -> TestResult {
    let (pond, log) = logged();
    let endpoint = pond.create_endpoint("/", connect);
    endpoint.layer_joins(noting(&log, "endpoint"));
    let first = endpoint.create_channel("/c/:first", async |ctx: JoinContext| match ctx.param("first")? {
        "mine" => Ok(ctx.accept()),
        _ => ctx.pass(),
    });
    first
        .layer_join(async |mut ctx: JoinContext, next: Next<JoinContext>| {
            ctx.set_payload(&json!({ "by": "first" }))?;
            ctx.extensions_mut().insert(Tenant("first"));
            next.run(ctx).await
        })
        .layer_join(noting(&log, "first"))
        .on_event("who", async |ctx: EventContext| ctx.reply("who", &json!({ "lobby": 1 })));
    let second = endpoint.create_channel("/c/*", async |ctx: JoinContext, Payload(payload): Payload<Value>| {
        if ctx.wildcard() == Some("nobodys") {
            return ctx.pass();
        }
        let tenant = ctx.extensions().get::<Tenant>().expect("the layer's").0;
        let seen =
            json!({ "payload": payload, "tenant": tenant, "rest": ctx.wildcard(), "first": ctx.param("first").unwrap_or_default() });
        Ok(ctx.accept().reply("seen", &seen))
    });
    second
        .layer_join(noting(&log, "second"))
        .on_event("who", async |ctx: EventContext| ctx.reply("who", &json!({ "lobby": 2 })));

    let client = pond.test_client().connect("/").await?;
    let mine = client.join("/c/mine", json!({})).await?;
    assert_eq!(mine.request("who", json!({})).await?, json!({ "lobby": 1 }));
    assert_eq!(log.take(), ["endpoint in", "first in", "first out", "endpoint out"]);
    let mut other = client.join("/c/other", json!({ "by": "me" })).await?;
    let expected = json!({ "payload": { "by": "first" }, "tenant": "first", "rest": "other", "first": "" });
    assert_eq!(other.next("seen").await?, expected);
    assert_eq!(other.request("who", json!({})).await?, json!({ "lobby": 2 }));
    let around = ["endpoint in", "first in", "first out", "second in", "second out", "endpoint out"];
    assert_eq!(log.take(), around);
    let nobodys = client.join("/c/nobodys", json!({})).await.unwrap_err();
    assert_eq!(nobodys.rejection().map(|why| (why.code(), why.message())), Some((404, "no such channel")));
    assert_eq!(log.take(), around);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_passed_on_keeps_what_was_changed() -> TestResult {
    let (pond, log) = logged();
    let first = pond.create_endpoint("/:first", async |ctx: ConnectionContext| match ctx.param("first")? {
        "mine" => Ok(ctx.accept()),
        _ => ctx.pass(),
    });
    first.layer(noting(&log, "first")).layer(async |mut ctx: ConnectionContext, next: Next<ConnectionContext>| {
        ctx.request_mut().extensions.insert(Tenant("first"));
        ctx.request_mut().headers.insert("x-by", "first".parse().expect("a value"));
        next.run(ctx).await
    });
    let second = pond.create_endpoint("/*", async |ctx: ConnectionContext| {
        if ctx.wildcard() == Some("nobodys") {
            return ctx.pass();
        }
        let tenant = ctx.request().extensions.get::<Tenant>().expect("the layer's").0;
        let seen = json!({ "tenant": tenant, "by": ctx.header("x-by"), "rest": ctx.wildcard(), "q": ctx.query("q") });
        Ok(ctx.accept().reply("seen", &seen))
    });
    second.layer(noting(&log, "second"));

    let door = pond.test_client();
    let _mine = door.connect("/mine").await?;
    assert_eq!(log.take(), ["first in", "first out"]);
    let mut other = door.connect("/other?q=1").await?;
    let expected = json!({ "tenant": "first", "by": "first", "rest": "other", "q": "1" });
    assert_eq!(other.next("seen").await?, expected);
    assert_eq!(log.take(), ["first in", "first out", "second in", "second out"]);
    assert_eq!((first.connections().len(), second.connections().len()), (1, 1));
    assert_eq!(door.connect("/nobodys").await.unwrap_err().code(), Some(404));
    assert_eq!(log.take(), ["first in", "first out", "second in", "second out"]);
    Ok(())
}

/// A layer that makes an answer of every error, also of a handler that passes on.
async fn recovering<C: Context<Answer = ()>>(ctx: C, next: Next<C>) -> Result<()> {
    next.run(ctx).await.or(Ok(()))
}

/// A layer that makes an answer of every error, but leaves it to the next pattern to decide if the handler does.
async fn recovering_from_failures(ctx: EventContext, next: Next<EventContext>) -> Result<()> {
    next.run(ctx).await.or_else(|error| if error.is_pass() { Err(error) } else { Ok(()) })
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_recovers_from_every_error_decides_and_one_that_asks_whether_it_is_a_pass_does_not() -> TestResult
{
    let (pond, _, lobby, _) = pond();
    let pass = async |ctx: EventContext| -> Result<()> { ctx.pass() };
    let fail = async |_: EventContext| -> Result<()> { Err(Error::not_found("no such thing")) };
    lobby
        .on_event("decided/:what", pass.layer(recovering))
        .on_event("left/:what", pass.layer(recovering_from_failures))
        .on_event("failed/:what", fail.layer(recovering_from_failures))
        .on_event("*", async |ctx: EventContext| ctx.reply("second", &json!({ "event": ctx.event() })));
    let (_ada, mut room) = enter(&pond).await;
    for event in ["decided/1", "failed/1", "left/1", "other"] {
        room.send(event, json!({}));
    }
    for event in ["left/1", "other"] {
        let reply = room.next_message().await?;
        assert_eq!((reply.event.as_str(), reply.payload), ("second", json!({ "event": event })));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_a_layer_keeps_brings_no_message_of_another_user_to_a_handler() -> TestResult {
    let (pond, log) = logged();
    let endpoint = pond.create_endpoint("/:user", async |ctx: ConnectionContext| {
        let user = ctx.param("user")?.to_owned();
        Ok::<_, Error>(ctx.accept().user_id(&user))
    });
    let kept = Arc::new(Mutex::new(None));
    let keeping = move |ctx: EventContext, next: Next<EventContext>| {
        let kept = Arc::clone(&kept);
        async move {
            if let Some(pass) = kept.lock().expect("no panic").take() {
                return Err(pass);
            }
            let pass = next.run(ctx).await.expect_err("the handler passes");
            *kept.lock().expect("no panic") = Some(pass);
            Ok(())
        }
    };
    endpoint
        .create_channel("/c/:room", join)
        .on_event("say", (async |ctx: EventContext| -> Result<()> { ctx.pass() }).layer(keeping))
        .on_event("*", async |ctx: EventContext, State(log): State<Log>| log.note(ctx.user_id()));
    let (ada, bob) = (pond.test_client().connect("/ada").await?, pond.test_client().connect("/bob").await?);
    let (adas, mut bobs) = (ada.join("/c/1", json!({})).await?, bob.join("/c/1", json!({})).await?);
    adas.send("say", json!({ "secret": 1 }));
    adas.send("after", json!({}));
    assert_eq!(log.next().await, ["ada"]);
    bobs.send("say", json!({}));
    let refused = bobs.next_message().await?;
    assert_eq!((refused.event.as_str(), &refused.payload["code"]), ("INTERNAL_ERROR", &json!(404)));
    assert_eq!(refused.payload["message"], json!("no handler decided"));
    bobs.send("after", json!({}));
    assert_eq!(log.next().await, ["bob"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_passes_on_is_dropped_if_a_layer_decides() -> TestResult {
    let (pond, _, lobby, _) = pond();
    let held = Arc::new(());
    let attached = Arc::clone(&held);
    let attaching = move |mut ctx: EventContext, next: Next<EventContext>| {
        ctx.extensions_mut().insert(Arc::clone(&attached));
        next.run(ctx)
    };
    lobby.on_event("go", (async |ctx: EventContext| -> Result<()> { ctx.pass() }).layer(attaching).layer(recovering));
    let (_ada, room) = enter(&pond).await;
    room.send("go", json!({}));
    assert_eq!(
        room.request("echo", json!({ "n": 1 })).await?,
        json!({ "n": 1 }),
        "the message before has been handled"
    );
    assert_eq!(Arc::strong_count(&held), 2, "the test and the layer");

    let attached = Arc::clone(&held);
    let endpoint = pond.create_endpoint("/join", connect);
    let lobby = endpoint.create_channel("/d/:room", async |ctx: JoinContext| -> Result<Joined> { ctx.pass() });
    lobby.layer_join(async |ctx: JoinContext, next: Next<JoinContext>| {
        let passed = next.run(ctx).await.expect_err("the handler passes");
        Err(Error::forbidden("not here").with_source(passed))
    });
    lobby.layer_join(move |mut ctx: JoinContext, next: Next<JoinContext>| {
        ctx.extensions_mut().insert(Arc::clone(&attached));
        next.run(ctx)
    });
    let client = pond.test_client().connect("/join").await?;
    assert_eq!(client.join("/d/1", json!({})).await.unwrap_err().code(), Some(403));
    assert_eq!(Arc::strong_count(&held), 3, "the test and both layers");
    Ok(())
}
