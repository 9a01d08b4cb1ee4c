//! A node that reads the events of its bus.
#![allow(dead_code, reason = "each test file uses a part")]

use std::sync::Arc;
use std::time::Duration;

use pondsocket::cluster::{
    Bus, BusError, BusEvent, BusEvents, BusSession, BusSink, Outcome, Publish, SinkLimits, Stop, Stopper, Topic,
};
use pondsocket_redis::{RedisBus, RedisOptions};
use testkit::{DEADLINE, RedisServer, soon};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Options with which a bus reaches this Redis.
pub(crate) fn options(redis: &RedisServer) -> RedisOptions {
    RedisOptions::default().port(redis.port)
}

/// A node whose bus runs.
pub(crate) struct Node {
    pub(crate) bus: Arc<RedisBus>,
    pub(crate) events: BusEvents,
    pub(crate) stopper: Stopper,
    pub(crate) running: JoinHandle<Result<(), BusError>>,
}

impl Node {
    pub(crate) fn start(options: RedisOptions, topics: &[&str]) -> Node {
        let bus = Arc::new(RedisBus::new(options).expect("options that can work"));
        let topics: Vec<_> = topics.iter().map(|topic| Topic::from(*topic)).collect();
        bus.update_subscriptions(&topics, &[]);
        let (sink, events) = BusSink::new(SinkLimits::default());
        let (stopper, stop) = Stop::new();
        let running = tokio::spawn(bus.clone().run(sink, stop));
        Node { bus, events, stopper, running }
    }

    /// Starts a node, and waits until it is up and subscribed.
    pub(crate) async fn listening(options: RedisOptions, topics: &[&str]) -> Node {
        let mut node = Node::start(options, topics);
        node.next_up().await;
        node.subscribed(topics).await;
        node
    }

    #[track_caller]
    pub(crate) fn event(&mut self) -> impl Future<Output = BusEvent> {
        let event = soon("event", self.events.next());
        async { event.await.expect("the bus has ended") }
    }

    pub(crate) async fn next_up(&mut self) -> BusSession {
        loop {
            if let BusEvent::Up { session } = self.event().await {
                return session;
            }
        }
    }

    pub(crate) async fn next_down(&mut self) -> BusError {
        loop {
            if let BusEvent::Down { reason } = self.event().await {
                return reason;
            }
        }
    }

    /// Waits until all of these were subscribed; other events are skipped.
    pub(crate) async fn subscribed(&mut self, topics: &[&str]) {
        let mut missing: std::collections::HashSet<Topic> = topics.iter().map(|topic| Topic::from(*topic)).collect();
        while !missing.is_empty() {
            if let BusEvent::Subscribed { topics, .. } = self.event().await {
                for topic in &topics {
                    missing.remove(topic);
                }
            }
        }
    }

    /// The next message; `Up`, `Down` and `Subscribed` are skipped.
    pub(crate) async fn message(&mut self) -> (Topic, String) {
        loop {
            match self.event().await {
                BusEvent::Message { topic, data } => {
                    return (topic, String::from_utf8(data.to_vec()).expect("text"));
                }
                BusEvent::Gap { lost, cause } => panic!("a gap, {cause:?}: {lost}"),
                _ => {}
            }
        }
    }

    pub(crate) async fn publish(&self, topic: &str, data: &str) -> Outcome {
        let outcomes = soon("outcome", self.bus.publish(vec![Publish::new(topic, data.to_owned())])).await;
        let [outcome] = outcomes.try_into().expect("one outcome");
        outcome
    }

    /// Publishes until it is sent, as after a return of Redis.
    pub(crate) async fn publish_at_last(&self, topic: &str, data: &str) {
        let deadline = Instant::now() + DEADLINE;
        while !matches!(self.publish(topic, data).await, Outcome::Sent { .. }) {
            assert!(Instant::now() < deadline, "it is never sent");
            sleep(Duration::from_millis(5)).await;
        }
    }
}
