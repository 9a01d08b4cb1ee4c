use std::collections::BTreeSet;
use std::ops::Range;

use super::history::{Replays, Ring};
use super::{Assigns, DeliveryPolicy, Seats, Slot};
use crate::id::{ConnectionId, RequestId, UserId};
use crate::position::Position;
use crate::wire::{Object, PresenceKind, server};

/// The recipients of a queued message.
#[derive(Clone, Debug)]
pub enum Audience<R> {
    /// Every connection in the channel.
    All,
    /// Every connection of a tracked user.
    Tracked,
    /// These connections only.
    Only(Seats),
    /// Every connection but these.
    Except(Seats),
    /// A connection that is not in the channel. The answer to a declined join takes its place in the queue, behind the
    /// messages that came before it.
    Outsider(R),
}

impl<R> Audience<R> {
    /// The same audience, ahead of the joins of these connections: it leaves out none of them, because their slots may be those
    /// of other connections there.
    pub(super) fn ahead_of(self, joining: &BTreeSet<Slot>) -> Audience<R> {
        match self {
            Audience::Except(seats) if !joining.is_empty() => {
                let seated = seats.as_slice().iter().filter(|slot| !joining.contains(slot)).copied();
                Audience::Except(Seats::Many(Box::new(seated.collect())))
            }
            audience => audience,
        }
    }
}

/// One operation of a batch, in the order of the changes of the channel.
#[derive(Debug)]
pub(super) enum Op<R> {
    /// From here on the connection receives messages.
    Join { slot: Slot, recipient: R },
    /// From here on the connection receives nothing. `last` is the member in this slot, if an outgoing handler is yet
    /// to decide about messages that were queued before.
    Leave { slot: Slot, last: Option<Box<Listener>> },
    /// From here on these connections receive presence, or no longer do.
    Track { seats: Seats, on: bool },
    /// A message; `text` is a range of the batch's text. It has a position if it is kept.
    Send { to: Audience<R>, text: Range<u32>, policy: DeliveryPolicy, position: Option<Position> },
    /// The notice to a connection that has left that all messages queued for it before have been delivered.
    FlushMarker { to: R },
    /// The kept messages of these offsets, for one connection. They are read when the batch is taken.
    Replay { slot: Slot, offsets: Range<u64> },
    /// These connections miss kept messages: the history has begun anew without them.
    Gap { seats: Seats, gap: HistoryGap },
    /// A presence change. It becomes a `Send` when its batch is taken, with the presence list of that moment.
    Presence { to: Audience<R>, change: PresenceChange },
}

/// Messages that members miss, because the history has begun anew.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HistoryGap {
    /// The position of the first message that is missing.
    pub missed: Position,
    /// The position at which the history goes on, in its present epoch.
    pub next: Position,
}

/// The contents of a presence message, without the list.
#[derive(Debug)]
pub(super) struct PresenceChange {
    pub(super) kind: PresenceKind,
    pub(super) user: UserId,
    pub(super) changed: Object,
    pub(super) request_id: u128,
    /// The bytes of the list, if it goes to one recipient alone; 0 if all recipients share it.
    pub(super) private_list: usize,
}

/// The size of a presence message without the presence in it, roughly, in bytes.
const ENVELOPE: usize = 256;

impl PresenceChange {
    /// The size of the message in bytes, without a list that all recipients share.
    fn weight(&self) -> usize {
        // Twice: a partial message shows the change in `changed` and in `presence`.
        2 * self.changed.as_str().len() + ENVELOPE + self.private_list
    }

    /// Writes the message with this list; `None` writes a partial one, which shows this change only.
    fn encode(&self, out: &mut Vec<u8>, channel: &str, list: Option<&str>) {
        let id = RequestId::from_u128(self.request_id);
        let (id, user, changed) = (id.as_str(), self.user.as_str(), self.changed.as_str());
        match list {
            Some(list) => server::presence(out, self.kind, channel, id, user, changed, list),
            None => server::partial_presence(out, self.kind, channel, id, user, changed),
        }
    }
}

