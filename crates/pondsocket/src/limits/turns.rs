//! The turns of clients that arrive: a few steps of them at a time, so that many at once do not delay the messages of those
//! who are there. A step is all that a client does until it next waits, for its own next message or for a handler or a store.
//!
//! A scheduler runs its ready tasks one after the other. When thousands of clients come back at the same moment, a message
//! waits behind the work for all of them at each of its hops. So each thread lets only a few of their steps (`per_round`) begin in one
//! round through its ready tasks; the others wait here, first come, first served. No clock is involved: the less the thread has to
//! do, the shorter are the rounds, and an idle one admits as fast as it can.
//!
//! Small rounds cost CPU, because each looks at the sockets, and the clients are woken for few answers at a time. So they are
//! larger after some in which there was nothing for members: then one message at most, at one hop, waits behind a large one.

use std::cell::LazyCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use tokio::task::yield_now;

use crate::engine::sync::Mutex;

/// The number of rounds in a row without work for members after which rounds are larger.
const QUIET_ROUNDS: usize = 32;

/// The factor by which those rounds are larger.
const QUIET_FACTOR: usize = 4;

thread_local! {
    /// Of the thread and not of the server, because a thread runs its ready tasks one after the other: servers on one thread share
    /// it. The task that gives the turns may run on another thread of the runtime: then its rounds are those of that thread.
    static TURNS: LazyCell<Arc<Turns>> = const { LazyCell::new(Arc::default) };
}

/// The turns of one thread.
#[derive(Debug)]
pub(crate) struct Turns {
    /// The turns that are left in this round. None as long as anybody waits.
    left: AtomicUsize,
    /// True if the thread has worked for members since the last round.
    has_worked: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    /// One that has gone is passed over.
    queue: VecDeque<oneshot::Sender<()>>,
    /// A task gives the turns.
    is_served: bool,
    /// The last rounds without work for members; very many before there was any.
    quiet: usize,
}

/// A place in the queue of those that wait for a turn. One that is dropped is passed over.
#[derive(Debug)]
pub(crate) struct Place(oneshot::Receiver<()>);

impl Place {
    /// Completes when it has the turn. Not to be polled again afterwards.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // An error means that the runtime shuts down, which ends the caller, too.
        Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}

/// Takes a turn of this thread, if one is left in this round, without an allocation. 0 stands for no limit.
///
/// To be called in a task of a runtime.
pub(crate) fn take(per_round: usize) -> bool {
    per_round == 0 || TURNS.with(|turns| turns.take(per_round))
}

/// Takes a place in the queue, after [`take`] has found no turn.
pub(crate) fn queue(per_round: usize) -> Place {
    TURNS.with(|turns| turns.queue(per_round))
}

/// Takes a turn, or a place in the queue.
pub(crate) fn take_or_queue(per_round: usize) -> Option<Place> {
    (!take(per_round)).then(|| queue(per_round))
}

/// Notes that this thread works for members: a message of one of them, or one for all of a channel.
pub(crate) fn work_for_members() {
    // Relaxed: nothing else is read by it.
    TURNS.with(|turns| turns.has_worked.store(true, Ordering::Relaxed));
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

    fn queue(self: &Arc<Self>, per_round: usize) -> Place {
        let (give, turn) = oneshot::channel();
        self.serve(per_round, |queue| queue.push_back(give));
        Place(turn)
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
        let waiting = Waiting { queue: VecDeque::new(), is_served: false, quiet: usize::MAX };
        Turns { left: AtomicUsize::new(usize::MAX), has_worked: AtomicBool::default(), waiting: Mutex::new(waiting) }
    }
}

/// The task that gives the turns of a thread while anybody waits. A runtime with several threads may run it on another one.
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
        let has_worked = self.turns.has_worked.swap(false, Ordering::Relaxed);
        let mut waiting = self.turns.waiting.lock();
        waiting.quiet = if has_worked { 0 } else { waiting.quiet.saturating_add(1) };
        let factor = if waiting.quiet > QUIET_ROUNDS { QUIET_FACTOR } else { 1 };
        let turns = self.per_round.saturating_mul(factor);
        let mut next = Vec::with_capacity(turns.min(waiting.queue.len()));
        while next.len() < turns
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
            self.turns.left.store(turns - next.len(), Ordering::Relaxed);
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

    async fn wait(per_round: usize) {
        if let Some(mut place) = take_or_queue(per_round) {
            poll_fn(|cx| place.poll_turn(cx)).await;
        }
    }

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
        work_for_members();
        let rounds = LocalSet::new().run_until(rounds(10, 3)).await;
        assert_eq!(rounds.concat(), (0..10).collect::<Vec<_>>());
        // Two rounds of the tasks can be one of this test.
        assert!(rounds.iter().all(|round| round.len() <= 6), "{rounds:?}");
    }

    #[tokio::test]
    async fn rounds_are_larger_while_there_is_nothing_for_members() {
        let sizes = |rounds: Vec<Vec<usize>>| -> Vec<usize> { rounds.iter().map(Vec::len).collect() };
        let quiet = sizes(LocalSet::new().run_until(rounds(20, 3)).await);
        assert!(quiet[1] >= 3 * QUIET_FACTOR, "no member was there before: {quiet:?}");
        work_for_members();
        let quiet = LocalSet::new().run_until(rounds(400, 3)).await;
        assert_eq!(quiet.concat(), (0..400).collect::<Vec<_>>());
        let quiet = sizes(quiet);
        // Behind the first ones, in which all clients come.
        assert!(quiet[2..QUIET_ROUNDS / 4].iter().all(|size| *size <= 6), "{quiet:?}");
        assert!(quiet.iter().any(|size| *size >= 3 * QUIET_FACTOR), "{quiet:?}");
        // A member of each round keeps them small.
        let members = LocalSet::new();
        let busy = members.run_until(async {
            let member = spawn_local(async {
                loop {
                    work_for_members();
                    yield_now().await;
                }
            });
            let busy = rounds(200, 3).await;
            member.abort();
            busy
        });
        let sizes = sizes(busy.await);
        assert!(sizes.iter().all(|size| *size <= 6), "{sizes:?}");
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
