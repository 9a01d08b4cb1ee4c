//! A channel with clients, and what each of them receives.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use pondsocket_proto::channel::{
    Audience, BatchMessage, Channel, ChannelLimits, Class, DeliveryPolicy, Encoded, HistoryRules, Join, LocalTarget,
    Piece, Plan, Reception, Recipients, Recovery, Ring, Slot, Step,
};
use pondsocket_proto::id::{ChannelName, ConnectionId, UserId};
use pondsocket_proto::position::{Epoch, Position};
use pondsocket_proto::wire::{Resume, strict};
use serde_json::Value;

pub(crate) const USERS: usize = 4;

pub(crate) const FILTERED: DeliveryPolicy = DeliveryPolicy { filtered: true, ..DeliveryPolicy::BROADCAST };

pub(crate) fn rules() -> HistoryRules {
    HistoryRules {
        messages: 100,
        bytes: 1 << 20,
        ttl: 1000,
        replay_messages: 50,
        replay_bytes: 1 << 20,
        stamp: None,
        replies_overtake: false,
    }
}

pub(crate) fn channel(rules: HistoryRules) -> Channel<usize> {
    empty().with_history(Ring::new(Arc::new(rules), Epoch::new(1)))
}

pub(crate) fn empty() -> Channel<usize> {
    Channel::new(ChannelName::new("/c", 8).expect("valid"), ChannelLimits::default(), || 7)
}

pub(crate) fn user(n: usize) -> UserId {
    UserId::new(&n.to_string()).expect("valid")
}

pub(crate) fn at(offset: u64) -> Position {
    Position { epoch: Epoch::new(1), offset }
}

/// A channel with clients, and all that each of them has received.
pub(crate) struct HistoryWorld {
    pub(crate) channel: Channel<usize>,
    pub(crate) recipients: Recipients<usize>,
    /// The number of connections so far.
    pub(crate) connections: usize,
    /// The seats of the users that are in the channel.
    pub(crate) seats: BTreeMap<usize, (Slot, ConnectionId)>,
    /// The user of each connection, while the user reads it.
    pub(crate) users: Vec<Option<usize>>,
    /// The messages that each user has received: request ids and events.
    pub(crate) received: [Vec<(String, String)>; USERS],
    /// The payload of the last acknowledgement of each user.
    pub(crate) acknowledgements: [String; USERS],
}

impl HistoryWorld {
    pub(crate) fn with_rules(rules: HistoryRules) -> HistoryWorld {
        HistoryWorld::new(channel(rules))
    }

    pub(crate) fn new(channel: Channel<usize>) -> HistoryWorld {
        HistoryWorld {
            channel,
            recipients: Recipients::default(),
            connections: 0,
            seats: BTreeMap::new(),
            users: Vec::new(),
            received: Default::default(),
            acknowledgements: Default::default(),
        }
    }

    pub(crate) fn join(&mut self, n: usize, resume: Option<Resume>, chain: Vec<Step>) -> Recovery {
        let (recipient, connection) = (self.connections, ConnectionId::from_u128(self.connections as u128));
        self.connections += 1;
        self.users.push(Some(n));
        let user = user(n);
        let join = Join { chain, resume: resume.map(Into::into), ..Join::new(recipient, connection, &user, "join") };
        let accepted = self.channel.join(join, &|_| DeliveryPolicy::BROADCAST);
        self.seats.insert(n, (accepted.slot, connection));
        accepted.recovery
    }

    pub(crate) fn leave(&mut self, n: usize) {
        let (slot, connection) = self.seats.remove(&n).expect("in the channel");
        self.channel.leave(slot, connection, None).expect("seated");
    }

    /// Sends a message, and returns its position if it is kept.
    pub(crate) fn send(&mut self, to: &LocalTarget, policy: DeliveryPolicy) -> Option<Position> {
        assert!(self.channel.keeps(to, policy));
        let published = self.channel.publish_kept(None, to, "n", "{}", policy).expect("room");
        published.and_then(|published| published.position)
    }

    pub(crate) fn deliver(&mut self) {
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
                    let reached: Vec<_> = reached.map(|(slot, reception)| (slot, reception.to)).collect();
                    let decides_for = |(slot, to): (Slot, usize)| {
                        let listener = batch.listener(slot).expect("an outgoing handler decides about a member");
                        assert_eq!(listener.connection, ConnectionId::from_u128(to as u128), "of {}", listener.user);
                        to
                    };
                    let reached: Vec<_> = reached.into_iter().map(decides_for).collect();
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
                for piece in &private.pieces {
                    if let Piece::Gap(..) = piece {
                        self.users[private.to].iter().for_each(|n| self.received[*n].push(("".into(), "GAP".into())));
                    }
                    for run in encoded.piece(piece) {
                        assert_eq!(run.bytes().iter().filter(|byte| **byte == b'\n').count(), run.frames as usize);
                        self.receive(private.to, run.bytes());
                    }
                }
            }
            let others = self.recipients.iter().filter(|(slot, _)| !plan.is_marked(*slot));
            let others: Vec<_> = others.map(|(_, Reception { to, .. })| *to).collect();
            for run in encoded.whole(Class::All).iter().filter(|_| plan.visits(Class::All)) {
                others.iter().for_each(|to| self.receive(*to, run.bytes()));
            }
        }
    }

    /// From now on nobody reads what arrives on the connection of a user.
    pub(crate) fn give_up_connection(&mut self, n: usize) {
        self.users.iter_mut().filter(|user| **user == Some(n)).for_each(|user| *user = None);
        self.received[n].clear();
    }

    fn receive(&mut self, connection: usize, bytes: &[u8]) {
        let Some(user) = self.users[connection] else { return };
        for message in bytes.split(|byte| *byte == b'\n').filter(|text| !text.is_empty()) {
            let message = str::from_utf8(message).expect("text");
            assert_eq!(strict::check(message), Ok(()), "{message}");
            if let Some((_, payload)) = message.split_once(r#""event":"ACKNOWLEDGE""#) {
                let payload = payload.split_once(r#""payload":"#).expect("the payload is last").1;
                self.acknowledgements[user] = payload.trim_end_matches('}').to_owned() + "}";
            }
            let message: Value = serde_json::from_str(message).expect("JSON");
            let text = |field: &str| message[field].as_str().expect("text").to_owned();
            self.received[user].push((text("requestId"), text("event")));
        }
    }

    /// The positions that a user has received, in their order.
    pub(crate) fn positions(&self, n: usize) -> Vec<Position> {
        self.received[n].iter().filter_map(|(id, _)| id.parse().ok()).collect()
    }
}
