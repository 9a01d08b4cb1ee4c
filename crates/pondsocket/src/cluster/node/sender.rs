//! The sender task: it gives what waits to the bus and to its store of histories, one batch after the other.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::Node;
use super::append_queue::QueuedAppend;
use super::history::STORE_TIMEOUT;
use super::outgoing::Run;
use super::queue::QueuedPublish;
use crate::cluster::{Appended, BoxFuture, BusErrorKind, HistoryStore, Outcome, Publish};
use crate::metrics::{BusDrop, ClusterEvent};

/// The pause before messages are sent again. A bus that has lost its connection may refuse them at once, before the node knows:
/// without a pause this task would never yield.
const PAUSE: Duration = Duration::from_millis(10);

/// The pause before messages are appended again.
const APPEND_PAUSE: Duration = Duration::from_millis(50);

/// The longest time for which the bus waits for the store, or the store for the bus. A healthy one answers far sooner, and the bus
/// carries what keeps this node alive for others.
const ORDER_TIMEOUT: Duration = Duration::from_millis(500);

/// The delay of a wake-up from which on the process, or its machine, counts as suspended.
const SUSPENSION_THRESHOLD: Duration = Duration::from_millis(100);

/// Sends what waits, for ever. While one batch is under way the next one grows, so that the cost of each message falls with the
/// load. One batch at a time also keeps the order when messages are queued again.
pub(super) async fn run(node: Arc<Node>) {
    match node.bus.history() {
        None => publish_all(&node).await,
        Some(store) => Sender::new(&node, store).run().await,
    }
}

/// Publishes the messages of a node whose bus has no store.
async fn publish_all(node: &Node) {
    loop {
        let (batch, dropped) = {
            let publishes = &mut node.outgoing.lock().publishes;
            (publishes.take(node.clock.now()), publishes.take_dropped())
        };
        // Counted here and not where they are dropped, because that is under the lock of the queue, or of a channel.
        count_dropped(node, [(BusDrop::Expired, dropped.expired), (BusDrop::Full, dropped.full)]);
        if batch.is_empty() {
            node.queued.notified().await;
            continue;
        }
        let outcomes = node.bus.publish(publishes_of(&batch)).await;
        if apply_outcomes(node, with_outcomes(batch, outcomes)) {
            sleep(PAUSE).await;
        }
    }
}

/// Sends messages to the bus and to its store in one order: a batch is given to both, each run in its turn, before the outcome of
/// any is awaited.
///
/// That order ends while one of the two does not take messages. The other one is then not held up: what it gets overtakes what
/// has to be sent again.
struct Sender<'a> {
    node: &'a Node,
    store: &'a dyn HistoryStore,
    publishing: Option<UnderWay<'a, QueuedPublish, Outcome>>,
    appending: Option<UnderWay<'a, QueuedAppend, Appended>>,
    /// The times until which nothing is published, and nothing appended, because some messages are to be sent again.
    publishes_from: Instant,
    appends_from: Instant,
    /// `true` if the store has not taken all messages of the last batch.
    refuses: bool,
    /// The time at which the store has last taken a message, in milliseconds.
    answered: u64,
    /// The time from which the silence of the store counts, because the node was suspended before, in milliseconds.
    counts_from: u64,
    /// The time at which messages are given up, if the store takes none before.
    gives_up_at: Option<Instant>,
    /// The time at which more can be sent or is given up, if nothing happens before.
    wakes_at: Option<Instant>,
}

/// Runs of messages of one kind, and their outcomes on the way.
struct UnderWay<'a, E, O> {
    runs: Vec<Vec<E>>,
    outcomes: BoxFuture<'a, Vec<Vec<O>>>,
    /// The time from which the other kind does not wait for them any more.
    ordered_until: Instant,
}

