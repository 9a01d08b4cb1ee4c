//! Joins and leaves: their decisions, messages and effects.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pondsocket::{
    Connected, ConnectionContext, Endpoint, Error, EventContext, JoinContext, Joined, Options, Payload, PondSocket,
    Query, Result,
};
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::{Peer, eventually, serve};

async fn anybody(ctx: ConnectionContext) -> Result<Connected> {
    Ok(ctx.accept().assign("level", &1))
}

async fn everybody(ctx: JoinContext) -> Result<Joined> {
    Ok(ctx.accept())
}

fn pond() -> (PondSocket, Endpoint) {
    let pond = PondSocket::new();
    let endpoint = pond.create_endpoint("/", anybody);
    (pond, endpoint)
}

#[derive(Deserialize)]
struct TagQuery {
    page: u32,
    tag: Vec<String>,
}

#[tokio::test]
async fn a_join_handler_sees_the_whole_request() {
    let (pond, endpoint) = pond();
    endpoint.create_channel(
        "/docs/:owner/*",
        async |ctx: JoinContext, Query(page): Query<TagQuery>, Payload(payload): Payload<Value>| {
            let seen = json!({
                "owner": ctx.param("owner")?, "rest": ctx.wildcard(), "page": page.page, "tags": page.tag,
                "payload": payload, "level": ctx.assign::<u32>("level")?, "name": ctx.channel().name(),
                "members": ctx.channel().member_count(), "param": ctx.params::<HashMap<String, String>>()?, "first": ctx.query("tag"),
                "every": ctx.query_all("tag").collect::<Vec<_>>(), "user": ctx.user_id() == ctx.connection_id(),
            });
            Ok(ctx.accept().reply("seen", &seen)) as Result<Joined>
        },
    );
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    let name = "/docs/ada%20l/a//b?page=7&tag=x&tag=y";
    peer.join(name, json!({ "k": [1] })).await;
    let expected = json!({
        "owner": "ada l", "rest": "a/b", "page": 7, "tags": ["x", "y"], "payload": { "k": [1] }, "level": 1,
        "name": name, "members": 0, "param": { "owner": "ada l" }, "first": "x", "every": ["x", "y"], "user": true,
    });
    assert_eq!(peer.next().await["payload"], expected);
}

#[tokio::test]
async fn every_failed_join_is_answered_with_a_decline() {
    let (pond, endpoint) = pond();
    endpoint.create_channel("/error", async |_: JoinContext| -> Result<Joined> {
        Err(Error::conflict("taken").with_details(&json!({ "by": "ada" })))
    });
    endpoint.create_channel("/later", async |_: JoinContext| -> Result<Joined> { Err(Error::unavailable("full")) });
    endpoint.create_channel("/inside", async |_: JoinContext| -> Result<Joined> { Err(Error::internal("secret")) });
    endpoint.create_channel("/panic", async |ctx: JoinContext| -> Result<Joined> {
        assert!(ctx.query("x").is_some(), "secret");
        Ok(ctx.accept())
    });
    endpoint.create_channel("/value", async |ctx: JoinContext| -> Result<Joined> {
        Ok(ctx.accept().track(&json!({})).reply("hello", &5))
    });
    endpoint.create_channel("/typed", async |ctx: JoinContext, Payload(_): Payload<TagQuery>| -> Result<Joined> {
        Ok(ctx.accept())
    });
    endpoint.create_channel("/assign", async |ctx: JoinContext| -> Result<Joined> {
        ctx.assign::<u32>("missing")?;
        Ok(ctx.accept())
    });
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    for (name, code, message) in [
        ("/error", 409, "taken"),
        ("/later", 503, "full"),
        ("/inside", 500, "internal error"),
        ("/panic", 500, "internal error"),
        ("/value", 500, "internal error"),
        ("/typed", 400, "invalid payload: page: missing field `page`"),
        ("/assign", 404, "no assign `missing`"),
        ("GATEWAY", 400, "the name is reserved"),
        ("ENDPOINT", 400, "the name is reserved"),
        ("CHANNEL", 400, "the name is reserved"),
        (&"x".repeat(600), 400, "the name is longer than 512 bytes"),
    ] {
        let payload = peer.join_declined(name, json!({})).await;
        let fields = [&payload["code"], &payload["status"], &payload["statusCode"], &payload["details"]["statusCode"]];
        assert_eq!(fields, [&json!(code); 4], "{name}");
        assert_eq!((&payload["message"], &payload["channelName"]), (&json!(message), &json!(name)));
        assert_eq!(payload["temporary"], code == 503, "{name}");
    }
    assert_eq!(peer.join_declined("/error", json!({})).await["details"]["by"], "ada");
    assert_eq!(peer.join_declined("/typed", json!({})).await["details"]["field"], "page");
}

