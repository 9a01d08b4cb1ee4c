//! Parameters, query and wildcard in every context: those of the context's own pattern, and of the channel's.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pondsocket::{
    Connected, ConnectionContext, Error, EventContext, Handler, Hooks, JoinContext, Joined, LeaveContext, Lobby, Next,
    Outgoing, OutgoingContext, OutgoingHandler, OutgoingNext, Params, PondSocket, Query, Result, State,
};
use serde::Deserialize;
use serde_json::json;
use testkit::{Log, Peer, eventually, serve};

/// Records the route of a context.
macro_rules! note_route {
    ($log:expr, $what:expr, $ctx:expr) => {{
        let (ctx, log) = (&$ctx, &$log);
        let param = |name| ctx.param(name).map_or_else(|error| format!("! {}", reason(&error)), ToOwned::to_owned);
        let all: HashMap<String, String> = ctx.params().expect("parameters");
        let mut all: Vec<_> = all.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        all.sort();
        let langs: Vec<_> = ctx.query_all("lang").collect();
        let (room, item, rest) = (param("roomId"), param("itemId"), ctx.wildcard());
        log.note(format!("{}: {room}, {item}, {rest:?}, {langs:?}, {:?}, {}", $what, ctx.query("v"), all.join(" ")));
    }};
}

/// The internal part of an error.
fn reason(error: &Error) -> String {
    assert_eq!((error.code(), error.message()), (500, "internal error"));
    std::error::Error::source(error).expect("a reason").to_string()
}

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    Ok(ctx.accept().user_id("ada"))
}

async fn join(ctx: JoinContext) -> Result<Joined> {
    Ok(ctx.accept())
}

struct Noting(Log);

impl Hooks for Noting {
    fn before_message(&self, ctx: &EventContext) -> Result<()> {
        note_route!(self.0, "hook", *ctx);
        Ok(())
    }
}

