//! Clients that leave a channel and resume it get every message that is kept, once and in order.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use pondsocket_proto::channel::{
    Audience, BatchMessage, Channel, ChannelLimits, Class, DeliveryPolicy, Encoded, GapReason, HistoryRules, Join,
    LocalTarget, Plan, Reception, Recipients, Recovery, Ring, Slot, Step,
};
use pondsocket_proto::id::{ChannelName, ConnectionId, UserId};
use pondsocket_proto::position::{Epoch, Position};
use pondsocket_proto::wire::{Object, Resume, strict};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

const USERS: usize = 4;

const FILTERED: DeliveryPolicy = DeliveryPolicy { filtered: true, ..DeliveryPolicy::BROADCAST };

fn rules() -> HistoryRules {
    HistoryRules { messages: 100, bytes: 1 << 20, ttl: 1000, replay_messages: 50, replay_bytes: 1 << 20, stamp: None }
}

fn channel(rules: HistoryRules) -> Channel<usize> {
    let name = ChannelName::new("/c", 8).expect("valid");
    Channel::new(name, ChannelLimits::default(), || 7).with_history(Ring::new(Arc::new(rules), Epoch::new(1)))
}

fn user(n: usize) -> UserId {
    UserId::new(&n.to_string()).expect("valid")
}

fn at(offset: u64) -> Position {
    Position { epoch: Epoch::new(1), offset }
}

/// A channel with clients, and all that each of them has received.
struct HistoryWorld {
    channel: Channel<usize>,
    recipients: Recipients<usize>,
    /// The number of connections so far.
    connections: usize,
    /// The seats of the users that are in the channel.
    seats: BTreeMap<usize, (Slot, ConnectionId)>,
    /// The user of each connection.
    users: Vec<usize>,
    /// The messages that each user has received: request ids and events.
    received: [Vec<(String, String)>; USERS],
    /// The payload of the last acknowledgement.
    acknowledgement: String,
}

impl HistoryWorld {
    fn new(rules: HistoryRules) -> HistoryWorld {
        HistoryWorld {
            channel: channel(rules),
            recipients: Recipients::default(),
            connections: 0,
            seats: BTreeMap::new(),
            users: Vec::new(),
            received: Default::default(),
            acknowledgement: String::new(),
        }
    }

    fn join(&mut self, n: usize, resume: Option<Resume>, chain: Vec<Step>) -> Recovery {
        let (recipient, connection) = (self.connections, ConnectionId::from_u128(self.connections as u128));
        self.connections += 1;
        self.users.push(n);
        let user = user(n);
        let join = Join { chain, resume: resume.map(Into::into), ..Join::new(recipient, connection, &user, "join") };
        let accepted = self.channel.join(join, &|_| DeliveryPolicy::BROADCAST);
        self.seats.insert(n, (accepted.slot, connection));
        accepted.recovery
    }

    fn leave(&mut self, n: usize) {
        let (slot, connection) = self.seats.remove(&n).expect("in the channel");
        self.channel.leave(slot, connection, None).expect("seated");
    }

    /// Sends a message, and returns its position if it is kept.
    fn send(&mut self, to: &LocalTarget, policy: DeliveryPolicy) -> Option<Position> {
        assert!(self.channel.keeps(to, policy));
        let published = self.channel.publish_kept(to, "n", "{}", policy).expect("room");
        published.map(|published| published.position)
    }

    fn deliver(&mut self) {
        while self.channel.has_queued() {
            let batch = self.channel.take();
            if batch.is_filtered() {
                for BatchMessage { to: audience, text, .. } in batch.messages() {
                    let is_reached = |slot: Slot| match audience {
                        Audience::Only(seats) => seats.as_slice().contains(&slot),
                        Audience::Except(seats) => !seats.as_slice().contains(&slot),
                        _ => true,
                    };
                    let reached = self.recipients.iter().filter(|(slot, _)| is_reached(*slot));
                    let reached: Vec<_> = reached.map(|(_, reception)| reception.to).collect();
                    reached.into_iter().for_each(|to| self.receive(to, text));
                }
                continue;
            }
            let plan = Plan::new(&batch, &mut self.recipients);
            let frame = |text: &[u8], out: &mut Vec<u8>| {
                out.extend_from_slice(text);
                out.push(b'\n');
            };
            let mut encoded = Encoded::new(&batch, frame, Rc::<[u8]>::from, |_| true);
            encoded.add_replays(&batch, frame, Rc::<[u8]>::from);
            for private in &plan.private {
                for run in private.pieces.iter().flat_map(|piece| encoded.piece(piece)) {
                    assert_eq!(run.bytes().iter().filter(|byte| **byte == b'\n').count(), run.frames as usize);
                    self.receive(private.to, run.bytes());
                }
            }
            let others = self.recipients.iter().filter(|(slot, _)| !plan.is_marked(*slot));
            let others: Vec<_> = others.map(|(_, Reception { to, .. })| *to).collect();
            for run in encoded.whole(Class::All).iter().filter(|_| plan.visits(Class::All)) {
                others.iter().for_each(|to| self.receive(*to, run.bytes()));
            }
        }
    }

