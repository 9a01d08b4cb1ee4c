//! The messages that members of a channel receive, compared with a model that delivers at once.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use pondsocket_proto::channel::{
    Channel, ChannelLimits, Class, DeliveryPolicy, Encoded, Join, LocalTarget, Lost, Plan, Recipients, Slot, Step,
};
use pondsocket_proto::id::{ChannelName, ConnectionId, UserId};
use pondsocket_proto::wire::{Object, strict};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

/// An operation on a channel. Numbers are those of a connection or a user.
#[derive(Clone, Debug)]
enum Operation {
    /// A join; another acknowledgement if the connection is in.
    Join(usize, Vec<ChainStep>),
    Leave(usize),
    /// The loss of a connection, with the time for which its user stays if it was the last one.
    Lose(usize, Option<u64>),
    /// Time passes, and the ghosts that are due leave.
    Pass(u64),
    /// A declined join ends the grace of the user.
    Decline(usize),
    Evict(usize),
    Remove(usize),
    Broadcast(Addressees),
    /// A reply if the connection is in the channel; else the answer to an outsider.
    Answer(usize),
    Show(usize, u8),
    Hide(usize),
    Deliver,
}

/// Part of the chain that follows an accepted join.
#[derive(Clone, Debug)]
enum ChainStep {
    Track(u8),
    Reply,
    Broadcast(Addressees),
    BroadcastFrom,
}

#[derive(Clone, Debug)]
enum Addressees {
    All,
    Users(Vec<usize>),
    ExceptUser(usize),
    ExceptConnection(usize),
}

const BROADCAST: DeliveryPolicy = DeliveryPolicy::BROADCAST;
/// The number of connections. Connection `n` is one of user `n % USERS`.
const CONNECTIONS: usize = 6;
const USERS: usize = 3;

fn operation() -> impl Strategy<Value = Operation> {
    let (connection, user) = (0..CONNECTIONS, 0..USERS);
    prop_oneof![
        6 => (connection.clone(), vec(chain_step(), 0..4))
            .prop_map(|(connection, chain)| Operation::Join(connection, chain)),
        2 => connection.clone().prop_map(Operation::Leave),
        3 => (connection.clone(), prop::option::weighted(0.8, 1..6_u64))
            .prop_map(|(connection, grace)| Operation::Lose(connection, grace)),
        1 => (0..6_u64).prop_map(Operation::Pass),
        1 => user.clone().prop_map(Operation::Decline),
        1 => user.clone().prop_map(Operation::Evict),
        1 => user.clone().prop_map(Operation::Remove),
        4 => addressees().prop_map(Operation::Broadcast),
        2 => connection.clone().prop_map(|connection| Operation::Broadcast(Addressees::ExceptConnection(connection))),
        3 => connection.prop_map(Operation::Answer),
        2 => (user.clone(), 0..3_u8).prop_map(|(user, mood)| Operation::Show(user, mood)),
        1 => user.prop_map(Operation::Hide),
        3 => Just(Operation::Deliver),
    ]
}

fn chain_step() -> impl Strategy<Value = ChainStep> {
    prop_oneof![
        2 => (0..3_u8).prop_map(ChainStep::Track),
        1 => Just(ChainStep::Reply),
        1 => addressees().prop_map(ChainStep::Broadcast),
        1 => Just(ChainStep::BroadcastFrom),
    ]
}

fn addressees() -> impl Strategy<Value = Addressees> {
    prop_oneof![
        Just(Addressees::All),
        vec(0..USERS, 0..4).prop_map(Addressees::Users),
        (0..USERS).prop_map(Addressees::ExceptUser)
    ]
}

fn id(connection: usize) -> ConnectionId {
    ConnectionId::from_u128(connection as u128)
}

fn joining<'a>(n: usize, user: &'a UserId, request_id: &'a str, chain: Vec<Step>) -> Join<'a, usize> {
    Join { chain, ..Join::new(n, id(n), user, request_id) }
}

