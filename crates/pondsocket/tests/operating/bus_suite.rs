//! The conformance suite itself is tested: a bus with a fault fails the case for it, and a correct bus passes.

use std::sync::Arc;
use std::time::Duration;

use pondsocket::cluster::{
    Append, Appended, BoxFuture, Bus, BusError, BusSink, Epoch, HistoryStore, Outcome, Position, Publish, Stop,
    StoredHistory, StoredRecord, Topic,
};
use pondsocket::testing::bus::{Breaker, BusUnderTest, MemoryHub, cases};

#[derive(Clone, Copy, Eq, PartialEq)]
enum Fault {
    None,
    /// Batches are sent in reverse order.
    Backwards,
    /// Nothing is sent before the outcome is awaited.
    Lazy,
    /// Names of topics are normalised.
    Trims,
    /// Some messages are lost.
    Loses,
    /// The last message of a batch is neither sent nor has an outcome.
    Forgets,
    /// Nothing is ever subscribed.
    IgnoresInterest,
    /// Repeated messages are appended again, and histories are begun again.
    Repeats,
    /// Of a history only the length is looked at.
    ReadsTheEnd,
    /// A history is never begun anew.
    NeverRestarts,
    /// Nothing expires, and no message is removed.
    Hoards,
    /// A history without a message cannot be prolonged.
    ForgetsQuiet,
    /// A record replaces any other.
    Overwrites,
    /// The history is lost with the engine, which is allowed.
    LosesHistory,
    /// And the next one has the same epoch, which is not.
    LosesHistoryInSilence,
}

struct Faulty(MemoryHub, Fault);

struct FaultyBus(Arc<dyn Bus>, Fault);

impl BusUnderTest for Faulty {
    fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(FaultyBus(self.0.bus(), self.1))
    }

    fn breaker(&self) -> Option<&dyn Breaker> {
        Some(self)
    }
}

impl Breaker for Faulty {
    fn cut(&self) -> BoxFuture<'_, ()> {
        if matches!(self.1, Fault::LosesHistory | Fault::LosesHistoryInSilence) {
            self.0.lose_history();
        }
        self.0.cut()
    }

    fn restore(&self) -> BoxFuture<'_, ()> {
        self.0.restore()
    }
}

impl Bus for FaultyBus {
    fn run(self: Arc<Self>, sink: BusSink, stop: Stop) -> BoxFuture<'static, Result<(), BusError>> {
        self.0.clone().run(sink, stop)
    }

    fn update_subscriptions(&self, add: &[Topic], remove: &[Topic]) {
        match self.1 {
            Fault::IgnoresInterest => {}
            Fault::Trims => {
                let add: Vec<_> = add.iter().map(|topic| Topic::from(topic.as_str().trim())).collect();
                self.0.update_subscriptions(&add, remove);
            }
            _ => self.0.update_subscriptions(add, remove),
        }
    }

    fn publish(&self, mut batch: Vec<Publish>) -> BoxFuture<'_, Vec<Outcome>> {
        match self.1 {
            Fault::Backwards => batch.reverse(),
            Fault::Loses => batch.retain(|publish| publish.data != "777"),
            Fault::Lazy => return Box::pin(async move { self.0.publish(batch).await }),
            Fault::Forgets => drop(batch.pop()),
            _ => {}
        }
        self.0.publish(batch)
    }

    fn history(&self) -> Option<&dyn HistoryStore> {
        Some(self)
    }
}

impl FaultyBus {
    fn store(&self) -> &dyn HistoryStore {
        self.0.history().expect("the bus in memory has one")
    }
}

