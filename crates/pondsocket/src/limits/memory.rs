//! The memory that messages take: received messages, which wait for handlers or are being handled, incomplete ones, and
//! messages to clients, in channels and outboxes. Holders report in steps, not for each message, so that the one
//! counter is not contended by all connections.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::engine::runtime::KnownRuntime;
use crate::engine::sync::Mutex;

/// The most by which the bytes of a holder may differ from the bytes that it has reported.
pub(crate) const STEP: usize = 4 * 1024;

/// The bytes from which on a connection counts as one of those that hold most, and is not read under high pressure.
pub(crate) const SHARE: usize = 64 * 1024;

/// The share of the limit that is used.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Pressure {
    /// All connections are read.
    None,
    /// From three quarters of the limit on: connections that hold [`SHARE`] are not read.
    High,
    /// The whole limit: no connection is read, and no client is admitted.
    Full,
}

/// The memory of a whole `PondSocket`.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: usize,
    used: AtomicUsize,
    refused: AtomicU64,
    waiting: Mutex<Waiting>,
    /// The runtime on which a change of the pressure is announced, and on which hubs run tasks, if that happens outside of
    /// any.
    pub(crate) runtime: Arc<KnownRuntime>,
}

/// The tasks that wait until less is used. A round ends when all of them are woken.
#[derive(Debug)]
struct Waiting {
    round: NonZeroU32,
    wakers: Vec<Waker>,
    /// The pressure that was logged last.
    logged: Pressure,
}

/// The round in which a task has begun to wait, so that a task that is polled several times is in the list only once. Of 32 bits
/// because every connection has one; rounds are too few for a task to meet the number of its last wait again.
#[derive(Debug, Default)]
pub(crate) struct MemoryWait(Option<NonZeroU32>);

impl Default for Memory {
    fn default() -> Memory {
        Memory::new(usize::MAX)
    }
}

impl Memory {
    pub(crate) fn new(limit: usize) -> Memory {
        let waiting = Mutex::new(Waiting { round: NonZeroU32::MIN, wakers: Vec::new(), logged: Pressure::None });
        let (used, refused) = (AtomicUsize::new(0), AtomicU64::new(0));
        Memory { limit, used, refused, waiting, runtime: Arc::default() }
    }

