//! Shutdowns that are called more than once, or cancelled.

use futures_util::future::join_all;
use pondsocket::Shutdown;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use super::{SECOND, assert_about, begin, closed, counts, member, pond, works};

#[tokio::test(start_paused = true)]
async fn a_shutdown_may_be_called_concurrently_and_again() {
    let (pond, _, lobby) = pond();
    works(&lobby, 3 * SECOND);
    let (client, room) = member(&pond).await;
    room.send("work", json!({}));
    sleep(SECOND).await;
    let start = Instant::now();
    let both = [begin(&pond, 10 * SECOND), begin(&pond, 20 * SECOND)];
    for report in join_all(both).await {
        assert_eq!(counts(report.expect("no panic")), (1, 0, 0));
    }
    assert_about(start.elapsed(), 2 * SECOND);
    assert_eq!(client.closed().await.expect("it ends").code, Some(1001));
    assert_eq!(counts(pond.shutdown(10 * SECOND).await), (0, 0, 0), "no connection is left");
    assert_about(start.elapsed(), 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_shutdown_continues_when_called_again_with_the_first_close_code() {
    let (pond, ..) = pond();
    let clients: Vec<_> =
        join_all((0..4).map(|_| member(&pond))).await.into_iter().map(|(client, _)| closed(client)).collect();
    let how = Shutdown::within(60 * SECOND).spread(20 * SECOND).for_restart();
    assert!(timeout(7 * SECOND, pond.shutdown(how)).await.is_err(), "two of four are told at 0 and at 5 s");
    assert!(pond.is_draining());
    assert_eq!(pond.snapshot().endpoints[0].connections, 2);
    assert_eq!(pond.test_client().connect("/").await.expect_err("refused").code(), Some(503));
    assert_eq!(counts(pond.shutdown(SECOND).await), (2, 0, 0), "of those who were left");
    for client in clients {
        assert_eq!(client.await.expect("no panic").0, Some(1012));
    }
}
