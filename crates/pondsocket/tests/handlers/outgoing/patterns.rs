//! The choice of the handlers and layers for a message.

use pondsocket::{
    Error, JoinContext, Outgoing, OutgoingContext, OutgoingHandler, OutgoingNext, Params, Payload, Result, State,
};
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::{Log, TestResult};

use super::{enter, heard, join, pond, role, send};

#[derive(Deserialize)]
struct Table {
    table: u8,
}

#[tokio::test(start_paused = true)]
async fn the_first_pattern_that_matches_decides_and_extractors_work() -> TestResult {
    let (pond, _, lobby, log) = pond();
    lobby
        .on_outgoing(
            "say/table/:table",
            |ctx: &OutgoingContext,
             Params(Table { table }): Params<Table>,
             Payload(payload): Payload<Value>,
             State(log): State<Log>| {
                log.note(format!("{table} {payload} {:?}", ctx.query("q")));
                if table == 7 { Outgoing::Block } else { Outgoing::Pass }
            },
        )
        .on_outgoing("say/*", |ctx: &OutgoingContext, State(log): State<Log>| {
            log.note(format!("rest {}", ctx.wildcard().unwrap_or_default()));
            Outgoing::Pass
        });
    let (_ada, mut ada) = enter(&pond, "ada", json!({})).await;
    for event in ["say/table/1?q=x", "say/table/7", "say/table/first", "say/hello"] {
        ada.send(event, json!({ "a": 1 }));
    }
    assert_eq!(heard(&mut ada).await, ["say/table/1?q=x", "say/hello"]);
    assert_eq!(
        log.take(),
        [
            r#"1 {"a":1} Some("x")"#,
            r#"7 {"a":1} None"#,
            "blocked say/table/7 at /",
            "outgoing_handler: invalid parameters: table: invalid digit found in string (400)",
            "blocked say/table/first at /",
            "rest hello",
        ]
    );
    Ok(())
}

#[test]
#[should_panic(expected = "State<u128>")]
fn a_missing_state_is_refused_at_registration() {
    let (.., lobby, _) = pond();
    lobby.on_outgoing("x", |_: &OutgoingContext, State(_): State<u128>| Outgoing::Pass);
}