#[tokio::test]
async fn a_join_that_takes_too_long_is_declined() {
    let pond = PondSocket::with_options(Options::default().handler_timeout(Duration::from_millis(50))).expect("valid");
    let endpoint = pond.create_endpoint("/", anybody);
    endpoint.create_channel("/slow", async |ctx: JoinContext| -> Result<Joined> {
        std::future::pending::<()>().await;
        Ok(ctx.accept())
    });
    endpoint.create_channel("/c", everybody);
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    let payload = peer.join_declined("/slow", json!({})).await;
    assert_eq!((&payload["code"], &payload["temporary"]), (&json!(504), &json!(true)));
    assert!(!lives(&mut peer, "/slow").await);
    peer.join("/c", json!({})).await;
}

#[tokio::test]
async fn the_length_of_names_is_an_option() {
    let pond = PondSocket::with_options(Options::default().max_channel_name(6)).expect("valid");
    let endpoint = pond.create_endpoint("/", anybody);
    endpoint.create_channel("/:name", everybody);
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    peer.join("/12345", json!({})).await;
    for name in ["/123456", "/1234é"] {
        let payload = peer.join_declined(name, json!({})).await;
        assert_eq!(payload["message"], "the name is longer than 6 bytes");
        assert_eq!(endpoint.channel(name).expect_err("too long").code(), 400);
    }
}

#[tokio::test]
async fn endpoints_share_no_channels() {
    let pond = PondSocket::new();
    let endpoints = ["/one", "/two"].map(|path| pond.create_endpoint(path, anybody));
    for endpoint in &endpoints {
        let lobby = endpoint.create_channel("/c", everybody);
        lobby.on_event("say", async |ctx: EventContext| ctx.broadcast("said", &()));
        lobby.on_event("echo", async |ctx: EventContext| ctx.reply("echo", &()));
    }
    let (_server, address) = serve(&pond).await;
    let mut one = Peer::connect(address, "/one").await;
    one.join("/c", json!({})).await;
    let mut two = Peer::connect(address, "/two").await;
    two.join("/c", json!({})).await;
    one.event("/c", "say", json!({})).await;
    assert_eq!(one.next().await["event"], "said");
    two.nothing_before_reply("/c", "echo").await;
    for endpoint in &endpoints {
        assert_eq!(endpoint.channel("/c").expect("a pattern").member_count(), 1);
        assert_eq!(endpoint.connections().len(), 1);
    }
}

#[tokio::test]
async fn a_handle_is_a_name_that_outlives_the_channel() {
    let (pond, endpoint) = pond();
    endpoint.create_channel("/c/:n", everybody);
    let (_server, address) = serve(&pond).await;
    let room = endpoint.channel("/c/1").expect("a pattern");
    assert_eq!((room.name(), room.member_count()), ("/c/1", 0));
    let mut watcher = Peer::connect(address, "/").await;
    let mut peer = Peer::connect(address, "/").await;
    for round in 0..2 {
        assert!(!lives(&mut watcher, "/c/1").await, "a handle keeps nothing alive");
        peer.join("/c/1", json!({})).await;
        assert_eq!(room.broadcast("news", &json!({ "round": round })).expect("room").local, 1);
        assert_eq!(peer.next().await["payload"]["round"], round);
        peer.leave("/c/1").await;
        assert_eq!(room.broadcast("news", &()).expect("sent").local, 0);
    }
}

#[tokio::test]
async fn a_channel_that_no_pattern_matches_is_declined_in_two_frames() {
    let (pond, endpoint) = pond();
    endpoint.create_channel("/c", everybody);
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    let id = peer.send("JOIN_CHANNEL", "JOIN_CHANNEL", "/nowhere", json!({})).await;
    for event in ["NOT_FOUND", "UNAUTHORIZED"] {
        let answer = peer.next().await;
        assert_eq!(
            (&answer["event"], &answer["requestId"], &answer["payload"]["code"]),
            (&json!(event), &json!(id), &json!(404))
        );
    }
    peer.join("/c", json!({})).await;
}

#[tokio::test]
async fn a_handler_may_pass_a_join_on() {
    let (pond, endpoint) = pond();
    endpoint.create_channel("/:name", async |ctx: JoinContext| -> Result<Joined> {
        if ctx.param("name")? == "open" { Ok(ctx.accept().reply("by", &json!({ "n": 1 }))) } else { ctx.pass() }
    });
    endpoint.create_channel("/club", async |ctx: JoinContext| -> Result<Joined> {
        Ok(ctx.accept().reply("by", &json!({ "n": 2 })))
    });
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    for (name, n) in [("/open", 1), ("/club", 2)] {
        peer.join(name, json!({})).await;
        assert_eq!(peer.next().await["payload"]["n"], n);
    }
    assert_eq!(peer.join_declined("/nobody", json!({})).await["code"], 404);
}