fn user(n: usize) -> UserId {
    UserId::new(&format!("u{n}")).expect("valid")
}

fn shown(user: usize, mood: u8) -> Object {
    Object::encode(&json!({ "user": user, "mood": mood })).expect("an object")
}

fn fresh() -> u128 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).into()
}

/// The number of the message that step `at` of the chain of operation `step` sends.
fn number(step: usize, at: usize) -> u64 {
    (step * 10 + at) as u64
}

fn numbered(n: u64) -> Object {
    Object::encode(&json!({ "n": n })).expect("an object")
}

fn text(n: u64) -> String {
    let payload = json!({ "n": n });
    json!({ "action": "BROADCAST", "event": "n", "channelName": "/c", "requestId": "r", "payload": payload })
        .to_string()
}

/// A message that a member should receive. Presence lists are checked where they are delivered.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Received {
    /// An acknowledgement, with the request id; or an eviction.
    Notice(String),
    Number(u64),
    Presence {
        event: String,
        user: usize,
        mood: u8,
    },
}

impl Received {
    fn of(message: &Value) -> Received {
        let event = message["event"].as_str().expect("an event").to_owned();
        if message["action"] == "PRESENCE" {
            let changed = &message["payload"]["changed"];
            let (user, mood) = (changed["user"].as_u64().expect("a user"), changed["mood"].as_u64().expect("a mood"));
            assert_eq!(message["payload"]["userId"], format!("u{user}"));
            return Received::Presence { event, user: user as usize, mood: mood as u8 };
        }
        match (message["payload"]["n"].as_u64(), &*event) {
            (Some(n), _) => Received::Number(n),
            (None, "ACKNOWLEDGE" | "EXIT_ACKNOWLEDGE") => Received::answer(&event, &message["requestId"]),
            (None, _) => Received::Notice(event),
        }
    }

    fn answer(event: &str, request_id: &Value) -> Received {
        Received::Notice(format!("{event} {}", request_id.as_str().expect("an id")))
    }
}

/// The model: the connections in the channel, the presence of tracked users, and the messages that each connection has
/// received. It delivers at once.
#[derive(Default)]
struct Model {
    seated: BTreeSet<usize>,
    moods: BTreeMap<usize, u8>,
    /// The users without connections that are members nevertheless, with the end of that.
    ghosts: BTreeMap<usize, u64>,
    clock: u64,
    received: BTreeMap<usize, Vec<Received>>,
}

impl Model {
    /// Sends a message to some connections. Returns the number of their members.
    fn send(&mut self, to: impl Fn(&Self, usize) -> bool, what: &Received) -> usize {
        let all: Vec<_> = self.seated.iter().copied().filter(|connection| to(self, *connection)).collect();
        for connection in &all {
            self.received.entry(*connection).or_default().push(what.clone());
        }
        all.iter().map(|connection| connection % USERS).collect::<BTreeSet<_>>().len()
    }

    fn broadcast(&mut self, addressees: &Addressees, n: u64) -> usize {
        let to = |_: &Self, connection: usize| match addressees {
            Addressees::All => true,
            Addressees::Users(users) => users.contains(&(connection % USERS)),
            Addressees::ExceptUser(user) => connection % USERS != *user,
            Addressees::ExceptConnection(other) => connection != *other,
        };
        let is_addressed = |ghost: &usize| match addressees {
            Addressees::Users(users) => users.contains(ghost),
            Addressees::ExceptUser(user) => ghost != user,
            Addressees::All | Addressees::ExceptConnection(_) => true,
        };
        self.ghosts.keys().filter(|ghost| is_addressed(ghost)).count() + self.send(to, &Received::Number(n))
    }

    fn send_one(&mut self, connection: usize, what: &Received) {
        self.send(|_, other| other == connection, what);
    }

    fn is_member(&self, user: usize) -> bool {
        self.ghosts.contains_key(&user) || self.seated.iter().any(|connection| connection % USERS == user)
    }

