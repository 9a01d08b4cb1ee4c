use std::ops::Range;

use super::{Assigns, Seats, Slot, Treatment};
use crate::id::{ConnectionId, UserId};
use crate::wire::{Object, PresenceKind};

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
    Presence { to: Audience<R>, change: Change },
}

/// What a presence frame says, but for the list.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) kind: PresenceKind,
    pub(super) user: UserId,
    pub(super) changed: Object,
    pub(super) request_id: u128,
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
    /// Whether an outgoing handler decides about its messages.
    pub(super) filtered: bool,
    /// Who sits where, if the messages of this batch are filtered; else empty.
    pub(super) listeners: Vec<Option<Listener>>,
}

impl<R> Default for Batch<R> {
    fn default() -> Self {
        Batch { ops: Vec::new(), text: Vec::new(), presences: 0, filtered: false, listeners: Vec::new() }
    }
}

impl<R> Op<R> {
    fn is_presence(&self) -> bool {
        matches!(self, Op::Presence { .. })
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

    pub(super) fn push(&mut self, op: Op<R>) {
        self.presences += usize::from(op.is_presence());
        self.ops.push(op);
    }

    /// Appends a message whose text `write` produces.
    pub(super) fn send(&mut self, to: Audience<R>, treatment: Treatment, write: impl FnOnce(&mut Vec<u8>)) {
        let text = append(&mut self.text, write);
        self.ops.push(Op::Send { to, text, treatment });
    }

    /// Keeps the operations up to the `most`-th presence change; gives those behind it.
    pub(super) fn split_behind(&mut self, most: usize) -> Batch<R> {
        if self.presences <= most {
            return Batch::default();
        }
        let presences = self.ops.iter().enumerate().filter(|(_, op)| op.is_presence());
        let cut = presences.map(|(at, _)| at + 1).nth(most.saturating_sub(1)).unwrap_or(self.ops.len());
        let mut ops = self.ops.split_off(cut);
        let start = ops.iter().find_map(|op| if let Op::Send { text, .. } = op { Some(text.start) } else { None });
        let text = start.map_or_else(Vec::new, |start| self.text.split_off(start as usize));
        for op in &mut ops {
            if let (Op::Send { text, .. }, Some(start)) = (op, start) {
                *text = text.start - start..text.end - start;
            }
        }
        let presences = ops.iter().filter(|op| op.is_presence()).count();
        self.presences -= presences;
        Batch { ops, text, presences, filtered: self.filtered, listeners: Vec::new() }
    }

    /// Turns presence changes into messages that carry `list`.
    pub(super) fn resolve(&mut self, list: &str, encode: impl Fn(&mut Vec<u8>, &Change, &str)) {
        if self.presences == 0 {
            return;
        }
        for op in &mut self.ops {
            if let Op::Presence { change, .. } = op {
                let text = append(&mut self.text, |out| encode(out, change, list));
                let leave = Op::Leave { slot: Slot(0), last: None };
                if let Op::Presence { to, .. } = std::mem::replace(op, leave) {
                    *op = Op::Send { to, text, treatment: Treatment::PRESENCE };
                }
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

    /// One step of a queue, from a letter: a message that says it, `+` a presence change, `-` an operation that says
    /// nothing.
    pub(in super::super) fn op(letter: char) -> Option<Op<()>> {
        match letter {
            '+' => {
                let changed = Object::encode(&serde_json::json!({})).expect("an object");
                let user = UserId::new("a").expect("valid");
                let change = Change { kind: PresenceKind::Join, user, changed, request_id: 0 };
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

    #[test]
    fn a_batch_is_cut_behind_a_change_with_its_text_and_its_counts() {
        let table =
            [("a+b+c", 3, "a+b+c"), ("a+b+-c", 2, "a+b+-c"), ("a+b+c", 1, "a+"), ("a+b+c", 0, "a+"), ("ab", 0, "ab")];
        for (all, most, expected) in table {
            let mut front = batch(all);
            let back = front.split_behind(most);
            for (part, expected) in [(&front, expected), (&back, &all[expected.len()..])] {
                let count = |wanted: fn(&char) -> bool| expected.chars().filter(wanted).count();
                assert_eq!(word(part), expected, "{all}, at most {most}");
                assert_eq!(part.bytes(), count(char::is_ascii_alphabetic), "{all}, at most {most}");
                assert_eq!(part.presences, count(|letter| *letter == '+'), "{all}, at most {most}");
            }
        }
    }

    #[test]
    fn a_resolved_change_is_a_message_for_those_it_was_for_and_is_given_up_for_a_newer_one() {
        let mut batch = batch("a+b");
        batch.resolve("[]", |out, change, list| out.extend(format!("{} {list}", change.user.as_str()).bytes()));
        let (to, text, treatment) = batch.messages().nth(1).expect("the second of three");
        assert!(matches!(to, Audience::Tracked));
        assert_eq!((text, treatment), (&b"a []"[..], Treatment::PRESENCE));
        assert_eq!(word(&batch), "aa []b");
        assert!(batch.split_behind(0).is_empty(), "nothing of it is a change any more");
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
