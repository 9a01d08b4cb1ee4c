//! Replays that wait for their delivery, or for the decision of a join handler, while the history changes.

use std::sync::Arc;

use pondsocket_proto::channel::{
    DeliveryPolicy, HistoryRules, LocalTarget, Recovery, Ring, StoredMessage, StoredMessages,
};
use pondsocket_proto::model::{Target, UserMessageRef};
use pondsocket_proto::position::Epoch;
use pondsocket_proto::wire::Resume;

use super::world::{HistoryWorld, at, empty, rules, user};

fn resumed(missed: usize) -> Recovery {
    Recovery::Resumed { missed, may_repeat: 0 }
}

fn shared(rules: HistoryRules) -> HistoryWorld {
    HistoryWorld::new(empty().replicated().with_shared_history(Ring::new(Arc::new(rules), Epoch::new(50))))
}

/// Reads messages up to an offset, of which the last one cannot be read if `is_last_broken`.
fn load(world: &mut HistoryWorld, offsets: std::ops::RangeInclusive<u64>, is_last_broken: bool) {
    let last = *offsets.end();
    let readable =
        UserMessageRef { from: "x", event: "n", payload: "{}", request_id: "q", to: &Target::All, position: None };
    let stored = |offset| {
        let message = (!is_last_broken || offset < last).then_some(readable);
        StoredMessage { offset, age: 0, own: None, message }
    };
    let messages = offsets.map(stored).collect();
    let stored = StoredMessages { position: Some(at(last)), messages, fresh: Epoch::new(99) };
    world.channel.load(stored, &|_| DeliveryPolicy::BROADCAST);
}

#[test]
fn a_replay_that_waits_is_delivered_although_the_next_message_of_the_store_cannot_be_read() {
    let mut world = shared(rules());
    load(&mut world, 1..=3, false);
    assert_eq!(world.join(0, Some(Resume::From(at(0))), Vec::new()), resumed(3));
    load(&mut world, 4..=4, true);
    world.deliver();
    assert_eq!(world.acknowledgements[0], r#"{"position":"000001.3","recovered":true,"missed":3}"#);
    assert_eq!(world.positions(0), [at(1), at(2), at(3)]);
}

#[test]
fn a_client_that_joins_behind_a_message_without_a_position_is_told_if_what_it_is_owed_cannot_be_read() {
    let mut world = shared(HistoryRules { messages: 3, ..rules() });
    load(&mut world, 1..=3, false);
    // Its position does not come: the message with the next one cannot be read.
    assert_eq!(world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST), None);
    world.join(0, Some(Resume::From(at(3))), Vec::new());
    load(&mut world, 4..=4, true);
    world.channel.place(1, None);
    world.deliver();
    let events: Vec<_> = world.received[0].iter().map(|(_, event)| event.as_str()).collect();
    assert_eq!(events[..2], ["ACKNOWLEDGE", "GAP"]);
    // And the history keeps no more than it may from then on.
    load(&mut world, 5..=20, false);
    world.deliver();
    assert_eq!(world.channel.history().map(Ring::len), Some(3));
}

#[test]
fn what_a_join_handler_was_told_stays_true_when_histories_make_room() {
    let mut world = HistoryWorld::with_rules(rules());
    (0..4).for_each(|_| assert!(world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST).is_some()));
    let ring = world.channel.history_mut().expect("a history");
    let held = ring.hold(2);
    assert_eq!((ring.clear(false), ring.len()), (2, 2));
    let resume = |world: &HistoryWorld| world.channel.recovery(&user(0), Some(Resume::From(at(2)).into()));
    assert_eq!(resume(&world), resumed(2));
    let ring = world.channel.history_mut().expect("a history");
    // Unless that is not enough.
    assert_eq!((ring.clear(true), ring.len()), (2, 0));
    ring.release(held);
    assert!(!resume(&world).is_complete());
}
