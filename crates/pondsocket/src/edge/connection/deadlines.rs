//! The deadlines of a connection, as plain data: the connection's task notes what happens, and asks for the due action.

use std::time::Duration;

use tokio::time::Instant;

use crate::engine::outbox::Lag;
use crate::options::Options;

/// The start of each condition that ends the connection if it lasts, and the last time of each repeated action.
#[derive(Debug)]
pub(super) struct Deadlines {
    opened: Instant,
    // The following are in nanoseconds since then, which are half of an `Instant`.
    last_read: u64,
    last_ping: u64,
    last_heartbeat: u64,
    /// On the heap, and only while there is one: most connections never have any.
    conditions: Option<Box<[Option<Instant>; CONDITIONS]>>,
}

/// A condition that a connection may be in for a limited time only.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Condition {
    /// The peer accepts no byte of what is written.
    Stalled,
    /// All frames are sent, and the peer has to close.
    Closing,
    /// The outbox is over its bounds.
    OverBounds,
    /// The receive queue is full, and no handler of its messages begins.
    QueueFull,
    /// The connection is not read because the memory limit is reached, and holds much of that memory itself.
    OutOfMemory,
}

const CONDITIONS: usize = 5;

/// The action that a deadline asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Due {
    /// Nothing was read for `pong_wait`: the transport is closed.
    Silent,
    /// The peer has taken nothing, or not closed, for `write_wait`: the transport is closed.
    Stalled,
    /// The outbox was over its bounds for `send_timeout`: the connection is closed as too slow.
    TooSlow,
    /// The receive queue was full for `write_wait`: the connection is closed for too many messages.
    TooManyMessages,
    /// The connection has held much of the exhausted memory for `write_wait`: the connection is closed for that.
    OutOfMemory,
    Ping,
    Heartbeat,
}

/// The state of the connection that decides which deadlines there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation<'a> {
    pub(super) options: &'a Options,
    /// True if the transport has pings that a live peer answers.
    pub(super) answers: bool,
    pub(super) is_open: bool,
    pub(super) lag: Option<Lag>,
}

impl Deadlines {
    pub(super) fn new(now: Instant) -> Deadlines {
        Deadlines { opened: now, last_read: 0, last_ping: 0, last_heartbeat: 0, conditions: None }
    }

    /// The time for which the connection has been open.
    pub(super) fn lasted(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.opened)
    }

    fn nanos(&self, now: Instant) -> u64 {
        // They fit for five centuries.
        self.lasted(now).as_nanos() as u64
    }

    /// Notes that something was read, or that the connection is not read at all, so that its silence means nothing.
    pub(super) fn read(&mut self, now: Instant) {
        self.last_read = self.nanos(now);
    }

    pub(super) fn pinged(&mut self, now: Instant) {
        self.last_ping = self.nanos(now);
    }

    pub(super) fn sent_heartbeat(&mut self, now: Instant) {
        self.last_heartbeat = self.nanos(now);
    }

    /// Notes whether a condition holds. Its time runs from the first call since which it has held.
    pub(super) fn set(&mut self, condition: Condition, holds: bool, now: Instant) {
        if holds {
            self.conditions.get_or_insert_default()[condition as usize].get_or_insert(now);
        } else if let Some(conditions) = &mut self.conditions {
            conditions[condition as usize] = None;
        }
    }

    /// Ends a condition, so that its time begins anew when it holds again.
    pub(super) fn clear(&mut self, condition: Condition) {
        if let Some(conditions) = &mut self.conditions {
            conditions[condition as usize] = None;
        }
    }

    /// The due action, of several the first one in the table; the next deadline if there is none.
    pub(super) fn next(&self, situation: Situation<'_>, now: Instant) -> Result<Option<Instant>, Due> {
        let mut earliest: Option<Instant> = None;
        for (at, due) in self.table(situation) {
            let Some(at) = at else { continue };
            if now >= at {
                return Err(due);
            }
            earliest = Some(earliest.map_or(at, |earliest| earliest.min(at)));
        }
        Ok(earliest)
    }

    /// All deadlines. Those that end the connection come first, so that a dead connection is closed and not pinged.
    fn table(&self, Situation { options, answers, is_open, lag }: Situation<'_>) -> [(Option<Instant>, Due); 8] {
        let at = |nanos| self.opened + Duration::from_nanos(nanos);
        let after = |start: Option<Instant>, limit: Duration| start.map(|start| start + limit);
        // While channels wait for a peer, each byte that it takes starts the time anew: a busy channel must not end a peer
        // that is slow but reads. Once they do not wait any more, the time runs from the beginning.
        let over = self.since(Condition::OverBounds).zip(lag);
        let over = over.map(|(over, lag)| if lag.left_behind { over } else { over.max(lag.since) });
        [
            (answers.then(|| at(self.last_read) + options.pong_wait), Due::Silent),
            (after(self.since(Condition::Stalled), options.write_wait), Due::Stalled),
            (after(self.since(Condition::Closing), options.write_wait), Due::Stalled),
            (after(over, options.send_timeout), Due::TooSlow),
            (after(self.since(Condition::QueueFull), options.write_wait), Due::TooManyMessages),
            (after(self.since(Condition::OutOfMemory), options.write_wait), Due::OutOfMemory),
            (is_open.then(|| at(self.last_ping) + options.ping_interval), Due::Ping),
            (options.heartbeat.filter(|_| is_open).map(|interval| at(self.last_heartbeat) + interval), Due::Heartbeat),
        ]
    }

    fn since(&self, condition: Condition) -> Option<Instant> {
        self.conditions.as_ref()?[condition as usize]
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    fn situation(options: &Options) -> Situation<'_> {
        Situation { options, answers: true, is_open: true, lag: None }
    }

    #[test]
    fn an_open_connection_is_pinged_before_it_counts_as_silent() {
        let (now, options) = (Instant::now(), Options::default());
        let mut deadlines = Deadlines::new(now);
        assert_eq!(deadlines.next(situation(&options), now), Ok(Some(now + options.ping_interval)));
        assert_eq!(deadlines.next(situation(&options), now + options.ping_interval), Err(Due::Ping));
        deadlines.pinged(now + options.pong_wait);
        assert_eq!(deadlines.next(situation(&options), now + options.pong_wait), Err(Due::Silent));
        let no_pongs = Situation { answers: false, ..situation(&options) };
        assert_eq!(deadlines.next(no_pongs, now + options.pong_wait).err(), None);
    }

    #[test]
    fn a_condition_has_its_full_time_again_after_it_has_ended() {
        let (now, options) = (Instant::now(), Options::default());
        let mut deadlines = Deadlines::new(now);
        let at_end = now + options.write_wait;
        deadlines.set(Condition::QueueFull, true, now);
        deadlines.set(Condition::QueueFull, true, now + Duration::from_millis(1));
        assert_eq!(deadlines.next(situation(&options), at_end), Err(Due::TooManyMessages));
        deadlines.clear(Condition::QueueFull);
        deadlines.set(Condition::QueueFull, true, at_end);
        assert_eq!(deadlines.next(situation(&options), at_end), Ok(Some(at_end + options.write_wait)));
    }
}
