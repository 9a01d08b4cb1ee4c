use std::ops::Range;

use super::{Assigns, Seats, Slot, Treatment};
use crate::id::{ConnectionId, RequestId, UserId};
use crate::wire::{Object, PresenceKind, server};

/// Who gets a message of the queue.
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
    /// Somebody who is not in the channel: the answer to a declined join stays behind what came before it.
    Outsider(R),
}

/// One step of what members are to be told, in the order of the changes.
#[derive(Debug)]
pub(super) enum Op<R> {
    /// From here on the connection receives. `tracked`: also presence.
    Join { slot: Slot, recipient: R },
    /// From here on it receives nothing. `last` is who sat there, if an outgoing handler is yet to decide about
    /// something that was queued before.
    Leave { slot: Slot, last: Option<Box<Listener>> },
    /// From here on these connections do (or don't) receive presence.
    Track { seats: Seats, on: bool },
    /// A message; `text` is a range of the batch's text.
    Send { to: Audience<R>, text: Range<u32>, treatment: Treatment },
    /// Everything that came before has been delivered to somebody who is no member any more.
    Farewell { to: R },
    /// A presence change. It becomes a `Send` when it is delivered, with the list as of then.
    Presence { to: Audience<R>, change: PresenceChange },
}

/// What a presence frame says, but for the list.
#[derive(Debug)]
pub(super) struct PresenceChange {
    pub(super) kind: PresenceKind,
    pub(super) user: UserId,
    pub(super) changed: Object,
    pub(super) request_id: u128,
    /// The bytes of a list that are told with it to one receiver alone.
    pub(super) private_list: usize,
}

/// The size of a presence message without the presence in it, roughly, in bytes.
const ENVELOPE: usize = 256;

impl PresenceChange {
    /// The size of its message in bytes, without a list that is the same for all.
    fn weight(&self) -> usize {
        2 * self.changed.as_str().len() + ENVELOPE + self.private_list
    }

    /// Writes its message: with this list, or without the whole one.
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
    /// A larger list is never told as a whole.
    pub max_bytes: usize,
    /// The most bytes of one list, repeated in one batch: beyond it only the last change carries the list.
    pub repeated_bytes: usize,
}

impl Default for Lists {
    fn default() -> Self {
        Lists { max_bytes: 768 << 10, repeated_bytes: 64 << 10 }
    }
}

/// Who sits in a slot, as an outgoing handler sees it: as the member is now or, if it has left since, as it was then.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The connection.
    pub connection: ConnectionId,
    /// Its user.
    pub user: UserId,
    /// The membership's assigns.
    pub assigns: Assigns,
    /// What the user shows of itself while it is tracked.
    pub presence: Option<Object>,
}

/// A part of a channel's queue that is delivered in one go: operations and the text of their messages, in one order.
#[derive(Debug)]
pub struct Batch<R> {
    pub(super) ops: Vec<Op<R>>,
    pub(super) text: Vec<u8>,
    pub(super) presences: usize,
    /// The bytes of its messages, but for a presence list that is the same for all.
    pub(super) weight: usize,
    /// Whether an outgoing handler decides about its messages.
    pub(super) filtered: bool,
    /// Who sits where, if the messages of this batch are filtered; else empty.
    pub(super) listeners: Vec<Option<Listener>>,
}

impl<R> Default for Batch<R> {
    fn default() -> Self {
        Batch { ops: Vec::new(), text: Vec::new(), presences: 0, weight: 0, filtered: false, listeners: Vec::new() }
    }
}

impl<R> Op<R> {
    fn is_presence(&self) -> bool {
        matches!(self, Op::Presence { .. })
    }

    fn weight(&self) -> usize {
        if let Op::Presence { change, .. } = self { change.weight() } else { 0 }
    }

    /// Whether it takes out somebody for whom an outgoing handler is yet to decide about something.
    pub(super) fn is_leaver(&self) -> bool {
        matches!(self, Op::Leave { last: Some(_), .. })
    }
}

