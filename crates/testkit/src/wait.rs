//! Waits with deadlines. They use tokio's clock: while it is paused, waiting takes no real time.

use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// The deadline of everything that a test waits for, long enough for a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// The deadline of a condition that is polled. It is longer, because a paused clock advances with each poll.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Waits for a future, or fails the test at the caller's line.
#[track_caller]
pub fn soon<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    let at = Location::caller();
    async move {
        match timeout(DEADLINE, future).await {
            Ok(value) => value,
            Err(_) => panic!("{at}: no {what} within {DEADLINE:?}"),
        }
    }
}

/// Polls a condition until it holds, or fails the test at the caller's line.
#[track_caller]
pub fn eventually(what: &str, holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let holding = within(TIMEOUT, what, holds);
    async {
        holding.await;
    }
}

/// Polls a condition until it holds, for at most this long; returns the time it took.
#[track_caller]
pub fn within(most: Duration, what: &str, mut holds: impl FnMut() -> bool) -> impl Future<Output = Duration> {
    let at = Location::caller();
    async move {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < most, "{at}: not within {most:?}: {what}");
            // A short sleep on tokio's clock: with the clock paused it advances only once all other tasks are idle.
            sleep(Duration::from_millis(1)).await;
        }
        start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_until_a_condition_holds_is_returned() {
        let start = Instant::now();
        let took = within(DEADLINE, "five seconds", || start.elapsed() >= Duration::from_secs(5)).await;
        assert!((5000..=5002).contains(&took.as_millis()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "wait.rs")]
    async fn a_condition_that_never_holds_fails_at_the_line_that_waits() {
        eventually("the impossible", || false).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "no answer within 20s")]
    async fn a_future_that_never_ends_fails() {
        soon("answer", pending::<()>()).await;
    }
}
