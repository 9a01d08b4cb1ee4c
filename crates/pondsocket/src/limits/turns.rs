//! The turns of clients that arrive: connects and joins begin a few at a time, so that many at once do not delay the
//! messages of those who are there.
//!
//! A scheduler runs its ready tasks one after the other. When thousands of clients come back at the same moment, a message
//! waits behind the work for all of them at each of its hops. So each thread lets only so many of them begin in one round
//! through its ready tasks; the others wait here, first come, first served. No clock is involved: the less the thread has to
//! do, the shorter are the rounds, and an idle one admits as fast as it can.

use std::cell::LazyCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::engine::sync::Mutex;

thread_local! {
    /// Of the thread and not of the server, because a round is one of a thread: servers on one thread share it, and a thread that
    /// is blocked holds up no other.
    static TURNS: LazyCell<Arc<Turns>> = const { LazyCell::new(Arc::default) };
}

/// The turns of one thread.
#[derive(Debug)]
pub(crate) struct Turns {
    /// The turns that are left in this round. None as long as anybody waits.
    left: AtomicUsize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// One that has gone is passed over.
    queue: VecDeque<oneshot::Sender<()>>,
    /// A task gives the turns.
    is_served: bool,
}

/// Waits for a turn on this thread, of which there are at most so many in a round; 0 stands for no limit. Returns at once, and
/// without an allocation, if there is one left. Cancel-safe: whoever goes away is passed over.
///
/// To be called in a task of a runtime.
pub(crate) async fn wait(per_round: usize) {
    if !take(per_round) {
        TURNS.with(|turns| Arc::clone(turns)).wait(per_round).await;
    }
}

/// Takes a turn of this thread, if there is one left in this round.
pub(crate) fn take(per_round: usize) -> bool {
    per_round == 0 || TURNS.with(|turns| turns.take(per_round))
}

impl Turns {
    fn take(self: &Arc<Self>, per_round: usize) -> bool {
        // Another server of the thread may have left more than this one allows.
        let one_less = |left: usize| left.min(per_round).checked_sub(1);
        // Relaxed: nothing else is read by it.
        let Ok(left) = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) else { return false };
        if left.min(per_round) == 1 {
            // The next ones have turns in the next round, and do not wait for it unless they come earlier.
            self.serve(per_round, |_| {});
        }
        true
    }

    async fn wait(self: Arc<Self>, per_round: usize) {
        let (give, turn) = oneshot::channel();
        self.serve(per_round, |queue| queue.push_back(give));
        // An error means that the runtime shuts down, which ends the caller, too.
        let _ = turn.await;
    }

    /// Changes the queue, and starts the task that gives turns, unless it runs.
    fn serve(self: &Arc<Self>, per_round: usize, change: impl FnOnce(&mut VecDeque<oneshot::Sender<()>>)) {
        let mut waiting = self.waiting.lock();
        change(&mut waiting.queue);
        let is_served = std::mem::replace(&mut waiting.is_served, true);
        drop(waiting);
        if !is_served {
            tokio::spawn(serve(TurnServer { turns: Arc::clone(self), per_round, is_over: false }));
        }
    }
}

impl Default for Turns {
    fn default() -> Turns {
        // As many as the first server allows in a round.
        Turns { left: AtomicUsize::new(usize::MAX), waiting: Mutex::default() }
    }
}

/// The task that gives the turns of a thread while anybody waits.
struct TurnServer {
    turns: Arc<Turns>,
    per_round: usize,
    /// Nobody has waited any more.
    is_over: bool,
}

async fn serve(mut server: TurnServer) {
    loop {
        next_round().await;
        if !server.give() {
            return;
        }
    }
}