impl HistoryStore for FaultyBus {
    fn append(&self, mut batch: Vec<Append>) -> BoxFuture<'_, Vec<Appended>> {
        for append in &mut batch {
            match self.1 {
                Fault::Trims => append.topic = append.topic.as_str().trim().into(),
                Fault::Repeats => append.is_repeated = false,
                Fault::Hoards => {
                    (append.messages, append.bytes, append.ttl) = (usize::MAX, usize::MAX, Duration::from_secs(600));
                }
                Fault::LosesHistoryInSilence => append.epoch = Epoch::new(1),
                _ => {}
            }
        }
        match self.1 {
            Fault::Backwards => batch.reverse(),
            Fault::Lazy => return Box::pin(async move { self.store().append(batch).await }),
            Fault::Forgets => drop(batch.pop()),
            _ => {}
        }
        self.store().append(batch)
    }

    fn read<'a>(
        &'a self,
        topic: &'a Topic,
        after: Option<Position>,
        most: usize,
    ) -> BoxFuture<'a, Result<StoredHistory, BusError>> {
        self.store().read(topic, after.filter(|_| self.1 != Fault::ReadsTheEnd), most)
    }

    fn begin<'a>(&'a self, topic: &'a Topic, epoch: Epoch, life: Duration) -> BoxFuture<'a, Result<(), BusError>> {
        match self.1 {
            Fault::Repeats => self.store().restart(topic, epoch, life),
            Fault::Hoards => self.store().begin(topic, epoch, life * 600),
            Fault::ForgetsQuiet => self.store().begin(topic, epoch, Duration::from_millis(100)),
            _ => self.store().begin(topic, epoch, life),
        }
    }

    fn restart<'a>(&'a self, topic: &'a Topic, epoch: Epoch, ttl: Duration) -> BoxFuture<'a, Result<(), BusError>> {
        match self.1 {
            Fault::NeverRestarts => Box::pin(std::future::ready(Ok(()))),
            _ => self.store().restart(topic, epoch, ttl),
        }
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<StoredRecord>, BusError>> {
        self.store().get(key)
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        record: &'a StoredRecord,
        replaces: u64,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<bool, BusError>> {
        let replaces = if self.1 == Fault::Overwrites { u64::MAX } else { replaces };
        self.store().put(key, record, replaces, if self.1 == Fault::Hoards { ttl * 600 } else { ttl })
    }
}

/// Returns whether a bus with this fault fails a case. The case runs as a task, whose panic is caught.
macro_rules! fails {
    ($fault:expr, $case:ident) => {
        tokio::spawn(async { cases::$case(&Faulty(MemoryHub::new(), $fault)).await }).await.is_err()
    };
}

#[tokio::test(start_paused = true)]
async fn faults_are_found() {
    assert!(fails!(Fault::Backwards, one_publisher_keeps_its_order));
    assert!(fails!(Fault::Lazy, messages_keep_the_order_of_the_calls));
    assert!(fails!(Fault::Lazy, dropping_the_future_of_publish_cancels_nothing));
    assert!(fails!(Fault::Trims, topic_names_are_exact));
    assert!(fails!(Fault::Loses, one_publisher_keeps_its_order));
    assert!(fails!(Fault::Forgets, each_message_has_its_outcome));
    assert!(fails!(Fault::IgnoresInterest, topics_added_while_running_are_subscribed));
    assert!(!fails!(Fault::None, one_publisher_keeps_its_order) && !fails!(Fault::None, topic_names_are_exact));
}

#[tokio::test(start_paused = true)]
async fn faults_of_a_store_are_found() {
    assert!(fails!(Fault::Backwards, batches_are_appended_in_their_order));
    assert!(fails!(Fault::Lazy, messages_are_appended_in_the_order_of_the_calls));
    assert!(fails!(Fault::Lazy, dropping_the_future_of_append_cancels_nothing));
    assert!(fails!(Fault::Forgets, batches_are_appended_in_their_order));
    assert!(fails!(Fault::Trims, each_topic_has_its_history));
    assert!(fails!(Fault::Repeats, a_repeated_message_keeps_its_position));
    assert!(fails!(Fault::Repeats, a_history_is_begun_once));
    assert!(fails!(Fault::ReadsTheEnd, reading_returns_what_is_behind_a_position));
    assert!(fails!(Fault::NeverRestarts, a_restart_begins_a_history_anew));
    assert!(fails!(Fault::Hoards, a_history_expires));
    assert!(fails!(Fault::Hoards, a_history_keeps_a_number_of_messages));
    assert!(fails!(Fault::Hoards, a_history_keeps_a_number_of_bytes));
    assert!(fails!(Fault::Hoards, a_history_without_a_message_ends));
    assert!(fails!(Fault::ForgetsQuiet, a_history_without_a_message_ends));
    assert!(fails!(Fault::Hoards, a_record_expires));
    assert!(fails!(Fault::Overwrites, of_several_nodes_one_replaces_a_record));
    assert!(fails!(Fault::Overwrites, a_record_of_a_later_version_stays));
    assert!(fails!(Fault::LosesHistoryInSilence, no_position_is_given_twice));
    assert!(fails!(Fault::LosesHistoryInSilence, without_an_engine_nothing_is_appended));
    assert!(!fails!(Fault::LosesHistory, no_position_is_given_twice));
    assert!(!fails!(Fault::LosesHistory, without_an_engine_nothing_is_appended));
    assert!(!fails!(Fault::None, no_position_is_given_twice) && !fails!(Fault::None, a_history_expires));
}
