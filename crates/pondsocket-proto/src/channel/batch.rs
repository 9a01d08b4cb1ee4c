use std::ops::Range;

use super::{Seats, Slot};
use crate::id::UserId;
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
    /// From here on it receives nothing.
    Leave { slot: Slot },
    /// From here on these connections do (or don't) receive presence.
    Track { seats: Seats, on: bool },
    /// A message; `text` is a range of the batch's text.
    Send { to: Audience<R>, text: Range<u32> },
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

/// A part of a channel's queue: operations and the text of their messages, in one order.
#[derive(Debug)]
pub struct Batch<R> {
    pub(super) ops: Vec<Op<R>>,
    pub(super) text: Vec<u8>,
    pub(super) presences: usize,
}

impl<R> Default for Batch<R> {
    fn default() -> Self {
        Batch { ops: Vec::new(), text: Vec::new(), presences: 0 }
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

    pub(super) fn push(&mut self, op: Op<R>) {
        self.presences += usize::from(matches!(op, Op::Presence { .. }));
        self.ops.push(op);
    }

    /// Appends a message whose text `write` produces.
    pub(super) fn send(&mut self, to: Audience<R>, write: impl FnOnce(&mut Vec<u8>)) {
        let text = append(&mut self.text, write);
        self.ops.push(Op::Send { to, text });
    }

    /// Keeps the operations up to, and including, the `most`-th presence change; gives those behind it.
    pub(super) fn split_after_presence(&mut self, most: usize) -> Batch<R> {
        let mut presences = self.ops.iter().enumerate().filter(|(_, op)| matches!(op, Op::Presence { .. }));
        let Some((last, _)) = presences.nth(most.saturating_sub(1)) else { return Batch::default() };
        let mut ops = self.ops.split_off(last + 1);
        let start = ops.iter().find_map(|op| if let Op::Send { text, .. } = op { Some(text.start) } else { None });
        let text = start.map_or_else(Vec::new, |start| self.text.split_off(start as usize));
        for op in &mut ops {
            if let (Op::Send { text, .. }, Some(start)) = (op, start) {
                *text = text.start - start..text.end - start;
            }
        }
        let rest = self.presences - most;
        self.presences = most;
        Batch { ops, text, presences: rest }
    }

    /// Turns presence changes into messages that carry `list`.
    pub(super) fn resolve(&mut self, list: &str, encode: impl Fn(&mut Vec<u8>, &Change, &str)) {
        if self.presences == 0 {
            return;
        }
        for op in &mut self.ops {
            if let Op::Presence { change, .. } = op {
                let text = append(&mut self.text, |out| encode(out, change, list));
                let leave = Op::Leave { slot: Slot(0) };
                if let Op::Presence { to, .. } = std::mem::replace(op, leave) {
                    *op = Op::Send { to, text };
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