    /// Sends a presence message to the connections of all tracked users except one connection.
    fn presence(&mut self, event: &str, user: usize, mood: u8, but: Option<usize>) {
        let what = Received::Presence { event: event.into(), user, mood };
        self.send(|model, other| model.moods.contains_key(&(other % USERS)) && Some(other) != but, &what);
    }

    fn show(&mut self, user: usize, mood: u8, but: Option<usize>) {
        match self.moods.insert(user, mood) {
            Some(before) if before == mood => {}
            Some(_) => self.presence("UPDATE", user, mood, but),
            None => self.presence("JOIN", user, mood, but),
        }
    }

    fn hide(&mut self, user: usize) {
        if let Some(mood) = self.moods.remove(&user) {
            self.presence("LEAVE", user, mood, None);
        }
    }

    /// A further connection of a tracked user receives the list, for itself alone and once: where its chain first
    /// tracks the user, or at once.
    fn join(&mut self, connection: usize, request_id: &str, chain: &[ChainStep], step: usize) {
        let user = connection % USERS;
        let mut unlisted = self.moods.contains_key(&user);
        self.seated.insert(connection);
        self.ghosts.remove(&user);
        self.send_one(connection, &Received::answer("ACKNOWLEDGE", &json!(request_id)));
        if !chain.iter().any(|chain_step| matches!(chain_step, ChainStep::Track(_))) {
            self.list_once(connection, &mut unlisted);
        }
        for (at, chain_step) in chain.iter().enumerate() {
            let n = number(step, at);
            match chain_step {
                ChainStep::Track(mood) => {
                    self.show(user, *mood, unlisted.then_some(connection));
                    self.list_once(connection, &mut unlisted);
                }
                ChainStep::Reply => self.send_one(connection, &Received::Number(n)),
                ChainStep::Broadcast(addressees) => {
                    self.broadcast(addressees, n);
                }
                ChainStep::BroadcastFrom => {
                    self.broadcast(&Addressees::ExceptConnection(connection), n);
                }
            }
        }
    }

    fn list_once(&mut self, connection: usize, unlisted: &mut bool) {
        let user = connection % USERS;
        if std::mem::take(unlisted) {
            let what = Received::Presence { event: "JOIN".into(), user, mood: self.moods[&user] };
            self.send_one(connection, &what);
        }
    }

    fn take_out(&mut self, user: usize) {
        self.seated.retain(|connection| connection % USERS != user);
        self.ghosts.remove(&user);
    }
}

/// The channel under test, its recipients, and the messages that each connection has received.
struct Real {
    channel: Channel<usize>,
    recipients: Recipients<usize>,
    /// The slot of each connection, or its last one.
    slots: BTreeMap<usize, Slot>,
    received: BTreeMap<usize, Vec<Value>>,
}

impl Real {
    fn new() -> Real {
        let name = ChannelName::new("/c", 10).expect("valid");
        let channel = Channel::new(name, ChannelLimits::default(), fresh);
        Real { channel, recipients: Recipients::default(), slots: BTreeMap::new(), received: BTreeMap::new() }
    }

    /// Delivers everything that is queued. Returns the number of batches.
    fn deliver(&mut self, moods: &BTreeMap<usize, u8>) -> usize {
        let mut batches = 0;
        while self.channel.has_queued() {
            self.deliver_batch(moods);
            batches += 1;
        }
        batches
    }

