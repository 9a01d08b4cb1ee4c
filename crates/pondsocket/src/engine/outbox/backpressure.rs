//! The channels that wait until a client has taken enough of its queue.

use std::task::Waker;

use tokio::time::Instant;

use super::queue::Bounds;
use crate::engine::pace::Credit;

/// The outcome of waiting for room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RoomWait {
    /// There is room, or nothing is accepted any more.
    Room,
    /// There is no room in time: from now on the slow-client policy applies.
    TimedOut,
    /// There is none yet. The caller asks again when its waker is woken, or at this time.
    Until(Instant),
}

/// The lag of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lag {
    /// The time at which it last took bytes, or at which the queue began to fill.
    pub(crate) since: Instant,
    /// True if channels do not wait for it any more.
    pub(crate) left_behind: bool,
}

/// The credit of one client, and the deliveries that wait for it.
#[derive(Debug)]
pub(super) struct Backpressure {
    credit: Credit,
    /// Boxed, because hardly any outbox ever has some.
    #[expect(clippy::box_collection, reason = "8 bytes of each idle connection in place of 24")]
    waiting: Option<Box<Vec<Waker>>>,
}

impl Backpressure {
    pub(super) fn new(bounds: Bounds, now: Instant) -> Backpressure {
        Backpressure { credit: Credit::new(bounds.pacing, now), waiting: None }
    }

    pub(super) fn lag(&self) -> Lag {
        Lag { since: self.credit.since(), left_behind: self.credit.is_left_behind() }
    }

    pub(super) fn is_left_behind(&self) -> bool {
        self.credit.is_left_behind()
    }

    /// Returns whether channels still wait for the client, whose outbox is over its bounds.
    pub(super) fn is_waited_for(&mut self, now: Instant) -> bool {
        self.credit.holds(now)
    }

    /// Notes that the queue is not empty any more.
    pub(super) fn begin(&mut self, now: Instant) {
        self.credit.begin(now);
    }

    /// Notes that the client has taken bytes at once, while the queue was empty.
    pub(super) fn wrote(&mut self, bytes: usize, bounds: Bounds) {
        self.credit.earn(bytes, bounds.pacing);
    }

    /// Notes that the client has taken bytes of the queue.
    pub(super) fn took(&mut self, bytes: usize, bounds: Bounds, now: Instant) {
        self.credit.take(bytes, bounds.pacing, now);
    }

    /// Notes that the client keeps up again.
    pub(super) fn caught_up(&mut self) {
        self.credit.catch_up();
    }

    /// Waits on behalf of a channel, which does not wait longer than `until`. One channel that stops to wait does so for
    /// all: the policy applies to the outbox, not to a channel's part of it.
    pub(super) fn wait(&mut self, waker: &Waker, until: Instant, now: Instant) -> RoomWait {
        if now >= until {
            self.credit.leave_behind();
        }
        if !self.credit.holds(now) {
            return RoomWait::TimedOut;
        }
        let waiting = self.waiting.get_or_insert_default();
        // A delivery that was woken by its timer asks again with the same waker.
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        RoomWait::Until(self.credit.ends().min(until))
    }