impl TurnServer {
    /// Gives the turns of a round. Returns `false` if nobody waits any more.
    fn give(&mut self) -> bool {
        let mut waiting = self.turns.waiting.lock();
        let mut next = Vec::with_capacity(self.per_round.min(waiting.queue.len()));
        while next.len() < self.per_round
            && let Some(first) = waiting.queue.pop_front()
        {
            if !first.is_closed() {
                next.push(first);
            }
        }
        self.is_over = waiting.queue.is_empty();
        if self.is_over {
            // The memory of a storm is not kept.
            waiting.queue = VecDeque::new();
            waiting.is_served = false;
            self.turns.left.store(self.per_round - next.len(), Ordering::Relaxed);
        }
        drop(waiting);
        for turn in next {
            // It may have gone since.
            let _ = turn.send(());
        }
        !self.is_over
    }
}

impl Drop for TurnServer {
    fn drop(&mut self) {
        // Its runtime ends while others wait. The thread may get another runtime.
        let mut waiting = self.turns.waiting.lock();
        if self.is_over {
            return;
        }
        waiting.is_served = false;
        self.turns.left.store(self.per_round, Ordering::Relaxed);
        let gone = std::mem::take(&mut waiting.queue);
        drop(waiting);
        drop(gone);
    }
}

/// Waits until all tasks that are ready now have run, and the sockets have been looked at.
async fn next_round() {
    // The scheduler looks at the sockets before it goes on, but then may run this task ahead of others.
    yield_now().await;
    // A task that wakes itself while it runs is put behind all that are ready.
    let mut is_behind = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut is_behind, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    /// Lets clients with the numbers below `clients` wait, and returns those that had their turn by the end of each round.
    async fn rounds(clients: usize, per_round: usize) -> Vec<Vec<usize>> {
        let served = Rc::new(RefCell::new(Vec::new()));
        for number in 0..clients {
            let served = Rc::clone(&served);
            spawn_local(async move {
                wait(per_round).await;
                served.borrow_mut().push(number);
            });
        }
        let (mut rounds, mut done) = (Vec::new(), 0);
        while done < clients {
            next_round().await;
            let round = served.take();
            done += round.len();
            if !round.is_empty() {
                rounds.push(round);
            }
        }
        rounds
    }

    #[tokio::test]
    async fn a_round_has_so_many_turns_in_the_order_of_arrival() {
        let rounds = LocalSet::new().run_until(rounds(10, 3)).await;
        assert_eq!(rounds.concat(), (0..10).collect::<Vec<_>>());
        // Two rounds of the tasks can be one of this test.
        assert!(rounds.iter().all(|round| round.len() <= 6), "{rounds:?}");
    }

    #[tokio::test]
    async fn whoever_goes_away_is_passed_over() {
        assert!(take(1));
        let mut gone = Box::pin(wait(1));
        let mut next = Box::pin(wait(1));
        let polled = poll_fn(|cx| Poll::Ready((gone.as_mut().poll(cx).is_ready(), next.as_mut().poll(cx).is_ready())));
        assert_eq!(polled.await, (false, false));
        drop(gone);
        next.await;
        assert!(TURNS.with(|turns| turns.waiting.lock().queue.is_empty()));
    }

    #[tokio::test]
    async fn nobody_waits_on_a_thread_with_little_to_do() {
        for _ in 0..9 {
            assert_eq!([take(3), take(3), take(3), take(3)], [true, true, true, false]);
            assert!(take(0), "without a limit");
            // Behind the task that gives turns.
            next_round().await;
            next_round().await;
        }
    }

    #[test]
    fn a_runtime_that_ends_leaves_nobody_waiting_on_its_thread() {
        let runtime = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let first = runtime();
        let mut waiting = Box::pin(wait(1));
        let is_waiting = first.block_on(poll_fn(|cx| {
            let taken = take(1);
            Poll::Ready(taken && waiting.as_mut().poll(cx).is_pending())
        }));
        assert!(is_waiting);
        drop((waiting, first));
        runtime().block_on(async { tokio::spawn(wait(1)).await.expect("a turn") });
    }
}