#[tokio::test(start_paused = true)]
async fn layers_decide_around_handlers_and_without_them() -> TestResult {
    let (pond, endpoint, lobby, log) = pond();
    let other = endpoint.create_channel("/other", join);
    other.on_event("say/*", send);
    // Bots receive nothing in any channel.
    endpoint.layer_outgoing(|ctx: &OutgoingContext, next: OutgoingNext| match ctx.recipient().id() {
        "bot" => Ok(Outgoing::Block),
        _ => next.run(ctx),
    });
    // In this lobby a failed handler does not block the message.
    lobby
        .layer_outgoing(|ctx: &OutgoingContext, next: OutgoingNext| next.run(ctx).unwrap_or(Outgoing::Pass))
        .on_outgoing("say/broken", |_: &OutgoingContext| -> Outgoing { panic!("broken") })
        .on_outgoing(
            "say/secret",
            (|_: &OutgoingContext| Outgoing::replace(&json!({ "secret": "***" }))).layer(
                |ctx: &OutgoingContext, State(log): State<Log>, next: OutgoingNext| {
                    log.note(format!("secret for {}", ctx.recipient().id()));
                    if role(ctx) == "admin" { Ok(Outgoing::Pass) } else { next.run(ctx) }
                },
            ),
        );
    let (ada_client, mut ada) = enter(&pond, "ada", json!({ "role": "admin" })).await;
    let (_bob, mut bob) = enter(&pond, "bob", json!({ "role": "guest" })).await;
    let (bot_client, mut bot) = enter(&pond, "bot", json!({ "role": "admin" })).await;
    ada.send("say/broken", json!({ "n": 1 }));
    ada.send("say/secret", json!({ "secret": 42 }));
    for (room, secret) in [(&mut ada, json!(42)), (&mut bob, json!("***"))] {
        assert_eq!(room.next("say/broken").await?, json!({ "n": 1 }));
        assert_eq!(room.next("say/secret").await?, json!({ "secret": secret }));
    }
    bot.assert_silence().await;
    let blocked = |event: &str| format!("blocked {event} at /");
    assert_eq!(
        log.take(),
        [blocked("say/broken"), "secret for ada".into(), "secret for bob".into(), blocked("say/secret")]
    );

    let (mut ada, mut bot) = (ada_client.join("/other", json!({})).await?, bot_client.join("/other", json!({})).await?);
    ada.send("say/secret", json!({ "secret": 43 }));
    assert_eq!(ada.next("say/secret").await?, json!({ "secret": 43 }), "another lobby");
    bot.assert_silence().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn handlers_and_layers_affect_existing_channels() -> TestResult {
    let (pond, endpoint, lobby, _) = pond();
    let (_ada, mut ada) = enter(&pond, "ada", json!({})).await;
    ada.send("say/1", json!({}));
    assert_eq!(heard(&mut ada).await, ["say/1"]);
    lobby.on_outgoing("say/1", |_: &OutgoingContext| Outgoing::Block);
    ada.send("say/1", json!({}));
    ada.send("say/2", json!({}));
    assert_eq!(heard(&mut ada).await, ["say/2"]);
    lobby.layer_outgoing(|ctx: &OutgoingContext, next: OutgoingNext| match ctx.event() {
        "say/2" => Ok(Outgoing::Block),
        _ => next.run(ctx),
    });
    ada.send("say/2", json!({}));
    ada.send("say/3", json!({}));
    assert_eq!(heard(&mut ada).await, ["say/3"]);
    endpoint.layer_outgoing(|ctx: &OutgoingContext, next: OutgoingNext| match ctx.event() {
        "say/1" => Ok(Outgoing::Pass),
        _ => next.run(ctx),
    });
    ada.send("say/1", json!({}));
    ada.send("say/2", json!({}));
    assert_eq!(heard(&mut ada).await, ["say/1"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn messages_are_filtered_for_each_connection_of_a_user() -> TestResult {
    let (pond, _, lobby, _) = pond();
    lobby.on_outgoing("say/*", |ctx: &OutgoingContext| {
        Outgoing::replace(&json!({ "user": ctx.recipient().id(), "connection": ctx.connection_id() }))
    });
    let (first, mut one) = enter(&pond, "ada", json!({})).await;
    let (second, mut two) = enter(&pond, "ada", json!({})).await;
    one.send("say/1", json!({}));
    for (client, room) in [(&first, &mut one), (&second, &mut two)] {
        assert_eq!(room.next("say/1").await?, json!({ "user": "ada", "connection": client.id() }));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_leaving_member_receives_earlier_messages_filtered_as_a_member() -> TestResult {
    let (pond, _, lobby, _) = pond();
    lobby.on_outgoing("say/secret", |ctx: &OutgoingContext| -> Result<Outgoing> {
        let mood: Value = ctx.recipient().presence()?;
        if role(ctx) == "admin" { Outgoing::replace(&mood) } else { Ok(Outgoing::Block) }
    });
    // Another one keeps the channel alive, and takes the slot that becomes free.
    let (_bob, _bobs) = enter(&pond, "bob", json!({})).await;
    let (client, mut ada) = enter(&pond, "ada", json!({ "role": "admin", "mood": "calm" })).await;
    ada.next_presence().await?;
    ada.send("say/secret", json!({}));
    let left = ada.leave();
    let again = client.join("/c/1", json!({ "role": "guest" }));
    left.await?;
    let mut guest = again.await?;
    assert_eq!(ada.next("say/secret").await?, json!({ "mood": "calm" }));
    assert_eq!(heard(&mut guest).await, Vec::<String>::new());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_lobby_of_the_channel_filters_messages_of_another_lobbys_join_handler() -> TestResult {
    let (pond, endpoint, lobby, _) = pond();
    let first = endpoint.create_channel("/shared/:room", async |ctx: JoinContext| match ctx.user_id() {
        "ada" => Ok(ctx.accept()),
        _ => ctx.pass(),
    });
    first.on_outgoing("hello", |_: &OutgoingContext| Outgoing::replace(&json!({ "by": "the first" })));
    endpoint.create_channel("/shared/*", async |ctx: JoinContext| {
        Ok::<_, Error>(ctx.accept().reply("hello", &json!({})).broadcast("hello", &json!({})))
    });
    drop(lobby);
    let (client, _) = enter(&pond, "ada", json!({})).await;
    let mut ada = client.join("/shared/1", json!({})).await?;
    let (client, _) = enter(&pond, "bob", json!({})).await;
    let mut bob = client.join("/shared/1", json!({})).await?;
    for room in [&mut bob, &mut ada] {
        assert_eq!(room.next("hello").await?, json!({ "by": "the first" }));
    }
    assert_eq!(bob.next("hello").await?, json!({ "by": "the first" }), "the broadcast, after the reply");
    Ok(())
}