    pub(super) fn has_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    pub(super) fn take_waiting(&mut self) -> Vec<Waker> {
        self.waiting.take().map(|waiting| *waiting).unwrap_or_default()
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::closing::{Close, TOO_SLOW};
    use crate::engine::outbox::fixture::{BOUNDS, PACING, advance, deliver_at, frame, outbox, start};

    #[test]
    fn channels_wait_for_a_client_at_its_bounds_until_there_is_room() {
        let mut outbox = outbox();
        let late = start() + Duration::from_secs(9);
        for _ in 0..5 {
            assert!(deliver_at(&mut outbox, "x", start()).expect("room").accepted);
        }
        let behind = deliver_at(&mut outbox, "y", start()).expect("it will catch up");
        assert!(behind.behind && !behind.accepted);
        assert_eq!(outbox.depth().0, 5, "nothing is added");
        let until = start() + PACING.wait;
        assert_eq!(outbox.wait(Waker::noop(), BOUNDS, late, start()), RoomWait::Until(until));
        assert!(outbox.take_relieved(BOUNDS).is_empty());
        advance(&mut outbox, frame("x").len());
        assert_eq!(outbox.take_relieved(BOUNDS).len(), 1);
        assert_eq!(outbox.wait(Waker::noop(), BOUNDS, late, start()), RoomWait::Room);
        assert!(deliver_at(&mut outbox, "y", start()).expect("room").accepted);
    }

    #[test]
    fn a_client_that_takes_nothing_is_closed_when_far_over_its_bounds() {
        let mut outbox = outbox();
        for _ in 0..5 {
            deliver_at(&mut outbox, "x", start()).expect("room");
        }
        let now = start() + PACING.wait;
        assert_eq!(outbox.wait(Waker::noop(), BOUNDS, now, now), RoomWait::TimedOut);
        assert!(outbox.lag(BOUNDS).is_some_and(|lag| lag.left_behind && lag.since == start()));
        let outcomes: Vec<_> = (0..60).map(|_| deliver_at(&mut outbox, "y", now)).collect();
        assert!(outcomes[..59].iter().all(|outcome| outcome.as_ref().is_ok_and(|pushed| pushed.accepted)));
        assert_eq!(outcomes[59], Err(TOO_SLOW), "sixteen times as many frames");
        let mut outbox = self::outbox();
        let large = "x".repeat(600);
        let later = now + PACING.wait;
        let outcomes: Vec<_> =
            (0..7).map(|count| deliver_at(&mut outbox, &large, if count < 2 { now } else { later })).collect();
        assert!(outcomes[..6].iter().all(|outcome| outcome.as_ref().is_ok_and(|pushed| pushed.accepted)));
        assert_eq!(outcomes[6], Err(TOO_SLOW), "four times as many bytes");
    }

    #[test]
    fn channels_wait_again_for_a_client_that_has_caught_up() {
        let mut outbox = outbox();
        for _ in 0..5 {
            deliver_at(&mut outbox, "x", start()).expect("room");
        }
        let now = start() + PACING.wait;
        let pushed = deliver_at(&mut outbox, "y", now).expect("not far over");
        assert!(pushed.accepted && pushed.left_behind && pushed.wake);
        outbox.advance(3 * frame("x").len(), BOUNDS, now);
        assert!(outbox.is_left_behind(), "three of four wait");
        outbox.advance(frame("x").len(), BOUNDS, now);
        assert!(!outbox.is_left_behind());
    }

    #[test]
    fn a_channel_does_not_wait_longer_than_it_may() {
        let mut outbox = outbox();
        for _ in 0..5 {
            deliver_at(&mut outbox, "x", start()).expect("room");
        }
        let until = start() + Duration::from_millis(100);
        assert_eq!(outbox.wait(Waker::noop(), BOUNDS, until, start()), RoomWait::Until(until));
        assert_eq!(outbox.wait(Waker::noop(), BOUNDS, until, until), RoomWait::TimedOut);
    }

    #[test]
    fn channels_do_not_wait_for_a_connection_that_closes() {
        let mut outbox = outbox();
        for _ in 0..5 {
            deliver_at(&mut outbox, "x", start()).expect("room");
        }
        assert!(matches!(outbox.wait(Waker::noop(), BOUNDS, start() + PACING.wait, start()), RoomWait::Until(_)));
        assert!(outbox.close(Close::Immediate(TOO_SLOW)));
        assert_eq!(outbox.take_relieved(BOUNDS).len(), 1);
        assert_eq!(outbox.wait(Waker::noop(), BOUNDS, start() + PACING.wait, start()), RoomWait::Room);
    }
}