    fn deliver_batch(&mut self, moods: &BTreeMap<usize, u8>) {
        let batch = self.channel.take();
        let plan = Plan::new(&batch, &mut self.recipients);
        let frame = |text: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(text);
            out.push(b'\n');
        };
        let mut encoded = Encoded::new(&batch, frame, Rc::<[u8]>::from, |_| true);
        encoded.add_presence(&batch, frame, Rc::<[u8]>::from);
        let mut send = |to: usize, bytes: &[u8], frames: u32| {
            let lines: Vec<_> = std::str::from_utf8(bytes).expect("text").lines().collect();
            assert_eq!(lines.len(), frames as usize, "frames are counted");
            let messages = lines.into_iter().map(|line| checked(line, moods));
            self.received.entry(to).or_default().extend(messages);
        };
        for private in &plan.private {
            for run in private.pieces.iter().flat_map(|piece| encoded.piece(piece)) {
                send(private.to, run.bytes(), run.frames);
            }
        }
        for (slot, reception) in self.recipients.iter() {
            let class = if reception.tracked { Class::Tracked } else { Class::All };
            for run in encoded.whole(class).iter().filter(|_| !plan.is_marked(slot)) {
                assert!(plan.visits(class), "a recipient of messages is visited");
                send(reception.to, run.bytes(), run.frames);
            }
        }
    }

    /// The target; `None` if it has a connection that was never in the channel.
    fn to(&self, addressees: &Addressees) -> Option<LocalTarget> {
        Some(match addressees {
            Addressees::All => LocalTarget::All,
            Addressees::Users(users) => {
                LocalTarget::Users(users.iter().map(|n| user(*n).to_string()).chain(["nobody".to_owned()]).collect())
            }
            Addressees::ExceptUser(n) => LocalTarget::ExceptUser(user(*n).to_string()),
            Addressees::ExceptConnection(connection) => {
                LocalTarget::ExceptConnection((*self.slots.get(connection)?, id(*connection)))
            }
        })
    }

    fn join(&mut self, connection: usize, request_id: &str, chain: &[ChainStep], step: usize) -> bool {
        let steps = chain.iter().enumerate().map(|(at, chain_step)| {
            let payload = numbered(number(step, at));
            match chain_step {
                ChainStep::Track(mood) => Step::Track(shown(connection % USERS, *mood)),
                ChainStep::Reply => Step::Reply("n".into(), payload),
                ChainStep::Broadcast(addressees) => {
                    Step::Broadcast(self.to(addressees).expect("no connection"), "n".into(), payload)
                }
                ChainStep::BroadcastFrom => Step::BroadcastFrom("n".into(), payload),
            }
        });
        let (steps, user) = (steps.collect(), user(connection % USERS));
        let was_ghost = self.channel.local_members().is_ghost(user.as_str());
        let accepted = self.channel.join(joining(connection, &user, request_id, steps), &|_| BROADCAST);
        self.slots.insert(connection, accepted.slot);
        assert_eq!(accepted.returned, was_ghost);
        accepted.first
    }
}

