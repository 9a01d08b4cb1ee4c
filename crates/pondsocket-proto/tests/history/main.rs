//! Clients that leave a channel and resume it get every message that is kept, once and in order.

use std::rc::Rc;

use pondsocket_proto::channel::{
    CatchUpLimits, DeliveryPolicy, Encoded, GapReason, HistoryRules, Join, LocalTarget, Plan, Progress, Recipients,
    Recovery, ResumeRequest, ResumeRules, Step, Unproven,
};
use pondsocket_proto::id::ConnectionId;
use pondsocket_proto::position::{Epoch, Position};
use pondsocket_proto::wire::{Object, Resume};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use world::{FILTERED, HistoryWorld, USERS, at, channel, rules, user};

mod removals;
mod replay_from;
mod shared;
mod waiting;
mod world;

#[derive(Clone, Debug)]
enum HistoryAction {
    Send { from: usize, to: u8, filtered: bool },
    Leave(usize),
    Join(usize),
    Deliver,
}

fn step() -> impl Strategy<Value = HistoryAction> {
    prop_oneof![
        6 => (0..USERS, 0..3u8, prop::bool::weighted(0.2))
            .prop_map(|(from, to, filtered)| HistoryAction::Send { from, to, filtered }),
        2 => (0..USERS).prop_map(HistoryAction::Leave),
        3 => (0..USERS).prop_map(HistoryAction::Join),
        3 => Just(HistoryAction::Deliver),
    ]
}

proptest! {
    /// A client that resumes where it stopped receives all messages that are kept but for its own, in order, none twice.
    /// Messages that are queued when the client leaves still reach it, or are replayed.
    #[test]
    fn a_client_that_resumes_receives_everything_once(steps in vec(step(), 0..120)) {
        let mut world = HistoryWorld::with_rules(HistoryRules { messages: 1000, replay_messages: 1000, ..rules() });
        let mut expected: [Vec<Position>; USERS] = Default::default();
        for n in 0..USERS {
            world.join(n, Some(Resume::FromNothing), Vec::new());
        }
        for step in steps {
            match step {
                HistoryAction::Send { from, to, filtered } => {
                    let to = match (to, world.seats.get(&from)) {
                        (1, Some((slot, connection))) => LocalTarget::ExceptConnection((*slot, *connection)),
                        (2, _) => LocalTarget::ExceptUser(from.to_string()),
                        _ => LocalTarget::All,
                    };
                    let policy = if filtered { FILTERED } else { DeliveryPolicy::BROADCAST };
                    let position = world.send(&to, policy).expect("kept");
                    for (n, expected) in expected.iter_mut().enumerate() {
                        if matches!(to, LocalTarget::All) || n != from {
                            expected.push(position);
                        }
                    }
                }
                HistoryAction::Leave(n) if world.seats.contains_key(&n) => world.leave(n),
                HistoryAction::Join(n) if !world.seats.contains_key(&n) => {
                    // The client knows what it has received by now, and nothing arrives on its old connection any more.
                    world.deliver();
                    let last = world.positions(n).last().copied().unwrap_or(at(0));
                    prop_assert!(world.join(n, Some(Resume::From(last)), Vec::new()).is_complete());
                }
                HistoryAction::Deliver => world.deliver(),
                HistoryAction::Leave(_) | HistoryAction::Join(_) => {}
            }
        }
        for n in 0..USERS {
            if !world.seats.contains_key(&n) {
                world.deliver();
                let last = world.positions(n).last().copied().unwrap_or(at(0));
                world.join(n, Some(Resume::From(last)), Vec::new());
            }
        }
        world.deliver();
        for (n, expected) in expected.iter().enumerate() {
            prop_assert_eq!(&world.positions(n), expected, "user {}", n);
        }
    }
}

