//! Requests that are passed on to the next pattern keep the changes of layers.

use std::sync::{Arc, Mutex};

use pondsocket::handler::Context;
use pondsocket::{ConnectionContext, Error, EventContext, Handler, JoinContext, Joined, Next, Payload, Result, State};
use serde_json::{Value, json};
use testkit::{Log, TestResult};

use super::{Tenant, connect, enter, join, logged, noting, pond};

#[tokio::test(start_paused = true)]
async fn an_event_that_is_passed_on_keeps_its_changes() -> TestResult {
    let (pond, _, lobby, log) = pond();
    lobby
        .layer(async |mut ctx: EventContext, next: Next<EventContext>| {
            ctx.set_payload(&json!({ "by": ["lobby"] }))?;
            next.run(ctx).await
        })
        .on_event(
            "play/:game",
            (async |ctx: EventContext| match ctx.param("game")? {
                "chess" => ctx.reply("first", &()),
                _ => ctx.pass(),
            })
            .layer(async |mut ctx: EventContext, next: Next<EventContext>| {
                let mut payload: Value = ctx.payload()?;
                payload["by"].as_array_mut().expect("a list").push(json!("first"));
                ctx.set_payload(&payload)?;
                ctx.extensions_mut().insert(Tenant("first"));
                next.run(ctx).await
            })
            .layer(noting(&log, "first")),
        )
        .on_event("other/:any", async |_: EventContext| -> Result<()> { panic!("it does not match") })
        .on_event(
            "*",
            (async |ctx: EventContext, Payload(payload): Payload<Value>, State(log): State<Log>| {
                if ctx.wildcard() == Some("play/dice") {
                    return ctx.pass();
                }
                log.note(format!(
                    "{:?} {:?} {:?}",
                    ctx.extensions().get::<Tenant>(),
                    ctx.wildcard(),
                    ctx.param("game").unwrap_or_default()
                ));
                ctx.reply("second", &payload)
            })
            .layer(noting(&log, "second")),
        );
    let (_ada, mut room) = enter(&pond).await;
    for (event, answer) in [("play/chess", "first"), ("play/go", "second")] {
        room.send(event, json!({}));
        let reply = room.next_message().await?;
        assert_eq!(reply.event, answer, "{event}");
        if answer == "second" {
            assert_eq!(reply.payload, json!({ "by": ["lobby", "first"] }));
        }
    }
    let second = r#"Some(Tenant("first")) Some("play/go") """#;
    assert_eq!(
        log.take(),
        ["first in", "first out", "first in", "first out", "second in", second, "second out"],
        "one after the other, not one within the other"
    );
    room.send("play/dice", json!({}));
    let nobody = room.next_message().await?;
    assert_eq!((nobody.event.as_str(), &nobody.payload["code"]), ("NOT_FOUND", &json!(404)), "all have passed it on");
    assert_eq!(nobody.payload["details"], json!({ "event": "play/dice" }));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_join_that_is_passed_on_keeps_its_changes_and_belongs_to_the_accepting_lobby() -> TestResult {
    let (pond, log) = logged();
    let endpoint = pond.create_endpoint("/", connect);
    endpoint.layer_joins(noting(&log, "endpoint"));
    let first = endpoint.create_channel("/c/:first", async |ctx: JoinContext| match ctx.param("first")? {
        "mine" => Ok(ctx.accept()),
        _ => ctx.pass(),
    });
    first
        .layer_join(async |mut ctx: JoinContext, next: Next<JoinContext>| {
            ctx.set_payload(&json!({ "by": "first" }))?;
            ctx.extensions_mut().insert(Tenant("first"));
            next.run(ctx).await
        })
        .layer_join(noting(&log, "first"))
        .on_event("who", async |ctx: EventContext| ctx.reply("who", &json!({ "lobby": 1 })));
    let second = endpoint.create_channel("/c/*", async |ctx: JoinContext, Payload(payload): Payload<Value>| {
        if ctx.wildcard() == Some("nobodys") {
            return ctx.pass();
        }
        let tenant = ctx.extensions().get::<Tenant>().expect("the layer's").0;
        let seen =
            json!({ "payload": payload, "tenant": tenant, "rest": ctx.wildcard(), "first": ctx.param("first").unwrap_or_default() });
        Ok(ctx.accept().reply("seen", &seen))
    });
    second
        .layer_join(noting(&log, "second"))
        .on_event("who", async |ctx: EventContext| ctx.reply("who", &json!({ "lobby": 2 })));

    let client = pond.test_client().connect("/").await?;
    let mine = client.join("/c/mine", json!({})).await?;
    assert_eq!(mine.request("who", json!({})).await?, json!({ "lobby": 1 }));
    assert_eq!(log.take(), ["endpoint in", "first in", "first out", "endpoint out"]);
    let mut other = client.join("/c/other", json!({ "by": "me" })).await?;
    let expected = json!({ "payload": { "by": "first" }, "tenant": "first", "rest": "other", "first": "" });
    assert_eq!(other.next("seen").await?, expected);
    assert_eq!(other.request("who", json!({})).await?, json!({ "lobby": 2 }));
    let around = ["endpoint in", "first in", "first out", "second in", "second out", "endpoint out"];
    assert_eq!(log.take(), around);
    let nobodys = client.join("/c/nobodys", json!({})).await.unwrap_err();
    assert_eq!(nobodys.rejection().map(|why| (why.code(), why.message())), Some((404, "no such channel")));
    assert_eq!(log.take(), around);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_passed_on_keeps_its_changes() -> TestResult {
    let (pond, log) = logged();
    let first = pond.create_endpoint("/:first", async |ctx: ConnectionContext| match ctx.param("first")? {
        "mine" => Ok(ctx.accept()),
        _ => ctx.pass(),
    });
    first.layer(noting(&log, "first")).layer(async |mut ctx: ConnectionContext, next: Next<ConnectionContext>| {
        ctx.request_mut().extensions.insert(Tenant("first"));
        ctx.request_mut().headers.insert("x-by", "first".parse().expect("a value"));
        next.run(ctx).await
    });
    let second = pond.create_endpoint("/*", async |ctx: ConnectionContext| {
        if ctx.wildcard() == Some("nobodys") {
            return ctx.pass();
        }
        let tenant = ctx.request().extensions.get::<Tenant>().expect("the layer's").0;
        let seen = json!({ "tenant": tenant, "by": ctx.header("x-by"), "rest": ctx.wildcard(), "q": ctx.query("q") });
        Ok(ctx.accept().reply("seen", &seen))
    });
    second.layer(noting(&log, "second"));

    let door = pond.test_client();
    let _mine = door.connect("/mine").await?;
    assert_eq!(log.take(), ["first in", "first out"]);
    let mut other = door.connect("/other?q=1").await?;
    let expected = json!({ "tenant": "first", "by": "first", "rest": "other", "q": "1" });
    assert_eq!(other.next("seen").await?, expected);
    assert_eq!(log.take(), ["first in", "first out", "second in", "second out"]);
    assert_eq!((first.connections().len(), second.connections().len()), (1, 1));
    assert_eq!(door.connect("/nobodys").await.unwrap_err().code(), Some(404));
    assert_eq!(log.take(), ["first in", "first out", "second in", "second out"]);
    Ok(())
}

/// A layer that answers after every error, also after a pass.
async fn recovering<C: Context<Answer = ()>>(ctx: C, next: Next<C>) -> Result<()> {
    next.run(ctx).await.or(Ok(()))
}

/// A layer that answers after every error except a pass.
async fn recovering_from_failures(ctx: EventContext, next: Next<EventContext>) -> Result<()> {
    next.run(ctx).await.or_else(|error| if error.is_pass() { Err(error) } else { Ok(()) })
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_recovers_from_every_error_decides_unless_it_checks_for_a_pass() -> TestResult {
    let (pond, _, lobby, _) = pond();
    let pass = async |ctx: EventContext| -> Result<()> { ctx.pass() };
    let fail = async |_: EventContext| -> Result<()> { Err(Error::not_found("no such thing")) };
    lobby
        .on_event("decided/:what", pass.layer(recovering))
        .on_event("left/:what", pass.layer(recovering_from_failures))
        .on_event("failed/:what", fail.layer(recovering_from_failures))
        .on_event("*", async |ctx: EventContext| ctx.reply("second", &json!({ "event": ctx.event() })));
    let (_ada, mut room) = enter(&pond).await;
    for event in ["decided/1", "failed/1", "left/1", "other"] {
        room.send(event, json!({}));
    }
    for event in ["left/1", "other"] {
        let reply = room.next_message().await?;
        assert_eq!((reply.event.as_str(), reply.payload), ("second", json!({ "event": event })));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_a_layer_keeps_brings_no_message_of_another_user_to_a_handler() -> TestResult {
    let (pond, log) = logged();
    let endpoint = pond.create_endpoint("/:user", async |ctx: ConnectionContext| {
        let user = ctx.param("user")?.to_owned();
        Ok::<_, Error>(ctx.accept().user_id(&user))
    });
    let kept = Arc::new(Mutex::new(None));
    let keeping = move |ctx: EventContext, next: Next<EventContext>| {
        let kept = Arc::clone(&kept);
        async move {
            if let Some(pass) = kept.lock().expect("no panic").take() {
                return Err(pass);
            }
            let pass = next.run(ctx).await.expect_err("the handler passes");
            *kept.lock().expect("no panic") = Some(pass);
            Ok(())
        }
    };
    endpoint
        .create_channel("/c/:room", join)
        .on_event("say", (async |ctx: EventContext| -> Result<()> { ctx.pass() }).layer(keeping))
        .on_event("*", async |ctx: EventContext, State(log): State<Log>| log.note(ctx.user_id()));
    let (ada, bob) = (pond.test_client().connect("/ada").await?, pond.test_client().connect("/bob").await?);
    let (adas, mut bobs) = (ada.join("/c/1", json!({})).await?, bob.join("/c/1", json!({})).await?);
    adas.send("say", json!({ "secret": 1 }));
    adas.send("after", json!({}));
    assert_eq!(log.next().await, ["ada"]);
    bobs.send("say", json!({}));
    let refused = bobs.next_message().await?;
    assert_eq!((refused.event.as_str(), &refused.payload["code"]), ("INTERNAL_ERROR", &json!(404)));
    assert_eq!(refused.payload["message"], json!("no handler decided"));
    bobs.send("after", json!({}));
    assert_eq!(log.next().await, ["bob"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_passed_context_is_dropped_if_a_layer_decides() -> TestResult {
    let (pond, _, lobby, _) = pond();
    let held = Arc::new(());
    let attached = Arc::clone(&held);
    let attaching = move |mut ctx: EventContext, next: Next<EventContext>| {
        ctx.extensions_mut().insert(Arc::clone(&attached));
        next.run(ctx)
    };
    lobby.on_event("go", (async |ctx: EventContext| -> Result<()> { ctx.pass() }).layer(attaching).layer(recovering));
    let (_ada, room) = enter(&pond).await;
    room.send("go", json!({}));
    assert_eq!(
        room.request("echo", json!({ "n": 1 })).await?,
        json!({ "n": 1 }),
        "the message before has been handled"
    );
    assert_eq!(Arc::strong_count(&held), 2, "the test and the layer");

    let attached = Arc::clone(&held);
    let endpoint = pond.create_endpoint("/join", connect);
    let lobby = endpoint.create_channel("/d/:room", async |ctx: JoinContext| -> Result<Joined> { ctx.pass() });
    lobby.layer_join(async |ctx: JoinContext, next: Next<JoinContext>| {
        let passed = next.run(ctx).await.expect_err("the handler passes");
        Err(Error::forbidden("not here").with_source(passed))
    });
    lobby.layer_join(move |mut ctx: JoinContext, next: Next<JoinContext>| {
        ctx.extensions_mut().insert(Arc::clone(&attached));
        next.run(ctx)
    });
    let client = pond.test_client().connect("/join").await?;
    assert_eq!(client.join("/d/1", json!({})).await.unwrap_err().code(), Some(403));
    assert_eq!(Arc::strong_count(&held), 3, "the test and both layers");
    Ok(())
}
