//! The conformance suite itself is tested: a bus with a fault fails the case for it, and a correct bus passes.

use std::sync::Arc;

use pondsocket::cluster::{BoxFuture, Bus, BusError, BusSink, Outcome, Publish, Stop, Topic};
use pondsocket::testing::bus::{BusUnderTest, MemoryHub, cases};

#[derive(Clone, Copy)]
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
}

struct Faulty(MemoryHub, Fault);

struct FaultyBus(Arc<dyn Bus>, Fault);

impl BusUnderTest for Faulty {
    fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(FaultyBus(self.0.bus(), self.1))
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
