//! The memory of all histories, and the task that looks after them: it removes expired messages, closes channels that
//! only a history kept open, and empties the histories that were used longest ago once all together are over the limit.
//! The same task ends the presence grace of members that have not come back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use pondsocket_proto::channel::Recovery;
use pondsocket_proto::position::Position;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::engine::runtime::KnownRuntime;
use crate::engine::sync::Mutex;

/// The time over which the ends of connections with a gap are spread.
const GAP_SPREAD: Duration = Duration::from_secs(5);

/// The time between two of them.
const GAP_INTERVAL: Duration = Duration::from_millis(1);

/// The time between two looks at all histories.
const INTERVAL: Duration = Duration::from_secs(1);

/// The time at the start, in milliseconds: two years, so that there are times before it for messages of an earlier server,
/// which are kept for a year at most.
const BEGIN: u64 = 2 * 365 * 24 * 60 * 60 * 1000;

/// The histories of a whole `PondSocket`.
#[derive(Debug)]
pub(crate) struct Histories {
    start: Instant,
    limit: usize,
    used: AtomicUsize,
    /// The number of ghosts, and its limit.
    ghosts: AtomicUsize,
    max_ghosts: usize,
    /// Woken when the limit is exceeded, and when this is dropped.
    exceeded: Arc<Notify>,
    hubs: Mutex<Vec<Weak<dyn HistoryHub>>>,
    /// The time at which the next connection with a gap ends.
    next_gap: Mutex<Option<Instant>>,
    /// The task; `None` before the first history.
    task: Mutex<Option<JoinHandle<()>>>,
    pub(crate) runtime: KnownRuntime,
}

/// The channels of one endpoint.
pub(crate) trait HistoryHub: Send + Sync + std::fmt::Debug {
    /// Removes expired messages and ghosts, and closes channels that are not needed any more.
    fn expire(&self);
    /// The histories that take memory.
    fn histories(&self) -> Vec<Arc<dyn ChannelHistory>>;
}

/// The history of one channel.
pub(crate) trait ChannelHistory: Send + Sync + std::fmt::Debug {
    /// The position of the last message; `None` if the channel keeps no history.
    fn position(&self) -> Option<Position>;
    /// Ends the hold of a position.
    fn release(&self, held: Position);
    /// The time of its last use, in milliseconds.
    fn used_at(&self) -> u64;
    /// Removes its messages, those that are held only if `even_held`.
    fn clear(&self, even_held: bool);
}

/// A place in the history of a channel behind which messages stay until this is dropped, within twice the limits.
#[derive(Debug)]
pub(crate) struct HistoryHold {
    channel: Arc<dyn ChannelHistory>,
    held: Position,
    /// The outcome of the client's request to resume, as of the begin of the hold.
    pub(crate) recovery: Recovery,
}

impl HistoryHold {
    /// The hold of a position which the caller has taken.
    pub(crate) fn new(channel: Arc<dyn ChannelHistory>, held: Position, recovery: Recovery) -> HistoryHold {
        HistoryHold { channel, held, recovery }
    }

    /// The position of the last message that was sent by now.
    pub(crate) fn position(&self) -> Option<Position> {
        self.channel.position()
    }
}

impl Drop for HistoryHold {
    fn drop(&mut self) {
        self.channel.release(self.held);
    }
}

/// The part of the memory that one history takes. It is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct HistoryAccount {
    histories: Arc<Histories>,
    bytes: usize,
}

/// The part of the ghosts that one channel has.
#[derive(Debug)]
pub(crate) struct GhostAccount {
    histories: Arc<Histories>,
    count: usize,
}

impl Histories {
    pub(crate) fn new(limit: usize, max_ghosts: usize) -> Histories {
        Histories {
            start: Instant::now(),
            limit,
            used: AtomicUsize::new(0),
            ghosts: AtomicUsize::new(0),
            max_ghosts,
            exceeded: Arc::default(),
            hubs: Mutex::new(Vec::new()),
            next_gap: Mutex::new(None),
            task: Mutex::new(None),
            runtime: KnownRuntime::default(),
        }
    }

