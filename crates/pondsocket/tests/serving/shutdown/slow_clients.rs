//! Clients that read slowly, or not at all.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep};

use super::{GRAIN, SECOND, assert_about, begin, broadcast, counts, member, narrow, next, pond};

#[tokio::test(start_paused = true)]
async fn all_earlier_messages_reach_a_client_that_reads() {
    let (pond, endpoint, _) = pond();
    let mut members = join_all((0..3).map(|_| member(&pond))).await;
    broadcast(&endpoint, 3000);
    assert_eq!(counts(pond.shutdown(10 * SECOND).await), (3, 0, 0));
    for (client, room) in &mut members {
        for number in 0..3000 {
            assert_eq!(room.next("news").await.expect("sent before"), json!({ "number": number }));
        }
        assert_eq!(client.closed().await.expect("it ends").code, Some(1001));
    }
}

/// Far longer than the timeout of a close handshake, with a backlog far over the bounds.
#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_gets_thousands_of_messages_and_then_the_close_frame() {
    let (pond, endpoint, _) = pond();
    let mut slow = narrow(&pond, 1024).await;
    broadcast(&endpoint, 4000);
    let shutdown = begin(&pond, 120 * SECOND);
    for number in 0..4000 {
        sleep(Duration::from_millis(10)).await;
        assert_eq!(next(&mut slow).await.expect("sent before")["payload"]["number"], json!(number));
    }
    assert_eq!(next(&mut slow).await, Err(Some(1001)));
    assert_eq!(next(&mut slow).await, Err(None));
    assert_eq!(counts(shutdown.await.expect("no panic")), (1, 0, 0));
}

/// The queue is over its bounds when the shutdown begins. Nothing is added from then on, so the client has more time.
#[tokio::test(start_paused = true)]
async fn a_slow_client_over_its_bounds_is_no_longer_closed_for_that() {
    let (pond, endpoint, _) = pond();
    let mut slow = narrow(&pond, 1024).await;
    broadcast(&endpoint, 1000);
    while pond.snapshot().endpoints[0].waiting_messages < 900 {
        sleep(GRAIN).await;
    }
    endpoint.connections()[0].disconnect();
    sleep(8 * SECOND).await;
    for number in 0..1000 {
        assert_eq!(next(&mut slow).await.expect("sent before")["payload"]["number"], json!(number));
    }
    assert_eq!(next(&mut slow).await, Err(Some(1000)));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_beyond_the_range_of_the_clock_never_expires() {
    let (pond, ..) = pond();
    let (_client, _room) = member(&pond).await;
    assert_eq!(counts(pond.shutdown(Duration::MAX).await), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_cut_off_at_the_deadline() {
    let (pond, endpoint, _) = pond();
    let (reading, _room) = member(&pond).await;
    let mut deaf = narrow(&pond, 1024).await;
    broadcast(&endpoint, 1000);
    let start = Instant::now();
    assert_eq!(counts(pond.shutdown(8 * SECOND).await), (1, 1, 0));
    assert_about(start.elapsed(), 8 * SECOND);
    assert_eq!(reading.closed().await.expect("it ends").code, Some(1001));
    while next(&mut deaf).await.is_ok() {}
    assert_eq!(next(&mut deaf).await, Err(None), "there was no way to tell it");
    let left = &pond.snapshot().endpoints[0];
    assert_eq!((left.connections, left.closing, left.admitted, left.channels.len()), (0, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_answers_the_close_is_cut_off_at_the_deadline() {
    let (pond, ..) = pond();
    let mut mute = narrow(&pond, 1024).await;
    let start = Instant::now();
    assert_eq!(counts(pond.shutdown(5 * SECOND).await), (0, 1, 0));
    assert_about(start.elapsed(), 5 * SECOND);
    // Read below the WebSocket, which would answer.
    let mut bytes = Vec::new();
    mute.get_mut().read_to_end(&mut bytes).await.expect("readable");
    let text = "the server is shutting down";
    let expected = [&[0x88, 2 + text.len() as u8, 0x03, 0xe9], text.as_bytes()].concat();
    assert_eq!(bytes, expected, "one close frame with 1001, and then the end");
}