#[tokio::test]
async fn every_context_knows_the_parameters_the_query_and_the_wildcard_of_the_channel() {
    let log = Log::default();
    let pond = PondSocket::new().state(log.clone()).hooks(Noting(log.clone()));
    let endpoint = pond.create_endpoint(
        "/:tenant/*",
        async |ctx: ConnectionContext, State(connecting): State<Log>| -> Result<Connected> {
            connecting.note(format!(
                "connection: {} {:?} {:?}",
                ctx.param("tenant")?,
                ctx.wildcard(),
                ctx.query("token")
            ));
            connecting.note(reason(&ctx.param("roomId").expect_err("no such name")));
            Ok(ctx.accept().user_id("ada"))
        },
    );
    let lobby = endpoint.create_channel(
        "/chat/:roomId/*",
        async |ctx: JoinContext, State(joining): State<Log>| -> Result<Joined> {
            note_route!(joining, "join", ctx);
            Ok(ctx.accept())
        },
    );
    let (sent, outer) = (log.clone(), log.clone());
    lobby.layer(async |ctx: EventContext, State(around): State<Log>, next: Next<EventContext>| {
        note_route!(around, "layer", ctx);
        next.run(ctx).await
    });
    let handler = async |ctx: EventContext, State(own): State<Log>| {
        note_route!(own, "event", ctx);
        ctx.reply("sold/7", &json!({}))
    };
    lobby.on_event(
        "buy/:itemId",
        handler.layer(async |ctx: EventContext, State(before): State<Log>, next: Next<EventContext>| {
            note_route!(before, "own layer", ctx);
            next.run(ctx).await
        }),
    );
    lobby.on_outgoing(
        "sold/:itemId",
        (move |ctx: &OutgoingContext| {
            note_route!(sent, "outgoing", *ctx);
            Outgoing::Pass
        })
        .layer(move |ctx: &OutgoingContext, next: OutgoingNext| {
            note_route!(outer, "outgoing layer", *ctx);
            next.run(ctx)
        }),
    );
    lobby.on_leave(async |ctx: LeaveContext, State(leaving): State<Log>| note_route!(leaving, "leave", ctx));
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/acme/a%20b/c?token=t1").await;
    let connected = ["connection: acme Some(\"a b/c\") Some(\"t1\")", "no parameter `roomId`: there are `tenant`"];
    assert_eq!(log.take(), connected);

    let channel = "/chat/r%201/x/y?lang=en&lang=de&v=2";
    peer.join(channel, json!({})).await;
    let of_channel = |what| {
        let item = "! no parameter `itemId`: there are `roomId`";
        format!(r#"{what}: r 1, {item}, Some("x/y"), ["en", "de"], Some("2"), roomId=r 1"#)
    };
    assert_eq!(log.take(), [of_channel("join")]);

    peer.event(channel, "buy/7?v=3", json!({})).await;
    peer.until("sold/7").await;
    let of_both = |what| format!(r#"{what}: r 1, 7, Some("x/y"), ["en", "de"], Some("3"), itemId=7 roomId=r 1"#);
    let of_reply = |what| format!(r#"{what}: r 1, 7, Some("x/y"), ["en", "de"], Some("2"), itemId=7 roomId=r 1"#);
    let expected = [
        of_both("hook"),
        of_both("layer"),
        of_both("own layer"),
        of_both("event"),
        of_reply("outgoing layer"),
        of_reply("outgoing"),
    ];
    assert_eq!(log.take(), expected);

    peer.event(channel, "unhandled", json!({})).await;
    peer.until("NOT_FOUND").await;
    assert_eq!(log.take(), [of_channel("hook"), of_channel("layer")]);

    peer.leave(channel).await;
    let mut left = Vec::new();
    eventually("the leave handler has run", || {
        left.extend(log.take());
        !left.is_empty()
    })
    .await;
    assert_eq!(left, [of_channel("leave")]);
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Both {
    room_id: u32,
    item_id: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Room {
    room_id: u32,
}

#[derive(Deserialize)]
struct Misspelt {
    #[expect(dead_code, reason = "only parsed")]
    room: u32,
}

#[derive(Deserialize)]
struct LanguageQuery {
    page: u32,
    lang: Vec<String>,
}

#[tokio::test]
async fn extractors_take_the_parameters_and_queries_of_both_patterns() {
    let log = Log::default();
    let pond = PondSocket::new().state(log.clone());
    let lobby = pond.create_endpoint("/in", connect).create_channel("/chat/:roomId", join);
    let sold = log.clone();
    lobby.on_event(
        "buy/:itemId",
        async |ctx: EventContext, Params(both): Params<Both>, Query(q): Query<LanguageQuery>| {
            ctx.reply("sold/9", &json!({ "room": both.room_id, "item": both.item_id, "page": q.page, "lang": q.lang }))
        },
    );
    lobby.on_event("misspelt", async |_: EventContext, Params(_): Params<Misspelt>| {});
    lobby.on_outgoing("sold/:itemId", move |_: &OutgoingContext, Params(both): Params<Both>| {
        sold.note(format!("{} {}", both.room_id, both.item_id));
        Outgoing::Pass
    });
    lobby.on_leave(
        async |_: LeaveContext,
               Params(room): Params<Room>,
               Query(page): Query<LanguageQuery>,
               State(left): State<Log>| {
            left.note(format!("left {} {} {:?}", room.room_id, page.page, page.lang));
        },
    );
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/in").await;
    let channel = "/chat/42?page=1&lang=en&lang=de";
    peer.join(channel, json!({})).await;
    peer.event(channel, "buy/7?page=2", json!({})).await;
    let expected = json!({ "room": 42, "item": 7, "page": 2, "lang": ["en", "de"] });
    assert_eq!(peer.until("sold/9").await["payload"], expected);
    assert_eq!(log.take(), ["42 9"]);
    peer.event(channel, "buy/none?page=2", json!({})).await;
    let refused = peer.until("INTERNAL_ERROR").await;
    assert_eq!(refused["payload"]["code"], json!(400));
    assert_eq!(refused["payload"]["details"]["field"], json!("itemId"));
    // A wrong parameter name is an error of the application, not of the client.
    peer.event(channel, "misspelt", json!({})).await;
    assert_eq!(peer.until("INTERNAL_ERROR").await["payload"]["code"], json!(500));
    peer.leave(channel).await;
    let mut noted = Vec::new();
    eventually("the leave handler has run", || {
        noted.extend(log.take());
        !noted.is_empty()
    })
    .await;
    assert_eq!(noted, ["left 42 1 [\"en\", \"de\"]"]);
}

/// The panic message of a registration.
fn panic_of(register: impl FnOnce(&Lobby)) -> String {
    let pond = PondSocket::new();
    let lobby = pond.create_endpoint("/in", connect).create_channel("/chat/:roomId/by/:who", join);
    let panic = catch_unwind(AssertUnwindSafe(|| register(&lobby))).expect_err("a clash");
    panic.downcast_ref::<String>().expect("a text").clone()
}

#[test]
fn one_name_for_two_parameters_is_refused_at_registration() {
    let event = panic_of(|lobby| {
        lobby.on_event("kick/:who", async |_: EventContext| {});
    });
    let expected =
        "event pattern `kick/:who` and the channel pattern `/chat/:roomId/by/:who` both have a parameter `who`";
    assert!(event.contains(expected), "{event}");
    let outgoing = panic_of(|lobby| {
        lobby.on_outgoing(":roomId", |_: &OutgoingContext| Outgoing::Pass);
    });
    assert!(
        outgoing.contains("outgoing pattern `:roomId` and the channel pattern `/chat/:roomId/by/:who`"),
        "{outgoing}"
    );

    let pond = PondSocket::new();
    let lobby = pond.create_endpoint("/in", connect).create_channel("/chat/:roomId", join);
    let clash = lobby.try_on_event(":roomId", async |_: EventContext| {}).map(drop).expect_err("a clash");
    assert_eq!(clash.code(), 409);
    // The failed call has registered nothing.
    lobby.on_event("a/:who", async |_: EventContext| {}).on_event("b/:who", async |_: EventContext| {});
    lobby.on_outgoing("a/:who", |_: &OutgoingContext| Outgoing::Pass);
}