/// The limits of presence lists.
#[derive(Clone, Copy, Debug)]
pub struct Lists {
    /// The most bytes of a list that is sent whole.
    pub max_bytes: usize,
    /// The most bytes of all repetitions of the list in one batch: over it only the last change carries the list.
    pub repeated_bytes: usize,
    /// The most members of a channel whose batches repeat the list, and need not keep an interval between lists.
    pub members: usize,
}

impl Default for Lists {
    fn default() -> Self {
        Lists { max_bytes: 768 << 10, repeated_bytes: 64 << 10, members: 100 }
    }
}

/// The member in a slot, for an outgoing handler: as it was when the batch was taken or, if it had left before, when it
/// left.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The connection.
    pub connection: ConnectionId,
    /// Its user.
    pub user: UserId,
    /// The membership's assigns.
    pub assigns: Assigns,
    /// The presence of the user; `None` if the user is not tracked.
    pub presence: Option<Object>,
}

/// A message of a batch.
#[derive(Debug)]
pub struct BatchMessage<'a, R> {
    /// Its recipients.
    pub to: &'a Audience<R>,
    /// Its text.
    pub text: &'a [u8],
    /// Its handling on the way to the recipients.
    pub policy: DeliveryPolicy,
    /// Its position, if it is kept.
    pub position: Option<Position>,
}

/// A part of a channel's queue that is delivered at once: operations and the texts of their messages, in one order.
#[derive(Debug)]
pub struct Batch<R> {
    pub(super) ops: Vec<Op<R>>,
    pub(super) text: Vec<u8>,
    pub(super) presences: usize,
    /// The bytes of the messages, without a presence list that all recipients share.
    pub(super) weight: usize,
    /// `true` if an outgoing handler decides about the messages.
    pub(super) filtered: bool,
    /// The members by slot, if the batch is filtered; else empty.
    pub(super) listeners: Vec<Option<Listener>>,
    /// The position up to which recipients have everything with this batch, if messages of it are kept.
    pub(super) position: Option<Position>,
    /// The kept messages that the batch replays.
    pub(super) replays: Option<Box<Replays>>,
}

impl<R> Default for Batch<R> {
    fn default() -> Self {
        Batch {
            ops: Vec::new(),
            text: Vec::new(),
            presences: 0,
            weight: 0,
            filtered: false,
            listeners: Vec::new(),
            position: None,
            replays: None,
        }
    }
}

impl<R> Op<R> {
    fn is_presence(&self) -> bool {
        matches!(self, Op::Presence { .. })
    }

    fn weight(&self) -> usize {
        if let Op::Presence { change, .. } = self { change.weight() } else { 0 }
    }

    /// Returns `true` for a leave behind filtered messages, whose outgoing handler needs the member that leaves.
    pub(super) fn is_leaver(&self) -> bool {
        matches!(self, Op::Leave { last: Some(_), .. })
    }
}

impl<R> Batch<R> {
    /// Returns `true` if the batch has no operations.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The number of operations.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// The size of the texts, in bytes.
    pub fn bytes(&self) -> usize {
        self.text.len() + self.replays.as_ref().map_or(0, |replays| replays.bytes())
    }

    /// The position up to which each recipient has all kept messages once it has this batch.
    pub fn position(&self) -> Option<Position> {
        self.position
    }

    /// Returns `true` if an outgoing handler decides about each message of this batch for each recipient. Such a batch
    /// is delivered message by message, not by a [`Plan`](super::Plan).
    pub fn is_filtered(&self) -> bool {
        self.filtered
    }

