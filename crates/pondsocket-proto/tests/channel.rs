//! What members of a channel receive, compared with a model that tells everybody at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use pondsocket_proto::channel::{Assigns, Channel, Class, Encoded, Limits, Plan, Recipients, Slot, Step, To};
use pondsocket_proto::id::{ChannelName, ConnectionId, UserId};
use pondsocket_proto::wire::{Object, strict};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Something that happens to a channel. Numbers pick a connection or a user.
#[derive(Clone, Debug)]
enum Deed {
    Join { connection: usize, mood: Option<u8> },
    Leave { connection: usize },
    Evict { user: usize },
    Remove { user: usize },
    Broadcast,
    BroadcastTo(Vec<usize>),
    BroadcastExceptUser { user: usize },
    BroadcastExceptConnection { connection: usize },
    Reply { connection: usize },
    Mood { user: usize, mood: u8 },
    Hide { user: usize },
    Deliver,
}

const CONNECTIONS: usize = 6;
const USERS: usize = 3;

fn deed() -> impl Strategy<Value = Deed> {
    let connection = 0..CONNECTIONS;
    let user = 0..USERS;
    prop_oneof![
        4 => (connection.clone(), proptest::option::of(0..3_u8)).prop_map(|(connection, mood)| Deed::Join { connection, mood }),
        2 => connection.clone().prop_map(|connection| Deed::Leave { connection }),
        1 => user.clone().prop_map(|user| Deed::Evict { user }),
        1 => user.clone().prop_map(|user| Deed::Remove { user }),
        3 => Just(Deed::Broadcast),
        1 => proptest::collection::vec(user.clone(), 0..4).prop_map(Deed::BroadcastTo),
        1 => user.clone().prop_map(|user| Deed::BroadcastExceptUser { user }),
        2 => connection.clone().prop_map(|connection| Deed::BroadcastExceptConnection { connection }),
        2 => connection.prop_map(|connection| Deed::Reply { connection }),
        2 => (user.clone(), 0..3_u8).prop_map(|(user, mood)| Deed::Mood { user, mood }),
        1 => user.prop_map(|user| Deed::Hide { user }),
        2 => Just(Deed::Deliver),
    ]
}

fn user_of(connection: usize) -> UserId {
    user(connection % USERS)
}

fn user(n: usize) -> UserId {
    UserId::new(&format!("u{n}")).expect("valid")
}

fn mood(mood: u8) -> Object {
    Object::encode(&json!({ "mood": mood })).expect("an object")
}

fn fresh() -> u128 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed).into()
}

fn text(n: usize) -> String {
    let payload = json!({ "n": n });
    json!({ "action": "BROADCAST", "event": "n", "channelName": "/c", "requestId": "r", "payload": payload })
        .to_string()
}

/// What somebody should hear. Presence lists are checked apart: they are as of the delivery.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Heard {
    Message(String),
    Number(u64),
    Presence { event: String, user: String, mood: u64 },
}

fn heard(message: &Value) -> Heard {
    let event = message["event"].as_str().expect("an event").to_owned();
    if message["action"] == "PRESENCE" {
        let payload = &message["payload"];
        let user = payload["userId"].as_str().expect("a user").to_owned();
        return Heard::Presence { event, user, mood: payload["changed"]["mood"].as_u64().expect("a mood") };
    }
    match message["payload"]["n"].as_u64() {
        Some(n) => Heard::Number(n),
        None => Heard::Message(event),
    }
}

/// The model: members by user, what each connection has heard, all told at once.
#[derive(Default)]
struct Model {
    seated: BTreeSet<usize>,
    moods: BTreeMap<usize, u8>,
    heard: BTreeMap<usize, Vec<Heard>>,
}

impl Model {
    fn tell(&mut self, to: impl Fn(&Self, usize) -> bool, what: &Heard) -> usize {
        let all: Vec<_> = self.seated.iter().copied().filter(|connection| to(self, *connection)).collect();
        for connection in &all {
            self.heard.entry(*connection).or_default().push(what.clone());
        }
        all.iter().map(|connection| connection % USERS).collect::<BTreeSet<_>>().len()
    }

    fn is_member(&self, user: usize) -> bool {
        self.seated.iter().any(|connection| connection % USERS == user)
    }

    fn presence(&mut self, event: &str, user: usize, mood: u8, to: impl Fn(&Self, usize) -> bool) {
        let what = Heard::Presence { event: event.into(), user: format!("u{user}"), mood: mood.into() };
        self.tell(to, &what);
    }

    fn tracked(&self, connection: usize) -> bool {
        self.moods.contains_key(&(connection % USERS))
    }

    /// `but`: a connection that is told apart.
    fn set_mood(&mut self, user: usize, mood: u8, but: Option<usize>) {
        let event = match self.moods.insert(user, mood) {
            Some(before) if before == mood => return,
            Some(_) => "UPDATE",
            None => "JOIN",
        };
        self.presence(event, user, mood, |model, other| model.tracked(other) && Some(other) != but);
    }

