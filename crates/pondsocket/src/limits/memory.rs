//! The memory that what clients send takes: messages that wait for handlers or are being handled, and parts of
//! messages. Whoever holds some says how much it is now and then, not for each message, so that the one counter is no
//! place where all connections meet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use crate::engine::sync::Mutex;

/// By how much what somebody holds may differ from what it has said.
pub(crate) const STEP: usize = 4 * 1024;

/// Whoever holds as much is among those that hold most.
pub(crate) const SHARE: usize = 64 * 1024;

/// The share of the limit that is used.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Pressure {
    /// Everybody is read.
    None,
    /// From three quarters on: those that hold [`SHARE`] are not read.
    High,
    /// All of it: nobody is read, and nobody is let in.
    Full,
}

/// The memory of a whole `PondSocket`.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: usize,
    used: AtomicUsize,
    refused: AtomicU64,
    waiting: Mutex<Waiting>,
}

/// Those who wait until less is used. A round ends when all are woken.
#[derive(Debug, Default)]
struct Waiting {
    round: u64,
    wakers: Vec<Waker>,
}

/// The round in which somebody has begun to wait: a task is in the list once.
#[derive(Debug, Default)]
pub(crate) struct Wait(Option<u64>);

impl Default for Memory {
    fn default() -> Memory {
        Memory::new(usize::MAX)
    }
}

impl Memory {
    pub(crate) fn new(limit: usize) -> Memory {
        Memory { limit, used: AtomicUsize::new(0), refused: AtomicU64::new(0), waiting: Mutex::default() }
    }

    /// How much is used, as far as its holders have said.
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

    /// Notes that somebody was not let in.
    pub(crate) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of clients that were not let in.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The number of connections that are not read until less is used.
    pub(crate) fn paused(&self) -> usize {
        self.waiting.lock().wakers.len()
    }

    fn add(&self, bytes: usize) {
        // It and its counterpart order the counter against the list of those who wait.
        let before = self.used.fetch_add(bytes, Ordering::SeqCst);
        let (before, used) = (self.pressure_at(before), before + bytes);
        if self.pressure_at(used) > before {
            let (limit, pressure) = (self.limit, self.pressure_at(used));
            tracing::warn!(target: "pondsocket::limit", used, limit, ?pressure, "memory is running out");
        }
    }

    fn remove(&self, bytes: usize) {
        let before = self.used.fetch_sub(bytes, Ordering::SeqCst);
        let (before, used) = (self.pressure_at(before), before - bytes);
        if self.pressure_at(used) == before {
            return;
        }
        if self.pressure_at(used) == Pressure::None {
            tracing::info!(target: "pondsocket::limit", used, limit = self.limit, "there is memory again");
        }
        let mut waiting = self.waiting.lock();
        waiting.round += 1;
        let wakers = std::mem::take(&mut waiting.wakers);
        drop(waiting);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits until whoever holds so much may be read.
    pub(crate) fn poll_room(&self, cx: &Context<'_>, wait: &mut Wait, held: usize) -> Poll<()> {
        let has_room = || match self.pressure_at(self.used.load(Ordering::SeqCst)) {
            Pressure::None => true,
            Pressure::High => held < SHARE,
            Pressure::Full => false,
        };
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
        // It may have been given back before the waker was in the list.
        if has_room() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// The bytes that one holder has reported. It must report 0 in the end.
#[derive(Debug, Default)]
pub(crate) struct Account(usize);

impl Account {
    /// Says how much it is now, if that is worth it; by how much more or less, then.
    pub(crate) fn set(&mut self, memory: &Memory, bytes: usize) -> Option<Change> {
        let said = self.0;
        if said.abs_diff(bytes) < STEP && (bytes > 0 || said == 0) {
            return None;
        }
        self.0 = bytes;
        if bytes > said {
            memory.add(bytes - said);
            return Some(Change::More(bytes - said));
        }
        memory.remove(said - bytes);
        Some(Change::Less(said - bytes))
    }
}

/// By how much what is held has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    More(usize),
    Less(usize),
}

impl Change {
    pub(crate) fn apply(self, total: &AtomicUsize) {
        match self {
            Change::More(bytes) => total.fetch_add(bytes, Ordering::Relaxed),
            Change::Less(bytes) => total.fetch_sub(bytes, Ordering::Relaxed),
        };
    }
}

/// Something of a size of its own, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    memory: Arc<Memory>,
    account: Account,
}

impl Charge {
    pub(crate) fn new(memory: &Arc<Memory>) -> Charge {
        Charge { memory: Arc::clone(memory), account: Account::default() }
    }

    pub(crate) fn set(&mut self, bytes: usize) {
        self.account.set(&self.memory, bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
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
    fn little_is_not_said_and_nothing_is_left_over() {
        let (memory, mut account) = (Memory::default(), Account::default());
        assert_eq!(account.set(&memory, STEP - 1), None);
        assert_eq!(account.set(&memory, STEP), Some(Change::More(STEP)));
        assert_eq!((account.set(&memory, 2 * STEP - 1), account.set(&memory, 1)), (None, None));
        assert_eq!((account.set(&memory, 0), memory.used()), (Some(Change::Less(STEP)), 0));
        assert_eq!(account.set(&memory, 0), None);
    }

    #[test]
    fn those_who_hold_most_wait_first_and_all_are_woken_once_when_there_is_room() {
        let memory = Arc::new(Memory::new(100 * STEP));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = Context::from_waker(&waker);
        let (mut large, mut small) = (Wait::default(), Wait::default());
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
