//! Users that were evicted: they join as new ones, and from then on they lose nothing.

use std::sync::Arc;

use pondsocket_proto::channel::{
    Assigns, DeliveryPolicy, GapReason, LocalTarget, Recovery, RemoteChange, RemoteMember, Ring, Step, StoredMessage,
    StoredMessages,
};
use pondsocket_proto::model::{Target, UserMessageRef};
use pondsocket_proto::position::{Epoch, Position};
use pondsocket_proto::wire::Resume;

use super::world::{HistoryWorld, at, empty, rules, user};

fn resumed(missed: usize) -> Recovery {
    Recovery::Resumed { missed, may_repeat: 0 }
}

fn send(world: &mut HistoryWorld, messages: usize) {
    for _ in 0..messages {
        world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    }
}

fn evict(world: &mut HistoryWorld, n: usize) {
    world.channel.evict(&user(n), "spam").expect("a member");
    world.seats.remove(&n);
}

fn recovery(world: &HistoryWorld, from: Position) -> Recovery {
    world.channel.recovery(&user(0), Some(Resume::From(from).into()))
}

/// A channel with five messages, from which the user 0 was evicted behind the last one.
fn after_an_eviction() -> HistoryWorld {
    let mut world = HistoryWorld::with_rules(rules());
    world.join(0, None, Vec::new());
    send(&mut world, 5);
    evict(&mut world, 0);
    assert_eq!(recovery(&world, at(5)), Recovery::New);
    world
}

#[test]
fn an_evicted_user_that_was_accepted_again_gets_what_it_misses_from_then_on() {
    let mut world = after_an_eviction();
    assert_eq!(world.join(0, Some(Resume::From(at(5))), Vec::new()), Recovery::New);
    world.leave(0);
    send(&mut world, 3);
    // Once more without a message in between: each cut is like the first one.
    for _ in 0..2 {
        assert_eq!(world.join(0, Some(Resume::From(at(5))), Vec::new()), resumed(3));
        world.leave(0);
    }
    assert_eq!(recovery(&world, at(4)), Recovery::New, "from before the eviction");
}

#[test]
fn an_evicted_user_does_not_get_what_was_sent_until_it_was_accepted_again() {
    let mut world = after_an_eviction();
    send(&mut world, 3);
    assert_eq!(recovery(&world, at(5)), Recovery::New);
    world.join(0, None, Vec::new());
    world.leave(0);
    send(&mut world, 1);
    assert_eq!((recovery(&world, at(5)), recovery(&world, at(8))), (Recovery::New, resumed(1)));
}

#[test]
fn an_evicted_user_that_gets_the_last_messages_with_its_next_join_resumes_within_them() {
    let mut world = after_an_eviction();
    world.join(0, None, vec![Step::ReplayLast(3)]);
    world.leave(0);
    assert_eq!((recovery(&world, at(1)), recovery(&world, at(2))), (Recovery::New, resumed(3)));
    world.join(0, None, vec![Step::ReplayFrom(None)]);
    world.leave(0);
    assert_eq!(recovery(&world, at(0)), resumed(5));
}

#[test]
fn a_user_that_is_evicted_twice_joins_as_a_new_one_twice() {
    let mut world = after_an_eviction();
    world.join(0, None, Vec::new());
    send(&mut world, 1);
    evict(&mut world, 0);
    assert_eq!(recovery(&world, at(6)), Recovery::New);
    world.join(0, None, Vec::new());
    assert_eq!((recovery(&world, at(5)), recovery(&world, at(6))), (Recovery::New, resumed(0)));
}

#[test]
fn a_user_that_another_node_accepts_again_after_an_eviction_resumes_here() {
    let mut world = HistoryWorld::with_rules(rules());
    send(&mut world, 5);
    world.channel.note_evicted(&user(0));
    send(&mut world, 3);
    assert_eq!(recovery(&world, at(5)), Recovery::New);
    let assigns = Assigns::default();
    let member = RemoteMember { assigns, presence: None, over_local: false, joined: 9 };
    world.channel.apply_remote(vec![RemoteChange::Shown(user(0), member)]);
    world.channel.apply_remote(vec![RemoteChange::Gone(user(0))]);
    assert_eq!(recovery(&world, at(5)), resumed(3));
}

#[test]
fn an_eviction_by_another_node_that_arrives_late_does_not_concern_a_user_that_has_joined_here() {
    let mut world = HistoryWorld::with_rules(rules());
    world.join(0, None, Vec::new());
    send(&mut world, 5);
    world.channel.note_evicted(&user(0));
    world.leave(0);
    send(&mut world, 1);
    assert_eq!(recovery(&world, at(5)), resumed(1));
}

fn stored(position: Position) -> StoredMessages<'static> {
    StoredMessages { position: Some(position), messages: Vec::new(), fresh: Epoch::new(99) }
}

fn shared() -> HistoryWorld {
    let ring = Ring::new(Arc::new(rules()), Epoch::new(50));
    HistoryWorld::new(empty().replicated().with_shared_history(ring))
}

fn load(world: &mut HistoryWorld, position: Position) {
    world.channel.load(stored(position), &|_| DeliveryPolicy::BROADCAST);
}

#[test]
fn an_eviction_does_not_count_in_a_history_that_has_begun_since() {
    let mut world = shared();
    load(&mut world, at(500));
    world.join(0, None, Vec::new());
    evict(&mut world, 0);
    let next = |offset| Position { epoch: Epoch::new(2), offset };
    load(&mut world, next(0));
    world.join(0, None, Vec::new());
    load(&mut world, next(10));
    world.leave(0);
    assert_eq!(recovery(&world, next(10)), resumed(0));
    assert_eq!(recovery(&world, at(500)), Recovery::Gap(GapReason::Epoch), "it was accepted again");
}

#[test]
fn an_eviction_still_counts_when_a_node_returns_to_the_history_of_the_store() {
    let mut world = shared();
    load(&mut world, at(500));
    world.join(0, None, Vec::new());
    evict(&mut world, 0);
    world.channel.detach(Epoch::new(7));
    world.channel.reattach();
    load(&mut world, at(500));
    assert_eq!(recovery(&world, at(500)), Recovery::New);
}

#[test]
fn a_user_that_was_accepted_again_resumes_within_what_it_gets_anew_when_a_node_returns_to_the_store() {
    let mut world = shared();
    load(&mut world, at(500));
    world.join(0, None, Vec::new());
    evict(&mut world, 0);
    world.join(0, None, Vec::new());
    world.channel.detach(Epoch::new(7));
    world.channel.reattach();
    let all = Target::All;
    let message = UserMessageRef { from: "x", event: "n", payload: "{}", request_id: "q", to: &all, position: None };
    let stored = |offset| StoredMessage { offset, age: 0, own: None, message: Some(message) };
    let messages = (498..=500).map(stored).collect();
    let stored = StoredMessages { position: Some(at(500)), messages, fresh: Epoch::new(99) };
    world.channel.load(stored, &|_| DeliveryPolicy::BROADCAST);
    world.deliver();
    assert_eq!(world.positions(0), [at(498), at(499), at(500)]);
    world.leave(0);
    // It was lost with the last two of them on their way.
    assert_eq!(recovery(&world, at(498)), resumed(2));
}

#[test]
fn an_eviction_that_comes_while_a_history_is_read_counts_in_that_history() {
    let mut world = shared();
    world.channel.note_evicted(&user(0));
    load(&mut world, at(500));
    assert_eq!(recovery(&world, at(500)), Recovery::New);
}
