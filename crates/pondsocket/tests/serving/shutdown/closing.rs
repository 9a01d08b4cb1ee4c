//! The close frames of a shutdown, and their spread over time.

use std::time::Duration;

use futures_util::future::join_all;
use pondsocket::{ConnectionContext, Error, Shutdown};
use tokio::time::{Instant, sleep};

use super::{GRAIN, SECOND, assert_about, begin, closed, counts, member, pond};

#[tokio::test(start_paused = true)]
async fn the_close_code_says_whether_the_server_comes_back() {
    let how = Shutdown::within(SECOND);
    for (how, code, reason) in
        [(how, 1001, "the server is shutting down"), (how.for_restart(), 1012, "the server restarts")]
    {
        let (pond, ..) = pond();
        let (client, _room) = member(&pond).await;
        assert_eq!(counts(pond.shutdown(how).await), (1, 0, 0));
        let closed = client.closed().await.expect("it ends");
        assert_eq!((closed.code, closed.reason.as_str()), (Some(code), reason));
    }
}

/// Accepts this many clients and shuts down. Returns the times at which each of them received its close frame.
async fn close_frames_after(clients: usize, how: Shutdown) -> Vec<Duration> {
    let (pond, ..) = pond();
    let mut all = Vec::new();
    for _ in 0..clients {
        all.push(closed(member(&pond).await.0));
    }
    let start = Instant::now();
    assert_eq!(counts(pond.shutdown(how).await), (clients, 0, 0));
    let mut told = Vec::new();
    for client in all {
        let (code, at) = client.await.expect("no panic");
        assert_eq!(code, Some(1001));
        told.push(at - start);
    }
    told.sort_unstable();
    told
}

#[tokio::test(start_paused = true)]
async fn all_clients_are_closed_at_once_without_a_spread() {
    let told = close_frames_after(20, Shutdown::within(10 * SECOND)).await;
    assert!(told.iter().all(|at| *at <= GRAIN), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn clients_are_closed_one_after_the_other_over_the_spread() {
    let told = close_frames_after(10, Shutdown::within(60 * SECOND).spread(10 * SECOND)).await;
    for (at, second) in told.into_iter().zip(0..) {
        assert_about(at, second * SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn few_clients_are_closed_over_two_seconds_if_their_number_decides() {
    let told = close_frames_after(10, Shutdown::within(60 * SECOND).spread_by_count()).await;
    for (at, step) in told.into_iter().zip(0..) {
        assert_about(at, step * SECOND / 5);
    }
}

/// The clients of one endpoint need the same data, and would come back together.
#[tokio::test(start_paused = true)]
async fn the_clients_of_all_endpoints_are_closed_in_one_random_order() {
    let (pond, ..) = pond();
    pond.create_endpoint("/other", async |ctx: ConnectionContext| Ok::<_, Error>(ctx.accept()));
    let connector = pond.test_client().deadline(600 * SECOND);
    let mut all = Vec::new();
    for path in ["/", "/other"] {
        for _ in 0..20 {
            all.push((path, closed(connector.connect(path).await.expect("let in"))));
        }
    }
    assert_eq!(counts(pond.shutdown(Shutdown::within(60 * SECOND).spread(40 * SECOND)).await), (40, 0, 0));
    let mut order = Vec::new();
    for (path, client) in all {
        order.push((client.await.expect("no panic").1, path));
    }
    order.sort_unstable();
    let first = order[..20].iter().filter(|(_, path)| *path == "/").count();
    // By chance it is one of 137 billion orders.
    assert!((1..20).contains(&first), "{first} of the first 20 are of the first endpoint");
}

#[tokio::test(start_paused = true)]
async fn many_clients_are_closed_in_even_parts() {
    let told = close_frames_after(300, Shutdown::within(60 * SECOND).spread(SECOND)).await;
    for tenth in 0..10 {
        let (from, to) = (tenth * SECOND / 10, (tenth + 1) * SECOND / 10);
        let part = told.iter().filter(|at| (from..to).contains(*at)).count();
        assert!((24..=36).contains(&part), "{part} in tenth {tenth}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_spread_takes_at_most_half_of_the_time() {
    let told = close_frames_after(4, Shutdown::within(4 * SECOND).spread(60 * SECOND)).await;
    for (at, half_second) in told.into_iter().zip(0..) {
        assert_about(at, half_second * SECOND / 2);
    }
}

#[tokio::test(start_paused = true)]
async fn the_spread_ends_with_the_last_connection() {
    let (pond, ..) = pond();
    let members = join_all((0..3).map(|_| member(&pond))).await;
    let start = Instant::now();
    let shutdown = begin(&pond, Shutdown::within(60 * SECOND).spread(30 * SECOND));
    sleep(SECOND).await;
    members.iter().for_each(|(client, _)| client.close());
    assert_eq!(counts(shutdown.await.expect("no panic")), (3, 0, 0));
    assert_about(start.elapsed(), SECOND);
}
