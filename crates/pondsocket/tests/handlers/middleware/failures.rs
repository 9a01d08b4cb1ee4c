//! Layers that recover from errors and panics, and layers that panic.

use std::future::Ready;

use pondsocket::handler::Context;
use pondsocket::{ConnectionContext, Error, EventContext, Handler, JoinContext, LeaveContext, Next, Result, State};
use serde_json::json;
use testkit::{Log, TestResult};

use super::{Answering, connect, echo, join, logged, noting};

/// A layer that fails.
fn panicking<C: Context>(_: C, _: Next<C>) -> Answering<C> {
    panic!("a layer panics")
}

/// Converts errors: an unexpected one becomes temporary.
async fn recover<C: Context>(ctx: C, next: Next<C>) -> Result<C::Answer> {
    next.run(ctx).await.map_err(|error| match error.code() {
        500 => Error::unavailable("try again").with_details(&json!({ "was": error.message() })),
        _ => error,
    })
}

#[tokio::test(start_paused = true)]
async fn a_layer_recovers_from_errors_and_panics() -> TestResult {
    let (pond, log) = logged();
    let endpoint = pond.create_endpoint("/:how", async |ctx: ConnectionContext| match ctx.param("how")? {
        "panic" => panic!("at the door"),
        _ => Ok::<_, Error>(ctx.accept()),
    });
    endpoint
        .layer(recover::<ConnectionContext>)
        .layer_joins(recover::<JoinContext>)
        .layer_events(recover::<EventContext>);
    let lobby = endpoint.create_channel("/c/:how", async |ctx: JoinContext| match ctx.param("how")? {
        "error" => Err(Error::internal("the database is gone")),
        "panic" => panic!("in the join handler"),
        _ => Ok(ctx.accept()),
    });
    lobby
        .on_event("error", async |_: EventContext| -> Result<()> { Err(Error::internal("no such table")) })
        .on_event("other", async |_: EventContext| -> Result<()> { Err(Error::conflict("taken")) })
        .on_event("panic", async |_: EventContext| -> Result<()> { panic!("in the event handler") })
        .on_event("early panic", |_: EventContext| -> Ready<()> { panic!("before there is a future") })
        .on_event(
            "ignored",
            (async |_: EventContext| -> Result<()> { Err(Error::internal("never mind")) }).layer(
                async |ctx: EventContext, next: Next<EventContext>| {
                    let (channel, user) = (ctx.channel(), ctx.user_id().to_owned());
                    let Err(error) = next.run(ctx).await else { return Ok(()) };
                    channel.broadcast_to([user], "sorry", &json!({ "code": error.code() })).map(drop)
                },
            ),
        )
        .on_leave(async |_: LeaveContext| -> Result<()> { panic!("in the leave handler") })
        .layer_leave(async |ctx: LeaveContext, State(log): State<Log>, next: Next<LeaveContext>| {
            log.note(next.run(ctx).await.unwrap_err().message());
        });

    let door = pond.test_client();
    let refused = door.connect("/panic").await.unwrap_err();
    assert_eq!((refused.code(), refused.refusal().map(|why| why.text())), (Some(503), Some("try again".into())));
    let client = door.connect("/calm").await?;
    for how in ["error", "panic"] {
        let declined = client.join(&format!("/c/{how}"), json!({})).await.unwrap_err();
        let declined = declined.rejection().expect("declined");
        assert_eq!((declined.code(), declined.message()), (503, "try again"), "{how}");
        assert_eq!(declined.details(), &json!({ "statusCode": 503, "was": "internal error" }), "{how}");
    }
    let mut room = client.join("/c/calm", json!({})).await?;
    for how in ["error", "panic", "early panic"] {
        let failed = room.request(how, json!({})).await.unwrap_err();
        let failed = failed.rejection().expect("an error");
        assert_eq!((failed.code(), failed.details()), (503, &json!({ "was": "internal error" })), "{how}");
    }
    assert_eq!(room.request("other", json!({})).await.unwrap_err().code(), Some(409));
    room.send("ignored", json!({}));
    assert_eq!(room.next("sorry").await?, json!({ "code": 500 }));
    room.assert_silence().await;
    room.leave().await?;
    assert_eq!(log.take(), ["internal error"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_panics_affects_only_its_call() -> TestResult {
    let (pond, log) = logged();
    let endpoint = pond.create_endpoint("/", connect);
    pond.create_endpoint("/bad", connect).layer(panicking::<ConnectionContext>);
    endpoint.create_channel("/bad", join.layer(panicking::<JoinContext>));
    let lobby = endpoint.create_channel("/c/:room", join);
    lobby
        .on_event("echo", echo)
        .on_event("bad", echo.layer(panicking::<EventContext>))
        .on_event(
            "late",
            echo.layer(async |ctx: EventContext, next: Next<EventContext>| -> Result<()> {
                next.run(ctx).await?;
                panic!("after the handler")
            }),
        )
        .on_event("caught", echo.layer(panicking::<EventContext>).layer(recover::<EventContext>))
        .layer_leave(noting(&log, "outer"))
        .layer_leave(panicking::<LeaveContext>);

    let door = pond.test_client();
    let refused = door.connect("/bad").await.unwrap_err();
    assert_eq!((refused.code(), refused.refusal().map(|why| why.text())), (Some(500), Some("internal error".into())));
    let client = door.connect("/").await?;
    assert_eq!(client.join("/bad", json!({})).await.unwrap_err().code(), Some(500));
    let mut room = client.join("/c/1", json!({})).await?;
    assert_eq!(room.request("bad", json!({})).await.unwrap_err().code(), Some(500));
    assert_eq!(room.request("caught", json!({})).await.unwrap_err().code(), Some(503));
    room.send("late", json!({ "a": 1 }));
    assert_eq!(room.next_message().await?.payload, json!({ "a": 1 }), "the handler had replied");
    assert_eq!(room.next_message().await?.payload["code"], 500);
    assert_eq!(room.request("echo", json!({ "a": 2 })).await?, json!({ "a": 2 }));
    room.leave().await?;
    assert_eq!(log.take(), ["outer in", "outer out"]);
    assert_eq!(client.join("/c/1", json!({})).await?.request("echo", json!({})).await?, json!({}));
    Ok(())
}
