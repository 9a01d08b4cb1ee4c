//! Users in a channel: their connections, assigns and presence, what they are sent, and how they go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use pondsocket::{
    Assigns, Connected, ConnectionContext, Endpoint, Error, EventContext, JoinContext, Joined, LeaveContext, Lobby,
    Params, Payload, PondSocket, Presence, Query, Remote, Result, State,
};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use testkit::{Peer, eventually, serve};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
struct Shown {
    who: String,
    mood: String,
}

/// Users are who they say they are in the query.
async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let user = ctx.query("user").unwrap_or("ada").to_owned();
    Ok(ctx.accept().user_id(&user).assign("level", &1))
}

/// A join may bring a mood, which is then shown.
async fn join(ctx: JoinContext, Payload(payload): Payload<HashMap<String, String>>) -> Result<Joined> {
    let who = ctx.user_id().to_owned();
    let joined = ctx.accept().assign("joined", &true);
    Ok(match payload.get("mood") {
        Some(mood) => joined.track(&Shown { who, mood: mood.clone() }),
        None => joined,
    })
}

fn pond() -> (PondSocket, Endpoint, Lobby) {
    let pond = PondSocket::new().state(7_u32);
    let endpoint = pond.create_endpoint("/", connect);
    let lobby = endpoint.create_channel("/c/:n", join);
    lobby.on_event("echo", async |ctx: EventContext| ctx.reply("echo", &()));
    (pond, endpoint, lobby)
}

/// The members' moods in a presence message, sorted.
fn moods(message: &Value) -> Vec<String> {
    let list = message["payload"]["presence"].as_array().expect("a list");
    let mut moods: Vec<_> = list.iter().map(|entry| entry["mood"].as_str().expect("a mood").to_owned()).collect();
    moods.sort();
    moods
}

fn change(message: &Value) -> (&str, &str, &str) {
    let text = |value: &'static str| message["payload"][value].as_str().expect("text");
    (
        message["event"].as_str().expect("an event"),
        text("userId"),
        message["payload"]["changed"]["mood"].as_str().expect("a mood"),
    )
}

#[tokio::test]
async fn presence_goes_to_the_tracked_with_the_whole_list() {
    let (pond, _, lobby) = pond();
    lobby
        .on_event("mood", async |ctx: EventContext, Payload(mood): Payload<String>| {
            let who = ctx.user_id().to_owned();
            ctx.update_presence(&Shown { who, mood })
        })
        .on_event("hide", async |ctx: EventContext| ctx.untrack())
        .on_event("mine", async |ctx: EventContext, Presence(mine): Presence<Shown>| ctx.reply("mine", &mine));
    let (_server, address) = serve(&pond).await;
    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join("/c/1", json!({ "mood": "calm" })).await;
    let own = ada.next().await;
    assert_eq!((change(&own), moods(&own)), (("JOIN", "ada", "calm"), vec!["calm".to_owned()]));

    let mut untracked = Peer::connect(address, "/?user=eve").await;
    untracked.join("/c/1", json!({})).await;
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({ "mood": "glad" })).await;
    for peer in [&mut ada, &mut bob] {
        let joined = peer.next().await;
        assert_eq!(
            (change(&joined), moods(&joined)),
            (("JOIN", "bob", "glad"), vec!["calm".to_owned(), "glad".to_owned()])
        );
    }

    bob.event("/c/1", "mood", json!("sad")).await;
    for peer in [&mut ada, &mut bob] {
        let updated = peer.next().await;
        assert_eq!(
            (change(&updated), moods(&updated)),
            (("UPDATE", "bob", "sad"), vec!["calm".to_owned(), "sad".to_owned()])
        );
    }
    bob.event("/c/1", "mine", json!({})).await;
    assert_eq!(bob.next().await["payload"], json!({ "who": "bob", "mood": "sad" }));

    bob.event("/c/1", "hide", json!({})).await;
    let left = ada.next().await;
    assert_eq!((change(&left), moods(&left)), (("LEAVE", "bob", "sad"), vec!["calm".to_owned()]));
    bob.event("/c/1", "mine", json!({})).await;
    assert_eq!(bob.next().await["payload"]["code"], 404, "nothing else came, and it is tracked no more");
    bob.event("/c/1", "mood", json!("back")).await;
    assert_eq!(change(&ada.next().await), ("JOIN", "bob", "back"), "an update shows who was not tracked");

    drop(bob);
    let gone = ada.next().await;
    assert_eq!((change(&gone), moods(&gone)), (("LEAVE", "bob", "back"), vec!["calm".to_owned()]));
    untracked.nothing_before_reply("/c/1", "echo").await;
}

