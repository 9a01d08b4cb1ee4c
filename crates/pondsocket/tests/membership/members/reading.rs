//! Reading members, and presence that is set for others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use pondsocket::{Assigns, EventContext, Params, Payload, Presence, Query, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::{Peer, serve};

use super::{Profile, change, pond};

#[tokio::test]
async fn presence_and_assigns_of_members_can_be_read_and_are_typed() {
    let (pond, _, lobby) = pond();
    lobby
        .on_event("presence", async |ctx: EventContext| {
            let moods = ctx.all_presence::<Profile>()?.into_iter().map(|(user, shown)| (user, shown.mood));
            ctx.reply("presence", &moods.collect::<HashMap<_, _>>())
        })
        .on_event("assigns", async |ctx: EventContext| {
            ctx.reply("assigns", &ctx.all_assigns::<HashMap<String, Value>>()?)
        })
        .on_event("ill", async |ctx: EventContext, Payload(what): Payload<String>| -> Result<()> {
            match what.as_str() {
                "presence" => ctx.all_presence::<u32>().map(drop),
                "assigns" => ctx.all_assigns::<u32>().map(drop),
                "mine" => ctx.presence::<u32>().map(drop),
                _ => ctx.assign::<String>("level").map(drop),
            }
        });
    let (_server, address) = serve(&pond).await;
    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join("/c/1", json!({ "mood": "calm" })).await;
    ada.until("JOIN").await;
    let mut eve = Peer::connect(address, "/?user=eve").await;
    eve.join("/c/1", json!({})).await;
    for (event, expected) in [
        ("presence", json!({ "ada": "calm" })),
        ("assigns", json!({ "ada": { "level": 1, "joined": true }, "eve": { "level": 1, "joined": true } })),
    ] {
        eve.event("/c/1", event, json!({})).await;
        assert_eq!(eve.next().await["payload"], expected);
    }
    for what in ["presence", "assigns", "mine", "one"] {
        ada.event("/c/1", "ill", json!(what)).await;
        let answer = ada.next().await;
        assert_eq!(
            (&answer["payload"]["code"], &answer["payload"]["message"]),
            (&json!(500), &json!("internal error")),
            "{what}: what is ill-typed was stored by the server itself"
        );
    }
}

#[tokio::test]
async fn an_extractor_that_fails_answers_and_the_handler_is_not_called() {
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only extracted")]
    struct Move {
        to: (u8, u8),
    }

    let (pond, _, lobby) = pond();
    let called = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&called);
    lobby
        .on_event("payload", move |_: EventContext, Payload(_): Payload<Move>| {
            log.lock().expect("no panic").push("payload");
            async {}
        })
        .on_event("params/:m", async |_: EventContext, Params(_): Params<HashMap<String, u8>>| {})
        .on_event("query", async |_: EventContext, Query(_): Query<HashMap<String, u8>>| {})
        .on_event("presence", async |_: EventContext, Presence(_): Presence<Profile>| {})
        .on_event("assigns", async |_: EventContext, Assigns(_): Assigns<Profile>| {});
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    peer.join("/c/1", json!({})).await;
    for (event, payload, code, details) in [
        ("payload", json!({}), 400, json!({ "field": "to" })),
        ("payload", json!({ "to": [1, 300] }), 400, json!({ "field": "to[1]" })),
        ("payload", json!(5), 400, Value::Null),
        ("params/300", json!({}), 400, json!({ "field": "m" })),
        ("query?n=x", json!({}), 400, json!({ "field": "n" })),
        ("presence", json!({}), 404, Value::Null),
        ("assigns", json!({}), 500, Value::Null),
    ] {
        let id = peer.event("/c/1", event, payload.clone()).await;
        let answer = peer.next().await;
        assert_eq!((&answer["event"], &answer["requestId"]), (&json!("INTERNAL_ERROR"), &json!(id)));
        assert_eq!(
            (&answer["payload"]["code"], &answer["payload"]["details"]),
            (&json!(code), &details),
            "{event} {payload}"
        );
    }
    assert!(called.lock().expect("no panic").is_empty());
    peer.event("/c/1", "payload", json!({ "to": [1, 2] })).await;
    peer.nothing_before_reply("/c/1", "echo").await;
    assert_eq!(*called.lock().expect("no panic"), ["payload"]);
}

#[tokio::test]
async fn presence_of_others_can_be_set_by_a_handler() {
    fn shown(mood: &str) -> Value {
        json!({ "who": "group", "mood": mood })
    }

    let (pond, _, lobby) = pond();
    lobby
        .on_event("track", async |ctx: EventContext, Payload(users): Payload<Vec<String>>| {
            ctx.track_for(users, &shown("new"))
        })
        .on_event("update", async |ctx: EventContext, Payload(users): Payload<Vec<String>>| {
            ctx.update_presence_for(users, &shown("old")).await
        })
        .on_event("untrack", async |ctx: EventContext, Payload(users): Payload<Vec<String>>| ctx.untrack_for(users))
        .on_event("list", async |ctx: EventContext| ctx.reply("list", &ctx.all_presence::<Value>()?));
    let (_server, address) = serve(&pond).await;
    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join("/c/1", json!({ "mood": "calm" })).await;
    ada.until("JOIN").await;
    for user in ["bob", "eve"] {
        // The members stay as long as these connections are kept.
        let mut peer = Peer::connect(address, &format!("/?user={user}")).await;
        peer.join("/c/1", json!({})).await;
        tokio::spawn(async move { peer.closed().await });
    }
    for (event, users, heard, code) in [
        ("track", ["bob", "eve"], vec![("JOIN", "bob", "new"), ("JOIN", "eve", "new")], None),
        ("track", ["bob", "eve"], vec![], Some(409)),
        ("update", ["eve", "ada"], vec![("UPDATE", "eve", "old"), ("UPDATE", "ada", "old")], None),
        ("update", ["eve", "ada"], vec![], None),
        ("update", ["bob", "nobody"], vec![("UPDATE", "bob", "old")], Some(404)),
        ("untrack", ["bob", "eve"], vec![("LEAVE", "bob", "old"), ("LEAVE", "eve", "old")], None),
        ("untrack", ["bob", "eve"], vec![], None),
    ] {
        ada.event("/c/1", event, json!(users)).await;
        for expected in heard {
            assert_eq!(change(&ada.next().await), expected);
        }
        if let Some(code) = code {
            assert_eq!(ada.next().await["payload"]["code"], code, "{event}");
        }
        ada.nothing_before_reply("/c/1", "echo").await;
    }
    ada.event("/c/1", "list", json!({})).await;
    assert_eq!(ada.next().await["payload"], json!({ "ada": { "who": "group", "mood": "old" } }));
}