impl<'a, E, O: Send + 'a> UnderWay<'a, E, O> {
    fn new(sent: Vec<(Vec<E>, BoxFuture<'a, Vec<O>>)>) -> Option<UnderWay<'a, E, O>> {
        if sent.is_empty() {
            return None;
        }
        let (runs, futures): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
        let outcomes = Box::pin(async move {
            let mut outcomes = Vec::with_capacity(futures.len());
            for future in futures {
                outcomes.push(future.await);
            }
            outcomes
        });
        Some(UnderWay { runs, outcomes, ordered_until: Instant::now() + ORDER_TIMEOUT })
    }
}

/// The runs that are under way with their outcomes, if any are.
async fn outcomes<E, O>(under_way: &mut Option<UnderWay<'_, E, O>>) -> Vec<(Vec<E>, Vec<O>)> {
    let Some(sent) = under_way else { return std::future::pending().await };
    let outcomes = sent.outcomes.as_mut().await;
    let runs = std::mem::take(&mut sent.runs);
    *under_way = None;
    runs.into_iter().zip(outcomes).collect()
}

impl<'a> Sender<'a> {
    fn new(node: &'a Node, store: &'a dyn HistoryStore) -> Sender<'a> {
        let now = Instant::now();
        Sender {
            node,
            store,
            publishing: None,
            appending: None,
            publishes_from: now,
            appends_from: now,
            refuses: false,
            answered: 0,
            counts_from: 0,
            gives_up_at: None,
            wakes_at: None,
        }
    }

    async fn run(mut self) {
        loop {
            let now = Instant::now();
            self.give_up(now);
            self.wakes_at = self.send(now);
            tokio::select! {
                biased;
                // First, because a bus may answer at once for as long as there is something to publish.
                runs = outcomes(&mut self.appending) => {
                    self.extend_after_suspension(Instant::now());
                    let applied = self.node.apply_appended(runs, self.counts_from);
                    if applied.answers {
                        self.answered = self.node.clock.now();
                    }
                    self.refuses = applied.fails;
                    if self.refuses {
                        self.appends_from = Instant::now() + APPEND_PAUSE;
                    }
                }
                runs = outcomes(&mut self.publishing) => {
                    if apply_outcomes(self.node, runs.into_iter().flat_map(|(run, outcomes)| with_outcomes(run, outcomes))) {
                        self.publishes_from = Instant::now() + PAUSE;
                    }
                }
                () = self.node.queued.notified(), if self.publishing.is_none() || self.appending.is_none() => {}
                () = sleep_until(self.wakes_at.unwrap_or(now)), if self.wakes_at.is_some() => {}
            }
        }
    }

    /// Sends what can be sent. Returns the time at which more can be, if nothing happens before.
    fn send(&mut self, now: Instant) -> Option<Instant> {
        let [publishes_until, appends_until] = self.order_timeouts(now);
        let may_publish = self.publishing.is_none() && self.publishes_from <= now && appends_until.is_none();
        let may_append = self.appending.is_none() && self.appends_from <= now && publishes_until.is_none();
        let (runs, dropped, waiting_since) = {
            let mut outgoing = self.node.outgoing.lock();
            let runs = match (may_publish, may_append) {
                (true, true) => outgoing.take(self.node.clock.now()),
                (true, false) => outgoing.take_publishes(self.node.clock.now()),
                (false, true) => outgoing.take_appends(),
                (false, false) => Vec::new(),
            };
            (runs, outgoing.publishes.take_dropped(), outgoing.appends.oldest())
        };
        count_dropped(self.node, [(BusDrop::Expired, dropped.expired), (BusDrop::Full, dropped.full)]);
        self.begin(runs);
        self.gives_up_at = self.time_to_give_up(waiting_since);
        let pauses = [self.publishes_from, self.appends_from].into_iter().filter(|from| *from > now);
        pauses.chain(self.order_timeouts(now).into_iter().flatten()).chain(self.gives_up_at).min()
    }

    /// The time at which messages are given up: when the store has taken none for [`STORE_TIMEOUT`], with the oldest one queued or under
    /// way. So no message waits for longer because it was queued during an attempt, and none is given up because it has waited behind
    /// others that the store took. `queued` is the time at which the oldest one of the queue was queued.
    fn time_to_give_up(&self, queued: Option<u64>) -> Option<Instant> {
        let mut under_way = self.appending.iter().flat_map(|sent| sent.runs.iter().flatten());
        let sent = under_way.find(|entry| !entry.is_given_up).map(|entry| entry.at);
        let oldest = sent.into_iter().chain(queued).min()?;
        Some(self.node.clock.instant(oldest.max(self.answered).max(self.counts_from) + STORE_TIMEOUT))
    }

    /// Gives the store another [`ORDER_TIMEOUT`] if this node was suspended: it may have answered meanwhile, or the wait for its answer has
    /// ended and it has to be asked again. The time of the suspension is no silence of the store. Not twice in a row, so
    /// that on a machine which is always late messages are given up, too.
    fn extend_after_suspension(&mut self, now: Instant) {
        let time = self.node.clock.now();
        if self.wakes_at.is_some_and(|at| now > at + SUSPENSION_THRESHOLD)
            && time > self.counts_from + 2 * STORE_TIMEOUT
        {
            self.counts_from = time.saturating_sub(STORE_TIMEOUT) + ORDER_TIMEOUT.as_millis() as u64;
            self.gives_up_at = self.gives_up_at.map(|at| at.max(now + ORDER_TIMEOUT));
        }
    }

    /// Gives up the messages whose time has come. Their attempt goes on, because messages of other channels may be part of it.
    fn give_up(&mut self, now: Instant) {
        self.extend_after_suspension(now);
        let until = self.node.clock.now().saturating_sub(STORE_TIMEOUT);
        if self.gives_up_at.is_some_and(|at| at <= now) && self.answered <= until {
            let under_way = self.appending.iter_mut().flat_map(|sent| sent.runs.iter_mut().flatten());
            self.node.give_up_until(until, under_way);
        }
    }

    /// The times until which what is published, and what is appended, holds up the other kind. It does not if the store does not
    /// take messages, or if one of the two has not answered for too long.
    fn order_timeouts(&self, now: Instant) -> [Option<Instant>; 2] {
        let publishing = self.publishing.as_ref().map(|sent| sent.ordered_until);
        let until = [publishing, self.appending.as_ref().map(|sent| sent.ordered_until)];
        let is_apart = self.refuses || until.iter().flatten().any(|until| *until <= now);
        until.map(|until| until.filter(|_| !is_apart))
    }

    /// Gives runs to the bus and to the store, in their order. None of the calls waits.
    fn begin(&mut self, runs: Vec<Run>) {
        let (mut published, mut appended) = (Vec::new(), Vec::new());
        for run in runs {
            match run {
                Run::Publish(batch) => {
                    let outcomes = self.node.bus.publish(publishes_of(&batch));
                    published.push((batch, outcomes));
                }
                Run::Append(mut batch) => {
                    let outcomes = self.node.append_batch(self.store, &mut batch);
                    appended.push((batch, outcomes));
                }
            }
        }
        // What is under way of the other kind stays.
        self.publishing = UnderWay::new(published).or(self.publishing.take());
        self.appending = UnderWay::new(appended).or(self.appending.take());
    }
}

