use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ChannelKey;

/// An action that waits for its time. Of several that are due at the same time, the first of this list comes first.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(super) enum Timer {
    /// Tell that this node lives, and check which others do.
    Beat,
    /// Tell foreign nodes that this one lives.
    Heartbeat,
    /// Check foreign nodes for silence.
    ForeignScan,
    /// Tell foreign nodes of the users here again.
    Announce,
    /// Tell this foreign node of the users in the channel again: it may have asked before it could hear the answer.
    AnnounceAgain(ChannelKey, Arc<str>),
    /// Ask for the states of channels that are wanted.
    Sync,
    /// Answer the nodes that asked for states.
    Answer,
    /// Ask this node for the missing part of its states.
    Repair(Arc<str>),
    /// Show the changes of remote members in a channel.
    View(ChannelKey),
    /// Publish the digest of a channel that has changed a while ago.
    Digest(ChannelKey, DigestRound),
    /// Publish the next of all digests.
    Sweep,
    /// Leave a channel's topic.
    Linger(ChannelKey),
    /// Stop waiting for the answers to a request.
    Request(u64),
}

/// One of the two digests after a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(super) enum DigestRound {
    First,
    Second,
}

/// The times at which timers go off: one time for each timer.
#[derive(Debug, Default)]
pub(super) struct Timers {
    times: BTreeMap<Timer, u64>,
    order: BTreeSet<(u64, Timer)>,
}

impl Timers {
    /// Sets the time of a timer, in place of the one that it had.
    pub(super) fn set(&mut self, timer: Timer, at: u64) {
        self.stop(&timer);
        self.order.insert((at, timer.clone()));
        self.times.insert(timer, at);
    }

    /// Sets the time of a timer, unless it is running.
    pub(super) fn start(&mut self, timer: Timer, at: u64) {
        if !self.times.contains_key(&timer) {
            self.set(timer, at);
        }
    }

    pub(super) fn stop(&mut self, timer: &Timer) {
        if let Some(at) = self.times.remove(timer) {
            self.order.remove(&(at, timer.clone()));
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Timers::default();
    }

    pub(super) fn earliest(&self) -> Option<u64> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes a timer that has gone off, the earliest first, with the time that it was set to.
    pub(super) fn take(&mut self, now: u64) -> Option<(u64, Timer)> {
        if self.earliest()? > now {
            return None;
        }
        let (at, timer) = self.order.pop_first()?;
        self.times.remove(&timer);
        Some((at, timer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_go_off_in_the_order_of_their_times_and_once() {
        let mut timers = Timers::default();
        timers.set(Timer::Beat, 20);
        timers.set(Timer::Heartbeat, 10);
        assert_eq!(timers.earliest(), Some(10));
        assert_eq!(timers.take(9), None);
        assert_eq!(timers.take(30), Some((10, Timer::Heartbeat)));
        assert_eq!(timers.take(30), Some((20, Timer::Beat)));
        assert_eq!((timers.take(30), timers.earliest()), (None, None));
    }

    #[test]
    fn setting_moves_one_and_starting_does_not() {
        let mut timers = Timers::default();
        timers.set(Timer::Sync, 20);
        timers.start(Timer::Sync, 10);
        assert_eq!(timers.earliest(), Some(20));
        timers.set(Timer::Sync, 30);
        assert_eq!(timers.earliest(), Some(30));
        timers.stop(&Timer::Sync);
        assert_eq!(timers.earliest(), None);
    }
}
