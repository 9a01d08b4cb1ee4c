//! Queues, and the limits of what a client may send, join and store.

use pondsocket::{EndpointOptions, Options};
use serde_json::json;
use testkit::{TestResult, eventually};
use tokio::time::{Instant, timeout};

use super::{SECOND, closed, gone_after, passive, pond, send_message, text};

#[tokio::test(start_paused = true)]
async fn an_endpoint_has_the_configured_bounds_of_queues() -> TestResult {
    let frames = EndpointOptions { send_channel_buffer: Some(2), ..Default::default() };
    let bytes = EndpointOptions { outbox_bytes: Some(20_000), ..Default::default() };
    for own in [frames, bytes] {
        let own = EndpointOptions { send_timeout: Some(2 * SECOND), ..own };
        let (pond, endpoints, counted) = pond(Options::default(), own);
        let mut sockets = [passive(&pond, "/all").await, passive(&pond, "/own").await];
        let start = Instant::now();
        for endpoint in &endpoints {
            for _ in 0..4 {
                endpoint.channel("/room/1")?.broadcast("large", &json!({ "filler": "x".repeat(10_000) }))?;
            }
        }
        gone_after(&endpoints[1], start, 2 * SECOND).await;
        assert_eq!(closed(&mut sockets[1]).await, 1013);
        eventually("it is counted", || counted.of("connection_closed").len() == 1).await;
        assert!(counted.of("connection_closed")[0].ends_with("1013 too_slow"));
        assert_eq!(endpoints[0].connections().len(), 1, "the other one has more room");
    }

    let few = EndpointOptions {
        max_concurrent_handlers: Some(1),
        receive_channel_buffer: Some(2),
        write_wait: Some(3 * SECOND),
        ..Default::default()
    };
    let (pond, endpoints, counted) = pond(Options::default(), few);
    let mut sockets = [passive(&pond, "/all").await, passive(&pond, "/own").await];
    for socket in &mut sockets {
        send_message(socket, "BROADCAST", "wait", "/room/1").await;
        send_message(socket, "BROADCAST", "echo", "/room/2").await;
    }
    assert!(text(&mut sockets[0]).await.contains("echo"), "there are ten handlers");
    let start = Instant::now();
    send_message(&mut sockets[1], "BROADCAST", "wait", "/room/1").await;
    gone_after(&endpoints[1], start, 3 * SECOND).await;
    assert_eq!(closed(&mut sockets[1]).await, 1013, "one runs, two wait, and nothing moves");
    eventually("it is counted", || counted.of("connection_closed").len() == 1).await;
    assert!(counted.of("connection_closed")[0].ends_with("1013 too_many_messages"));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_has_the_configured_limits_for_clients() -> TestResult {
    let small = EndpointOptions {
        max_channel_name: Some(8),
        max_channels_per_connection: Some(1),
        max_assigns_size: Some(20),
        max_presence_size: Some(20),
        ..Default::default()
    };
    let (pond, endpoints, counted) = pond(Options::default(), small);
    let client = pond.test_client();
    for (path, endpoint, refused) in [("/all", &endpoints[0], false), ("/own", &endpoints[1], true)] {
        let ada = client.connect(path).await?;
        let _long = ada.join("/room/123", json!({})).await.map_err(|error| assert!(refused, "{error}"));
        let _room = ada.join("/room/1", json!({})).await?;
        let _second = ada.join("/room/2", json!({})).await.map_err(|error| assert!(refused, "{error}"));
        let channel = endpoint.channel("/room/1")?;
        let value = "x".repeat(20);
        assert_eq!(channel.update_assigns(ada.id(), "key", &value).await.is_err(), refused);
        assert_eq!(channel.track(ada.id(), &json!({ "key": value })).is_err(), refused);
    }
    assert_eq!(counted.of("limit_reached"), ["/own channel_name", "/own channels", "/own assigns", "/own presence"]);

    for own in [
        EndpointOptions { messages_per_second: Some(2), ..Default::default() },
        EndpointOptions { bytes_per_second: Some(220), ..Default::default() },
    ] {
        let own = EndpointOptions { max_refusals: Some(2), max_pending_joins: Some(1), ..own };
        let (pond, ..) = self::pond(Options::default(), own);
        for (path, code) in [("/all", None), ("/own", Some(1008))] {
            let ada = pond.test_client().connect(path).await?;
            let room = ada.join("/room/1", json!({})).await?;
            for _ in 0..4 {
                room.send("echo", json!({}));
            }
            match code {
                Some(_) => assert_eq!(ada.closed().await?.code, code),
                None => assert_eq!(room.request("echo", json!({ "n": 1 })).await?["n"], 1),
            }
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn canonical_channel_names_refuse_other_forms() -> TestResult {
    let own = EndpointOptions { canonical_channel_names: Some(true), ..Default::default() };
    let (pond, endpoints, _) = pond(Options::default(), own);
    let client = pond.test_client();
    let (all, own) = (client.connect("/all").await?, client.connect("/own").await?);
    for (name, is_canonical) in [
        ("/room/1", true),
        ("/room/1?x=//", true),
        ("/room", true),
        ("room/1", false),
        ("//room/1", false),
        ("/room//1", false),
        ("/room/1/", false),
        ("/room/1/?x", false),
    ] {
        all.join(name, json!({})).await?;
        let declined = own.join(name, json!({})).await.err().and_then(|error| error.code());
        assert_eq!(declined, if is_canonical { None } else { Some(404) }, "{name}");
        assert_eq!(endpoints[1].channel(name).is_ok(), is_canonical, "{name}");
    }
    Ok(())
}

/// Nothing is delivered while this test runs without a wait.
#[tokio::test(start_paused = true)]
async fn a_channel_queue_is_full_at_four_times_its_messages_or_bytes() -> TestResult {
    let payload = json!({ "filler": "x".repeat(1000) });
    for (options, most) in [
        (Options::default().channel_queue(3), 12),
        // Each message has some 1100 bytes.
        (Options::default().channel_queue_bytes(3 * 1100), 12),
    ] {
        let (pond, endpoints, counted) = pond(options, EndpointOptions::default());
        let ada = pond.test_client().connect("/all").await?;
        let mut room = ada.join("/room/1", json!({})).await?;
        let channel = endpoints[0].channel("/room/1")?;
        let sent: Vec<_> = (0..20).map(|_| channel.broadcast("news", &payload).map_err(|error| error.code())).collect();
        let accepted = sent.iter().filter(|sent| sent.is_ok()).count();
        assert!((most..=most + 1).contains(&accepted), "{accepted} were accepted");
        assert!(sent[accepted..].iter().all(|sent| sent.as_ref().err() == Some(&503)), "{sent:?}");
        assert_eq!(counted.of("limit_reached"), vec!["/all channel_queue"; 20 - accepted]);
        timeout(SECOND, channel.ready()).await?;
        channel.broadcast("after", &json!({}))?;
        room.next("after").await?;
    }
    Ok(())
}