    fn hide(&mut self, user: usize) {
        if let Some(mood) = self.moods.remove(&user) {
            self.presence("LEAVE", user, mood, |model, other| model.tracked(other));
        }
    }

    fn join(&mut self, connection: usize, mood: Option<u8>) {
        let user = connection % USERS;
        let shown = self.moods.get(&user).copied();
        self.seated.insert(connection);
        self.tell(|_, other| other == connection, &Heard::Message("ACKNOWLEDGE".into()));
        if let Some(mood) = mood {
            self.set_mood(user, mood, shown.map(|_| connection));
        }
        if let (Some(_), Some(now)) = (shown, self.moods.get(&user).copied()) {
            self.presence("JOIN", user, now, |_, other| other == connection);
        }
    }

    fn take_out(&mut self, user: usize) {
        self.seated.retain(|connection| connection % USERS != user);
    }
}

/// The real thing: a channel, its recipients, and what reached each connection.
struct Real {
    channel: Channel<usize>,
    recipients: Recipients<usize>,
    slots: BTreeMap<usize, Slot>,
    received: BTreeMap<usize, Vec<String>>,
}

impl Real {
    fn new() -> Real {
        let name = ChannelName::new("/c", 10).expect("valid");
        let channel = Channel::new(name, Limits::default(), fresh);
        Real { channel, recipients: Recipients::default(), slots: BTreeMap::new(), received: BTreeMap::new() }
    }

    fn deliver(&mut self) {
        while self.channel.has_queued() {
            let batch = self.channel.take();
            let plan = Plan::new(&batch, &mut self.recipients);
            let encoded = Encoded::new(
                &batch,
                |text, out| {
                    out.extend_from_slice(text);
                    out.push(b'\n');
                },
                |bytes| bytes,
            );
            let mut send = |to: usize, bytes: &[u8], frames: u32| {
                let lines: Vec<_> = std::str::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect();
                assert_eq!(lines.len(), frames as usize, "frames are counted");
                self.received.entry(to).or_default().extend(lines);
            };
            for private in &plan.private {
                for run in private.pieces.iter().filter_map(|piece| encoded.piece(piece)) {
                    send(private.to, &run.buffer[run.range.clone()], run.frames);
                }
            }
            for (slot, reception) in self.recipients.iter() {
                let class = if reception.tracked { Class::Tracked } else { Class::All };
                if let Some(run) = encoded.whole(class).filter(|_| !plan.is_marked(slot)) {
                    assert!(plan.visits(class), "whoever gets something is visited");
                    send(reception.to, &run.buffer[run.range.clone()], run.frames);
                }
            }
        }
    }
}

/// Does the same to both.
fn act(real: &mut Real, model: &mut Model, step: usize, deed: &Deed) {
    let number = Heard::Number(step as u64);
    let id = |connection: usize| ConnectionId::from_u128(connection as u128);
    match deed {
        Deed::Join { connection, mood: shown } => {
            if model.seated.contains(connection) {
                return;
            }
            let chain = shown.map(|shown| Step::Track(mood(shown))).into_iter().collect();
            let user = user_of(*connection);
            let first = !model.is_member(connection % USERS);
            let accepted = real.channel.join(*connection, id(*connection), &user, Assigns::default(), "r", chain);
            assert_eq!(accepted.first, first);
            real.slots.insert(*connection, accepted.slot);
            model.join(*connection, *shown);
        }
        Deed::Leave { connection } => {
            if !model.seated.contains(connection) {
                return;
            }
            let left = real.channel.leave(real.slots[connection], id(*connection), Some("r")).expect("seated");
            model.tell(|_, other| other == *connection, &Heard::Message("EXIT_ACKNOWLEDGE".into()));
            model.seated.remove(connection);
            let last = !model.is_member(connection % USERS);
            assert_eq!(left.is_some(), last, "a departure is that of the last connection");
            if last {
                model.hide(connection % USERS);
            }
        }
        Deed::Evict { user: n } => {
            let removal = real.channel.evict(&user(*n), "why");
            assert_eq!(removal.is_ok(), model.is_member(*n));
            if removal.is_ok() {
                for event in ["evicted", "EVICTED"] {
                    model.tell(|_, other| other % USERS == *n, &Heard::Message(event.into()));
                }
                model.take_out(*n);
                model.tell(|_, _| true, &Heard::Message("user_evicted".into()));
                model.hide(*n);
            }
        }
        Deed::Remove { user: n } => {
            assert_eq!(real.channel.remove(&user(*n)).is_ok(), model.is_member(*n));
            model.take_out(*n);
            model.hide(*n);
        }
        Deed::Broadcast => {
            let told = real.channel.broadcast(&To::All, text(step).as_bytes()).expect("room");
            assert_eq!(told, model.tell(|_, _| true, &number));
        }
        Deed::BroadcastTo(users) => {
            let ids = users.iter().map(|n| user(*n).to_string()).chain(["nobody".to_owned()]).collect();
            let told = real.channel.broadcast(&To::Users(ids), text(step).as_bytes()).expect("room");
            assert_eq!(told, model.tell(|_, other| users.contains(&(other % USERS)), &number));
        }
        Deed::BroadcastExceptUser { user: n } => {
            let to = To::ExceptUser(user(*n).to_string());
            let told = real.channel.broadcast(&to, text(step).as_bytes()).expect("room");
            assert_eq!(told, model.tell(|_, other| other % USERS != *n, &number));
        }
        Deed::BroadcastExceptConnection { connection } => {
            let Some(slot) = real.slots.get(connection) else { return };
            let to = To::ExceptConnection(*slot, id(*connection));
            let told = real.channel.broadcast(&to, text(step).as_bytes()).expect("room");
            assert_eq!(told, model.tell(|_, other| other != *connection, &number));
        }
        Deed::Reply { connection } => {
            let Some(slot) = real.slots.get(connection) else { return };
            let answered = real.channel.reply(*slot, id(*connection), text(step).as_bytes());
            assert_eq!(answered.is_ok(), model.tell(|_, other| other == *connection, &number) == 1);
        }
        Deed::Mood { user: n, mood: new } => {
            let set = real.channel.set_presence(user(*n).as_str(), mood(*new));
            assert_eq!(set.is_ok(), model.is_member(*n));
            if set.is_ok() {
                model.set_mood(*n, *new, None);
            }
        }
        Deed::Hide { user: n } => {
            let hidden = real.channel.untrack(user(*n).as_str());
            assert_eq!(hidden, if model.is_member(*n) { Ok(model.moods.contains_key(n)) } else { hidden });
            model.hide(*n);
        }
        Deed::Deliver => real.deliver(),
    }
}

