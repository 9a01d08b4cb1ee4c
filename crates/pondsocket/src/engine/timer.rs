//! Deadlines as data: one table for a whole `PondSocket`, and one task that wakes the owners of expired deadlines.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::engine::sync::Mutex;

/// Deadlines that lie closer together than this are served by one wake-up: with many connections the timer's task would
/// run all the time otherwise, and no deadline of a connection is that exact.
const GRAIN: Duration = Duration::from_nanos(GRAIN_NANOS);

const GRAINS_PER_SECOND: u64 = 100;
const GRAIN_NANOS: u64 = 1_000_000_000 / GRAINS_PER_SECOND;

/// All deadlines, by time. A connection has at most one entry, the earliest of its deadlines. When it is woken it checks all
/// of them, and arms the timer anew.
#[derive(Debug)]
pub(crate) struct Timer {
    start: Instant,
    table: Mutex<DeadlineTable>,
    earlier: Notify,
}

/// The timer of a whole `PondSocket`, started on the runtime of the first connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedTimer(Arc<OnceLock<Arc<Timer>>>);

impl SharedTimer {
    pub(crate) fn get(&self) -> &Arc<Timer> {
        self.0.get_or_init(Timer::start)
    }
}

/// At most one armed deadline of a waiting task, removed when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<(Arc<Timer>, Instant, Key)>);

impl Alarm {
    /// Wakes `waker` at `deadline`, which replaces an earlier call.
    pub(crate) fn set(&mut self, timer: &Arc<Timer>, deadline: Instant, waker: &Waker) {
        if self.0.as_ref().is_none_or(|(_, armed, _)| *armed != deadline) {
            self.clear();
            self.0 = Some((Arc::clone(timer), deadline, timer.arm(deadline, waker.clone())));
        }
    }

    fn clear(&mut self) {
        if let Some((timer, _, key)) = self.0.take() {
            timer.disarm(key);
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The next time at which the timer wakes a task, if one is set.
#[derive(Debug, Default)]
pub(crate) struct WakeUp(Option<Key>);

impl WakeUp {
    /// Makes sure that the task is woken at `deadline`. One that is set already and comes earlier is kept: setting it anew
    /// at each change would cost more than waking for nothing now and then.
    pub(crate) fn set(&mut self, timer: &Timer, cx: &Context<'_>, now: Instant, deadline: Instant) {
        match self.0 {
            Some(key) if key.grains <= timer.grains(deadline) && key.grains > timer.passed(now) => return,
            Some(key) => timer.disarm(key),
            None => {}
        }
        self.0 = Some(timer.arm(deadline, cx.waker().clone()));
    }

    pub(crate) fn clear(&mut self, timer: &Timer) {
        if let Some(key) = self.0.take() {
            timer.disarm(key);
        }
    }
}

#[derive(Debug)]
struct DeadlineTable {
    by_time: BTreeMap<Key, Waker>,
    next: NonZeroU64,
}

/// The key of an armed deadline, with which it is disarmed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct Key {
    /// The time at which the timer wakes the task, in grains from its start.
    grains: u64,
    /// Never 0, so that an optional key takes no more memory: every connection has one.
    number: NonZeroU64,
}

impl Timer {
    /// Starts the timer and its task on the current runtime. The task ends with the last `Arc`.
    pub(crate) fn start() -> Arc<Timer> {
        let timer = Arc::new(Timer {
            start: Instant::now(),
            table: Mutex::new(DeadlineTable { by_time: BTreeMap::new(), next: NonZeroU64::MIN }),
            earlier: Notify::new(),
        });
        tokio::spawn(run(Arc::downgrade(&timer)));
        timer
    }

    /// The milliseconds from the start of the timer to `now`, of which the lower 32 bits are kept.
    pub(crate) fn millis(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.start).as_millis() as u32
    }

    /// The grain at which a task with this deadline is woken. Rounded up: a task that is woken before its deadline would find
    /// nothing due, and arm it again.
    fn grains(&self, deadline: Instant) -> u64 {
        let since = deadline.saturating_duration_since(self.start);
        since.as_secs() * GRAINS_PER_SECOND + u64::from(since.subsec_nanos()).div_ceil(GRAIN_NANOS)
    }

    /// The last grain that has passed.
    fn passed(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start);
        since.as_secs() * GRAINS_PER_SECOND + u64::from(since.subsec_nanos()) / GRAIN_NANOS
    }

    /// Wakes `waker` at `deadline`, or up to one grain later.
    pub(crate) fn arm(&self, deadline: Instant, waker: Waker) -> Key {
        let grains = self.grains(deadline);
        let mut table = self.table.lock();
        let key = Key { grains, number: table.next };
        table.next = table.next.saturating_add(1);
        let is_first = table.by_time.first_key_value().is_none_or(|(first, _)| grains < first.grains);
        table.by_time.insert(key, waker);
        drop(table);
        // The timer's task sleeps until the deadline that was the first one, so only an earlier one concerns it.
        if is_first {
            self.earlier.notify_one();
        }
        key
    }

    /// Disarms a deadline. Nothing happens if it has passed.
    pub(crate) fn disarm(&self, key: Key) {
        let removed = self.table.lock().by_time.remove(&key);
        // The waker may be the last handle of a finished task: it is dropped after the lock.
        drop(removed);
    }

    fn next(&self) -> Option<Instant> {
        let grains = self.table.lock().by_time.first_key_value()?.0.grains;
        Some(self.start + GRAIN * u32::try_from(grains).unwrap_or(u32::MAX))
    }

    fn take_due(&self, now: Instant) -> Vec<Waker> {
        let after = Key { grains: self.passed(now) + 1, number: NonZeroU64::MIN };
        let mut table = self.table.lock();
        let later = table.by_time.split_off(&after);
        std::mem::replace(&mut table.by_time, later).into_values().collect()
    }
}

async fn run(timer: Weak<Timer>) {
    loop {
        let Some(strong) = timer.upgrade() else { return };
        let next = strong.next();
        // Only while it waits does this task keep the table alive, and so for a second at most after the last connection.
        let limit = Instant::now() + Duration::from_secs(1);
        let until = next.map_or(limit, |next| next.min(limit));
        tokio::select! {
            () = strong.earlier.notified() => {}
            () = tokio::time::sleep_until(until) => {}
        }
        let due = strong.take_due(Instant::now());
        drop(strong);
        // Without the lock, because woken tasks arm their next deadlines at once.
        due.into_iter().for_each(Waker::wake);
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Count {
        fn get(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn wakes_at_the_deadline_and_not_before() {
        let (timer, count) = (Timer::start(), Arc::new(Count::default()));
        timer.arm(Instant::now() + Duration::from_secs(30), Arc::clone(&count).into());
        tokio::time::sleep(Duration::from_millis(29_990)).await;
        assert_eq!(count.get(), 0);
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert_eq!(count.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_deadline_expires_first_and_a_disarmed_one_never() {
        let (timer, early, late) = (Timer::start(), Arc::new(Count::default()), Arc::new(Count::default()));
        let key = timer.arm(Instant::now() + Duration::from_secs(10), Arc::clone(&late).into());
        tokio::task::yield_now().await;
        timer.arm(Instant::now() + Duration::from_millis(100), Arc::clone(&early).into());
        tokio::time::sleep(Duration::from_millis(120)).await;
        assert_eq!((early.get(), late.get()), (1, 0));
        timer.disarm(key);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(late.get(), 0);
    }
}