/// Checks that the strictest client accepts a delivered message, and that its list is that of the moment at which the batch
/// was taken.
fn checked(text: &str, moods: &BTreeMap<usize, u8>) -> Value {
    strict::check(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    let message: Value = serde_json::from_str(text).expect("checked");
    if message["payload"]["partial"] == true {
        assert_eq!(message["payload"]["presence"], json!([message["payload"]["changed"]]), "the entry that changed");
    } else if let Some(list) = message["payload"]["presence"].as_array() {
        let entry = |entry: &Value| (entry["user"].as_u64().expect("a user") as usize, entry["mood"].clone());
        let listed: BTreeMap<_, _> = list.iter().map(entry).collect();
        assert_eq!(listed, moods.iter().map(|(user, mood)| (*user, json!(mood))).collect(), "{text}");
        assert_eq!(listed.len(), list.len(), "no user is listed twice");
    }
    message
}

/// Applies an operation to both, and compares the results.
fn act(real: &mut Real, model: &mut Model, step: usize, operation: &Operation) {
    let n = number(step, 0);
    let request_id = format!("r{step}");
    match operation {
        Operation::Join(connection, _) if model.seated.contains(connection) => {
            let again = real.channel.rejoin(real.slots[connection], id(*connection), &(&*request_id).into());
            assert_eq!(again, Ok(()));
            model.send_one(*connection, &Received::answer("ACKNOWLEDGE", &json!(request_id)));
        }
        Operation::Join(connection, chain) => {
            let first = !model.is_member(connection % USERS);
            assert_eq!(real.join(*connection, &request_id, chain, step), first);
            model.join(*connection, &request_id, chain, step);
        }
        Operation::Leave(connection) => {
            let Some(slot) = real.slots.get(connection) else { return };
            let left = real.channel.leave(*slot, id(*connection), Some(&request_id));
            assert_eq!(left.is_ok(), model.seated.contains(connection));
            let Ok(departure) = left else { return };
            model.send_one(*connection, &Received::answer("EXIT_ACKNOWLEDGE", &json!(request_id)));
            model.seated.remove(connection);
            assert_eq!(
                departure.is_some(),
                !model.is_member(connection % USERS),
                "the last connection ends the membership"
            );
            if departure.is_some() {
                model.hide(connection % USERS);
            }
        }
        Operation::Lose(connection, grace) => {
            let Some(slot) = real.slots.get(connection) else { return };
            let lost = real.channel.lose(*slot, id(*connection), grace.map(|grace| model.clock + grace));
            assert_eq!(lost.is_ok(), model.seated.remove(connection));
            let Ok(lost) = lost else { return };
            let n = connection % USERS;
            match (model.is_member(n), grace) {
                (true, _) => assert!(matches!(lost, Lost::Seated)),
                (false, None) => {
                    assert!(matches!(lost, Lost::Left(departure) if departure.user == user(n)));
                    model.hide(n);
                }
                (false, Some(grace)) => {
                    assert!(matches!(lost, Lost::Ghost(departure) if departure.user == user(n)));
                    model.ghosts.insert(n, model.clock + grace);
                }
            }
        }
        Operation::Pass(time) => {
            model.clock += time;
            let mut due: Vec<_> = model.ghosts.iter().map(|(n, until)| (*until, *n)).collect();
            due.retain(|(until, _)| *until <= model.clock);
            due.sort_unstable();
            let gone = real.channel.expire_ghosts(model.clock, USERS);
            let expected: Vec<_> = due.iter().map(|(_, n)| user(*n)).collect();
            assert_eq!(gone.into_iter().map(|departure| departure.user).collect::<Vec<_>>(), expected);
            for (_, n) in due {
                model.ghosts.remove(&n);
                model.hide(n);
            }
        }
        Operation::Decline(n) => {
            let was_ghost = model.ghosts.remove(n).is_some();
            assert_eq!(real.channel.end_ghost(&user(*n)).is_some(), was_ghost);
            if was_ghost {
                model.hide(*n);
            }
        }
        Operation::Evict(n) => {
            let removal = real.channel.evict(&user(*n), "why");
            assert_eq!(removal.is_ok(), model.is_member(*n));
            if removal.is_ok() {
                for event in ["evicted", "EVICTED"] {
                    model.send(|_, other| other % USERS == *n, &Received::Notice(event.into()));
                }
                model.take_out(*n);
                model.send(|_, _| true, &Received::Notice("user_evicted".into()));
                model.hide(*n);
            }
        }
        Operation::Remove(n) => {
            assert_eq!(real.channel.remove(&user(*n)).is_ok(), model.is_member(*n));
            model.take_out(*n);
            model.hide(*n);
        }
        Operation::Broadcast(addressees) => {
            let Some(to) = real.to(addressees) else { return };
            assert_eq!(real.channel.broadcast(&to, text(n).as_bytes(), BROADCAST), Ok(model.broadcast(addressees, n)));
        }
        Operation::Answer(connection) => {
            let slot = real.slots.get(connection);
            let replied = slot.map(|slot| real.channel.reply(*slot, id(*connection), text(n).as_bytes(), BROADCAST));
            assert_eq!(replied == Some(Ok(())), model.seated.contains(connection));
            if replied != Some(Ok(())) {
                real.channel.send_to_outsider(*connection, text(n).as_bytes());
            }
            model.received.entry(*connection).or_default().push(Received::Number(n));
        }
        Operation::Show(n, mood) => {
            let set = real.channel.set_presence(user(*n).as_str(), shown(*n, *mood));
            assert_eq!(set.is_ok(), model.is_member(*n));
            if set.is_ok() {
                model.show(*n, *mood, None);
            }
        }
        Operation::Hide(n) => {
            let hidden = real.channel.untrack(user(*n).as_str());
            assert_eq!(hidden.ok(), model.is_member(*n).then(|| model.moods.contains_key(n)));
            model.hide(*n);
        }
        Operation::Deliver => {
            real.deliver(&model.moods);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2 * ProptestConfig::default().cases))]

    /// Each connection receives the messages of the model and no others, in their order, with any division into
    /// batches: none is lost or repeated, and none precedes the acknowledgement or follows the leave.
    #[test]
    fn every_connection_receives_the_messages_of_the_model(operations in vec(operation(), 0..80)) {
        let (mut real, mut model) = (Real::new(), Model::default());
        for (step, operation) in operations.iter().enumerate() {
            act(&mut real, &mut model, step, operation);
        }
        real.deliver(&model.moods);
        for (connection, expected) in &model.received {
            let received = real.received.remove(connection).unwrap_or_default();
            let received: Vec<_> = received.iter().map(Received::of).collect();
            prop_assert_eq!(&received, expected, "connection {}", connection);
        }
        prop_assert!(real.received.values().all(Vec::is_empty), "no connection receives any other message");
        prop_assert_eq!(real.channel.local_members().connection_count(), model.seated.len());
        prop_assert_eq!(real.recipients.iter().count(), model.seated.len());
        prop_assert_eq!(real.channel.local_members().ghost_count(), model.ghosts.len());
        prop_assert_eq!(real.channel.member_count(), (0..USERS).filter(|user| model.is_member(*user)).count());
    }
}

