//! Faults that tests inject into the bus in memory, under a paused clock.

use std::sync::Arc;
use std::time::Duration;

use pondsocket::cluster::{
    Bus, BusEvent, BusEvents, BusSink, GapCause, Lost, NodeId, Outcome, Publish, SinkLimits, Stop, Stopper,
};
use pondsocket::testing::bus::{MemoryBus, MemoryHub};
use tokio::time::{Instant, sleep};

/// A node that is up and listens to `t`.
async fn listening(hub: &MemoryHub) -> (Arc<MemoryBus>, BusEvents, Stopper) {
    let (bus, (sink, mut events), (stopper, stop)) = (hub.node(), BusSink::new(SinkLimits::default()), Stop::new());
    bus.update_subscriptions(&["t".into()], &[]);
    tokio::spawn(bus.clone().run(sink, stop));
    assert!(matches!(events.next().await, Some(BusEvent::Up { .. })));
    assert!(matches!(events.next().await, Some(BusEvent::Subscribed { .. })));
    (bus, events, stopper)
}

async fn publish(bus: &MemoryBus, texts: &[&'static str]) -> Vec<Outcome> {
    bus.publish(texts.iter().map(|text| Publish::new("t", *text)).collect()).await
}

fn message(text: &'static str) -> Option<BusEvent> {
    Some(BusEvent::Message { topic: "t".into(), data: text.into() })
}

fn gap() -> Option<BusEvent> {
    Some(BusEvent::Gap { lost: Lost::Topics(vec!["t".into()]), cause: GapCause::Engine })
}

#[tokio::test(start_paused = true)]
async fn messages_are_lost_with_and_without_a_report() {
    let hub = MemoryHub::new();
    let (bus, mut events, _stopper) = listening(&hub).await;
    bus.lose(1);
    bus.lose_with_gap(1);
    publish(&bus, &["1", "2", "3"]).await;
    assert_eq!((events.try_next(), events.try_next(), events.try_next()), (gap(), message("3"), None));
}

#[tokio::test(start_paused = true)]
async fn messages_are_repeated() {
    let hub = MemoryHub::new();
    let (bus, mut events, _stopper) = listening(&hub).await;
    bus.duplicate(1);
    publish(&bus, &["1", "2"]).await;
    assert_eq!((events.try_next(), events.try_next()), (message("1"), message("1")));
    assert_eq!((events.try_next(), events.try_next()), (message("2"), None));
}

#[tokio::test(start_paused = true)]
async fn messages_in_flight_are_not_overtaken() {
    let hub = MemoryHub::new();
    let ((bus, mut events, _stopper), (other, _events, _other)) = (listening(&hub).await, listening(&hub).await);
    bus.delay(Duration::from_millis(50));
    let start = Instant::now();
    publish(&other, &["1"]).await;
    sleep(Duration::from_millis(20)).await;
    bus.delay(Duration::ZERO);
    publish(&other, &["2"]).await;
    assert_eq!(events.try_next(), None);
    assert_eq!((events.next().await, events.next().await), (message("1"), message("2")));
    assert_eq!(start.elapsed(), Duration::from_millis(50));
    publish(&other, &["3"]).await;
    assert_eq!(events.try_next(), message("3"));
}

#[tokio::test(start_paused = true)]
async fn a_disconnected_node_loses_messages_in_flight() {
    let hub = MemoryHub::new();
    let ((bus, mut events, _stopper), (other, _events, _other)) = (listening(&hub).await, listening(&hub).await);
    bus.delay(Duration::from_millis(50));
    publish(&other, &["1"]).await;
    bus.cut();
    assert!(matches!(publish(&bus, &["2"]).await[..], [Outcome::NotSent(_)]));
    assert_eq!(publish(&other, &["3"]).await, [Outcome::Sent { receivers: Some(1) }]);
    assert!(matches!(events.next().await, Some(BusEvent::Down { .. })));
    assert!(!bus.stats().up && other.stats().up);
    bus.restore();
    assert!(matches!(events.next().await, Some(BusEvent::Up { .. })));
    assert!(matches!(events.next().await, Some(BusEvent::Subscribed { .. })));
    publish(&other, &["4"]).await;
    assert_eq!(events.next().await, message("4"));
}

#[tokio::test(start_paused = true)]
async fn leases_follow_the_paused_clock_and_can_be_forgotten() {
    let hub = MemoryHub::new();
    let (bus, _events, _stopper) = listening(&hub).await;
    let leases = bus.leases().expect("it has leases");
    let (ada, bob) = (NodeId { name: "ada".into(), incarnation: 1 }, NodeId { name: "bob".into(), incarnation: 1 });
    let ttl = Duration::from_secs(4);
    leases.renew(&ada, ttl * 2).await.expect("a lease");
    leases.renew(&bob, ttl).await.expect("a lease");
    sleep(ttl).await;
    assert_eq!(leases.renew(&ada, ttl).await.expect("a lease").expired, [bob]);
    hub.forget_leases();
    assert!(leases.renew(&ada, ttl).await.expect("a lease").was_expired);
}
