//! The events and registrations that layers see.

use pondsocket::testing::Kind;
use pondsocket::{Error, EventContext, LeaveContext, Next, State};
use serde_json::json;
use testkit::{Log, TestResult};

use super::{echo, enter, noting, pond};

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
async fn layers_affect_calls_after_their_registration() -> TestResult {
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
