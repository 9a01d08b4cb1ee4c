//! Extractors in layers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pondsocket::handler::Context;
use pondsocket::{
    ConnectionContext, Error, EventContext, Handler, JoinContext, LeaveContext, Next, OutgoingContext, OutgoingNext,
    Params, Payload, PondSocket, Query, Result, State,
};
use serde::Deserialize;
use serde_json::json;

use testkit::TestResult;

use super::{connect, echo, join, pond};

#[derive(Deserialize)]
struct AgeQuery {
    age: u8,
}

#[derive(Deserialize)]
struct Where {
    room: u8,
}

#[tokio::test(start_paused = true)]
async fn layers_take_extractors_and_an_ill_typed_field_is_named() -> TestResult {
    let pond = PondSocket::new().state(18_u8);
    let endpoint = pond.create_endpoint("/", connect);
    endpoint.layer(
        async |ctx: ConnectionContext,
               Query(visit): Query<AgeQuery>,
               State(least): State<u8>,
               next: Next<ConnectionContext>| {
            if visit.age < least {
                return Err(Error::forbidden(format!("not before {least}")));
            }
            next.run(ctx).await
        },
    );
    let lobby = endpoint.create_channel("/c/:room", join);
    lobby
        .layer_join(
            async |ctx: JoinContext, Params(at): Params<Where>, Payload(_): Payload<AgeQuery>, next: Next<_>| {
                Ok(next.run(ctx).await?.reply("room", &json!({ "at": at.room })))
            },
        )
        .layer(async |ctx: EventContext, Payload(visit): Payload<AgeQuery>, next: Next<EventContext>| {
            let channel = ctx.channel();
            next.run(ctx).await?;
            channel.broadcast("age", &json!({ "age": visit.age })).map(drop)
        })
        .on_event("echo", echo);

    let door = pond.test_client();
    for (path, code, text) in [
        ("/?age=17", 403, "not before 18"),
        ("/?age=old", 400, "invalid query: age: invalid digit found in string"),
        ("/", 400, "invalid query: age: missing field `age`"),
    ] {
        let refused = door.connect(path).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.refusal().map(|why| why.text())),
            (Some(code), Some(text.into())),
            "{path}"
        );
    }
    let client = door.connect("/?age=18").await?;
    for (channel, payload, field) in [
        ("/c/first", json!({ "age": 1 }), "room"),
        ("/c/1", json!({ "age": "old" }), "age"),
        ("/c/1", json!({}), "age"),
    ] {
        let declined = client.join(channel, &payload).await.unwrap_err();
        let declined = declined.rejection().expect("declined");
        assert_eq!((declined.code(), &declined.details()["field"]), (400, &json!(field)), "{channel} {payload}");
    }
    let mut room = client.join("/c/1", json!({ "age": 1 })).await?;
    assert_eq!(room.next("room").await?, json!({ "at": 1 }));
    let failed = room.request("echo", json!({ "age": [] })).await.unwrap_err();
    let failed = failed.rejection().expect("an error");
    assert_eq!((failed.code(), failed.details()), (400, &json!({ "field": "age" })));
    room.assert_silence().await;
    assert_eq!(room.request("echo", json!({ "age": 5 })).await?, json!({ "age": 5 }));
    assert_eq!(room.next("age").await?, json!({ "age": 5 }));
    Ok(())
}

#[test]
fn a_layer_that_asks_for_a_missing_state_is_refused_at_its_registration() {
    let (_, endpoint, lobby, _) = pond();
    async fn layer<C: Context>(ctx: C, State(_): State<Vec<u8>>, next: Next<C>) -> Result<C::Answer> {
        next.run(ctx).await
    }
    let registrations: [&dyn Fn(); 6] = [
        &|| _ = endpoint.layer(layer::<ConnectionContext>),
        &|| _ = endpoint.layer_joins(layer::<JoinContext>),
        &|| _ = lobby.layer(layer::<EventContext>),
        &|| _ = lobby.layer_leave(layer::<LeaveContext>),
        &|| _ = lobby.on_event("x", echo.layer(layer::<EventContext>)),
        &|| {
            _ = lobby
                .layer_outgoing(|ctx: &OutgoingContext, State(_): State<Vec<u8>>, next: OutgoingNext| next.run(ctx))
        },
    ];
    for (at, register) in registrations.iter().enumerate() {
        let panic = catch_unwind(AssertUnwindSafe(register)).expect_err("no such state");
        let text = panic.downcast_ref::<String>().expect("a text");
        assert!(text.contains("State<alloc::vec::Vec<u8>>"), "{at}: {text}");
    }
}
