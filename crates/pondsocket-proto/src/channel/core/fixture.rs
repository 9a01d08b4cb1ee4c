//! A channel and its members, for the tests of this module.

use std::rc::Rc;

use super::{Channel, ChannelLimits, Join, Step};
use crate::channel::{Class, DeliveryPolicy, Encoded, Plan, Recipients, Slot};
use crate::id::{ChannelName, ConnectionId, UserId};
use crate::wire::{Action, Object, server};

pub(super) const BROADCAST: DeliveryPolicy = DeliveryPolicy::BROADCAST;

pub(super) fn channel(limits: ChannelLimits) -> Channel<&'static str> {
    Channel::new(ChannelName::new("/c", 8).expect("valid"), limits, || 7)
}

pub(super) fn id(connection: &str) -> ConnectionId {
    ConnectionId::from_u128(connection.bytes().fold(0, |number, byte| number << 8 | u128::from(byte)))
}

pub(super) fn object(text: &str) -> Object {
    Object::encode(&serde_json::from_str::<serde_json::Value>(text).expect("JSON")).expect("an object")
}

/// Seats a connection of the user that is named by its first letter: `a1` and `a2` are two connections of one user.
pub(super) fn join(channel: &mut Channel<&'static str>, connection: &'static str, chain: Vec<Step>) -> Slot {
    let user = UserId::new(&connection[..1]).expect("valid");
    channel.join(joining(connection, &user, chain), &|_| BROADCAST).slot
}

/// The join of a connection of a user.
pub(super) fn joining<'a>(connection: &'static str, user: &'a UserId, chain: Vec<Step>) -> Join<'a, &'static str> {
    Join { chain, ..Join::new(connection, id(connection), user, "q") }
}

/// Delivers all that is queued: `connection event` for each message, with the list if it is presence; one
/// connection after the other, in the order in which each receives it.
pub(super) fn deliver(channel: &mut Channel<&'static str>, recipients: &mut Recipients<&'static str>) -> Vec<String> {
    let batch = channel.take();
    let plan = Plan::new(&batch, recipients);
    let frame = |text: &[u8], out: &mut Vec<u8>| out.extend_from_slice(text);
    let mut encoded = Encoded::new(&batch, frame, Rc::<[u8]>::from, |_| true);
    encoded.add_presence(&batch, frame, Rc::<[u8]>::from);
    encoded.add_replays(&batch, frame, Rc::<[u8]>::from);
    let mut delivered = Vec::new();
    let mut note = |to: &'static str, bytes: &[u8]| {
        for message in serde_json::Deserializer::from_slice(bytes).into_iter::<serde_json::Value>() {
            let message = message.expect("JSON");
            let list = message["payload"].get("presence").map(|list| format!(" {list}")).unwrap_or_default();
            delivered.push((to, format!("{to} {}{list}", message["event"].as_str().expect("an event"))));
        }
    };
    for private in &plan.private {
        for run in private.pieces.iter().flat_map(|piece| encoded.piece(piece)) {
            note(private.to, run.bytes());
        }
    }
    for (_, reception) in recipients.iter().filter(|(slot, _)| !plan.is_marked(*slot)) {
        let class = if reception.tracked { Class::Tracked } else { Class::All };
        let runs = encoded.whole(class).iter().filter(|_| plan.visits(class));
        runs.for_each(|run| note(reception.to, run.bytes()));
    }
    delivered.sort_by_key(|(to, _)| *to);
    delivered.into_iter().map(|(_, message)| message).collect()
}

pub(super) fn broadcast_text(event: &str) -> Vec<u8> {
    let mut text = Vec::new();
    server::message(&mut text, Action::Broadcast, event, "/c", "q", "{}");
    text
}
