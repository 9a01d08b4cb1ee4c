mod kept_message;
mod marks;
mod removed;
mod texts;

use std::collections::VecDeque;
use std::sync::Arc;

use kept_message::to_bytes;
pub(in crate::channel) use kept_message::{Exclusion, KeptMessage};
use marks::Marks;
pub(super) use removed::RemovedUsers;
use texts::{Texts, make_room_for_entry};

use super::GapReason;
use crate::channel::DeliveryPolicy;
use crate::id::UserId;
use crate::position::{Epoch, Position};

/// The limits of a channel's history, and the form of its messages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HistoryRules {
    /// The most messages that are kept.
    pub messages: usize,
    /// The most bytes of their texts.
    pub bytes: usize,
    /// The time for which a message is kept, in milliseconds.
    pub ttl: u64,
    /// The most messages that one join replays.
    pub replay_messages: usize,
    /// The most bytes that one join replays.
    pub replay_bytes: usize,
    /// The key under which the payload of a message carries its position; `None` if it carries none.
    pub stamp: Option<Box<str>>,
    /// Replies do not wait for the positions of messages that were sent ahead of them, in a history that nodes share.
    pub replies_overtake: bool,
}

/// The last messages of a channel. Offsets are contiguous: each message that is appended has the next one, and messages
/// are removed from the front.
///
/// A position can be **held** while a join handler decides: the messages behind it stay, within twice the limits. It can
/// be **queued** while a replay from there waits for delivery: then they stay in any case. The queue of the channel bounds
/// what can be appended meanwhile.
///
/// A history that nodes share begins at the offset at which it was read, and anew with each epoch of the store.
#[derive(Debug)]
pub struct Ring {
    rules: Arc<HistoryRules>,
    pub(super) epoch: Epoch,
    /// The offset of the first entry, or of the next message if there are no entries.
    pub(super) first: u64,
    pub(super) entries: VecDeque<KeptMessage>,
    /// The texts of the entries.
    texts: Texts,
    /// The time as of the last [`advance`](Self::advance), in milliseconds.
    pub(super) now: u64,
    /// The time at which a message was last appended or replayed.
    pub(super) used_at: u64,
    /// The time until which the history is kept although it may be empty: a client that was in the channel alone may resume.
    pub(super) lingers_until: u64,
    /// The reason for which the newest of the removed messages was removed.
    pub(super) removed_for: GapReason,
    held: Marks,
    queued: Marks,
    pub(super) removed: RemovedUsers,
}

impl Ring {
    /// An empty history.
    pub fn new(rules: Arc<HistoryRules>, epoch: Epoch) -> Ring {
        Ring {
            rules,
            epoch,
            first: 1,
            entries: VecDeque::new(),
            texts: Texts::default(),
            now: 0,
            used_at: 0,
            lingers_until: 0,
            removed_for: GapReason::Trimmed,
            held: Marks::default(),
            queued: Marks::default(),
            removed: RemovedUsers::default(),
        }
    }

    pub(in crate::channel) fn rules(&self) -> &Arc<HistoryRules> {
        &self.rules
    }

