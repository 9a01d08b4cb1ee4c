//! Helpers of the cases: a running node, and waits with deadlines.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::bus_under_test::{Breaker, BusUnderTest};
use crate::cluster::{
    Bus, BusError, BusEvent, BusEvents, BusSession, BusSink, Outcome, Publish, SinkLimits, Stop, Stopper, Topic,
};

/// The longest time of each wait.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// A node with a bus that has been started.
pub(super) struct TestNode {
    pub(super) bus: Arc<dyn Bus>,
    pub(super) events: BusEvents,
    pub(super) stopper: Stopper,
    pub(super) running: JoinHandle<Result<(), BusError>>,
    /// The messages received so far: a bus may deliver one twice, and a case expects it once.
    seen: HashSet<(Topic, Bytes)>,
}

/// The deadline of a loop that polls a condition.
pub(super) fn deadline() -> Instant {
    Instant::now() + DEADLINE
}

pub(super) fn breaker(subject: &dyn BusUnderTest) -> &dyn Breaker {
    subject.breaker().expect("a subject that can be broken")
}

/// Waits for a future; after the deadline panics with the place of the caller.
#[track_caller]
pub(super) fn soon<F: Future>(what: &'static str, future: F) -> impl Future<Output = F::Output> {
    let at = std::panic::Location::caller();
    async move {
        match timeout(DEADLINE, future).await {
            Ok(value) => value,
            Err(_) => panic!("{at}: no {what} within {DEADLINE:?}"),
        }
    }
}

impl TestNode {
    /// Starts a node, and waits until it is connected.
    pub(super) async fn up(subject: &dyn BusUnderTest) -> TestNode {
        let mut node = TestNode::start(subject.bus(), SinkLimits::default());
        node.next_up().await;
        node
    }

    pub(super) fn start(bus: Arc<dyn Bus>, limits: SinkLimits) -> TestNode {
        let (sink, events) = BusSink::new(limits);
        let (stopper, stop) = Stop::new();
        let running = tokio::spawn(bus.clone().run(sink, stop));
        TestNode { bus, events, stopper, running, seen: HashSet::new() }
    }

    /// Starts a node that is subscribed to these topics.
    pub(super) async fn listening<const N: usize>(subject: &dyn BusUnderTest, topics: [&str; N]) -> TestNode {
        let mut node = TestNode::up(subject).await;
        node.subscribe(&topics.map(Topic::from)).await;
        node
    }

    pub(super) async fn event(&mut self) -> BusEvent {
        soon("event", self.events.next()).await.expect("the bus has ended")
    }

    pub(super) async fn next_up(&mut self) -> BusSession {
        loop {
            match self.event().await {
                BusEvent::Up { session } => return session,
                // Connecting may take several attempts.
                BusEvent::Down { .. } => {}
                other => panic!("{other:?} before the bus was up"),
            }
        }
    }

    pub(super) async fn next_down(&mut self) -> BusError {
        loop {
            if let BusEvent::Down { reason } = self.event().await {
                return reason;
            }
        }
    }

    /// Adds topics and waits until all are subscribed.
    pub(super) async fn subscribe(&mut self, topics: &[Topic]) {
        self.bus.update_subscriptions(topics, &[]);
        self.subscribed(topics).await;
    }

    /// Waits until all of these topics are confirmed. Messages received meanwhile are skipped.
    pub(super) async fn subscribed(&mut self, topics: &[Topic]) {
        let mut missing: HashSet<_> = topics.iter().cloned().collect();
        while !missing.is_empty() {
            match self.event().await {
                BusEvent::Subscribed { topics, .. } => {
                    for topic in &topics {
                        missing.remove(topic);
                    }
                }
                BusEvent::Message { .. } => {}
                other => panic!("{other:?}, but {} topics are not subscribed", missing.len()),
            }
        }
    }

    /// Publishes one message, which must be sent. Returns the number of receivers, if the bus counts them.
    pub(super) async fn publish(&self, topic: &str, data: impl Into<Bytes>) -> Option<u64> {
        let outcome = self.try_publish(topic, data).await;
        let Outcome::Sent { receivers } = outcome else { panic!("not published: {outcome:?}") };
        receivers
    }

    pub(super) async fn try_publish(&self, topic: &str, data: impl Into<Bytes>) -> Outcome {
        let outcomes = soon("outcome", self.bus.publish(vec![Publish::new(topic, data)])).await;
        let [outcome] = outcomes.try_into().expect("one outcome");
        outcome
    }

    /// The next message that was not received before.
    pub(super) async fn message(&mut self) -> (Topic, Bytes) {
        loop {
            match self.event().await {
                BusEvent::Message { topic, data } => {
                    if self.seen.insert((topic.clone(), data.clone())) {
                        return (topic, data);
                    }
                }
                BusEvent::Subscribed { .. } => {}
                other => panic!("{other:?} instead of a message"),
            }
        }
    }

    #[track_caller]
    pub(super) fn expect<'a>(&'a mut self, topic: &'a str, data: &'a [u8]) -> impl Future<Output = ()> + 'a {
        let at = std::panic::Location::caller();
        async move {
            let (received_on, received) = self.message().await;
            let is_expected = received_on.as_str() == topic && received == data;
            let (received, data) = (received.escape_ascii().to_string(), data.escape_ascii().to_string());
            assert!(is_expected, "{at}: `{received:.99}` on {received_on:?} instead of `{data:.99}` on {topic:?}");
        }
    }

    /// Stops the bus, and returns the result of `run`.
    pub(super) async fn stop(&mut self) -> Result<(), BusError> {
        self.stopper.stop();
        soon("end", &mut self.running).await.expect("no panic")
    }
}
