//! The order of layers, and their changes to requests and answers.

use std::time::Duration;

use pondsocket::{
    Connected, ConnectionContext, Error, EventContext, Handler, JoinContext, LeaveContext, Next, Outgoing,
    OutgoingContext, OutgoingHandler, OutgoingNext, Payload, PondSocket, Result, State,
};
use serde_json::{Value, json};
use testkit::{Log, TestResult};
use tokio::time::{Instant, sleep};

use super::{Tenant, connect, enter, join, logged, noting, pond};

/// The order from the outside in, when every layer was left in the reverse order.
fn nested(names: &[&str]) -> Vec<String> {
    let (layers, handler) = names.split_at(names.len() - 1);
    let ins = layers.iter().map(|name| format!("{name} in"));
    let outs = layers.iter().rev().map(|name| format!("{name} out"));
    ins.chain([handler[0].to_owned()]).chain(outs).collect()
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
async fn a_layer_that_does_not_call_next_decides_alone() -> TestResult {
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

#[tokio::test(start_paused = true)]
async fn a_layer_changes_requests_and_answers() -> TestResult {
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
async fn a_layer_measures_the_inner_call() {
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