/// The presence lists that each connection receives when all users join at once with a presence of `presence_bytes`:
/// for each message its number of entries, and whether it is partial.
fn lists_of_simultaneous_joins(presence_bytes: usize) -> Vec<Vec<(usize, bool)>> {
    let (mut real, mut model) = (Real::new(), Model::default());
    let pad = "x".repeat(presence_bytes);
    for n in 0..USERS {
        let presence = Object::encode(&json!({ "user": n, "mood": 0, "pad": pad })).expect("an object");
        real.channel.join(joining(n, &user(n), "r", vec![Step::Track(presence)]), &|_| BROADCAST);
        model.join(n, "r", &[ChainStep::Track(0)], 0);
        real.channel.broadcast(&LocalTarget::All, text(n as u64).as_bytes(), BROADCAST).expect("room");
        model.broadcast(&Addressees::All, n as u64);
    }
    real.deliver(&model.moods);
    for (connection, expected) in &model.received {
        assert_eq!(&real.received[connection].iter().map(Received::of).collect::<Vec<_>>(), expected);
    }
    let list_of = |message: &Value| {
        let entries = message["payload"]["presence"].as_array()?.len();
        Some((entries, message["payload"]["partial"] == true))
    };
    (0..USERS).map(|n| real.received[&n].iter().filter_map(list_of).collect()).collect()
}

#[test]
fn changes_of_a_short_list_each_carry_it() {
    let whole = (3, false);
    assert_eq!(lists_of_simultaneous_joins(1 << 10), [vec![whole, whole, whole], vec![whole, whole], vec![whole]]);
}

#[test]
fn changes_of_a_long_list_carry_it_once() {
    let (entry, whole) = ((1, true), (3, false));
    assert_eq!(lists_of_simultaneous_joins(40 << 10), [vec![entry, entry, whole], vec![entry, whole], vec![whole]]);
}

#[test]
fn a_list_over_the_limit_is_never_sent_as_a_whole() {
    let entry = (1, true);
    assert_eq!(lists_of_simultaneous_joins(300 << 10), [vec![entry, entry, entry], vec![entry, entry], vec![entry]]);
}
