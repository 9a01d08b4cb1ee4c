//! Replies, and the connections of one user.

use std::collections::HashMap;

use pondsocket::{
    Assigns, Connected, ConnectionContext, Error, EventContext, JoinContext, Joined, LeaveContext, Params, Payload,
    PondSocket, Result, State,
};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use testkit::{Peer, serve};

use super::{Profile, change, moods, pond};

/// A payload whose serialisation sends a reply.
struct Replying<'a>(&'a EventContext);

impl Serialize for Replying<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.0.reply("inner", &json!({ "n": 1 })).map_err(S::Error::custom)?;
        json!({ "n": 2 }).serialize(serializer)
    }
}

#[tokio::test]
async fn a_reply_that_comes_second_because_its_payload_has_replied_is_refused() {
    let (pond, _, lobby) = pond();
    lobby.on_event("nested", async |ctx: EventContext| ctx.reply("outer", &Replying(&ctx)));
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    peer.join("/c/1", json!({})).await;
    peer.event("/c/1", "nested", json!({})).await;
    let reply = peer.next().await;
    assert_eq!((&reply["event"], &reply["payload"]), (&json!("inner"), &json!({ "n": 1 })));
    let refused = peer.next().await;
    assert_eq!((&refused["event"], &refused["payload"]["code"]), (&json!("INTERNAL_ERROR"), &json!(409)));
}

#[tokio::test]
async fn replies_correlate_and_a_message_has_one() {
    let (pond, _, lobby) = pond();
    lobby
        .on_event("twice", async |ctx: EventContext| -> Result<()> {
            ctx.reply("twice", &json!({ "n": 1 }))?;
            ctx.broadcast("other", &())?;
            ctx.reply("twice", &json!({ "n": 2 }))
        })
        .on_event(
            "params/:id",
            async |ctx: EventContext, Params(params): Params<HashMap<String, u32>>, State(seven): State<u32>| {
                ctx.reply("params", &json!({ "id": params["id"], "seven": seven, "event": ctx.event() }))
            },
        )
        .on_event("*", async |ctx: EventContext| -> Result<()> {
            match ctx.wildcard() {
                Some("known") => ctx.reply("known", &()),
                _ => ctx.pass(),
            }
        });
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    peer.join("/c/1", json!({})).await;
    let id = peer.event("/c/1", "twice", json!({})).await;
    let reply = peer.next().await;
    assert_eq!(
        (&reply["action"], &reply["requestId"], &reply["payload"]),
        (&json!("SYSTEM"), &json!(id), &json!({ "n": 1 }))
    );
    let broadcast = peer.next().await;
    assert_eq!(broadcast["event"], "other");
    assert_ne!(broadcast["requestId"], json!(id), "a broadcast is no answer");
    let second = peer.next().await;
    assert_eq!((&second["event"], &second["payload"]["code"]), (&json!("INTERNAL_ERROR"), &json!(409)));

    peer.event("/c/1", "params/42?x=1", json!({})).await;
    assert_eq!(peer.next().await["payload"], json!({ "id": 42, "seven": 7, "event": "params/42?x=1" }));
    peer.event("/c/1", "params/x", json!({})).await;
    let refused = peer.next().await;
    assert_eq!((&refused["payload"]["code"], &refused["payload"]["details"]), (&json!(400), &json!({ "field": "id" })));
    peer.nothing_before_reply("/c/1", "known").await;
    peer.event("/c/1", "unknown", json!({})).await;
    assert_eq!(peer.next().await["event"], "NOT_FOUND");
}