    /// The time, in milliseconds.
    pub(crate) fn now(&self) -> u64 {
        BEGIN + u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX - BEGIN)
    }

    /// The bytes that all histories take.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns `true` if there may be one more ghost. Not a reservation: connections that end at the same moment on several
    /// threads can exceed the limit by their number.
    pub(crate) fn has_room_for_ghost(&self) -> bool {
        self.ghosts.load(Ordering::Relaxed) < self.max_ghosts
    }

    /// Returns `true` if any channel has ghosts.
    pub(crate) fn has_ghosts(&self) -> bool {
        self.ghosts.load(Ordering::Relaxed) > 0
    }

    /// The account of the ghosts of a channel.
    pub(crate) fn ghost_account(self: &Arc<Self>) -> GhostAccount {
        GhostAccount { histories: Arc::clone(self), count: 0 }
    }

    /// The time at which a connection with a gap ends: at once, or up to [`GAP_SPREAD`] later if others do, so that their
    /// clients do not all come back at the same moment.
    pub(crate) fn gap_ends_at(&self, now: Instant) -> Instant {
        let mut next = self.next_gap.lock();
        let at = next.filter(|next| *next > now && *next < now + GAP_SPREAD).unwrap_or(now);
        *next = Some(at + GAP_INTERVAL);
        at
    }

    /// The account of a new history.
    pub(crate) fn account(self: &Arc<Self>) -> HistoryAccount {
        HistoryAccount { histories: Arc::clone(self), bytes: 0 }
    }

    /// Looks after the histories of a hub from now on.
    pub(crate) fn add(&self, hub: Weak<dyn HistoryHub>) {
        self.hubs.lock().push(hub);
    }

    /// Starts the task, if there is a runtime and the task does not run: it ends with the runtime on which it was started. The
    /// runtime that is known comes first, because the current one may be that of a shard, which would not end before the task.
    pub(crate) fn start(self: &Arc<Self>) {
        let mut task = self.task.lock();
        let current = Handle::try_current().ok();
        for runtime in self.runtime.get().into_iter().chain(current.as_ref()) {
            if task.as_ref().is_some_and(|task| !task.is_finished()) {
                return;
            }
            // A runtime that has ended drops the task at once, and the next one is tried.
            *task = Some(runtime.spawn(run(Arc::downgrade(self), Arc::clone(&self.exceeded))));
        }
    }

    fn is_exceeded(&self) -> bool {
        self.used() > self.limit
    }

    /// The hubs that are left.
    fn hubs(&self) -> Vec<Arc<dyn HistoryHub>> {
        let mut hubs = self.hubs.lock();
        hubs.retain(|hub| hub.strong_count() > 0);
        hubs.iter().filter_map(Weak::upgrade).collect()
    }

    fn keep_within_limit(&self) {
        if !self.is_exceeded() {
            return;
        }
        let mut histories: Vec<_> = self.hubs().iter().flat_map(|hub| hub.histories()).collect();
        histories.sort_by_cached_key(|history| history.used_at());
        // First what no join handler has been told that its client gets.
        for even_held in [false, true] {
            histories.iter().take_while(|_| self.is_exceeded()).for_each(|history| history.clear(even_held));
        }
    }
}

impl Default for Histories {
    fn default() -> Histories {
        Histories::new(usize::MAX, usize::MAX)
    }
}

impl Drop for Histories {
    fn drop(&mut self) {
        self.exceeded.notify_one();
    }
}

async fn run(histories: Weak<Histories>, exceeded: Arc<Notify>) {
    loop {
        // Without a reference to the histories while it waits, so that they can end.
        tokio::select! {
            () = exceeded.notified() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
        let Some(histories) = histories.upgrade() else { return };
        histories.hubs().iter().for_each(|hub| hub.expire());
        histories.keep_within_limit();
    }
}

impl HistoryAccount {
    /// The time, in milliseconds.
    pub(crate) fn now(&self) -> u64 {
        self.histories.now()
    }

    /// Reports the bytes that the history takes now.
    pub(crate) fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes > before {
            // Relaxed: it is only a sum. The task reads it again.
            self.histories.used.fetch_add(bytes - before, Ordering::Relaxed);
            if self.histories.is_exceeded() {
                self.histories.exceeded.notify_one();
            }
        } else if bytes < before {
            self.histories.used.fetch_sub(before - bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for HistoryAccount {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl GhostAccount {
    /// Reports the number of ghosts that the channel has now.
    pub(crate) fn set(&mut self, count: usize) {
        let before = std::mem::replace(&mut self.count, count);
        // Relaxed: it is only a sum.
        if count > before {
            self.histories.ghosts.fetch_add(count - before, Ordering::Relaxed);
        } else if count < before {
            self.histories.ghosts.fetch_sub(before - count, Ordering::Relaxed);
        }
    }
}

impl Drop for GhostAccount {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    #[test]
    fn connections_with_a_gap_end_one_after_the_other_and_a_single_one_at_once() {
        let (histories, start) = (Histories::new(0, 0), Instant::now());
        let after = |now: Instant| histories.gap_ends_at(now) - now;
        assert_eq!([(); 3].map(|()| after(start).as_millis()), [0, 1, 2]);
        let latest = (0..20_000).map(|_| after(start)).max();
        assert!(latest < Some(GAP_SPREAD) && latest > Some(GAP_SPREAD - 2 * GAP_INTERVAL), "{latest:?}");
        assert_eq!(after(start + 2 * GAP_SPREAD), Duration::ZERO);
    }
}
