//! The decisions of outgoing handlers for each message and recipient.

use pondsocket::testing::Kind;
use pondsocket::{Error, EventContext, JoinContext, Outgoing, OutgoingContext, OutgoingNext, Result};
use serde_json::{Value, json};

use testkit::TestResult;

use super::{enter, heard, pond, role, send};

#[tokio::test(start_paused = true)]
async fn each_recipient_receives_its_own_version() -> TestResult {
    let (pond, endpoint, lobby, log) = pond();
    lobby.on_outgoing("say/salary", |ctx: &OutgoingContext| -> Result<Outgoing> {
        let mood = ctx.recipient().presence::<Value>().ok();
        match (role(ctx).as_str(), mood) {
            ("admin", _) => Ok(Outgoing::Pass),
            (_, Some(mood)) => Outgoing::replace(&json!({ "for": ctx.recipient().id(), "seen": mood })),
            _ => Ok(Outgoing::Block),
        }
    });
    let (_ada, mut ada) = enter(&pond, "ada", json!({ "role": "admin" })).await;
    let (_bob, mut bob) = enter(&pond, "bob", json!({ "role": "guest", "mood": "calm" })).await;
    let (_eve, mut eve) = enter(&pond, "eve", json!({ "role": "guest" })).await;
    bob.next_presence().await?;

    ada.send("say/salary", json!({ "amount": 7 }));
    let passed = ada.next_message().await?;
    assert_eq!((passed.kind, passed.event.as_str()), (Kind::Broadcast, "say/salary"));
    assert_eq!((passed.channel.as_str(), &passed.payload), ("/c/1", &json!({ "amount": 7 })));
    let replaced = bob.next_message().await?;
    assert_eq!((replaced.kind, replaced.event.as_str()), (Kind::Broadcast, "say/salary"));
    assert_eq!(
        (replaced.channel.as_str(), &replaced.payload),
        ("/c/1", &json!({ "for": "bob", "seen": { "mood": "calm" } }))
    );
    assert_eq!(replaced.request_id, passed.request_id, "it is the same message");
    assert_eq!(heard(&mut eve).await, Vec::<String>::new());
    assert_eq!(log.take(), ["blocked say/salary at /"]);

    // The presence and assigns at the time of delivery count.
    let channel = endpoint.channel("/c/1")?;
    channel.update_assigns("eve", "role", "admin").await?;
    channel.untrack("bob")?;
    assert_eq!(
        channel.broadcast("say/salary", &json!({ "amount": 8 }))?.local,
        3,
        "counted before the outgoing handler decides"
    );
    assert_eq!(eve.next("say/salary").await?, json!({ "amount": 8 }));
    assert_eq!(heard(&mut bob).await, Vec::<String>::new());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn every_form_of_sending_is_filtered() -> TestResult {
    let (pond, endpoint, lobby, _) = pond();
    let chatty = endpoint.create_channel("/join/:room", async |ctx: JoinContext| {
        let to = [ctx.user_id().to_owned()];
        let joined = ctx.accept().reply("x", &json!({ "form": "reply" })).broadcast("x", &json!({ "form": "all" }));
        Ok::<_, Error>(
            joined.broadcast_to(to, "x", &json!({ "form": "to" })).broadcast_from("x", &json!({ "form": "from" })),
        )
    });
    for lobby in [&lobby, &chatty] {
        lobby.on_outgoing("x", |ctx: &OutgoingContext| -> Result<Outgoing> {
            let mut payload: Value = ctx.payload()?;
            payload["to"] = json!(ctx.recipient().id());
            payload["in"] = json!(ctx.channel_name());
            Outgoing::replace(&payload)
        });
    }
    lobby.on_event("send", async |ctx: EventContext| {
        ctx.broadcast("x", &json!({ "form": "all" }))?;
        ctx.broadcast_from("x", &json!({ "form": "from" }))?;
        ctx.broadcast_to(["bob"], "x", &json!({ "form": "to" }))?;
        ctx.reply("x", &json!({ "form": "reply" }))
    });
    let (ada_client, mut ada) = enter(&pond, "ada", json!({})).await;
    let (bob_client, mut bob) = enter(&pond, "bob", json!({})).await;
    let said = |form: &str, to: &str, channel: &str| json!({ "form": form, "to": to, "in": channel });

    ada.send("send", json!({}));
    assert_eq!(ada.next("x").await?, said("all", "ada", "/c/1"));
    let reply = ada.next_message().await?;
    assert_eq!((reply.kind, reply.event.as_str()), (Kind::System, "x"));
    assert!(reply.request_id.starts_with("test-"), "a replaced reply answers the question: {}", reply.request_id);
    assert_eq!(reply.payload, said("reply", "ada", "/c/1"));
    for form in ["all", "from", "to"] {
        assert_eq!(bob.next("x").await?, said(form, "bob", "/c/1"));
    }
    let channel = endpoint.channel("/c/1")?;
    channel.broadcast("x", &json!({ "form": "all" }))?;
    channel.broadcast_from("ada", "x", &json!({ "form": "from" }))?;
    channel.broadcast_to(["bob"], "x", &json!({ "form": "to" }))?;
    assert_eq!(ada.next("x").await?, said("all", "ada", "/c/1"));
    for form in ["all", "from", "to"] {
        assert_eq!(bob.next("x").await?, said(form, "bob", "/c/1"));
    }

    let mut ada = ada_client.join("/join/1", json!({})).await?;
    for form in ["reply", "all", "to"] {
        assert_eq!(ada.next("x").await?, said(form, "ada", "/join/1"), "of the join");
    }
    bob_client.join("/join/1", json!({})).await?;
    for form in ["all", "from"] {
        assert_eq!(ada.next("x").await?, said(form, "ada", "/join/1"), "of another's join");
    }
    ada.assert_silence().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn messages_of_the_protocol_are_never_filtered() -> TestResult {
    let (pond, endpoint, lobby, log) = pond();
    let (seen, everywhere) = (log.clone(), log.clone());
    lobby.on_outgoing("*", move |ctx: &OutgoingContext| {
        seen.note(ctx.event());
        Outgoing::Block
    });
    endpoint.layer_outgoing(move |ctx: &OutgoingContext, next: OutgoingNext| {
        everywhere.note(ctx.event());
        next.run(ctx)
    });
    lobby.on_event("fail", async |_: EventContext| -> Result<()> { Err(Error::conflict("no")) });
    let (client, mut ada) = enter(&pond, "ada", json!({ "mood": "calm" })).await;
    let (_bob, bob) = enter(&pond, "bob", json!({ "mood": "glad" })).await;
    assert_eq!([ada.next_presence().await?.user_id, ada.next_presence().await?.user_id], ["ada", "bob"]);
    assert_eq!(ada.request("fail", json!({})).await.unwrap_err().code(), Some(409));
    assert_eq!(ada.request("dance", json!({})).await.unwrap_err().code(), Some(404));
    client.join("/c/1", json!({})).await?;
    endpoint.channel("/c/1")?.evict("bob", "spam").await?;
    assert_eq!(ada.next("user_evicted").await?, json!({ "reason": "spam", "userId": "bob" }));
    assert_eq!(ada.next_presence().await?.user_id, "bob");
    ada.leave().await?;
    assert_eq!(log.take(), Vec::<String>::new());
    drop(bob);

    // All messages of the application are filtered.
    let (_ada, mut ada) = enter(&pond, "ada", json!({})).await;
    ada.send("echo", json!({}));
    ada.send("say/a", json!({}));
    ada.assert_silence().await;
    let both = |event: &str| [event.to_owned(), event.to_owned(), format!("blocked {event} at /")];
    assert_eq!(log.take(), [both("echo"), both("say/a")].concat());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_panic_or_an_error_blocks_one_delivery_and_is_counted() -> TestResult {
    let (pond, _, lobby, log) = pond();
    lobby.on_event("unfiltered", send).on_outgoing("say/*", |ctx: &OutgoingContext| -> Result<Outgoing> {
        match ctx.recipient().id() {
            "bob" => panic!("at bob"),
            "eve" => Err(Error::forbidden("not eve")),
            "joe" => Outgoing::replace(&[1, 2, 3]),
            _ => Ok(Outgoing::Pass),
        }
    });
    let (_ada, mut ada) = enter(&pond, "ada", json!({})).await;
    let mut others = Vec::new();
    for user in ["bob", "eve", "joe"] {
        others.push(enter(&pond, user, json!({})).await);
    }
    ada.send("say/1", json!({ "n": 1 }));
    assert_eq!(ada.next("say/1").await?, json!({ "n": 1 }));
    for (_, room) in &mut others {
        assert_eq!(heard(room).await, Vec::<String>::new());
    }
    let failed = |reason: &str| [format!("outgoing_handler: {reason}"), "blocked say/1 at /".to_owned()];
    let expected = [failed("internal error (500)"), failed("not eve (403)"), failed("internal error (500)")].concat();
    assert_eq!(log.take(), expected);
    // A recipient of which one message was blocked receives the next one.
    ada.send("unfiltered", json!({}));
    for (_, room) in &mut others {
        room.next("unfiltered").await?;
    }
    Ok(())
}

#[test]
fn a_replacement_that_is_no_object_is_an_error() {
    assert_eq!(Outgoing::replace(&5).map_err(|error| error.code()).expect_err("a number"), 500);
    assert_eq!(Outgoing::replace("text").map_err(|error| error.code()).expect_err("a text"), 500);
    assert!(matches!(Outgoing::replace(&json!({})), Ok(Outgoing::Replace(_))));
    assert_eq!(format!("{:?}", Outgoing::replace(&()).expect("nothing is an object")), "Replace({})");
}