#[tokio::test]
async fn a_user_with_several_connections_is_one_member() {
    let (pond, endpoint, lobby) = pond();
    lobby
        .on_event("others", async |ctx: EventContext| ctx.broadcast_from("others", &()))
        .on_event("to", async |ctx: EventContext, Payload(users): Payload<Vec<String>>| {
            ctx.broadcast_to(users, "to", &())
        });
    let left = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&left);
    lobby.on_leave(move |ctx: LeaveContext| {
        log.lock().expect("no panic").push((ctx.user_id().to_owned(), ctx.reason().to_string(), ctx.remaining()));
        async {}
    });
    let (_server, address) = serve(&pond).await;
    let room = endpoint.channel("/c/1").expect("a pattern");
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({ "mood": "glad" })).await;
    bob.until("JOIN").await;
    let mut one = Peer::connect(address, "/?user=ada").await;
    one.join("/c/1", json!({ "mood": "calm" })).await;
    one.until("JOIN").await;
    assert_eq!(change(&bob.next().await), ("JOIN", "ada", "calm"));

    // The same mood from another window: nothing for the others, the list for itself.
    let mut two = Peer::connect(address, "/?user=ada").await;
    two.join("/c/1", json!({ "mood": "calm" })).await;
    let list = two.next().await;
    assert_eq!((change(&list), moods(&list)), (("JOIN", "ada", "calm"), vec!["calm".to_owned(), "glad".to_owned()]));
    // Another mood: an update for the others, the list for itself.
    let mut three = Peer::connect(address, "/?user=ada").await;
    three.join("/c/1", json!({ "mood": "wild" })).await;
    assert_eq!(change(&three.next().await), ("JOIN", "ada", "wild"));
    for peer in [&mut bob, &mut one, &mut two] {
        assert_eq!(change(&peer.next().await), ("UPDATE", "ada", "wild"));
    }
    assert_eq!(room.member_count(), 2);

    // All but the sending connection.
    one.event("/c/1", "others", json!({})).await;
    for peer in [&mut bob, &mut two, &mut three] {
        assert_eq!(peer.next().await["event"], "others");
    }
    one.nothing_before_reply("/c/1", "echo").await;
    // A user is all of its connections, and unknown ids are nobody.
    bob.event("/c/1", "to", json!(["ada", "nobody", "ada"])).await;
    for peer in [&mut one, &mut two, &mut three] {
        assert_eq!(peer.next().await["event"], "to");
    }
    assert_eq!(room.broadcast_from("ada", "b", &()).expect("room").local, 1);
    assert_eq!(bob.next().await["event"], "b");

    // Only the last one to go is a leave.
    two.leave("/c/1").await;
    drop(one);
    bob.nothing_before_reply("/c/1", "echo").await;
    drop(three);
    assert_eq!(change(&bob.next().await), ("LEAVE", "ada", "wild"));
    eventually("the leave handler", || !left.lock().expect("no panic").is_empty()).await;
    assert_eq!(*left.lock().expect("no panic"), [("ada".to_owned(), "connection_closed".to_owned(), 1)]);
}