    /// The position of the last message that was appended.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, offset: self.top() }
    }

    /// The position of the next message.
    pub(in crate::channel) fn next(&self) -> Position {
        Position { epoch: self.epoch, offset: self.top() + 1 }
    }

    fn top(&self) -> u64 {
        self.first + self.entries.len() as u64 - 1
    }

    /// Notes that a user was removed from the channel: it does not resume from an earlier position. `joined_elsewhere` is the time of
    /// its latest join on other nodes.
    pub(in crate::channel) fn note_removed(&mut self, user: &UserId, joined_elsewhere: u64) {
        self.removed.note(user, self.position(), self.first, joined_elsewhere);
        while let Some(Position { epoch, offset }) = self.removed.take_excess(self.epoch) {
            while epoch == self.epoch
                && self.first <= offset + 1
                && !self.entries.is_empty()
                && !self.queued.keep(self.first)
            {
                self.remove_first(GapReason::Trimmed);
            }
        }
    }

    /// Notes that a user has joined, and gets everything behind a position: after a removal it may resume from there on.
    pub(in crate::channel) fn note_accepted(&mut self, user: &UserId, from: Position) {
        self.removed.note_accepted(user, from);
    }

    /// Notes the time of the latest join of a user on other nodes: if that is behind its removal, it may resume.
    pub(in crate::channel) fn note_elsewhere(&mut self, user: &UserId, joined: u64) {
        self.removed.note_elsewhere(user, joined);
    }

    /// Removals of the epoch `own`, which this node had for itself, count up to the last message of this one.
    pub(in crate::channel) fn carry_removals(&mut self, own: Epoch) {
        self.removed.carry(own, self.position());
    }

    /// Returns `true` if a user was removed from the channel since this position, and was not accepted again.
    pub(in crate::channel) fn has_removed(&self, user: &UserId, position: Position) -> bool {
        self.removed.has(user, position)
    }

    /// The number of messages that are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns `true` if no message is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The memory that the messages take, in bytes.
    pub fn bytes(&self) -> usize {
        self.texts.capacity() + self.entries.capacity() * size_of::<KeptMessage>()
    }

    /// Returns `true` if messages are kept, or a join handler holds a position, or the last member has left a short time ago.
    pub fn is_needed(&self) -> bool {
        !self.entries.is_empty() || !self.held.is_empty() || self.now < self.lingers_until
    }

    /// The last member has left: it may resume for as long as a message is kept.
    pub(in crate::channel) fn linger(&mut self) {
        self.lingers_until = self.now.saturating_add(self.rules.ttl);
    }

    /// Sets the time, in milliseconds, and removes what has expired. Time does not go back.
    pub fn advance(&mut self, now: u64) {
        self.now = self.now.max(now);
        let ttl = self.rules.ttl;
        while self.entries.front().is_some_and(|entry| entry.at().saturating_add(ttl) <= self.now)
            && !self.held.keep(self.first)
            && !self.queued.keep(self.first)
        {
            self.remove_first(GapReason::Expired);
        }
        self.release_memory();
    }

    /// Removes all messages but those of replays that wait, to save memory, and, unless `even_held`, those that are held. Returns
    /// the number of them.
    pub fn clear(&mut self, even_held: bool) -> usize {
        self.lingers_until = 0;
        let before = self.entries.len();
        let stays = |ring: &Ring| ring.queued.keep(ring.first) || !even_held && ring.held.keep(ring.first);
        while !self.entries.is_empty() && !stays(self) {
            self.remove_first(GapReason::Trimmed);
        }
        self.release_memory();
        before - self.entries.len()
    }

    /// Begins anew behind a position, without messages. Replays that wait have copied their messages.
    pub(in crate::channel) fn restart(&mut self, position: Position) {
        self.queued.clear();
        self.held.clear();
        self.removed.forget_accepted();
        while !self.entries.is_empty() {
            self.remove_first(GapReason::Trimmed);
        }
        (self.epoch, self.first) = (position.epoch, position.offset + 1);
    }

    /// The time at which a message was last appended or replayed, in milliseconds.
    pub fn used_at(&self) -> u64 {
        self.used_at
    }

    /// Notes that messages are read: histories that are in use are emptied last.
    pub(in crate::channel) fn touch(&mut self) {
        self.used_at = self.now;
    }

    /// Keeps a message at the next position, and removes the oldest messages for it. A message that is larger than the
    /// whole history has a position, but is not kept.
    /// `age` is the time since the message was sent, in milliseconds.
    pub(in crate::channel) fn append(
        &mut self,
        text: &[u8],
        policy: DeliveryPolicy,
        excluded: Option<Exclusion>,
        age: u64,
    ) {
        self.used_at = self.now;
        while !self.entries.is_empty() && !self.fits(text.len(), 1) && !self.stays(text.len()) {
            self.remove_first(GapReason::Trimmed);
        }
        if self.entries.is_empty() && !self.fits(text.len(), 1) {
            self.removed_for = GapReason::Trimmed;
            self.first += 1;
            return;
        }
        let HistoryRules { messages, bytes, .. } = *self.rules;
        self.texts.make_room(text.len(), self.entries.len(), (messages, bytes));
        make_room_for_entry(&mut self.entries, messages);
        // A message is far smaller than 4 GiB: the queue of the channel takes no larger ones.
        let length = u32::try_from(text.len()).expect("a message is bounded far below 4 GiB");
        let start = self.texts.append(text);
        let at = to_bytes(self.now.saturating_sub(age));
        self.entries.push_back(KeptMessage { start, length, policy, at, excluded: excluded.map(Box::new) });
    }

    /// Gives the next position to a message that is not kept, and removes those ahead of it. Replays that wait have copied their
    /// messages.
    pub(in crate::channel) fn skip(&mut self) {
        while !self.entries.is_empty() {
            self.remove_first(GapReason::Trimmed);
        }
        self.first += 1;
    }

    /// Returns `true` if the first message stays although the limits are exceeded by another one of `bytes`.
    fn stays(&self, bytes: usize) -> bool {
        self.queued.keep(self.first) || self.held.keep(self.first) && self.fits(bytes, 2)
    }

    /// Returns `true` if a message of `bytes` fits into the limits, multiplied by `times`.
    fn fits(&self, bytes: usize, times: usize) -> bool {
        let HistoryRules { messages, bytes: most, .. } = *self.rules;
        self.entries.len() < messages.saturating_mul(times)
            && self.texts.len().saturating_add(bytes) <= most.saturating_mul(times)
    }

    fn remove_first(&mut self, reason: GapReason) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.texts.remove_first(entry.length);
        self.first += 1;
        self.removed_for = reason;
    }

    fn release_memory(&mut self) {
        if self.texts.release_memory() {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    /// The offset of a position of this history, if everything behind it is kept.
    pub(in crate::channel) fn resume(&self, position: Position) -> Result<u64, GapReason> {
        match position {
            Position { epoch, .. } if epoch != self.epoch => Err(GapReason::Epoch),
            Position { offset, .. } if offset > self.top() => Err(GapReason::Ahead),
            Position { offset, .. } if offset + 1 < self.first => Err(self.removed_for),
            Position { offset, .. } => Ok(offset),
        }
    }

    /// The offset before the last messages up to an offset: as many as are asked for, and one join may replay.
    pub(in crate::channel) fn before_last(&self, messages: usize, up_to: u64) -> u64 {
        let HistoryRules { replay_messages, replay_bytes, .. } = *self.rules;
        let (mut offset, mut bytes) = (up_to.min(self.top()), 0);
        let later = usize::try_from(self.top() - offset).unwrap_or(usize::MAX);
        for entry in self.entries.iter().rev().skip(later).take(messages.min(replay_messages)) {
            bytes += entry.length as usize;
            if bytes > replay_bytes {
                break;
            }
            offset -= 1;
        }
        offset
    }

    /// The texts of the last messages, the oldest first.
    pub fn last(&self, messages: usize) -> Vec<Vec<u8>> {
        let text = |entry| {
            let mut text = Vec::new();
            self.write(entry, &mut text);
            text
        };
        self.entries.iter().skip(self.entries.len().saturating_sub(messages)).map(text).collect()
    }

    /// The messages behind an offset that are kept, with their offsets.
    pub(in crate::channel) fn after(&self, offset: u64) -> impl Iterator<Item = (u64, &KeptMessage)> {
        let skipped = (offset + 1).saturating_sub(self.first);
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        (self.first + skipped as u64..).zip(self.entries.iter().skip(skipped))
    }

    /// Appends the text of a message.
    pub(in crate::channel) fn write(&self, entry: &KeptMessage, out: &mut Vec<u8>) {
        self.texts.write(entry.start, entry.length, out);
    }

    /// Keeps the messages behind an offset, within twice the limits, until [`release`](Self::release). Returns its position.
    pub fn hold(&mut self, offset: u64) -> Position {
        self.held.add(offset);
        Position { epoch: self.epoch, offset }
    }

    /// Ends a [`hold`](Self::hold). One of an earlier epoch has ended with that.
    pub fn release(&mut self, position: Position) {
        if position.epoch == self.epoch {
            self.held.remove(position.offset);
        }
    }

    /// Keeps the messages behind an offset, until [`unqueue`](Self::unqueue).
    pub(in crate::channel) fn queue(&mut self, offset: u64) {
        self.used_at = self.now;
        self.queued.add(offset);
    }

    /// Ends a [`queue`](Self::queue).
    pub(in crate::channel) fn unqueue(&mut self, offset: u64) {
        self.queued.remove(offset);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: DeliveryPolicy = DeliveryPolicy::BROADCAST;

    fn ring(messages: usize, bytes: usize) -> Ring {
        Ring::new(Arc::new(HistoryRules::of(messages, bytes)), Epoch::new(1))
    }

    fn at(offset: u64) -> Position {
        Position { epoch: Epoch::new(1), offset }
    }

    fn kept(ring: &Ring, offset: u64) -> Vec<(u64, String)> {
        let text = |(offset, entry): (u64, &KeptMessage)| {
            let mut text = Vec::new();
            ring.write(entry, &mut text);
            (offset, String::from_utf8(text).expect("text"))
        };
        ring.after(offset).map(text).collect()
    }

    /// A step of a history, and of the plain vector that it is compared with.
    #[derive(Clone, Debug)]
    enum RingStep {
        Append(usize),
        Advance(u64),
        Clear,
    }

    fn step() -> impl Strategy<Value = RingStep> {
        prop_oneof![
            12 => (0..40usize).prop_map(RingStep::Append),
            2 => (0..600u64).prop_map(RingStep::Advance),
            1 => Just(RingStep::Clear),
        ]
    }

    proptest! {
        /// The messages are those of a vector from whose front the same ones are removed, and a position is accepted
        /// exactly if everything behind it is there.
        #[test]
        fn a_ring_is_a_vector_without_its_front(steps in prop::collection::vec(step(), 0..200)) {
            let mut ring = ring(8, 100);
            let (mut model, mut top, mut now): (Vec<(u64, String, u64)>, u64, u64) = (Vec::new(), 0, 0);
            for step in steps {
                match step {
                    RingStep::Append(length) => {
                        top += 1;
                        let text = char::from(b'a' + (top % 26) as u8).to_string().repeat(length);
                        ring.append(text.as_bytes(), POLICY, None, 0);
                        model.push((top, text, now));
                        while model.len() > 8 || model.iter().map(|(_, text, _)| text.len()).sum::<usize>() > 100 {
                            model.remove(0);
                        }
                    }
                    RingStep::Advance(by) => {
                        now += by;
                        ring.advance(now);
                        model.retain(|(_, _, sent)| sent + 1000 > now);
                    }
                    RingStep::Clear => {
                        prop_assert_eq!(ring.clear(false), model.len());
                        model.clear();
                    }
                }
                let all: Vec<_> = model.iter().map(|(offset, text, _)| (*offset, text.clone())).collect();
                prop_assert_eq!(kept(&ring, 0), all.clone());
                prop_assert_eq!(ring.position(), at(top));
                let first = all.first().map_or(top + 1, |(offset, _)| *offset);
                for offset in 0..top + 2 {
                    let resumed = ring.resume(at(offset));
                    prop_assert_eq!(resumed.is_ok(), offset + 1 >= first && offset <= top, "{}", offset);
                    if resumed.is_ok() {
                        prop_assert_eq!(kept(&ring, offset).len() as u64, top - offset);
                    }
                }
                prop_assert!(ring.texts.capacity() <= 100 && ring.entries.capacity() <= 8);
            }
        }
    }

    #[test]
    fn the_reason_for_a_gap_is_that_of_the_newest_message_that_is_missing() {
        let mut ring = ring(2, 100);
        for text in ["a", "b", "c"] {
            ring.append(text.as_bytes(), POLICY, None, 0);
        }
        assert_eq!((ring.resume(at(0)), ring.resume(at(1))), (Err(GapReason::Trimmed), Ok(1)));
        ring.advance(1000);
        assert_eq!((ring.resume(at(1)), ring.resume(at(3))), (Err(GapReason::Expired), Ok(3)));
        assert_eq!(ring.resume(at(4)), Err(GapReason::Ahead));
        assert_eq!(ring.resume(Position { epoch: Epoch::new(2), offset: 3 }), Err(GapReason::Epoch));
        ring.append(&[b'x'; 101], POLICY, None, 0);
        assert_eq!((ring.position(), ring.resume(at(3)), ring.resume(at(4))), (at(4), Err(GapReason::Trimmed), Ok(4)));
    }

    #[test]
    fn a_held_position_keeps_messages_up_to_twice_the_limits_and_beyond_their_time() {
        let mut ring = ring(2, 100);
        ring.append(b"a", POLICY, None, 0);
        let held = ring.hold(0);
        for text in ["b", "c", "d"] {
            ring.append(text.as_bytes(), POLICY, None, 0);
        }
        ring.advance(5000);
        assert_eq!((kept(&ring, 0).len(), ring.resume(at(0)), ring.is_needed()), (4, Ok(0), true));
        ring.append(b"e", POLICY, None, 0);
        assert_eq!(ring.resume(at(0)), Err(GapReason::Trimmed));
        ring.release(held);
        ring.advance(6000);
        assert!(!ring.is_needed());
    }

    #[test]
    fn a_queued_position_keeps_messages_beyond_all_limits() {
        let mut ring = ring(2, 3);
        ring.append(b"a", POLICY, None, 0);
        ring.queue(0);
        ring.queue(0);
        for _ in 0..9 {
            ring.append(b"bb", POLICY, None, 0);
        }
        ring.advance(5000);
        ring.unqueue(0);
        assert_eq!((ring.clear(true), kept(&ring, 0).len()), (0, 10));
        ring.unqueue(0);
        ring.advance(5000);
        assert!(ring.is_empty());
        assert_eq!(ring.bytes(), 0);
    }

    #[test]
    fn the_last_messages_are_as_many_as_one_join_may_replay() {
        let mut ring = ring(300, 10_000);
        for length in [60, 50, 30, 20] {
            ring.append(&vec![b'x'; length], POLICY, None, 0);
        }
        assert_eq!([0, 1, 2, 9].map(|messages| ring.before_last(messages, 4)), [4, 3, 2, 1]);
        assert_eq!(ring.before_last(1, 2), 1);
    }

    #[test]
    fn a_full_history_takes_little_more_than_its_messages() {
        for messages in [100, 300, 1000] {
            let (mut ring, mut texts) = (ring(messages, 1 << 20), 0);
            for n in 0..3 * messages {
                let text = vec![b'x'; 290 + n % 10];
                texts += if n >= 2 * messages { text.len() } else { 0 };
                ring.append(&text, POLICY, None, 0);
            }
            assert_eq!(ring.len(), messages);
            let most = texts + 32 * messages;
            assert!(ring.bytes() <= most, "{messages} messages take {} bytes, not {most}", ring.bytes());
        }
    }

    #[test]
    fn a_history_over_its_limits_does_not_move_with_each_message() {
        const MESSAGES: usize = 1000;
        // Bounded by the number of messages, and by their bytes.
        for (bytes, kept) in [(1 << 20, MESSAGES), (64 * 100, 64)] {
            for (is_queued, times) in [(false, 2), (true, 4)] {
                let mut ring = ring(MESSAGES, bytes);
                (0..2 * kept).for_each(|_| ring.append(&[b'x'; 100], POLICY, None, 0));
                if is_queued {
                    ring.queue(ring.first - 1);
                } else {
                    ring.hold(ring.first - 1);
                }
                let (mut moves, mut before) = (0, (ring.texts.capacity(), ring.entries.capacity()));
                while ring.len() < times * kept {
                    ring.append(&[b'x'; 100], POLICY, None, 0);
                    let now = (ring.texts.capacity(), ring.entries.capacity());
                    moves += usize::from(now.0 != before.0) + usize::from(now.1 != before.1);
                    before = now;
                    let texts = 100 * ring.len();
                    assert!(now.0 <= bytes.max(texts + texts / 15), "{} for {texts} bytes", now.0);
                    assert!(now.1 <= MESSAGES.max(ring.len() + ring.len() / 15 + 1), "{} for {}", now.1, ring.len());
                }
                assert!(moves <= 50, "{moves} moves for {} more messages", (times - 1) * kept);
            }
        }
    }

    #[test]
    fn texts_are_found_behind_the_first_4_gib_of_them() {
        let mut ring = ring(3, 100);
        ring.texts.start = u64::from(u32::MAX) - 4;
        for text in ["one", "two", "three", "four"] {
            ring.append(text.as_bytes(), POLICY, None, 0);
        }
        let texts: Vec<_> = kept(&ring, 0).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["two", "three", "four"]);
    }

    #[test]
    fn an_entry_takes_24_bytes() {
        assert_eq!(size_of::<KeptMessage>(), 24);
    }
}
