use std::collections::VecDeque;
use std::ops::Range;

/// The part of the memory of texts that a full history has free: its messages are not all of the same size, and it grows by as much
/// when they get larger.
const SLACK: usize = 64;

/// The part by which the memory of a history grows that is over its limits for a while: each growth copies everything.
const OVER: usize = 16;

/// The texts of the messages that are kept, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Texts {
    bytes: VecDeque<u8>,
    /// The place in the sequence of all texts at which `bytes` begins.
    pub(super) start: u64,
}

impl Texts {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends a text for which there is [room](Self::make_room). Returns the lower half of its place.
    pub(super) fn append(&mut self, text: &[u8]) -> u32 {
        let start = (self.start + self.bytes.len() as u64) as u32;
        self.bytes.extend(text);
        start
    }

    /// Removes the first text, which has this length.
    pub(super) fn remove_first(&mut self, length: u32) {
        self.bytes.drain(..length as usize);
        self.start += u64::from(length);
    }

    /// Writes the text with this place and length.
    pub(super) fn write(&self, start: u32, length: u32, out: &mut Vec<u8>) {
        let from = start.wrapping_sub(self.start as u32) as usize;
        let (front, back) = self.bytes.as_slices();
        let Range { start, end } = from..from + length as usize;
        out.extend_from_slice(&front[start.min(front.len())..end.min(front.len())]);
        out.extend_from_slice(&back[start.saturating_sub(front.len())..end.saturating_sub(front.len())]);
    }

    /// Reserves memory for one more text. `kept` is the number of those that are there. Full texts take as much as their limit
    /// `(messages, bytes)`, or as themselves if they are limited by their number, and not up to twice as much, which is how a
    /// collection grows by itself.
    pub(super) fn make_room(&mut self, length: usize, kept: usize, (messages, most): (usize, usize)) {
        let needed = self.bytes.len() + length;
        if needed <= self.bytes.capacity() {
            return;
        }
        let capacity = if kept >= messages || needed > most {
            needed + needed / OVER
        } else {
            // The texts of as many messages as are kept, if all are like those until now, and some more.
            let all = needed.saturating_mul(messages) / (kept + 1);
            let grown = (2 * self.bytes.capacity()).min(all.saturating_add(all / SLACK)).max(needed + needed / SLACK);
            grown.min(most)
        };
        self.bytes.reserve_exact(capacity - self.bytes.len());
    }

    /// Gives back memory once less than a quarter of it is in use. Returns `true` if it has.
    pub(super) fn release_memory(&mut self) -> bool {
        let is_wasteful = self.bytes.len() < self.bytes.capacity() / 4;
        if is_wasteful {
            self.bytes.shrink_to(2 * self.bytes.len());
        }
        is_wasteful
    }
}

/// Reserves memory for one more entry of a message. As many as are kept take no more than that.
pub(super) fn make_room_for_entry<T>(entries: &mut VecDeque<T>, messages: usize) {
    let len = entries.len();
    if len == entries.capacity() {
        let capacity = if len < messages { (2 * len).min(messages).max(len + 1) } else { len + len / OVER + 1 };
        entries.reserve_exact(capacity - len);
    }
}
