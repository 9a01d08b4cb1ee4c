//! Leave handlers: their choice, their context and their failures.

use std::future::pending;
use std::time::Duration;

use pondsocket::metrics::{Component, HandlerKind};
use pondsocket::testing::{Client, Room};
use pondsocket::{
    Assigns, Connected, ConnectionContext, Endpoint, Error, EventContext, JoinContext, Joined, LeaveContext,
    LeaveReason, Lobby, Metrics, PondSocket, Presence, Result, State,
};
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::{Log, TestResult};
use tokio::time::Instant;

use crate::Mood;

/// Records the outcomes of leave handlers.
struct LeaveLog(Log);

impl Metrics for LeaveLog {
    fn handler_finished(&self, kind: HandlerKind, pattern: &str, _: Duration, code: Option<u16>) {
        if kind == HandlerKind::Leave {
            self.0.note(format!("{pattern} ended with {code:?}"));
        }
    }

    fn error(&self, component: Component, error: &Error) {
        self.0.note(format!("{component}: {error}"));
    }
}

/// Users are named in the query.
async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let user = ctx.query("user").unwrap_or("ada").to_owned();
    Ok(ctx.accept().user_id(&user).assign("plan", &"gold"))
}

async fn join(ctx: JoinContext) -> Result<Joined> {
    Ok(ctx.accept().assign("seat", &7).track(&json!({ "mood": "calm" })))
}

fn pond() -> (PondSocket, Endpoint, Lobby, Log) {
    let log = Log::default();
    let pond = PondSocket::new().state(log.clone()).metrics(LeaveLog(log.clone()));
    let endpoint = pond.create_endpoint("/", connect);
    let lobby = endpoint.create_channel("/c/:room", join);
    (pond, endpoint, lobby, log)
}

async fn enter(pond: &PondSocket, user: &str, channel: &str) -> (Client, Room) {
    let client = pond.test_client().connect(&format!("/?user={user}")).await.expect("let in");
    let room = client.join(channel, json!({})).await.expect("joined");
    (client, room)
}

#[derive(Deserialize)]
struct Carried {
    plan: String,
    seat: u8,
}

#[tokio::test(start_paused = true)]
async fn extractors_have_the_last_assigns_and_presence_of_the_member() -> TestResult {
    let (pond, endpoint, lobby, log) = pond();
    lobby.on_leave(
        async |ctx: LeaveContext,
               Assigns(carried): Assigns<Carried>,
               Presence(shown): Presence<Mood>,
               State(log): State<Log>| {
            let Carried { plan, seat } = carried;
            log.note(format!("{} {plan} {seat} {} {:?}", ctx.user_id(), shown.mood, ctx.reason()));
            let others: Vec<_> = ctx.all_assigns::<Value>()?.into_iter().collect();
            log.note(format!("{others:?}"));
            ctx.channel().broadcast("left", &json!({ "who": ctx.user_id() }))
        },
    );
    let (_ada, mut ada) = enter(&pond, "ada", "/c/1").await;
    let (bob_client, mut bob) = enter(&pond, "bob", "/c/1").await;
    let channel = endpoint.channel("/c/1")?;
    channel.update_presence("bob", &json!({ "mood": "glad" })).await?;
    channel.update_assigns("bob", "seat", &8).await?;
    bob.leave().await?;
    assert_eq!(ada.next("left").await?, json!({ "who": "bob" }));
    let ended = "/c/:room ended with None";
    let adas = r#"[("ada", Object {"plan": String("gold"), "seat": Number(7)})]"#;
    assert_eq!(log.take(), ["bob gold 8 glad Left", adas, ended]);
    // There is no member left to notify of the last leave.
    drop(bob_client);
    ada.leave().await?;
    assert_eq!(log.take(), ["ada gold 7 calm Left", "[]", ended]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_leave_handler_is_that_of_the_lobby_of_the_channel() -> TestResult {
    let (pond, endpoint, _, log) = pond();
    let first = endpoint.create_channel("/shared/:room", async |ctx: JoinContext| -> Result<Joined> { ctx.pass() });
    let second = endpoint.create_channel("/shared/*", join);
    for (lobby, name) in [(&first, "first"), (&second, "second")] {
        lobby.on_leave(move |ctx: LeaveContext, State(log): State<Log>| async move {
            log.note(format!("{name}: {}", ctx.reason()));
        });
    }
    second.on_event("remove me", async |ctx: EventContext| ctx.remove(ctx.user_id(), "removed").await);
    let channel = endpoint.channel("/shared/1")?;
    let ended = |reason: &str| [format!("second: {reason}"), "/shared/* ended with None".to_owned()];

    let (client, mut room) = enter(&pond, "ada", "/shared/1").await;
    room.leave().await?;
    assert_eq!(log.next().await, ended("explicit_leave"));
    client.join("/shared/1", json!({})).await?;
    channel.evict("ada", "spam").await?;
    assert_eq!(log.next().await, ended("evicted:spam"));
    client.join("/shared/1", json!({})).await?.send("remove me", json!({}));
    assert_eq!(log.next().await, ended("removed"));
    client.join("/shared/1", json!({})).await?;
    endpoint.disconnect(client.id())?;
    assert_eq!(log.next().await, ended("connection_closed"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_removed_user_with_several_connections_leaves_once() -> TestResult {
    let (pond, endpoint, lobby, log) = pond();
    lobby.on_leave(async |ctx: LeaveContext, State(log): State<Log>| {
        assert_eq!(*ctx.reason(), LeaveReason::Evicted("spam".into()));
        log.note(format!("{} of {}", ctx.user_id(), ctx.remaining() + 1));
    });
    let (_one, mut one) = enter(&pond, "ada", "/c/1").await;
    let (_two, mut two) = enter(&pond, "ada", "/c/1").await;
    let (_bob, mut bob) = enter(&pond, "bob", "/c/1").await;
    endpoint.channel("/c/1")?.evict("ada", "spam").await?;
    for room in [&mut one, &mut two] {
        assert_eq!(room.next("EVICTED").await?["reason"], "spam");
    }
    assert_eq!(bob.next("user_evicted").await?["userId"], "ada");
    // Each connection may still send a leave, and disconnects.
    one.leave().await?;
    two.leave().await?;
    assert_eq!(log.take(), ["ada of 2", "/c/:room ended with None"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_leave_handler_that_fails_is_counted_and_affects_no_other() -> TestResult {
    for (how, reported, code, seconds) in [
        ("panic", "leave_handler: internal error (500)", 500, 0),
        ("error", "leave_handler: not so fast (409)", 409, 0),
        ("never", "leave_handler: the handler took too long (504)", 504, 30),
    ] {
        let (pond, _, lobby, log) = pond();
        lobby.on_leave(async |ctx: LeaveContext| -> Result<()> {
            match ctx.user_id() {
                "panic" => panic!("at the end"),
                "never" => pending().await,
                _ => Err(Error::conflict("not so fast")),
            }
        });
        let patient = pond.test_client().deadline(Duration::from_secs(60));
        let client = patient.connect(&format!("/?user={how}")).await?;
        let mut room = client.join("/c/1", json!({})).await?;
        room.leave().await?;
        let start = Instant::now();
        let _again = client.join("/c/1", json!({})).await?;
        assert_eq!(start.elapsed().as_secs(), seconds, "{how}: the next join waits for it");
        assert_eq!(log.take(), [format!("/c/:room ended with Some({code})"), reported.to_owned()], "{how}");
    }
    Ok(())
}