    /// The bytes that are used, as far as their holders have reported.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn pressure(&self) -> Pressure {
        self.pressure_at(self.used())
    }

    fn pressure_at(&self, used: usize) -> Pressure {
        match used {
            used if used >= self.limit => Pressure::Full,
            used if used >= self.limit - self.limit / 4 => Pressure::High,
            _ => Pressure::None,
        }
    }

    /// Counts a client that was refused.
    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of clients that were refused.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The number of connections that are not read until less is used.
    pub(crate) fn paused(&self) -> usize {
        self.waiting.lock().wakers.len()
    }

    /// Adds to the bytes that are used. Returns `true` if the pressure changes, which the caller then announces.
    fn add(&self, bytes: usize) -> bool {
        // SeqCst, as for all accesses of the counter that decide about a wait: `poll_room` adds its waker and reads the
        // counter again, `announce` reads the counter and takes the wakers. In one total order at least one of them
        // sees the other.
        let before = self.used.fetch_add(bytes, Ordering::SeqCst);
        self.pressure_at(before) != self.pressure_at(before + bytes)
    }

    /// Subtracts from the bytes that are used. Returns `true` if the pressure changes.
    fn remove(&self, bytes: usize) -> bool {
        let before = self.used.fetch_sub(bytes, Ordering::SeqCst);
        self.pressure_at(before) != self.pressure_at(before - bytes)
    }

    /// Logs the pressure if it is not the one that was logged last, and wakes the tasks that wait, unless the whole
    /// limit is used. Both may run code of the application, so the caller must not hold a lock.
    fn announce(&self) {
        // Read again, not passed in: several changes may be announced late and out of order, and only the latest state
        // matters.
        let (used, limit) = (self.used.load(Ordering::SeqCst), self.limit);
        let pressure = self.pressure_at(used);
        let mut waiting = self.waiting.lock();
        let before = std::mem::replace(&mut waiting.logged, pressure);
        let wakers = if pressure == Pressure::Full { Vec::new() } else { std::mem::take(&mut waiting.wakers) };
        if !wakers.is_empty() {
            waiting.round = waiting.round.checked_add(1).unwrap_or(NonZeroU32::MIN);
        }
        drop(waiting);
        match pressure {
            Pressure::None if before > pressure => {
                tracing::info!(target: "pondsocket::limit", used, limit, "memory pressure has ended");
            }
            _ if pressure > before => {
                tracing::warn!(target: "pondsocket::limit", used, limit, ?pressure, "memory is running out");
            }
            _ => {}
        }
        // All are woken, also those that still hold too much under high pressure: these wait again, in the next round.
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Announces on a task of its own, for callers that may hold the lock of a channel or an outbox.
    fn announce_later(self: &Arc<Self>) {
        let memory = Arc::clone(self);
        if !self.runtime.spawn(async move { memory.announce() }) {
            // There was never a runtime, and so no task waits.
            self.announce();
        }
    }

    /// Waits until a connection that holds `held` bytes may be read.
    pub(crate) fn poll_room(&self, cx: &Context<'_>, wait: &mut MemoryWait, held: usize) -> Poll<()> {
        let has_room = || match self.pressure_at(self.used.load(Ordering::SeqCst)) {
            Pressure::None => true,
            Pressure::High => held < SHARE,
            Pressure::Full => false,
        };
        // The usual case, with a relaxed load and no lock.
        if self.pressure() == Pressure::None {
            return Poll::Ready(());
        }
        if has_room() {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.lock();
        if wait.0 != Some(waiting.round) {
            wait.0 = Some(waiting.round);
            waiting.wakers.push(cx.waker().clone());
        }
        drop(waiting);
        // Checked again: the memory may have been released before the waker was in the list, and then nothing wakes it.
        if has_room() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// The bytes that one holder has reported. It must report 0 in the end, or they stay counted for ever.
#[derive(Debug, Default)]
pub(crate) struct Account(usize);

impl Account {
    /// An account of a holder that has nothing.
    pub(crate) const fn none() -> Account {
        Account(0)
    }

    /// Reports the bytes that are held now, if they differ by a step, and announces a change of the pressure at once.
    /// Returns the change that was reported.
    pub(crate) fn set(&mut self, memory: &Memory, bytes: usize) -> Option<AccountChange> {
        let (change, pressure_changed) = self.report(memory, bytes)?;
        if pressure_changed {
            memory.announce();
        }
        Some(change)
    }

    /// Reports the bytes that are held now, for callers that hold a lock: a change of the pressure is announced by
    /// another task.
    pub(crate) fn set_locked(&mut self, memory: &Arc<Memory>, bytes: usize) {
        if let Some((_, true)) = self.report(memory, bytes) {
            memory.announce_later();
        }
    }

    fn report(&mut self, memory: &Memory, bytes: usize) -> Option<(AccountChange, bool)> {
        let reported = self.0;
        // A report of 0 is always made, unless 0 was reported before: so the counter of an idle server is exactly 0.
        if reported.abs_diff(bytes) < STEP && (bytes > 0 || reported == 0) {
            return None;
        }
        self.0 = bytes;
        Some(match bytes > reported {
            true => (AccountChange::More(bytes - reported), memory.add(bytes - reported)),
            false => (AccountChange::Less(reported - bytes), memory.remove(reported - bytes)),
        })
    }
}

/// A difference between two reports of one holder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AccountChange {
    More(usize),
    Less(usize),
}

impl AccountChange {
    pub(crate) fn apply(self, total: &AtomicUsize) {
        match self {
            // Relaxed: the total is only shown to operators.
            AccountChange::More(bytes) => total.fetch_add(bytes, Ordering::Relaxed),
            AccountChange::Less(bytes) => total.fetch_sub(bytes, Ordering::Relaxed),
        };
    }
}

/// The memory of one object, counted until the charge is dropped. It may change and be dropped under a lock.
#[derive(Debug)]
pub(crate) struct Charge {
    memory: Arc<Memory>,
    account: Account,
}

impl Charge {
    pub(crate) fn new(memory: &Arc<Memory>) -> Charge {
        // A charge may be dropped on a thread without a runtime, and then needs one to announce the change.
        memory.runtime.remember();
        Charge { memory: Arc::clone(memory), account: Account::default() }
    }

    pub(crate) fn set(&mut self, bytes: usize) {
        self.account.set_locked(&self.memory, bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Shares a buffer that is counted once, until its last part is dropped. A buffer of less than a step is not counted,
/// like any holder of so little.
pub(crate) fn counted(memory: &Arc<Memory>, buffer: Vec<u8>) -> Bytes {
    if buffer.capacity() < STEP {
        return buffer.into();
    }
    let mut charge = Charge::new(memory);
    // The capacity, not the length: the whole allocation lives until the last part is dropped.
    charge.set(buffer.capacity());
    Bytes::from_owner(Counted { buffer, _charge: charge })
}

struct Counted {
    buffer: Vec<u8>,
    _charge: Charge,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn less_than_a_step_is_not_reported_and_nothing_stays_counted() {
        let (memory, mut account) = (Memory::default(), Account::default());
        assert_eq!(account.set(&memory, STEP - 1), None);
        assert_eq!(account.set(&memory, STEP), Some(AccountChange::More(STEP)));
        assert_eq!((account.set(&memory, 2 * STEP - 1), account.set(&memory, 1)), (None, None));
        assert_eq!((account.set(&memory, 0), memory.used()), (Some(AccountChange::Less(STEP)), 0));
        assert_eq!(account.set(&memory, 0), None);
    }

    #[test]
    fn a_shared_buffer_is_counted_once_until_the_last_part_of_it_is_dropped() {
        let memory = Arc::new(Memory::default());
        let whole = counted(&memory, vec![0; 3 * STEP]);
        let parts = [whole.slice(..STEP), whole.slice(STEP..)];
        assert_eq!(memory.used(), 3 * STEP);
        drop(whole);
        let [one, other] = parts;
        drop(one);
        assert_eq!(memory.used(), 3 * STEP, "a part keeps all of it");
        drop(other);
        assert_eq!(memory.used(), 0);
        let _small = counted(&memory, vec![0; STEP - 1]);
        assert_eq!(memory.used(), 0);
    }

    /// No task is woken under a lock, because a waker may need that lock.
    #[tokio::test]
    async fn a_dropped_charge_wakes_waiting_tasks_from_a_task_of_its_own() {
        let memory = Arc::new(Memory::new(4 * STEP));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let buffer = counted(&memory, vec![0; 4 * STEP]);
        tokio::task::yield_now().await;
        assert!(memory.poll_room(&Context::from_waker(&waker), &mut MemoryWait::default(), 0).is_pending());
        drop(buffer);
        assert_eq!((woken.0.load(Ordering::SeqCst), memory.pressure()), (0, Pressure::None));
        while woken.0.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(memory.paused(), 0);
    }

    #[test]
    fn large_holders_wait_first_and_all_are_woken_once_when_there_is_room() {
        let memory = Arc::new(Memory::new(100 * STEP));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = Context::from_waker(&waker);
        let (mut large, mut small) = (MemoryWait::default(), MemoryWait::default());
        let mut charge = Charge::new(&memory);
        charge.set(74 * STEP);
        assert!(memory.poll_room(&cx, &mut large, usize::MAX).is_ready());
        charge.set(75 * STEP);
        assert!(memory.poll_room(&cx, &mut large, SHARE).is_pending());
        assert!(memory.poll_room(&cx, &mut large, SHARE).is_pending());
        assert!(memory.poll_room(&cx, &mut small, SHARE - 1).is_ready());
        assert_eq!((memory.paused(), memory.pressure()), (1, Pressure::High));
        charge.set(100 * STEP);
        assert!(memory.poll_room(&cx, &mut small, 0).is_pending());
        assert_eq!((memory.paused(), memory.pressure()), (2, Pressure::Full));
        charge.set(99 * STEP);
        assert_eq!((woken.0.load(Ordering::SeqCst), memory.paused()), (2, 0));
        assert!(memory.poll_room(&cx, &mut small, 0).is_ready());
        assert!(memory.poll_room(&cx, &mut large, SHARE).is_pending());
        drop(charge);
        assert_eq!((woken.0.load(Ordering::SeqCst), memory.used()), (3, 0));
    }
}
