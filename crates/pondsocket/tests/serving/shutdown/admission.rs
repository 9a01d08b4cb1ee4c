//! Clients that connect during a shutdown.

use std::sync::Arc;

use http::header::RETRY_AFTER;
use pondsocket::{Connected, ConnectionContext, Error, Options, PondSocket, Shutdown, WebSocket};
use tokio::time::{Instant, sleep, timeout};

use super::{SECOND, assert_about, begin, closed, connect, counts, events, gate, member, pass, pond, pond_with};

#[tokio::test(start_paused = true)]
async fn clients_are_refused_once_the_shutdown_has_begun() {
    let (pond, ..) = pond_with(Options::default().retry_after(7 * SECOND));
    pond.create_websocket("/raw", async |_: WebSocket| {});
    assert!(!pond.is_draining() && !pond.snapshot().draining);
    assert_eq!(counts(pond.shutdown(SECOND).await), (0, 0, 0));
    assert!(pond.is_draining() && pond.snapshot().draining);
    for path in ["/", "/raw"] {
        let refused = pond.test_client().connect(path).await.expect_err("refused");
        let refusal = refused.refusal().expect("over HTTP");
        assert_eq!((refusal.status().as_u16(), refusal.text().as_str()), (503, "shutting down"), "{path}");
        assert_eq!(refusal.headers()[RETRY_AFTER], "7");
    }
}

#[tokio::test(start_paused = true)]
async fn clients_are_accepted_during_the_delay_which_is_not_part_of_the_timeout() {
    let (pond, ..) = pond();
    let (early, mut room) = member(&pond).await;
    let start = Instant::now();
    let ending = begin(&pond, Shutdown::within(2 * SECOND).delay(5 * SECOND));
    sleep(4 * SECOND).await;
    assert!(!pond.is_ready() && !pond.is_draining() && !pond.snapshot().draining);
    let (late, _) = member(&pond).await;
    let (early, late) = (closed(early), closed(late));
    // No connection delays the shutdown, but the delay is kept.
    assert_eq!(counts(ending.await.expect("no panic")), (2, 0, 0));
    for client in [early, late] {
        let (code, at) = client.await.expect("no panic");
        assert_eq!(code, Some(1001));
        assert_about(at - start, 5 * SECOND);
    }
    assert!(events(&mut room).await.iter().all(|event| event != "ERROR"));
    assert!(pond.test_client().connect("/").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_kept_without_connections_and_is_that_of_the_first_call() {
    for (delays, expected) in [(&[3][..], 3), (&[3, 10], 3), (&[10, 3], 3), (&[10, 0], 0)] {
        let (pond, ..) = pond();
        let start = Instant::now();
        let calls: Vec<_> =
            delays.iter().map(|delay| begin(&pond, Shutdown::within(SECOND).delay(*delay * SECOND))).collect();
        for call in calls {
            assert_eq!(counts(call.await.expect("no panic")), (0, 0, 0));
        }
        assert_about(start.elapsed(), expected * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_delay_still_accepts_clients_and_cannot_be_undone() {
    let (pond, ..) = pond();
    assert!(timeout(SECOND, pond.shutdown(Shutdown::within(SECOND).delay(60 * SECOND))).await.is_err());
    assert!(!pond.is_ready());
    let (client, _) = member(&pond).await;
    let client = closed(client);
    assert_eq!(counts(pond.shutdown(SECOND).await), (1, 0, 0));
    assert_eq!(client.await.expect("no panic").0, Some(1001));
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_admission_is_pending_at_the_shutdown_is_refused() {
    let pond = PondSocket::new();
    let (asked, decided) = (gate(), gate());
    let (ask, decide) = (Arc::clone(&asked), Arc::clone(&decided));
    pond.create_endpoint("/", move |ctx: ConnectionContext| {
        let (ask, decide) = (Arc::clone(&ask), Arc::clone(&decide));
        async move {
            ask.add_permits(1);
            pass(&decide).await;
            Ok::<Connected, Error>(ctx.accept())
        }
    });
    let connecting = connect(&pond, "/");
    pass(&asked).await;
    let shutdown = begin(&pond, 10 * SECOND);
    sleep(SECOND).await;
    assert!(!shutdown.is_finished(), "it waits for handlers that run");
    decided.add_permits(1);
    assert_eq!(counts(shutdown.await.expect("no panic")), (0, 0, 0));
    let refused = connecting.await.expect("no panic").expect_err("refused");
    assert_eq!(refused.code(), Some(503));
    assert_eq!(refused.refusal().expect("over HTTP").headers()[RETRY_AFTER], "5");
}

/// Between the decision and the end of the upgrade there is no connection yet, and no handler any more.
#[tokio::test(start_paused = true)]
async fn a_client_that_was_just_accepted_is_closed_by_the_shutdown() {
    let pond = PondSocket::new();
    let decided = gate();
    let decide = Arc::clone(&decided);
    pond.create_endpoint("/", move |ctx: ConnectionContext| {
        decide.add_permits(1);
        async move { Ok::<Connected, Error>(ctx.accept()) }
    });
    // Another task, which runs right after that of the request.
    let shutdown = tokio::spawn({
        let pond = pond.clone();
        async move {
            pass(&decided).await;
            pond.shutdown(10 * SECOND).await
        }
    });
    let client = connect(&pond, "/").await.expect("no panic").expect("let in");
    assert_eq!(client.closed().await.expect("it ends").code, Some(1001));
    assert_eq!(counts(shutdown.await.expect("no panic")), (1, 0, 0));
}