    /// The messages in order.
    pub fn messages(&self) -> impl Iterator<Item = BatchMessage<'_, R>> {
        self.ops.iter().filter_map(|op| match op {
            Op::Send { to, text, policy, position } => {
                let text = &self.text[text.start as usize..text.end as usize];
                Some(BatchMessage { to, text, policy: *policy, position: *position })
            }
            _ => None,
        })
    }

    /// The member in `slot` when this batch, if it is filtered, was taken.
    pub fn listener(&self, slot: Slot) -> Option<&Listener> {
        self.listeners.get(slot.index())?.as_ref()
    }

    /// The size of the messages in bytes, without a presence list that all recipients share.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn push(&mut self, op: Op<R>) {
        self.presences += usize::from(op.is_presence());
        self.weight += op.weight();
        self.ops.push(op);
    }

    /// Appends a message whose text `write` produces, and returns the text.
    pub(super) fn send(&mut self, to: Audience<R>, policy: DeliveryPolicy, write: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        let text = append(&mut self.text, write);
        let Range { start, .. } = text;
        self.weight += text.len();
        self.ops.push(Op::Send { to, text, policy, position: None });
        &self.text[start as usize..]
    }

    /// Notes that the last message is kept at a position.
    pub(super) fn keep(&mut self, at: Position) {
        if let Some(Op::Send { position, .. }) = self.ops.last_mut() {
            *position = Some(at);
        }
    }

    /// Returns `true` if further operations of this kind may be appended, to a size of `most`. A message is never split: the
    /// last one may make a batch larger.
    pub(super) fn accepts(&self, filtered: bool, most: usize) -> bool {
        // Once its replays are copied, others could be of another epoch.
        self.filtered == filtered && self.weight < most && self.replays.is_none() && !self.is_gap()
    }

    /// Returns `true` if this is a notice of a gap, which has a batch of its own: recipients note it in their outboxes.
    pub(super) fn is_gap(&self) -> bool {
        matches!(self.ops.first(), Some(Op::Gap { .. }))
    }

    /// Appends another batch of the same kind.
    pub(super) fn append(&mut self, other: Batch<R>) {
        let start = u32::try_from(self.text.len()).expect("a batch is bounded far below 4 GiB");
        self.text.extend_from_slice(&other.text);
        self.ops.extend(other.ops.into_iter().map(|mut op| {
            if let Op::Send { text, .. } = &mut op {
                *text = text.start + start..text.end + start;
            }
            op
        }));
        self.presences += other.presences;
        self.weight += other.weight;
        self.position = other.position.or(self.position);
    }

    /// Copies the kept messages that the batch replays from the history, which need not keep them any longer. Has an effect
    /// once.
    pub(super) fn copy_replays(&mut self, ring: &mut Ring) {
        if self.replays.is_some() {
            return;
        }
        let replayed = self.ops.iter().filter_map(|op| match op {
            Op::Replay { offsets, .. } => Some(offsets.clone()),
            _ => None,
        });
        let wanted: Vec<_> = replayed.collect();
        if wanted.is_empty() {
            return;
        }
        wanted.iter().for_each(|offsets| ring.unqueue(offsets.start - 1));
        self.replays = Some(Box::new(Replays::new(ring, wanted)));
    }

    /// The numbers of the messages of a replay among those that the batch replays.
    pub(super) fn replayed(&self, offsets: &Range<u64>) -> Range<u32> {
        self.replays.as_ref().map_or(0..0, |replays| replays.range(offsets))
    }

    /// Turns presence changes into messages. The size of the list decides which of them carry it
    /// (docs/protocol.md, Presence); without a list none does.
    pub(super) fn resolve(&mut self, list: Option<&str>, lists: Lists, channel: &str) {
        if self.presences == 0 {
            return;
        }
        // The caller decides by an estimate, so the exact size is checked here.
        let list = list.filter(|list| list.len() <= lists.max_bytes);
        let is_sent = list.is_some();
        let list = list.unwrap_or_default();
        // A short list is sent with each change: small channels never send partial messages (docs/protocol.md,
        // Presence).
        let repeats = list.len().saturating_mul(self.presences) <= lists.repeated_bytes;
        let mut whole = vec![is_sent; self.ops.len()];
        // Backwards, because a change needs no list if a later one has it. A recipient of one change receives all later
        // changes that go to every tracked member, and the last of these has the list. A change for one connection
        // alone does not count: others do not receive it.
        let mut list_follows = false;
        for (whole, op) in whole.iter_mut().zip(&self.ops).rev() {
            if let Op::Presence { to, .. } = op {
                *whole &= repeats || !list_follows;
                list_follows |= matches!(to, Audience::Tracked);
            }
        }
        for (op, whole) in self.ops.iter_mut().zip(whole) {
            if !op.is_presence() {
                continue;
            }
            // Takes the operation out by value; the placeholder is overwritten below.
            let nothing = Op::Leave { slot: Slot(0), last: None };
            if let Op::Presence { to, change } = std::mem::replace(op, nothing) {
                let text = append(&mut self.text, |out| change.encode(out, channel, whole.then_some(list)));
                let policy = if whole { DeliveryPolicy::PRESENCE } else { DeliveryPolicy::PARTIAL_PRESENCE };
                *op = Op::Send { to, text, policy, position: None };
            }
        }
        self.presences = 0;
    }
}