impl<R> Batch<R> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// How many operations are queued.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// How much text is queued, in bytes.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Whether an outgoing handler decides about each message of this batch, for each recipient: then it is
    /// delivered message by message, and not by a [`Plan`](super::Plan).
    pub fn is_filtered(&self) -> bool {
        self.filtered
    }

    /// Its messages, in order, and whom they are for.
    pub fn messages(&self) -> impl Iterator<Item = (&Audience<R>, &[u8], Treatment)> {
        self.ops.iter().filter_map(|op| match op {
            Op::Send { to, text, treatment } => {
                Some((to, &self.text[text.start as usize..text.end as usize], *treatment))
            }
            _ => None,
        })
    }

    /// Who sat in `slot` when a filtered batch was taken.
    pub fn listener(&self, slot: Slot) -> Option<&Listener> {
        self.listeners.get(slot.index())?.as_ref()
    }

    /// The size of its messages in bytes, without a presence list that is the same for all.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn push(&mut self, op: Op<R>) {
        self.presences += usize::from(op.is_presence());
        self.weight += op.weight();
        self.ops.push(op);
    }

    /// Appends a message whose text `write` produces.
    pub(super) fn send(&mut self, to: Audience<R>, treatment: Treatment, write: impl FnOnce(&mut Vec<u8>)) {
        let text = append(&mut self.text, write);
        self.weight += text.len();
        self.ops.push(Op::Send { to, text, treatment });
    }

    /// Turns presence changes into messages. Which of them carry the whole list depends on how large it is
    /// (docs/protocol.md, Presence); without one none does.
    pub(super) fn resolve(&mut self, list: Option<&str>, lists: Lists, channel: &str) {
        if self.presences == 0 {
            return;
        }
        let list = list.filter(|list| list.len() <= lists.max_bytes);
        let is_told = list.is_some();
        let list = list.unwrap_or_default();
        let repeats = list.len().saturating_mul(self.presences) <= lists.repeated_bytes;
        let mut whole = vec![is_told; self.ops.len()];
        // Whoever hears of a change hears of those for all behind it, the last of which has the list.
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
            let nothing = Op::Leave { slot: Slot(0), last: None };
            if let Op::Presence { to, change } = std::mem::replace(op, nothing) {
                let text = append(&mut self.text, |out| change.encode(out, channel, whole.then_some(list)));
                let treatment = if whole { Treatment::PRESENCE } else { Treatment::PARTIAL_PRESENCE };
                *op = Op::Send { to, text, treatment };
            }
        }
        self.presences = 0;
    }
}

fn append(text: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> Range<u32> {
    let start = text.len();
    write(text);
    let at = |offset| u32::try_from(offset).expect("a batch is bounded far below 4 GiB");
    at(start)..at(text.len())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::channel::Loss;

    /// One step of a queue, from a letter: a message that says it, `+` a presence change, `-` an operation that says
    /// nothing.
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

    /// The word that makes this batch.
    pub(in super::super) fn word(batch: &Batch<()>) -> String {
        let mut messages = batch.messages().map(|(_, text, _)| str::from_utf8(text).expect("text"));
        let letter = |op: &Op<()>| match op {
            Op::Send { .. } => messages.next().expect("one for each"),
            Op::Presence { .. } => "+",
            _ => "-",
        };
        batch.ops.iter().map(letter).collect()
    }

    fn batch(word: &str) -> Batch<()> {
        let mut batch = Batch::default();
        for letter in word.chars() {
            match op(letter) {
                Some(op) => batch.push(op),
                None => batch.send(Audience::All, Treatment::BROADCAST, |out| out.push(letter as u8)),
            }
        }
        batch
    }

    #[test]
    fn a_batch_knows_how_much_it_holds() {
        let (empty, batch) = (batch(""), batch("ab-+"));
        assert_eq!((empty.is_empty(), empty.len(), empty.bytes()), (true, 0, 0));
        assert_eq!((batch.is_empty(), batch.len(), batch.bytes()), (false, 4, 2));
    }

    fn change(kind: PresenceKind, user: &str) -> PresenceChange {
        let changed = Object::encode(&serde_json::json!({ "of": user })).expect("an object");
        PresenceChange { kind, user: UserId::new(user).expect("valid"), changed, request_id: 0, private_list: 0 }
    }

    /// What a batch says after a list was put into its changes: the payload of each presence message, or its text.
    fn resolved(mut batch: Batch<()>, list: &str, lists: Lists) -> Vec<(String, Loss)> {
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
        batch.messages().map(|(_, text, treatment)| (payload(text), treatment.loss)).collect()
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
        let told = resolved(changes(), list, lists);
        assert_eq!(told.iter().map(|(text, _)| text.clone()).collect::<Vec<_>>(), expected);
        assert!(told[1..].iter().all(|(_, loss)| *loss == Loss::Outdated));
    }

    #[test]
    fn a_list_that_would_be_repeated_too_often_comes_last_for_everybody() {
        let list = r#"[{"n":1}]"#;
        let lists = Lists { repeated_bytes: 5 * list.len() - 1, ..Lists::default() };
        let told = resolved(changes(), list, lists);
        let partial = |user: &str| (format!("{user} [{{\"of\":\"{user}\"}}] partial"), Loss::Partial);
        let expected = [
            ("x".to_owned(), Loss::Policy(None)),
            partial("ada"),
            partial("bob"),
            ("cy [] partial".to_owned(), Loss::Partial),
            (format!("dee {list}"), Loss::Outdated),
            // Nobody else hears of it, and nothing that has the list follows.
            (format!("bob {list}"), Loss::Outdated),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_list_that_is_too_large_is_never_told() {
        let list = r#"[{"n":1}]"#;
        let told = resolved(changes(), list, Lists { max_bytes: list.len() - 1, ..Lists::default() });
        assert!(told[1..].iter().all(|(text, loss)| text.ends_with("partial") && *loss == Loss::Partial), "{told:?}");
        let told = resolved(changes(), list, Lists { max_bytes: list.len(), ..Lists::default() });
        assert!(told[1..].iter().all(|(text, loss)| text.ends_with(list) && *loss == Loss::Outdated), "{told:?}");
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
