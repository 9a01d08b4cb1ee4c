//! Faults that tests inject into the bus in memory, under a paused clock.

use std::sync::Arc;
use std::time::Duration;

use pondsocket::cluster::{
    Append, Appended, Bus, BusEvent, BusEvents, BusSink, Epoch, GapCause, HistoryStore, Lost, NodeId, Outcome,
    Position, Publish, SinkLimits, Stop, Stopper, StoredHistory, StoredRecord,
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

fn in_history(id: &str, epoch: u32) -> Append {
    Append {
        topic: "t".into(),
        head: format!("{id} at ").into(),
        tail: "".into(),
        id: id.into(),
        is_repeated: false,
        epoch: Epoch::new(epoch),
        messages: 10,
        bytes: usize::MAX,
        ttl: Duration::from_secs(60),
    }
}

async fn append(bus: &MemoryBus, id: &str, epoch: u32) -> Appended {
    bus.append(vec![in_history(id, epoch)]).await.remove(0)
}

async fn repeat(bus: &MemoryBus, id: &str) -> Appended {
    bus.append(vec![Append { is_repeated: true, ..in_history(id, 0) }]).await.remove(0)
}

async fn read(bus: &MemoryBus) -> StoredHistory {
    bus.read(&"t".into(), None, 10).await.expect("connected")
}

fn at(epoch: u32, offset: u64) -> Appended {
    Appended::At(Position { epoch: Epoch::new(epoch), offset })
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

#[tokio::test(start_paused = true)]
async fn outcomes_of_appended_messages_are_lost() {
    let hub = MemoryHub::new();
    let ((bus, _events, _stopper), (other, mut events, _other)) = (listening(&hub).await, listening(&hub).await);
    bus.lose_answers(1);
    bus.lose_appends(1);
    assert!(matches!(append(&bus, "never", 1).await, Appended::Unknown(_)));
    assert!(matches!(append(&bus, "once", 1).await, Appended::Unknown(_)));
    assert_eq!(append(&other, "then", 2).await, at(1, 2));
    assert_eq!((repeat(&bus, "once").await, repeat(&bus, "never").await), (at(1, 1), at(1, 3)));
    for text in ["once at 000001.1", "then at 000001.2", "never at 000001.3"] {
        assert_eq!(events.try_next(), message(text));
    }
    assert_eq!(events.try_next(), None);
    assert_eq!((bus.stats().unknown, bus.stats().sent, other.stats().sent), (2, 2, 1));
}

/// Appended messages reach their subscribers as all others do, their own node too.
#[tokio::test(start_paused = true)]
async fn appended_messages_are_lost_and_delayed_as_published_ones() {
    let hub = MemoryHub::new();
    let (bus, mut events, _stopper) = listening(&hub).await;
    bus.lose_with_gap(1);
    bus.duplicate(1);
    for id in ["1", "2", "3"] {
        append(&bus, id, 1).await;
    }
    assert_eq!((events.try_next(), events.try_next()), (gap(), message("2 at 000001.2")));
    assert_eq!((events.try_next(), events.try_next()), (message("2 at 000001.2"), message("3 at 000001.3")));
    bus.delay(Duration::from_millis(50));
    append(&bus, "4", 1).await;
    assert_eq!((events.try_next(), read(&bus).await.messages.len()), (None, 4));
    assert_eq!(events.next().await, message("4 at 000001.4"));
}

#[tokio::test(start_paused = true)]
async fn answers_of_the_store_are_delayed_and_lost_with_the_connection() {
    let hub = MemoryHub::new();
    let (bus, mut events, _stopper) = listening(&hub).await;
    bus.delay_answers(Duration::from_millis(50));
    let start = Instant::now();
    assert_eq!(append(&bus, "1", 1).await, at(1, 1));
    assert_eq!((start.elapsed(), events.try_next()), (Duration::from_millis(50), message("1 at 000001.1")));
    let (outcome, history) = tokio::join!(append(&bus, "2", 1), async {
        let topic = "t".into();
        let history = bus.read(&topic, None, 10);
        bus.cut();
        bus.restore();
        history.await
    });
    assert!(matches!(outcome, Appended::Unknown(_)) && history.is_err(), "{outcome:?} {history:?}");
    bus.delay_answers(Duration::ZERO);
    assert_eq!(repeat(&bus, "2").await, at(1, 2));
    bus.cut();
    assert!(matches!(append(&bus, "3", 1).await, Appended::NotSent(_)));
    assert!(bus.read(&"t".into(), None, 10).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn histories_are_lost_and_begin_anew() {
    let hub = MemoryHub::new();
    let (bus, _events, _stopper) = listening(&hub).await;
    let (record, ttl) = (StoredRecord { version: 1, data: "record".into() }, Duration::from_secs(60));
    assert_eq!((append(&bus, "1", 1).await, append(&bus, "2", 1).await), (at(1, 1), at(1, 2)));
    assert_eq!(bus.put("key", &record, 0, ttl).await, Ok(true));
    hub.fail_over();
    assert_eq!(read(&bus).await, StoredHistory::default());
    assert_eq!(append(&bus, "3", 2).await, at(2, 1));
    assert_eq!(bus.get("key").await, Ok(Some(record)));
    hub.lose_history();
    assert_eq!(bus.get("key").await, Ok(None));
    let Appended::At(position) = repeat(&bus, "3").await else { panic!("not appended") };
    assert!(position.offset == 1 && position.epoch != Epoch::new(2), "{position}");
    assert_eq!(read(&bus).await.messages.len(), 1);
}