#[tokio::test]
async fn joining_again_is_acknowledged_and_changes_nothing() {
    let (pond, endpoint) = pond();
    let joins = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&joins);
    let lobby = endpoint.create_channel("/c", move |ctx: JoinContext| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move { Ok(ctx.accept().track(&json!({ "n": 1 }))) as Result<Joined> }
    });
    lobby.on_event("echo", async |ctx: EventContext| ctx.reply("echo", &()));
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    peer.join("/c", json!({})).await;
    assert_eq!(peer.next().await["event"], "JOIN");
    peer.join("/c", json!({})).await;
    peer.nothing_before_reply("/c", "echo").await;
    assert_eq!(joins.load(Ordering::SeqCst), 1);
    assert_eq!(endpoint.channel("/c").expect("a pattern").member_count(), 1);
}

#[tokio::test]
async fn leaving_is_always_acknowledged() {
    let (pond, endpoint) = pond();
    endpoint.create_channel("/c/:n", everybody);
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    let mut other = Peer::connect(address, "/").await;
    other.join("/c/2", json!({})).await;
    peer.join("/c/1", json!({})).await;
    for name in ["/c/1", "/c/1", "/c/2", "/nowhere"] {
        peer.leave(name).await;
    }
    assert_eq!(endpoint.channel("/c/2").expect("a pattern").member_count(), 1, "the other is still in");
}

#[tokio::test]
async fn a_message_without_a_membership_is_answered_at_once() {
    let (pond, endpoint) = pond();
    endpoint.create_channel("/c/:n", everybody);
    let (_server, address) = serve(&pond).await;
    let mut member = Peer::connect(address, "/").await;
    member.join("/c/1", json!({})).await;
    let mut peer = Peer::connect(address, "/").await;
    for (name, event, code) in
        [("/c/1", "INTERNAL_ERROR", 403), ("/c/2", "NOT_FOUND", 404), ("/nowhere", "NOT_FOUND", 404)]
    {
        let id = peer.event(name, "message", json!({})).await;
        let answer = peer.next().await;
        assert_eq!(
            (&answer["event"], &answer["requestId"], &answer["channelName"]),
            (&json!(event), &json!(id), &json!(name))
        );
        assert_eq!(answer["payload"]["code"], code);
    }
}

/// Returns whether a channel exists: a message without a membership is answered with 403 if it does, else with 404.
async fn lives(peer: &mut Peer, name: &str) -> bool {
    peer.event(name, "message", json!({})).await;
    peer.next().await["payload"]["code"] == 403
}

#[tokio::test]
async fn an_empty_channel_disappears_also_after_a_declined_first_join() {
    let (pond, endpoint) = pond();
    endpoint.create_channel("/c/:who", async |ctx: JoinContext| -> Result<Joined> {
        if ctx.param("who")? == "nobody" { Err(Error::forbidden("no")) } else { Ok(ctx.accept()) }
    });
    let (_server, address) = serve(&pond).await;
    let mut watcher = Peer::connect(address, "/").await;
    let mut peer = Peer::connect(address, "/").await;
    peer.join_declined("/c/nobody", json!({})).await;
    assert!(!lives(&mut watcher, "/c/nobody").await);

    peer.join("/c/left", json!({})).await;
    assert!(lives(&mut watcher, "/c/left").await);
    peer.leave("/c/left").await;
    peer.join("/c/dropped", json!({})).await;
    drop(peer);
    let dropped = endpoint.channel("/c/dropped").expect("a pattern");
    eventually("the connection has gone", || dropped.member_count() == 0).await;
    for name in ["/c/left", "/c/dropped"] {
        assert!(!lives(&mut watcher, name).await, "{name}");
    }
}

#[tokio::test]
async fn names_are_kept_exactly() {
    let (pond, endpoint) = pond();
    endpoint
        .create_channel("/chat/:n", everybody)
        .on_event("say", async |ctx: EventContext| ctx.broadcast("said", &json!({ "n": ctx.param("n")? })))
        .on_event("echo", async |ctx: EventContext| ctx.reply("echo", &()));
    let (_server, address) = serve(&pond).await;
    let names = ["/chat/1", "chat/1", "/chat/1/", "/chat/1?x=1", "/chat/%31"];
    let mut peers = Vec::new();
    for name in names {
        let mut peer = Peer::connect(address, "/").await;
        peer.join(name, json!({})).await;
        peers.push(peer);
    }
    peers[0].event(names[0], "say", json!({})).await;
    assert_eq!(peers[0].next().await["channelName"], names[0]);
    for (peer, name) in peers.iter_mut().zip(names).skip(1) {
        peer.nothing_before_reply(name, "echo").await;
    }
}

#[tokio::test]
async fn handlers_may_be_registered_while_a_channel_has_members() {
    let (pond, endpoint) = pond();
    let lobby = endpoint.create_channel("/c", everybody);
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    peer.join("/c", json!({})).await;
    peer.event("/c", "late", json!({})).await;
    let answer = peer.next().await;
    assert_eq!((&answer["event"], &answer["payload"]["details"]), (&json!("NOT_FOUND"), &json!({ "event": "late" })));
    lobby.on_event("late", async |ctx: EventContext| ctx.reply("late", &()));
    peer.nothing_before_reply("/c", "late").await;
    endpoint.create_channel("/new", everybody);
    peer.join("/new", json!({})).await;
}