/// The moods of a list, sorted.
fn moods(message: &Value) -> Vec<u64> {
    let list = message["payload"]["presence"].as_array().expect("a list");
    let mut moods: Vec<_> = list.iter().map(|entry| entry["mood"].as_u64().expect("a mood")).collect();
    moods.sort_unstable();
    moods
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn everybody_hears_what_the_model_says(deeds in proptest::collection::vec(deed(), 0..80)) {
        let (mut real, mut model) = (Real::new(), Model::default());
        // The lists that were true at some delivery.
        let mut lists = Vec::new();
        for (step, deed) in deeds.iter().enumerate() {
            act(&mut real, &mut model, step, deed);
            let mut now: Vec<u64> = model.moods.values().map(|mood| u64::from(*mood)).collect();
            now.sort_unstable();
            lists.push(now);
        }
        real.deliver();
        for (connection, expected) in &model.heard {
            let received = real.received.remove(connection).unwrap_or_default();
            let messages: Vec<Value> = received.iter().map(|text| {
                strict::check(text).expect("what the strictest client accepts");
                serde_json::from_str(text).expect("JSON")
            }).collect();
            prop_assert_eq!(&messages.iter().map(heard).collect::<Vec<_>>(), expected, "connection {}", connection);
            for message in messages.iter().filter(|message| message["action"] == "PRESENCE") {
                prop_assert!(lists.contains(&moods(message)), "a list that never was: {}", message);
            }
        }
        prop_assert!(real.received.values().all(Vec::is_empty), "nobody hears what is not meant for them");
        prop_assert_eq!(real.channel.state().connection_count(), model.seated.len());
    }
}

#[test]
fn over_the_hard_limit_a_broadcast_is_refused_and_over_the_soft_one_publishers_should_pause() {
    let limits = Limits { soft_messages: 2, soft_bytes: 1 << 20, hard_factor: 2 };
    let mut channel = Channel::new(ChannelName::new("/c", 10).expect("valid"), limits, fresh);
    channel.join(0, ConnectionId::from_u128(0), &user(0), Assigns::default(), "r", Vec::new());
    channel.take();
    let mut outcomes = Vec::new();
    for n in 0..5 {
        let told = channel.broadcast(&To::All, text(n).as_bytes()).is_ok();
        outcomes.push((told, channel.is_crowded()));
    }
    assert_eq!(outcomes, [(true, false), (true, true), (true, true), (true, true), (false, true)]);
    channel.take();
    assert!(!channel.is_crowded());
}

#[test]
fn many_changes_of_a_long_list_are_delivered_in_several_batches() {
    let mut real = Real::new();
    let long = "x".repeat(3 << 20);
    for n in 0..4 {
        let presence = Object::encode(&json!({ "mood": n, "pad": long })).expect("an object");
        let chain = vec![Step::Track(presence)];
        real.channel.join(n, ConnectionId::from_u128(n as u128), &user(n % USERS), Assigns::default(), "r", chain);
    }
    real.channel.broadcast(&To::All, text(9).as_bytes()).expect("room");
    let mut batches = 0;
    while real.channel.has_queued() {
        let batch = real.channel.take();
        assert!(batch.bytes() < 32 << 20, "{} bytes in one batch", batch.bytes());
        Plan::new(&batch, &mut real.recipients);
        batches += 1;
    }
    assert!(batches > 1);
    assert_eq!(real.recipients.iter().filter(|(_, reception)| reception.tracked).count(), 4);
}