#[tokio::test]
async fn the_evicted_user_is_told_and_then_hears_nothing_more() {
    let (pond, endpoint, lobby) = pond();
    let (sender, mut reasons) = tokio::sync::mpsc::unbounded_channel();
    lobby.on_leave(move |ctx: LeaveContext| {
        let left = (ctx.reason().to_string(), ctx.presence::<Shown>().map(|shown| shown.mood).ok());
        sender.send(left).expect("the test listens");
        async {}
    });
    lobby.on_event("evict", async |ctx: EventContext, Payload(user): Payload<String>| ctx.evict(&user, "spam").await);
    let (_server, address) = serve(&pond).await;
    let room = endpoint.channel("/c/1").expect("a pattern");
    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join("/c/1", json!({ "mood": "calm" })).await;
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({ "mood": "glad" })).await;
    bob.until("JOIN").await;
    ada.until("JOIN").await;
    ada.until("JOIN").await;

    ada.event("/c/1", "evict", json!("bob")).await;
    for event in ["evicted", "EVICTED"] {
        let told = bob.next().await;
        assert_eq!(
            (&told["action"], &told["event"], &told["payload"]),
            (&json!("SYSTEM"), &json!(event), &json!({ "reason": "spam", "userId": "bob" }))
        );
    }
    let others = ada.next().await;
    assert_eq!((&others["event"], &others["payload"]["userId"]), (&json!("user_evicted"), &json!("bob")));
    assert_eq!(change(&ada.next().await), ("LEAVE", "bob", "glad"));
    assert_eq!(reasons.recv().await, Some(("evicted:spam".into(), Some("glad".into()))));
    room.broadcast("news", &()).expect("room");
    let id = bob.event("/c/1", "echo", json!({})).await;
    let refused = bob.next().await;
    assert_eq!((&refused["requestId"], &refused["payload"]["code"]), (&json!(id), &json!(403)));
    bob.join("/c/1", json!({})).await;

    ada.event("/c/1", "evict", json!("nobody")).await;
    ada.until("news").await;
    assert_eq!(ada.until("INTERNAL_ERROR").await["payload"]["code"], 404);

    room.remove("bob", "out of time").await.expect("a member");
    assert_eq!(reasons.recv().await, Some(("out of time".into(), None)));
    bob.event("/c/1", "echo", json!({})).await;
    assert_eq!(bob.next().await["payload"]["code"], 403);
    ada.leave("/c/1").await;
    assert_eq!(reasons.recv().await, Some(("explicit_leave".into(), Some("calm".into()))));
}

#[tokio::test]
async fn assigns_belong_to_the_connection_or_to_the_membership() {
    let (pond, endpoint, lobby) = pond();
    lobby
        .on_event("set", async |ctx: EventContext, Payload((key, value)): Payload<(String, Value)>| {
            ctx.set_assign(&key, &value)
        })
        .on_event("all", async |ctx: EventContext, Assigns(mine): Assigns<HashMap<String, Value>>| {
            ctx.reply("all", &mine)
        });
    endpoint.create_channel("/set", async |ctx: JoinContext| -> Result<Joined> {
        ctx.set_assign("level", &2)?;
        Ok(ctx.accept())
    });
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/?user=ada").await;
    peer.join("/c/1", json!({})).await;
    peer.event("/c/1", "set", json!(["role", { "admin": true }])).await;
    peer.event("/c/1", "all", json!({})).await;
    assert_eq!(peer.next().await["payload"], json!({ "level": 1, "joined": true, "role": { "admin": true } }));

    // A join that sets one of the connection's, and one from outside, are seen by later joins.
    peer.join("/set", json!({})).await;
    let connection = endpoint.connection(&peer.id).expect("it is there");
    connection.set_assign("plan", &"gold").expect("JSON");
    peer.join("/c/2", json!({})).await;
    peer.event("/c/2", "all", json!({})).await;
    assert_eq!(peer.next().await["payload"], json!({ "level": 2, "plan": "gold", "joined": true }));

    let room = endpoint.channel("/c/1").expect("a pattern");
    room.update_assigns("ada", "level", &9).await.expect("a member");
    assert_eq!(room.update_assigns("eve", "level", &9).await.expect_err("no member").code(), 404);
    let all: HashMap<String, HashMap<String, Value>> = room.assigns().expect("JSON");
    assert_eq!(all["ada"]["level"], 9);
    assert_eq!(room.user("ada").await.expect("a member").assign::<u32>("level").expect("a number"), 9);
    assert_eq!(connection.user().assign::<u32>("level").expect("a number"), 2);
}