/// The messages of a batch with their outcomes. What became of a message whose outcome is left out is not known.
pub(super) fn with_outcomes<E, O>(batch: Vec<E>, outcomes: Vec<O>) -> impl Iterator<Item = (E, Option<O>)> {
    batch.into_iter().zip(outcomes.into_iter().map(Some).chain(std::iter::repeat_with(|| None)))
}

fn publishes_of(batch: &[QueuedPublish]) -> Vec<Publish> {
    batch.iter().map(|entry| entry.publish.clone()).collect()
}

/// Applies the outcomes of a batch. A message that was certainly not sent, and may be sent soon, is queued again. A
/// message that may have been sent is not sent twice: clients would receive it twice. Returns `true` if messages were queued
/// again.
fn apply_outcomes(node: &Node, outcomes: impl Iterator<Item = (QueuedPublish, Option<Outcome>)>) -> bool {
    let mut again = Vec::new();
    let (mut unknown, mut refused) = (0, 0);
    for (entry, outcome) in outcomes {
        match outcome {
            Some(Outcome::Sent { .. }) => {}
            Some(Outcome::Unknown(error)) => {
                tracing::debug!(target: "pondsocket::bus", %error, "a message may be lost");
                unknown += 1;
            }
            None => {
                tracing::debug!(target: "pondsocket::bus", "a message may be lost: the bus has left out its outcome");
                unknown += 1;
            }
            Some(Outcome::NotSent(error)) if is_passing(error.kind()) => again.push(entry),
            Some(Outcome::NotSent(error)) => {
                let topic = entry.publish.topic.as_str();
                tracing::warn!(target: "pondsocket::bus", topic, %error, "the bus refused a message");
                refused += 1;
            }
        }
    }
    let has_again = !again.is_empty();
    if has_again {
        node.outgoing.lock().publishes.give_back(again);
    }
    count_dropped(node, [(BusDrop::Unknown, unknown), (BusDrop::Refused, refused)]);
    has_again
}

fn count_dropped(node: &Node, dropped: [(BusDrop, u64); 2]) {
    for (reason, messages) in dropped.into_iter().filter(|(_, messages)| *messages > 0) {
        node.count(ClusterEvent::Dropped { reason, messages });
    }
}

/// Returns `true` if the bus may take the same message later.
pub(super) fn is_passing(kind: BusErrorKind) -> bool {
    !matches!(kind, BusErrorKind::TooBig | BusErrorKind::NoPerm | BusErrorKind::Config)
}