#[tokio::test]
async fn each_connection_of_a_user_joins_for_itself() {
    let pond = PondSocket::new();
    let endpoint = pond.create_endpoint("/", async |ctx: ConnectionContext| -> Result<Connected> {
        let tab = ctx.query("tab").unwrap_or_default().to_owned();
        Ok(ctx.accept().user_id("ada").assign("tab", &tab))
    });
    let lobby =
        endpoint.create_channel("/c", async |ctx: JoinContext, Payload(payload): Payload<Value>| -> Result<Joined> {
            let mood = ctx.user().presence::<Profile>().ok().map(|shown| shown.mood);
            if payload["refuse"] == true {
                return Err(Error::forbidden(mood.unwrap_or_default()));
            }
            let tab: String = ctx.assign("tab")?;
            let joined = ctx.accept().assign(&format!("from {tab}"), &true);
            Ok(match payload["mood"].as_str() {
                Some(mood) => joined.track(&Profile { who: "ada".into(), mood: mood.into() }),
                None => joined,
            })
        });
    lobby
        .on_event("echo", async |ctx: EventContext| ctx.reply("echo", &()))
        .on_event("set", async |ctx: EventContext| ctx.set_assign("set", &1))
        .on_event("fail", async |_: EventContext| -> Result<()> { Err(Error::conflict("no")) })
        .on_event("all", async |ctx: EventContext| ctx.reply("all", &ctx.assigns::<Value>()?));
    let (_server, address) = serve(&pond).await;
    let room = endpoint.channel("/c").expect("a pattern");
    let mut one = Peer::connect(address, "/?tab=one").await;
    one.join("/c", json!({ "mood": "calm" })).await;
    one.until("JOIN").await;

    // A declined second connection does not affect the first one.
    let mut two = Peer::connect(address, "/?tab=two").await;
    assert_eq!(two.join_declined("/c", json!({ "refuse": true })).await["message"], "calm");
    two.event("/c", "echo", json!({})).await;
    assert_eq!(two.next().await["payload"]["code"], 403);
    one.nothing_before_reply("/c", "echo").await;

    // A further connection without presence gets the list of its tracked user, and overwrites assigns key by key.
    two.join("/c", json!({})).await;
    let list = two.next().await;
    assert_eq!((change(&list), moods(&list)), (("JOIN", "ada", "calm"), vec!["calm".to_owned()]));
    one.event("/c", "set", json!({})).await;
    one.nothing_before_reply("/c", "echo").await;
    two.event("/c", "all", json!({})).await;
    let expected = json!({ "tab": "two", "from one": true, "from two": true, "set": 1 });
    assert_eq!(two.next().await["payload"], expected);

    // Replies and errors reach only the requesting connection.
    one.event("/c", "fail", json!({})).await;
    assert_eq!(one.next().await["payload"]["code"], 409);
    two.nothing_before_reply("/c", "echo").await;
    assert_eq!(room.member_count(), 1);
    assert_eq!(room.broadcast("news", &()).expect("room").local, 1, "a member counts once");
    for peer in [&mut one, &mut two] {
        assert_eq!(peer.next().await["event"], "news");
    }

    // Evicting or removing a user applies to all its connections.
    room.evict("ada", "spam").await.expect("a member");
    for peer in [&mut one, &mut two] {
        assert_eq!(peer.next().await["event"], "evicted");
        assert_eq!(peer.next().await["event"], "EVICTED");
        peer.event("/c", "echo", json!({})).await;
        assert_eq!(peer.next().await["payload"]["code"], 404, "no member is left");
    }
    for peer in [&mut one, &mut two] {
        peer.join("/c", json!({})).await;
    }
    room.remove("ada", "gone").await.expect("a member");
    for peer in [&mut one, &mut two] {
        peer.event("/c", "echo", json!({})).await;
        assert_eq!(peer.next().await["payload"]["code"], 404, "nothing came before that");
    }
}

#[tokio::test]
async fn the_leave_handler_sees_the_last_state_of_the_member_and_the_remaining_members() {
    let (pond, endpoint, lobby) = pond();
    lobby.on_leave(async |ctx: LeaveContext, Assigns(assigns): Assigns<HashMap<String, Value>>| -> Result<()> {
        let shown: HashMap<String, Profile> = ctx.all_presence()?;
        let seen = json!({
            "user": ctx.user().id(), "reason": ctx.reason().to_string(), "mood": ctx.presence::<Profile>()?.mood,
            "level": ctx.assign::<u32>("level")?, "assigns": assigns.len(), "remaining": ctx.remaining(),
            "shown": shown.into_keys().collect::<Vec<_>>(), "missing": ctx.assign::<u32>("x").is_err(),
        });
        ctx.channel().broadcast("left", &seen)?;
        Ok(())
    });
    lobby.on_event("evict me", async |ctx: EventContext| ctx.evict(ctx.user_id(), "asked for it").await);
    let (_server, address) = serve(&pond).await;
    let room = endpoint.channel("/c/1").expect("a pattern");
    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join("/c/1", json!({ "mood": "calm" })).await;
    for (how, reason) in [
        ("leave", "explicit_leave"),
        ("evict", "evicted:asked for it"),
        ("remove", "out of time"),
        ("disconnect", "connection_closed"),
        ("close", "connection_closed"),
        ("drop", "connection_closed"),
    ] {
        let mut bob = Peer::connect(address, "/?user=bob").await;
        bob.join("/c/1", json!({ "mood": how })).await;
        match how {
            "leave" => bob.leave("/c/1").await,
            "evict" => drop(bob.event("/c/1", "evict me", json!({})).await),
            "remove" => room.remove("bob", reason).await.expect("a member"),
            "disconnect" => endpoint.disconnect(&bob.id).expect("it is there"),
            "close" => bob.socket.close(None).await.expect("open"),
            _ => drop(bob),
        }
        let expected = json!({
            "user": "bob", "reason": reason, "mood": how, "level": 1, "assigns": 2, "remaining": 1, "shown": ["ada"],
            "missing": true,
        });
        assert_eq!(ada.until("left").await["payload"], expected, "{how}");
    }
}

#[tokio::test]
async fn closing_a_channel_closes_the_connections_of_its_members() {
    let (pond, endpoint, lobby) = pond();
    let (sender, mut left) = tokio::sync::mpsc::unbounded_channel();
    lobby.on_leave(move |ctx: LeaveContext| {
        sender.send((ctx.channel().name().to_owned(), ctx.reason().to_string())).expect("the test listens");
        async {}
    });
    let (_server, address) = serve(&pond).await;
    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join("/c/1", json!({})).await;
    ada.join("/c/2", json!({})).await;
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/2", json!({})).await;
    endpoint.channel("/c/3").expect("a pattern").close();
    endpoint.channel("/c/1").expect("a pattern").close();
    assert_eq!(ada.closed().await.map(|frame| u16::from(frame.code)), Some(1000));
    let mut both = [left.recv().await, left.recv().await].map(|left| left.expect("the handler ran"));
    both.sort();
    let closed = |name: &str| (name.to_owned(), "connection_closed".to_owned());
    assert_eq!(both, [closed("/c/1"), closed("/c/2")]);
    bob.nothing_before_reply("/c/2", "echo").await;
}