#[tokio::test]
async fn a_channel_can_be_acted_on_from_outside() {
    let (pond, endpoint, _) = pond();
    let (_server, address) = serve(&pond).await;
    let room = endpoint.channel("/c/1").expect("a pattern");
    assert_eq!(room.broadcast("news", &()).expect("nobody").local, 0);
    assert_eq!(room.track("ada", &json!({})).expect_err("no member").code(), 404);

    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join("/c/1", json!({})).await;
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({})).await;
    let delivery = room.broadcast("all", &json!({ "n": 1 })).expect("room");
    assert_eq!((delivery.local, delivery.remote), (2, Remote::None));
    assert_eq!(room.broadcast_to(["bob", "eve"], "some", &()).expect("room").local, 1);
    assert_eq!(room.broadcast_from("bob", "rest", &()).expect("room").local, 1);
    let first = ada.next().await;
    assert_eq!(
        (&first["action"], &first["event"], &first["payload"]),
        (&json!("BROADCAST"), &json!("all"), &json!({ "n": 1 }))
    );
    assert_eq!(first["requestId"].as_str().map(str::len), Some(36));
    assert_eq!(ada.next().await["event"], "rest");
    assert_eq!(bob.next().await["event"], "all");
    assert_eq!(bob.next().await["event"], "some");
    assert_eq!(room.broadcast("bad", &[1]).expect_err("no object").code(), 500);
    assert_eq!(room.broadcast("EVICTED", &()).expect_err("reserved").code(), 500);

    let shown = Shown { who: "ada".into(), mood: "calm".into() };
    room.track("ada", &shown).expect("a member");
    assert_eq!(room.track("ada", &shown).expect_err("tracked").code(), 409);
    room.update_presence("bob", &Shown { who: "bob".into(), mood: "glad".into() }).await.expect("a member");
    let all: HashMap<String, Shown> = room.presence().expect("typed");
    assert_eq!((all.len(), &all["ada"]), (2, &shown));
    room.untrack("ada").expect("a member");
    room.untrack("ada").expect("nothing happens");

    assert_eq!(endpoint.connections().len(), 2);
    assert_eq!(endpoint.disconnect("x").expect_err("nobody").code(), 404);
    endpoint.disconnect(&bob.id).expect("it is there");
    assert_eq!(bob.closed().await.map(|frame| u16::from(frame.code)), Some(1000));
    eventually("bob has gone", || room.member_count() == 1).await;
    room.close();
    assert_eq!(ada.closed().await.map(|frame| u16::from(frame.code)), Some(1000));
    eventually("all have gone", || endpoint.connections().is_empty()).await;
}