proptest! {
    /// A connection that is caught up gets exactly the messages of the range that it was sent, in portions within the limits,
    /// or is told that the first of them is not kept any more.
    #[test]
    fn a_catch_up_has_the_messages_that_the_connection_was_sent(
        sends in vec((0..USERS, 0..3u8), 1..80),
        (n, range, messages) in (0..USERS, (any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..7usize),
        leaves in any::<bool>(),
    ) {
        const KEPT: usize = 30;
        let mut world = HistoryWorld::with_rules(HistoryRules { messages: KEPT, ..rules() });
        for n in 0..USERS {
            world.join(n, None, Vec::new());
        }
        for (from, to) in sends {
            let (slot, connection) = world.seats[&from];
            let to = match to {
                1 => LocalTarget::ExceptConnection((slot, connection)),
                2 => LocalTarget::ExceptUser(from.to_string()),
                _ => LocalTarget::All,
            };
            world.send(&to, DeliveryPolicy::BROADCAST);
            world.deliver();
        }
        let (sent, me) = (world.positions(n), (user(n), world.seats[&n].1));
        prop_assume!(!sent.is_empty());
        if leaves {
            // Its messages are owed to it nevertheless.
            world.leave(n);
        }
        let (one, other) = (range.0.index(sent.len()), range.1.index(sent.len()));
        let expected = &sent[one.min(other)..=one.max(other)];
        let (mut from, last) = (expected[0], expected[expected.len() - 1].offset);
        let top = world.channel.history().expect("a history").position().offset;
        if from.offset + KEPT as u64 <= top {
            let caught_up = world.channel.catch_up((&me.0, me.1), from, last, CatchUpLimits { messages, bytes: 1 << 20 });
            prop_assert_eq!(caught_up.err(), Some(GapReason::Trimmed));
            return Ok(());
        }
        let mut got = Vec::new();
        while from.offset <= last {
            let limits = CatchUpLimits { messages, bytes: 1 << 20 };
            let caught_up = world.channel.catch_up((&me.0, me.1), from, last, limits).expect("kept");
            prop_assert!(caught_up.messages.len() <= messages && caught_up.up_to >= from.offset);
            prop_assert_eq!(caught_up.listener.is_some(), !leaves);
            for (position, text, _) in caught_up.messages {
                let id = format!(r#""requestId":"{position}""#);
                prop_assert!(str::from_utf8(&text).expect("text").contains(&id));
                got.push(position);
            }
            from.offset = caught_up.up_to + 1;
        }
        prop_assert_eq!(got, expected);
    }
}

fn ids(world: &HistoryWorld, n: usize) -> Vec<&str> {
    world.received[n].iter().map(|(id, _)| id.as_str()).collect()
}

#[test]
fn a_replay_stands_between_the_acknowledgement_and_the_chain() {
    let mut world = HistoryWorld::with_rules(rules());
    world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    let reply = || Step::Reply("hello".into(), Object::encode(&Value::Object(Default::default())).expect("an object"));
    let recovery = world.join(0, Some(Resume::From(at(0))), vec![reply()]);
    assert_eq!(recovery, Recovery::Resumed { missed: 2, may_repeat: 0 });
    world.deliver();
    let events: Vec<_> = world.received[0].iter().map(|(_, event)| event.as_str()).collect();
    assert_eq!(events, ["ACKNOWLEDGE", "n", "n", "hello"]);
}

#[test]
fn the_last_messages_are_replayed_to_newcomers_and_to_clients_with_a_gap() {
    let mut world = HistoryWorld::with_rules(HistoryRules { messages: 3, ..rules() });
    for _ in 0..5 {
        world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    }
    let last = |n| vec![Step::ReplayLast(n)];
    assert_eq!(world.join(0, None, last(2)), Recovery::New);
    assert_eq!(world.join(1, Some(Resume::From(at(1))), last(2)), Recovery::Gap(GapReason::Trimmed));
    assert_eq!(world.join(2, Some(Resume::From(at(4))), last(2)), Recovery::Resumed { missed: 1, may_repeat: 0 });
    assert_eq!(world.join(3, Some(Resume::FromNothing), Vec::new()), Recovery::New);
    world.deliver();
    assert_eq!(ids(&world, 0), ["join", "000001.4", "000001.5"]);
    assert_eq!(ids(&world, 1), ["join", "000001.4", "000001.5"]);
    assert_eq!(ids(&world, 2), ["join", "000001.5"]);
    assert_eq!(ids(&world, 3), ["join"]);
}

#[test]
fn a_queued_replay_keeps_its_messages_also_if_others_take_their_place() {
    let mut world = HistoryWorld::with_rules(HistoryRules { messages: 3, ..rules() });
    for _ in 0..3 {
        world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    }
    assert_eq!(world.join(0, Some(Resume::From(at(0))), Vec::new()), Recovery::Resumed { missed: 3, may_repeat: 0 });
    for _ in 0..3 {
        world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    }
    world.deliver();
    let expected = ["join", "000001.1", "000001.2", "000001.3", "000001.4", "000001.5", "000001.6"];
    assert_eq!(ids(&world, 0), expected);
    // Once they are delivered they go with the next message.
    world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    assert_eq!(world.join(1, Some(Resume::From(at(3))), Vec::new()), Recovery::Gap(GapReason::Trimmed));
}

#[test]
fn a_catch_up_has_no_more_bytes_than_allowed_and_one_message_in_any_case() {
    let mut world = HistoryWorld::with_rules(rules());
    world.join(0, None, Vec::new());
    for _ in 0..4 {
        world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    }
    world.deliver();
    let (me, connection) = (user(0), world.seats[&0].1);
    let mut caught_up = |bytes| {
        let limits = CatchUpLimits { messages: 9, bytes };
        let caught_up = world.channel.catch_up((&me, connection), at(1), 4, limits).expect("kept");
        let bytes: usize = caught_up.messages.iter().map(|(_, text, _)| text.len()).sum();
        (caught_up.messages.len(), caught_up.up_to, bytes)
    };
    let (all, _, bytes) = caught_up(usize::MAX);
    let half = bytes / 2;
    assert_eq!((all, bytes % 4), (4, 0), "all are equally long");
    let found = [0, half - 1, half, bytes - 1, bytes].map(|bytes| caught_up(bytes).0);
    assert_eq!(found, [1, 1, 2, 3, 4]);
    assert_eq!(caught_up(half), (2, 2, half));
}

#[test]
fn messages_of_the_chain_itself_are_not_replayed_to_its_own_connection() {
    let mut world = HistoryWorld::with_rules(rules());
    world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    let payload = Object::encode(&Value::Object(Default::default())).expect("an object");
    let chain =
        vec![Step::Broadcast(LocalTarget::All, "n".into(), payload), Step::ReplayLast(9), Step::ReplayFrom(None)];
    world.join(0, None, chain);
    world.deliver();
    // Behind the replay, although the chain sends it before: clients take a lower position for a repeat.
    assert_eq!(ids(&world, 0), ["join", "000001.1", "000001.2"]);
}

#[test]
fn the_acknowledgement_has_the_outcome_and_the_number_of_messages_behind_it() {
    let mut world = HistoryWorld::with_rules(HistoryRules { messages: 3, ..rules() });
    for _ in 0..5 {
        world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    }
    let last = || vec![Step::ReplayLast(2)];
    for (resume, chain, acknowledgement) in [
        (None, last(), "{}"),
        (Some(Resume::FromNothing), Vec::new(), r#"{"position":"000001.5","recovered":false}"#),
        (Some(Resume::FromNothing), last(), r#"{"position":"000001.5","recovered":false,"replayed":2}"#),
        (
            Some(Resume::From(at(1))),
            last(),
            r#"{"position":"000001.5","recovered":false,"gap":"trimmed","replayed":2}"#,
        ),
        (Some(Resume::From(at(1))), Vec::new(), r#"{"position":"000001.5","recovered":false,"gap":"trimmed"}"#),
        (Some(Resume::From(at(2))), last(), r#"{"position":"000001.5","recovered":true,"missed":3}"#),
        (Some(Resume::From(at(5))), last(), r#"{"position":"000001.5","recovered":true,"missed":0}"#),
    ] {
        world.join(0, resume, chain);
        world.deliver();
        assert_eq!(world.acknowledgements[0], acknowledgement);
        world.leave(0);
        world.deliver();
    }
}

#[test]
fn more_than_one_join_replays_is_a_gap() {
    let mut world = HistoryWorld::with_rules(HistoryRules { replay_messages: 2, ..rules() });
    for _ in 0..3 {
        world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    }
    assert_eq!(world.channel.recovery(&user(0), Some(Resume::From(at(0)).into())), Recovery::Gap(GapReason::TooMany));
    assert_eq!(
        world.channel.recovery(&user(0), Some(Resume::From(at(1)).into())),
        Recovery::Resumed { missed: 2, may_repeat: 0 }
    );
    assert_eq!(world.channel.recovery(&user(0), Some(Resume::FromUnknown.into())), Recovery::Gap(GapReason::Epoch));
}

#[test]
fn clients_that_missed_the_same_messages_share_their_frames() {
    let mut world = HistoryWorld::with_rules(rules());
    for _ in 0..10 {
        world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    }
    for n in 0..USERS {
        world.join(n, Some(Resume::From(at(5))), Vec::new());
    }
    let batch = world.channel.take();
    let plan = Plan::new(&batch, &mut world.recipients);
    let mut framed = 0;
    let mut encoded = Encoded::new(&batch, |text, out| out.extend_from_slice(text), Rc::<[u8]>::from, |_| true);
    for _ in 0..USERS {
        encoded.add_replays(
            &batch,
            |text, out| {
                framed += 1;
                out.extend_from_slice(text);
            },
            Rc::<[u8]>::from,
        );
    }
    assert_eq!((framed, plan.private.len()), (5, USERS));
}

#[test]
fn a_message_is_not_replayed_to_the_users_that_it_left_out() {
    let mut world = HistoryWorld::with_rules(rules());
    world.join(0, None, Vec::new());
    let (slot, connection) = world.seats[&0];
    let second = ConnectionId::from_u128(99);
    world.send(&LocalTarget::ExceptConnection((slot, connection)), DeliveryPolicy::BROADCAST);
    world.send(&LocalTarget::ExceptUser("0".into()), DeliveryPolicy::BROADCAST);
    // The first connection of the user is in the channel, so the second one has not sent the message.
    let missed = |world: &HistoryWorld| world.channel.recovery(&user(0), Some(Resume::From(at(0)).into()));
    assert_eq!(missed(&world), Recovery::Resumed { missed: 1, may_repeat: 0 });
    world.leave(0);
    assert_eq!(missed(&world), Recovery::Resumed { missed: 0, may_repeat: 0 });
    let accepted = world
        .channel
        .join(Join { resume: Some(Resume::From(at(0)).into()), ..Join::new(99, second, &user(0), "second") }, &|_| {
            DeliveryPolicy::BROADCAST
        });
    assert_eq!(accepted.replayed, 0);
    assert_eq!(
        world.channel.recovery(&user(1), Some(Resume::From(at(0)).into())),
        Recovery::Resumed { missed: 2, may_repeat: 0 }
    );
}

#[test]
fn a_history_remembers_256_users_that_were_evicted_and_forgets_messages_with_the_first_of_more() {
    let mut world = HistoryWorld::with_rules(rules());
    world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    let recovery = |world: &HistoryWorld| world.channel.recovery(&user(0), Some(Resume::From(at(0)).into()));
    for number in 1..=256 {
        world.channel.note_evicted(&user(number));
    }
    assert_eq!(recovery(&world), Recovery::Resumed { missed: 1, may_repeat: 0 });
    world.channel.note_evicted(&user(257));
    assert_eq!(recovery(&world), Recovery::Gap(GapReason::Trimmed));
}

#[test]
fn a_join_says_what_is_owed_to_the_client_and_what_it_was_sent_before() {
    let mut world = HistoryWorld::with_rules(rules());
    for _ in 0..4 {
        world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    }
    let (user, connection) = (user(0), ConnectionId::from_u128(0));
    let mut joined = |resume: Option<ResumeRequest>| {
        let join = Join { resume, ..Join::new(0, connection, &user, "join") };
        let accepted = world.channel.join(join, &|_| DeliveryPolicy::BROADCAST);
        world.channel.leave(accepted.slot, connection, None).expect("seated");
        (accepted.owed_from, accepted.sent_before)
    };
    let session = |sent| ResumeRequest { sent: Some(sent), ..Resume::From(at(1)).into() };
    assert_eq!(joined(Some(session(3))), (Some(at(1)), 3));
    assert_eq!(joined(Some(session(9))), (Some(at(1)), 9), "this node has not got so far");
    // Not known: at most all that there was when the store was read.
    assert_eq!(joined(Some(session(u64::MAX))), (Some(at(1)), 4));
    assert_eq!(joined(Some(ResumeRequest { is_unread: true, ..session(u64::MAX) })), (Some(at(1)), u64::MAX));
    // Of an earlier history, by a client that knows its position, and by a new one.
    let before = Position { epoch: Epoch::new(8), offset: 2 };
    let of_before = ResumeRequest { sent: Some(3), ..Resume::From(before).into() };
    assert_eq!(joined(Some(of_before)), (Some(at(4)), 0));
    assert_eq!(joined(Some(Resume::From(at(2)).into())), (Some(at(2)), 0));
    assert_eq!(joined(None), (Some(at(4)), 0));
}

#[test]
fn messages_that_a_client_has_had_from_another_node_and_that_are_yet_to_arrive_may_repeat() {
    let mut world = HistoryWorld::with_rules(rules());
    world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    for (sent, missed, may_repeat) in [(1, 1, 0), (2, 1, 1), (5, 4, 4), (u64::MAX, 1, 1)] {
        let request = ResumeRequest { sent: Some(sent), ..Resume::From(at(1)).into() };
        let recovery = world.channel.recovery(&user(0), Some(request));
        assert_eq!(recovery, Recovery::Resumed { missed, may_repeat }, "sent: {sent}");
    }
}

#[test]
fn what_may_have_arrived_is_not_passed_over_if_it_is_not_known_how_much_that_is() {
    let mut world = HistoryWorld::with_rules(rules());
    world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    let rules = ResumeRules { unproven: Unproven::Skip, ..ResumeRules::default() };
    let recovery = |world: &HistoryWorld, sent| {
        let session = Some(Progress { epoch: Epoch::new(1), proven: 1, sent });
        world.channel.recovery(&user(0), ResumeRequest::choose(None, None, session, Some(Epoch::new(1)), rules))
    };
    assert_eq!(recovery(&world, u64::MAX), Recovery::Resumed { missed: 0, may_repeat: 0 }, "it has everything");
    (0..2).for_each(|_| assert!(world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST).is_some()));
    assert_eq!(recovery(&world, 2), Recovery::Resumed { missed: 1, may_repeat: 0 });
    assert_eq!(recovery(&world, u64::MAX), Recovery::Gap(GapReason::Unproven));
}

#[test]
fn the_payload_carries_the_position_under_the_stamp() {
    let mut channel = channel(HistoryRules { stamp: Some("_pos".into()), ..rules() });
    for payload in ["{}", r#"{"a":1}"#, "{ }", r#"{"_pos":"000001.9","a":{}} "#, r#"{"a":"{"}"#] {
        channel.publish_kept(None, &LocalTarget::All, "n", payload, DeliveryPolicy::BROADCAST).expect("room");
    }
    let zero = user(0);
    let join = Join { chain: vec![Step::ReplayLast(9)], ..Join::new(0, ConnectionId::from_u128(1), &zero, "q") };
    channel.join(join, &|_| DeliveryPolicy::BROADCAST);
    let batch = channel.take();
    let mut encoded =
        Encoded::new(&batch, |text: &[u8], out: &mut Vec<u8>| out.extend_from_slice(text), Rc::<[u8]>::from, |_| true);
    encoded.add_replays(&batch, |text, out| out.extend_from_slice(text), Rc::<[u8]>::from);
    let plan = Plan::new(&batch, &mut Recipients::default());
    let runs = plan.private[0].pieces.iter().flat_map(|piece| encoded.piece(piece));
    let text: Vec<u8> = runs.flat_map(|run| run.bytes().to_vec()).collect();
    let payloads: Vec<_> = serde_json::Deserializer::from_slice(&text)
        .into_iter::<Value>()
        .map(|message| message.expect("JSON")["payload"].to_string())
        .collect();
    let stamped = [
        r#"{"_pos":"000001.1"}"#,
        r#"{"_pos":"000001.2","a":1}"#,
        r#"{"_pos":"000001.3"}"#,
        // Not the position that the sender has written.
        r#"{"_pos":"000001.4","a":{}}"#,
        r#"{"_pos":"000001.5","a":"{"}"#,
    ];
    assert_eq!(payloads[1..], stamped);
}