    fn receive(&mut self, connection: usize, bytes: &[u8]) {
        for message in bytes.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
            let message = str::from_utf8(message).expect("text");
            assert_eq!(strict::check(message), Ok(()), "{message}");
            if let Some((_, payload)) = message.split_once(r#""event":"ACKNOWLEDGE""#) {
                let payload = payload.split_once(r#""payload":"#).expect("the payload is last").1;
                self.acknowledgement = payload.trim_end_matches('}').to_owned() + "}";
            }
            let message: Value = serde_json::from_str(message).expect("JSON");
            let text = |field: &str| message[field].as_str().expect("text").to_owned();
            self.received[self.users[connection]].push((text("requestId"), text("event")));
        }
    }

    /// The positions that a user has received, in their order.
    fn positions(&self, n: usize) -> Vec<Position> {
        self.received[n].iter().filter_map(|(id, _)| id.parse().ok()).collect()
    }
}

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
        let mut world = HistoryWorld::new(HistoryRules { messages: 1000, replay_messages: 1000, ..rules() });
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

fn ids(world: &HistoryWorld, n: usize) -> Vec<&str> {
    world.received[n].iter().map(|(id, _)| id.as_str()).collect()
}

#[test]
fn a_replay_stands_between_the_acknowledgement_and_the_chain() {
    let mut world = HistoryWorld::new(rules());
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
    let mut world = HistoryWorld::new(HistoryRules { messages: 3, ..rules() });
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
fn messages_of_the_chain_itself_are_not_replayed_to_its_own_connection() {
    let mut world = HistoryWorld::new(rules());
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
    let mut world = HistoryWorld::new(HistoryRules { messages: 3, ..rules() });
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
        assert_eq!(world.acknowledgement, acknowledgement);
        world.leave(0);
        world.deliver();
    }
}

#[test]
fn a_replay_from_a_position_gets_what_was_sent_since() {
    let mut world = HistoryWorld::new(rules());
    for _ in 0..3 {
        world.send(&LocalTarget::All, DeliveryPolicy::BROADCAST);
    }
    world.join(0, Some(Resume::From(at(0))), vec![Step::ReplayFrom(Some(at(2)))]);
    world.join(1, None, vec![Step::ReplayFrom(None)]);
    world.join(2, None, vec![Step::ReplayFrom(Some(Position { epoch: Epoch::new(9), offset: 2 }))]);
    world.deliver();
    assert_eq!(ids(&world, 0), ["join", "000001.3"]);
    let all = ["join", "000001.1", "000001.2", "000001.3"];
    assert_eq!((ids(&world, 1), ids(&world, 2)), (all.to_vec(), all.to_vec()));
}

#[test]
fn more_than_one_join_replays_is_a_gap() {
    let mut world = HistoryWorld::new(HistoryRules { replay_messages: 2, ..rules() });
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
    let mut world = HistoryWorld::new(rules());
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
    let mut world = HistoryWorld::new(rules());
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
fn the_payload_carries_the_position_under_the_stamp() {
    let mut channel = channel(HistoryRules { stamp: Some("_pos".into()), ..rules() });
    for payload in ["{}", r#"{"a":1}"#, "{ }", r#"{"_pos":"000001.9","a":{}} "#, r#"{"a":"{"}"#] {
        channel.publish_kept(&LocalTarget::All, "n", payload, DeliveryPolicy::BROADCAST).expect("room");
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