fn append(text: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Range<u32> {
    let start = text.len();
    write(text);
    // 32 bits halve the size of an operation. `MAX_BYTES` keeps the queue of a channel far below their range.
    let at = |offset| u32::try_from(offset).expect("a batch is bounded far below 4 GiB");
    at(start)..at(text.len())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::channel::DropPolicy;

    /// The operation that a letter stands for: `+` is a presence change, `-` an operation without a message; any other
    /// letter is a message with this text, and gives `None`.
    pub(in super::super) fn op(letter: char) -> Option<Op<()>> {
        match letter {
            '+' => {
                let changed = Object::encode(&serde_json::json!({})).expect("an object");
                let user = UserId::new("a").expect("valid");
                let change = PresenceChange { kind: PresenceKind::Join, user, changed, request_id: 0, private_list: 0 };
                Some(Op::Presence { to: Audience::Tracked, change })
            }
            '-' => Some(Op::Leave { slot: Slot(0), last: None }),
            _ => None,
        }
    }

    /// The letters of the operations of a batch.
    pub(in super::super) fn letters(batch: &Batch<()>) -> String {
        let mut messages = batch.messages().map(|message| str::from_utf8(message.text).expect("text"));
        let letter = |op: &Op<()>| match op {
            Op::Send { .. } => messages.next().expect("one for each"),
            Op::Presence { .. } => "+",
            _ => "-",
        };
        batch.ops.iter().map(letter).collect()
    }

    fn batch(letters: &str) -> Batch<()> {
        let mut batch = Batch::default();
        for letter in letters.chars() {
            match op(letter) {
                Some(op) => batch.push(op),
                None => {
                    batch.send(Audience::All, DeliveryPolicy::BROADCAST, |out| out.push(letter as u8));
                }
            }
        }
        batch
    }

    #[test]
    fn a_batch_counts_its_operations_and_bytes() {
        let (empty, batch) = (batch(""), batch("ab-+"));
        assert_eq!((empty.is_empty(), empty.len(), empty.bytes()), (true, 0, 0));
        assert_eq!((batch.is_empty(), batch.len(), batch.bytes()), (false, 4, 2));
    }

    fn change(kind: PresenceKind, user: &str) -> PresenceChange {
        let changed = Object::encode(&serde_json::json!({ "of": user })).expect("an object");
        PresenceChange { kind, user: UserId::new(user).expect("valid"), changed, request_id: 0, private_list: 0 }
    }

    /// The messages of a batch once its list is known: the presence list in each payload, or the text.
    fn resolved(mut batch: Batch<()>, list: &str, lists: Lists) -> Vec<(String, DropPolicy)> {
        batch.resolve(Some(list), lists, "/c");
        assert_eq!(batch.presences, 0);
        let payload = |text: &[u8]| match serde_json::from_slice::<serde_json::Value>(text) {
            Ok(message) => {
                let payload = &message["payload"];
                let partial = if payload["partial"] == true { " partial" } else { "" };
                format!("{} {}{partial}", payload["userId"].as_str().expect("text"), payload["presence"])
            }
            Err(_) => String::from_utf8(text.to_vec()).expect("text"),
        };
        batch.messages().map(|message| (payload(message.text), message.policy.drop_policy)).collect()
    }

    fn changes() -> Batch<()> {
        let mut batch = batch("x");
        let only = || Audience::Only(Seats::One(Slot(1)));
        for (kind, user, to) in [
            (PresenceKind::Join, "ada", Audience::Tracked),
            (PresenceKind::Join, "bob", only()),
            (PresenceKind::Leave, "cy", Audience::Tracked),
            (PresenceKind::Update, "dee", Audience::Tracked),
            (PresenceKind::Join, "bob", only()),
        ] {
            batch.push(Op::Presence { to, change: change(kind, user) });
        }
        batch
    }

    #[test]
    fn a_list_that_is_small_is_in_each_message() {
        let list = r#"[{"n":1}]"#;
        let lists = Lists { repeated_bytes: 5 * list.len(), ..Lists::default() };
        let expected = ["x", "ada", "bob", "cy", "dee", "bob"]
            .map(|user| if user == "x" { user.to_owned() } else { format!("{user} {list}") });
        let messages = resolved(changes(), list, lists);
        assert_eq!(messages.iter().map(|(text, _)| text.clone()).collect::<Vec<_>>(), expected);
        assert!(messages[1..].iter().all(|(_, drop_policy)| *drop_policy == DropPolicy::Outdated));
    }

    #[test]
    fn a_list_that_would_be_repeated_too_often_is_sent_with_the_last_change_alone() {
        let list = r#"[{"n":1}]"#;
        let lists = Lists { repeated_bytes: 5 * list.len() - 1, ..Lists::default() };
        let messages = resolved(changes(), list, lists);
        let partial = |user: &str| (format!("{user} [{{\"of\":\"{user}\"}}] partial"), DropPolicy::Partial);
        let expected = [
            ("x".to_owned(), DropPolicy::SlowClient(None)),
            partial("ada"),
            partial("bob"),
            ("cy [] partial".to_owned(), DropPolicy::Partial),
            (format!("dee {list}"), DropPolicy::Outdated),
            // It goes to this connection alone, and no message with the list follows.
            (format!("bob {list}"), DropPolicy::Outdated),
        ];
        assert_eq!(messages, expected);
    }

    #[test]
    fn a_list_that_is_too_large_is_never_sent() {
        let list = r#"[{"n":1}]"#;
        let messages = resolved(changes(), list, Lists { max_bytes: list.len() - 1, ..Lists::default() });
        assert!(
            messages[1..]
                .iter()
                .all(|(text, drop_policy)| text.ends_with("partial") && *drop_policy == DropPolicy::Partial),
            "{messages:?}"
        );
        let messages = resolved(changes(), list, Lists { max_bytes: list.len(), ..Lists::default() });
        assert!(
            messages[1..]
                .iter()
                .all(|(text, drop_policy)| text.ends_with(list) && *drop_policy == DropPolicy::Outdated),
            "{messages:?}"
        );
    }

    #[test]
    fn a_batch_weighs_its_text_and_what_its_changes_show() {
        let mut batch = batch("ab-");
        assert_eq!(batch.weight(), 2);
        let change = change(PresenceKind::Join, "ada");
        let length = change.changed.as_str().len();
        batch.push(Op::Presence { to: Audience::Tracked, change });
        assert_eq!(batch.weight(), 2 + 2 * length + ENVELOPE);
        let change = PresenceChange { private_list: 1000, ..self::change(PresenceKind::Join, "ada") };
        batch.push(Op::Presence { to: Audience::Only(Seats::One(Slot(1))), change });
        assert_eq!(batch.weight(), 2 + 2 * (2 * length + ENVELOPE) + 1000);
    }

    #[test]
    fn a_listener_is_found_by_its_slot() {
        let mut batch = batch("a");
        let user = UserId::new("ada").expect("valid");
        let (connection, assigns) = (ConnectionId::from_u128(1), Assigns::default());
        batch.listeners = vec![None, Some(Listener { connection, user, assigns, presence: None })];
        assert_eq!(batch.listener(Slot(1)).map(|listener| listener.user.as_str()), Some("ada"));
        assert!(batch.listener(Slot(0)).is_none() && batch.listener(Slot(2)).is_none());
    }
}