/// A payload that replies by itself while it is encoded.
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
            let mood = ctx.user().presence::<Shown>().ok().map(|shown| shown.mood);
            if payload["refuse"] == true {
                return Err(Error::forbidden(mood.unwrap_or_default()));
            }
            let tab: String = ctx.assign("tab")?;
            let joined = ctx.accept().assign(&format!("from {tab}"), &true);
            Ok(match payload["mood"].as_str() {
                Some(mood) => joined.track(&Shown { who: "ada".into(), mood: mood.into() }),
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

    // Another window may be declined, which leaves the first where it is.
    let mut two = Peer::connect(address, "/?tab=two").await;
    assert_eq!(two.join_declined("/c", json!({ "refuse": true })).await["message"], "calm");
    two.event("/c", "echo", json!({})).await;
    assert_eq!(two.next().await["payload"]["code"], 403);
    one.nothing_before_reply("/c", "echo").await;

    // One that shows nothing gets the list, since its user is shown; its assigns overwrite key by key.
    two.join("/c", json!({})).await;
    let list = two.next().await;
    assert_eq!((change(&list), moods(&list)), (("JOIN", "ada", "calm"), vec!["calm".to_owned()]));
    one.event("/c", "set", json!({})).await;
    one.nothing_before_reply("/c", "echo").await;
    two.event("/c", "all", json!({})).await;
    let expected = json!({ "tab": "two", "from one": true, "from two": true, "set": 1 });
    assert_eq!(two.next().await["payload"], expected);

    // Replies and errors are for the connection that asked.
    one.event("/c", "fail", json!({})).await;
    assert_eq!(one.next().await["payload"]["code"], 409);
    two.nothing_before_reply("/c", "echo").await;
    assert_eq!(room.member_count(), 1);
    assert_eq!(room.broadcast("news", &()).expect("room").local, 1, "a member counts once");
    for peer in [&mut one, &mut two] {
        assert_eq!(peer.next().await["event"], "news");
    }

    // To evict a user is to evict all its connections, and so it is to remove it.
    room.evict("ada", "spam").await.expect("a member");
    for peer in [&mut one, &mut two] {
        assert_eq!(peer.next().await["event"], "evicted");
        assert_eq!(peer.next().await["event"], "EVICTED");
        peer.event("/c", "echo", json!({})).await;
        assert_eq!(peer.next().await["payload"]["code"], 404, "nobody is in");
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
async fn the_leave_handler_sees_the_member_as_it_was_and_those_who_remain() {
    let (pond, endpoint, lobby) = pond();
    lobby.on_leave(async |ctx: LeaveContext, Assigns(assigns): Assigns<HashMap<String, Value>>| -> Result<()> {
        let shown: HashMap<String, Shown> = ctx.all_presence()?;
        let seen = json!({
            "user": ctx.user().id(), "reason": ctx.reason().to_string(), "mood": ctx.presence::<Shown>()?.mood,
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
async fn to_close_a_channel_is_to_close_the_connections_of_its_members() {
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

#[tokio::test]
async fn all_that_members_show_and_carry_can_be_read_and_is_typed() {
    let (pond, _, lobby) = pond();
    lobby
        .on_event("presence", async |ctx: EventContext| {
            let moods = ctx.all_presence::<Shown>()?.into_iter().map(|(user, shown)| (user, shown.mood));
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
        .on_event("presence", async |_: EventContext, Presence(_): Presence<Shown>| {})
        .on_event("assigns", async |_: EventContext, Assigns(_): Assigns<Shown>| {});
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
        // They stay in the channel for as long as their connections are kept.
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

#[tokio::test]
async fn a_member_taken_out_while_its_handler_runs_is_one_no_more() {
    let (pond, endpoint, lobby) = pond();
    let (begun, go) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let signals = (Arc::clone(&begun), Arc::clone(&go));
    lobby.on_event("wait", move |ctx: EventContext| {
        let ((begun, go), sender) = (signals.clone(), sender.clone());
        async move {
            begun.notify_one();
            go.notified().await;
            let code = |result: Result<()>| result.map_err(|error| error.code());
            let codes = [code(ctx.user().map(drop)), code(ctx.set_assign("x", &1)), code(ctx.track(&()))];
            sender.send(codes).expect("the test listens");
            ctx.reply("wait", &())?;
            ctx.broadcast("still", &())
        }
    });
    let (_server, address) = serve(&pond).await;
    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join("/c/1", json!({})).await;
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({})).await;
    bob.event("/c/1", "wait", json!({})).await;
    begun.notified().await;
    endpoint.channel("/c/1").expect("a pattern").remove("bob", "test").await.expect("a member");
    go.notify_one();
    assert_eq!(seen.recv().await, Some([Err(403), Err(404), Err(404)]));
    assert_eq!(ada.next().await["event"], "still", "what it says to others is still said");
    bob.event("/c/1", "echo", json!({})).await;
    assert_eq!(bob.next().await["payload"]["code"], 403, "and it hears nothing of it");
}

/// A handler of "wait" that says when it has begun, waits until it may go on, and then tries everything that would change its
/// member. What comes of that is told by the channel.
struct Late {
    begun: Arc<tokio::sync::Notify>,
    go: Arc<tokio::sync::Notify>,
    codes: tokio::sync::mpsc::UnboundedReceiver<Vec<std::result::Result<(), u16>>>,
}

impl Late {
    fn on(lobby: &Lobby) -> Late {
        let (begun, go) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
        let (sender, codes) = tokio::sync::mpsc::unbounded_channel();
        let signals = (Arc::clone(&begun), Arc::clone(&go));
        lobby.on_event("wait", move |ctx: EventContext| {
            let ((begun, go), sender) = (signals.clone(), sender.clone());
            async move {
                begun.notify_one();
                go.notified().await;
                let code = |result: Result<()>| result.map_err(|error| error.code());
                let (me, old, channel) = (ctx.user_id(), json!({ "mood": "old" }), ctx.channel());
                let codes = vec![
                    code(ctx.set_assign("mark", &"old")),
                    code(ctx.update_presence(&old)),
                    code(ctx.track(&old)),
                    code(ctx.track_for([me], &old)),
                    code(ctx.update_presence_for([me], &old).await),
                    code(ctx.untrack()),
                    code(ctx.untrack_for([me])),
                    code(channel.update_assigns(me, "mark", &"old").await),
                    code(channel.update_presence(me, &old).await),
                    code(channel.untrack(me)),
                    code(channel.remove(me, "old").await),
                    code(ctx.evict(me, "old").await),
                    code(ctx.remove(me, "old").await),
                ];
                ctx.reply("wait", &())?;
                ctx.broadcast(
                    "still",
                    &json!({ "user": code(ctx.user().map(drop)).err(), "mark": ctx.assign::<String>("mark").ok() }),
                )?;
                sender.send(codes).expect("the test listens");
                Ok::<_, Error>(())
            }
        });
        Late { begun, go, codes }
    }

    /// How many operations succeed; all others must fail with 404, or with 409 for what is tracked already.
    async fn done(&mut self) -> usize {
        self.go.notify_one();
        let codes = self.codes.recv().await.expect("the handler ends");
        assert!(codes.iter().all(|code| matches!(code, Ok(()) | Err(404 | 409))), "{codes:?}");
        codes.iter().filter(|code| code.is_ok()).count()
    }
}

#[tokio::test]
async fn a_handler_of_a_lost_connection_does_nothing_to_the_user_who_is_back() {
    let (pond, endpoint, lobby) = pond();
    let mut late = Late::on(&lobby);
    let (_server, address) = serve(&pond).await;
    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join("/c/1", json!({ "mood": "calm" })).await;
    assert_eq!(change(&ada.next().await), ("JOIN", "ada", "calm"));
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({ "mood": "first" })).await;
    assert_eq!(change(&ada.next().await), ("JOIN", "bob", "first"));
    bob.event("/c/1", "wait", json!({})).await;
    late.begun.notified().await;

    bob.reset();
    assert_eq!(change(&ada.next().await), ("LEAVE", "bob", "first"));
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({ "mood": "second" })).await;
    assert_eq!(change(&bob.next().await), ("JOIN", "bob", "second"));
    assert_eq!(change(&ada.next().await), ("JOIN", "bob", "second"));
    endpoint.channel("/c/1").expect("a pattern").update_assigns("bob", "mark", &"new").await.expect("by name");

    assert_eq!(late.done().await, 0, "the old membership has ended");
    for peer in [&mut ada, &mut bob] {
        let still = peer.next().await;
        assert_eq!(still["event"], "still", "nothing has changed, and what it says to all is said");
        assert_eq!(still["payload"], json!({ "user": null, "mark": null }), "it sees the member as it was");
    }
    let user = endpoint.channel("/c/1").expect("a pattern").user("bob").await.expect("a member");
    assert_eq!(user.assign::<String>("mark").expect("set"), "new");
    assert_eq!(user.presence::<Value>().expect("tracked")["mood"], "second");
    bob.nothing_before_reply("/c/1", "echo").await;
}

#[tokio::test]
async fn a_handler_of_a_lost_connection_goes_on_while_another_one_of_its_user_stays() {
    let (pond, _, lobby) = pond();
    let mut late = Late::on(&lobby);
    let (_server, address) = serve(&pond).await;
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({ "mood": "first" })).await;
    let mut other = Peer::connect(address, "/?user=bob").await;
    other.join("/c/1", json!({ "mood": "first" })).await;
    assert_eq!(change(&other.next().await), ("JOIN", "bob", "first"));
    bob.event("/c/1", "wait", json!({})).await;
    late.begun.notified().await;
    bob.reset();
    // It is one membership, until its own handler ends it.
    assert_eq!(late.done().await, 9);
    assert_eq!(change(&other.next().await), ("UPDATE", "bob", "old"));
}

#[tokio::test]
async fn a_user_who_left_with_all_connections_and_is_back_is_another_member_for_each_handler() {
    let (pond, _, lobby) = pond();
    let mut late = Late::on(&lobby);
    let (_server, address) = serve(&pond).await;
    let mut first = Peer::connect(address, "/?user=bob").await;
    first.join("/c/1", json!({ "mood": "calm" })).await;
    first.next().await;
    let mut second = Peer::connect(address, "/?user=bob").await;
    second.join("/c/1", json!({ "mood": "calm" })).await;
    second.next().await;
    first.event("/c/1", "wait", json!({})).await;
    late.begun.notified().await;
    // The other connection, which stays connected, leaves and joins again; the one whose handler runs is evicted with it.
    pond.endpoints()[0].channel("/c/1").expect("a pattern").remove("bob", "test").await.expect("a member");
    second.join("/c/1", json!({ "mood": "new" })).await;
    assert_eq!(change(&second.next().await), ("JOIN", "bob", "new"));
    assert_eq!(late.done().await, 0);
    assert_eq!(second.next().await["event"], "still");
    second.nothing_before_reply("/c/1", "echo").await;
}

#[tokio::test]
async fn a_leave_handler_knows_that_its_user_is_back_and_does_nothing_to_it() {
    let (pond, endpoint, lobby) = pond();
    let late = Late::on(&lobby);
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    lobby.on_leave(move |ctx: LeaveContext| {
        let sender = sender.clone();
        async move {
            let (me, channel) = (ctx.user_id(), ctx.channel());
            let code = |result: Result<()>| result.map_err(|error| error.code());
            let codes = [
                code(channel.untrack(me)),
                code(channel.update_presence(me, &json!({ "mood": "gone" })).await),
                code(channel.update_assigns(me, "mark", &"gone").await),
                code(channel.remove(me, "gone").await),
                code(channel.evict(me, "gone").await),
            ];
            sender.send((ctx.returned(), codes)).expect("the test listens");
        }
    });
    let (_server, address) = serve(&pond).await;
    let mut ada = Peer::connect(address, "/?user=ada").await;
    ada.join("/c/1", json!({ "mood": "calm" })).await;
    ada.next().await;
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({ "mood": "first" })).await;
    bob.event("/c/1", "wait", json!({})).await;
    late.begun.notified().await;
    bob.reset();
    assert_eq!(change(&ada.until("LEAVE").await), ("LEAVE", "bob", "first"));
    let mut bob = Peer::connect(address, "/?user=bob").await;
    bob.join("/c/1", json!({ "mood": "second" })).await;
    late.go.notify_one();
    assert_eq!(seen.recv().await, Some((true, [Err(404); 5])), "it runs behind the handler, and so behind the join");
    bob.until("still").await;
    bob.nothing_before_reply("/c/1", "echo").await;
    bob.leave("/c/1").await;
    assert_eq!(seen.recv().await, Some((false, [Err(404); 5])));
    let user = endpoint.channel("/c/1").expect("a pattern").user("bob").await;
    assert_eq!(user.expect_err("gone").code(), 404);
}
