use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ChannelKey;
use crate::id::UserId;

/// A delayed action. Of several that are due at the same time, the one that is declared first here is executed first,
/// so that the order is the same in every run of the simulator.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(super) enum Timer {
    /// Publishes `Hello` where there are no leases, and checks the liveness of nodes.
    Beat,
    /// Publishes a heartbeat for foreign nodes.
    Heartbeat,
    /// Checks foreign nodes for silence.
    ForeignScan,
    /// Sends the users of this node in all channels to foreign nodes.
    Announce,
    /// Sends the users in the channel once more for this foreign node: it may have sent its request before it was
    /// subscribed.
    AnnounceAgain(ChannelKey, Arc<str>),
    /// Begins to repair the losses that the bus has reported since the last time.
    Losses,
    /// Requests the states of channels that are wanted.
    Sync,
    /// Answers the nodes that have requested states.
    Answer,
    /// Requests the missing part of the states of this node.
    Repair(Arc<str>),
    /// Shows the changes of remote members in a channel.
    View(ChannelKey),
    /// Shows the next channels of those whose changes wait.
    Views,
    /// Publishes the leave of a user that has joined on another node.
    Moved(ChannelKey, UserId),
    /// Ends the presence grace of users whose node has gone.
    Orphans(ChannelKey),
    /// Publishes the digest of a channel some time after its last change.
    Digest(ChannelKey, DigestRound),
    /// Publishes the next digests of the sweep.
    Sweep,
    /// Unsubscribes from a channel's topic.
    Linger(ChannelKey),
    /// Ends the wait for the answers to a request.
    Request(u64),
}

/// One of the two digests after a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(super) enum DigestRound {
    First,
    Second,
}

/// The expiry times of timers: at most one for each. Both maps hold the same entries: `order` finds the earliest timer,
/// `times` finds a timer that is moved or stopped.
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

    /// Sets the time of a timer, unless it is running. Work that is collected until then is thus not put off by later
    /// additions.
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

    pub(super) fn is_running(&self, timer: &Timer) -> bool {
        self.times.contains_key(timer)
    }

    pub(super) fn clear(&mut self) {
        *self = Timers::default();
    }

    pub(super) fn earliest(&self) -> Option<u64> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the earliest timer that has expired, with the time that it was set to.
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
    fn timers_expire_once_in_the_order_of_their_times() {
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
    fn setting_moves_a_running_timer_and_starting_does_not() {
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
