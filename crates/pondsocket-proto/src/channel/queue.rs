use std::collections::{BTreeSet, VecDeque};

use super::barrier::{Barrier, PendingMessage, Place};
use super::batch::{HistoryGap, Op, PresenceChange};
use super::{Audience, Batch, DeliveryPolicy, Listener, Ring, Seats, Slot};
use crate::id::UserId;
use crate::position::Position;

/// The size of a portion in bytes per recipient, unless one message alone is larger. Between two portions the delivery
/// checks which recipients keep up, so a slow recipient is at most one portion over its limit.
const PORTION: usize = 256 << 10;

/// The operations that wait for delivery, in one order, divided into portions. Filtered messages are in portions of
/// their own, because they are delivered in another way, and no portion is larger than a recipient can be expected to
/// take at once. The queue is divided when operations are appended, so that taking a portion does not touch the later
/// ones.
///
/// In a history that nodes share, a message waits at a [`Barrier`] for its position. What was appended behind it waits with
/// it, so that the order of the queue stays. Messages of other nodes come ahead of the first barrier.
#[derive(Debug)]
pub(super) struct Queue<R> {
    /// The portions that can be delivered.
    portions: VecDeque<Batch<R>>,
    /// The barriers, in order, with the portions that wait.
    barriers: VecDeque<Barrier<R>>,
    // Sums over all portions. They are kept up to date, because the limits are checked at every broadcast.
    ops: usize,
    bytes: usize,
    /// The number of filtered portions.
    filtered: usize,
    /// The number of [leavers](Op::is_leaver).
    leavers: usize,
    presences: usize,
}

impl<R> Default for Queue<R> {
    fn default() -> Self {
        // Of one: usually there are not more, and an idle channel keeps the room.
        let (portions, barriers) = (VecDeque::with_capacity(1), VecDeque::new());
        Queue { portions, barriers, ops: 0, bytes: 0, filtered: 0, leavers: 0, presences: 0 }
    }
}

impl<R> Queue<R> {
    /// Returns `true` if nothing can be delivered.
    pub(super) fn is_empty(&self) -> bool {
        self.portions.is_empty()
    }

    /// Returns `true` if something waits at a barrier.
    pub(super) fn is_barred(&self) -> bool {
        !self.barriers.is_empty()
    }

    /// The number of operations that wait.
    pub(super) fn len(&self) -> usize {
        self.ops
    }

    /// The size of the messages that wait, in bytes, without a presence list that all recipients share.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of presence changes that wait.
    pub(super) fn presences(&self) -> usize {
        self.presences
    }

    /// Returns `true` if an outgoing handler is yet to decide about a message.
    pub(super) fn is_filtered(&self) -> bool {
        self.filtered > 0
    }

    pub(super) fn push(&mut self, op: Op<R>) {
        self.add(op, PORTION);
    }

    /// Appends a notice that members miss kept messages. It has a portion of its own.
    pub(super) fn push_gap(&mut self, seats: Seats, gap: HistoryGap) {
        self.ops += 1;
        let ops = vec![Op::Gap { seats, gap }];
        end(&mut self.portions, &mut self.barriers).push_back(Batch { ops, ..Batch::default() });
    }

    /// Appends a presence change, which may be sent with a list of `list` bytes.
    pub(super) fn push_presence(&mut self, to: Audience<R>, change: PresenceChange, list: usize) {
        // One list serves all changes of a portion. A list that is larger than a portion extends the portion to its own
        // size: otherwise each change would be in a portion of its own, and be sent with a list of its own.
        self.add(Op::Presence { to, change }, PORTION.max(list));
    }

    fn add(&mut self, op: Op<R>, most: usize) {
        self.ops += 1;
        self.leavers += usize::from(op.is_leaver());
        if let (Op::Join { .. } | Op::Leave { .. }, Some(last)) = (&op, self.barriers.back_mut()) {
            last.moves += 1;
        }
        // Operations without a message go into unfiltered portions: they need no decision of an outgoing handler.
        let portion = portion(end(&mut self.portions, &mut self.barriers), &mut self.filtered, false, most);
        let (weight, presences) = (portion.weight(), portion.presences);
        portion.push(op);
        let (weight, presences) = (portion.weight() - weight, portion.presences - presences);
        self.bytes += weight;
        self.presences += presences;
    }

    /// Appends a message whose text `write` produces, and returns the text.
    pub(super) fn send(&mut self, to: Audience<R>, policy: DeliveryPolicy, write: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        self.ops += 1;
        let end = end(&mut self.portions, &mut self.barriers);
        let portion = portion(end, &mut self.filtered, policy.filtered, PORTION);
        let text = portion.send(to, policy, write);
        self.bytes += text.len();
        text
    }

    /// Notes that the last message is kept at a position.
    pub(super) fn keep(&mut self, position: Position) {
        if let Some(last) = self.portions.back_mut() {
            last.keep(position);
        }
        self.reach(position);
    }

    /// Notes that the last portion ends at this position of the history. What waits at a barrier has a later one.
    pub(super) fn reach(&mut self, position: Position) {
        if self.is_barred() {
            return;
        }
        if let Some(last) = self.portions.back_mut() {
            last.position = Some(position);
        }
    }

    /// Returns `true` if the first portion has presence changes, which need the list.
    pub(super) fn shows_presence(&self) -> bool {
        self.portions.front().is_some_and(|portion| portion.presences > 0)
    }

    /// Takes the first portion.
    pub(super) fn take(&mut self) -> Batch<R> {
        let Some(portion) = self.portions.pop_front() else { return Batch::default() };
        self.filtered -= usize::from(portion.is_filtered());
        self.ops -= portion.len();
        self.bytes -= portion.weight();
        self.presences -= portion.presences;
        self.leavers -= portion.ops.iter().filter(|op| op.is_leaver()).count();
        portion
    }

    /// Puts the members that leave in a later portion back into their slots, as they were when they left.
    pub(super) fn seat_leavers(&self, listeners: &mut [Option<Listener>]) {
        // The usual case: no member has left behind a filtered message, and the portions need not be walked.
        if self.leavers == 0 {
            return;
        }
        // Backwards, so that of several members that leave the same slot the first one wins: it is the one that had the
        // slot when the messages of this portion were queued.
        let barred = self.barriers.iter().rev().flat_map(|barrier| barrier.behind.iter().rev());
        for op in barred.chain(self.portions.iter().rev()).flat_map(|portion| portion.ops.iter().rev()) {
            if let Op::Leave { slot, last: Some(last) } = op {
                listeners[slot.index()] = Some(Listener::clone(last));
            }
        }
    }
}

/// The barriers of a queue, while something else is appended ahead of them.
pub(super) struct Barriers<R>(VecDeque<Barrier<R>>);

impl<R> Queue<R> {
    /// Appends a barrier: what is appended from now on waits behind it.
    pub(super) fn bar(&mut self, place: Place<R>) {
        self.ops += 1;
        self.bytes += place.weight();
        self.barriers.push_back(Barrier { place, behind: VecDeque::new(), moves: 0 });
    }

    /// The first barrier.
    pub(super) fn first_place(&self) -> Option<&Place<R>> {
        self.barriers.front().map(|barrier| &barrier.place)
    }

    /// The message with this number, if it waits.
    pub(super) fn pending_mut(&mut self, number: u64) -> Option<&mut PendingMessage<R>> {
        self.barriers.iter_mut().find_map(|barrier| match &mut barrier.place {
            Place::Message(message) if message.number == number => Some(message),
            _ => None,
        })
    }

    /// Takes a message out of its place, which stays empty. It is to be appended ahead of all barriers.
    pub(super) fn take_pending(&mut self, number: u64) -> Option<PendingMessage<R>> {
        let is_meant =
            |barrier: &Barrier<R>| matches!(&barrier.place, Place::Message(message) if message.number == number);
        let at = self.barriers.iter().position(is_meant)?;
        self.bytes -= self.barriers[at].place.weight();
        let Place::Message(mut message) = std::mem::replace(&mut self.barriers[at].place, Place::Empty) else {
            return None;
        };
        // Of the connections that it leaves out, those that join behind an earlier barrier are not there yet.
        let joining = moves(self.barriers.range(..at)).filter_map(Move::join).collect();
        message.to = message.to.ahead_of(&joining);
        Some(message)
    }

    /// Takes the first barrier out. Then the caller appends what belongs in its place, and [releases](Self::release) what
    /// waited behind it.
    pub(super) fn open(&mut self) -> Option<(Place<R>, VecDeque<Batch<R>>)> {
        let Barrier { place, behind, .. } = self.barriers.pop_front()?;
        self.ops -= 1;
        self.bytes -= place.weight();
        Some((place, behind))
    }

    /// Appends what waited behind a barrier to what can be delivered. Small portions are joined, because each costs a write
    /// for each recipient.
    pub(super) fn release(&mut self, behind: VecDeque<Batch<R>>) {
        for portion in behind {
            match self.portions.back_mut() {
                Some(last)
                    if last.accepts(portion.is_filtered(), PORTION)
                        && portion.replays.is_none()
                        && !portion.is_gap() =>
                {
                    self.filtered -= usize::from(portion.is_filtered());
                    last.append(portion);
                }
                _ => self.portions.push_back(portion),
            }
        }
    }

    /// Takes all barriers out, so that what is appended comes ahead of them. The caller [puts them back](Self::put_back).
    pub(super) fn lift(&mut self) -> Barriers<R> {
        Barriers(std::mem::take(&mut self.barriers))
    }

    /// Puts the barriers back.
    pub(super) fn put_back(&mut self, Barriers(barriers): Barriers<R>) {
        self.barriers = barriers;
    }

    /// Copies the texts of all replays that wait, because the history begins anew.
    pub(super) fn copy_replays(&mut self, ring: &mut Ring) {
        let barred = self.barriers.iter_mut().flat_map(|barrier| &mut barrier.behind);
        self.portions.iter_mut().chain(barred).for_each(|portion| portion.copy_replays(ring));
    }
}

impl<R> Barriers<R> {
    /// Returns `true` if nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The slots of the connections that join behind a barrier: in the order of the queue they have not joined yet.
    pub(super) fn joining(&self) -> BTreeSet<Slot> {
        moves(self.0.iter()).filter_map(Move::join).collect()
    }

    /// The slots of the connections that leave behind a barrier, with their members: in the order of the queue they are still
    /// there.
    pub(super) fn leaving(&self) -> Vec<(Slot, Option<&Listener>)> {
        let mut seen = BTreeSet::new();
        // Of several connections in one slot only the first can be there.
        let first = moves(self.0.iter()).filter(|moved| seen.insert(moved.slot()));
        first.filter_map(|moved| if let Move::Leave(slot, last) = moved { Some((slot, last)) } else { None }).collect()
    }

    /// Returns `true` if a change of the presence of a user waits behind a barrier.
    pub(super) fn shows(&self, user: &UserId) -> bool {
        let portions = self.0.iter().flat_map(|barrier| &barrier.behind).filter(|portion| portion.presences > 0);
        let mut changes = portions.flat_map(|portion| &portion.ops);
        changes.any(|op| matches!(op, Op::Presence { change, .. } if change.user == *user))
    }
}

/// A connection that joins or leaves.
enum Move<'a> {
    Join(Slot),
    Leave(Slot, Option<&'a Listener>),
}

impl Move<'_> {
    fn slot(&self) -> Slot {
        let (Move::Join(slot) | Move::Leave(slot, _)) = self;
        *slot
    }

    fn join(self) -> Option<Slot> {
        if let Move::Join(slot) = self { Some(slot) } else { None }
    }
}

/// The connections that join or leave behind these barriers, in order.
fn moves<'a, R: 'a>(barriers: impl Iterator<Item = &'a Barrier<R>>) -> impl Iterator<Item = Move<'a>> {
    // Most have none, and what waits need not be walked.
    let portions = barriers.filter(|barrier| barrier.moves > 0).flat_map(|barrier| &barrier.behind);
    portions.flat_map(|portion| &portion.ops).filter_map(|op| match op {
        Op::Join { slot, .. } => Some(Move::Join(*slot)),
        Op::Leave { slot, last } => Some(Move::Leave(*slot, last.as_deref())),
        _ => None,
    })
}

/// The portions to which operations are appended: those behind the last barrier, if there is one.
fn end<'a, R>(
    portions: &'a mut VecDeque<Batch<R>>,
    barriers: &'a mut VecDeque<Barrier<R>>,
) -> &'a mut VecDeque<Batch<R>> {
    barriers.back_mut().map_or(portions, |barrier| &mut barrier.behind)
}

/// The last portion, if it is of this kind and not full, or a new one. `count` is the number of filtered portions.
fn portion<'a, R>(
    portions: &'a mut VecDeque<Batch<R>>,
    count: &mut usize,
    filtered: bool,
    most: usize,
) -> &'a mut Batch<R> {
    if !portions.back().is_some_and(|last| last.accepts(filtered, most)) {
        *count += usize::from(filtered);
        portions.push_back(Batch { filtered, ..Batch::default() });
    }
    portions.back_mut().expect("just made, if there was none")
}

#[cfg(test)]
mod tests {
    use super::super::batch::tests::{letters, op};
    use super::super::{Assigns, Slot};
    use super::*;
    use crate::id::ConnectionId;
    use crate::wire::{Object, PresenceKind};

    const FILTERED: DeliveryPolicy = DeliveryPolicy { filtered: true, ..DeliveryPolicy::BROADCAST };

    /// A queue from letters: a letter is a message with this text, filtered if it is a capital; `+` is a presence
    /// change and `-` an operation without a message.
    fn queue(letters: &str) -> Queue<()> {
        let mut queue = Queue::default();
        for letter in letters.chars() {
            let policy = if letter.is_uppercase() { FILTERED } else { DeliveryPolicy::BROADCAST };
            match op(letter) {
                Some(op) => queue.push(op),
                None => {
                    queue.send(Audience::All, policy, |out| out.push(letter as u8));
                }
            }
        }
        queue
    }

    /// All portions of a queue, each filtered if its letters are capitals, and what is left is counted right at each
    /// step.
    fn portions(all: &str) -> Vec<String> {
        let (mut queue, mut portions, mut left) = (queue(all), Vec::new(), all);
        loop {
            assert_eq!((queue.is_empty(), queue.len()), (left.is_empty(), left.len()), "{all}: {left}");
            let presences = left.chars().filter(|letter| *letter == '+').count();
            let texts = left.chars().filter(char::is_ascii_alphabetic).count();
            assert_eq!((queue.bytes() > texts, queue.presences()), (presences > 0, presences), "{all}: {left}");
            assert_eq!(queue.is_filtered(), left.chars().any(char::is_uppercase), "{all}: {left}");
            if left.is_empty() {
                assert_eq!(queue.bytes(), 0);
                return portions;
            }
            let shows = queue.shows_presence();
            let portion = queue.take();
            let taken = letters(&portion);
            assert_eq!(shows, taken.contains('+'), "{all}: {taken}");
            assert_eq!(portion.is_filtered(), taken.chars().any(char::is_uppercase), "{all}: {taken}");
            left = left.strip_prefix(&taken).expect("in order");
            portions.push(taken);
        }
    }

    #[test]
    fn filtered_messages_are_taken_apart_from_the_others() {
        assert_eq!(portions("abc"), ["abc"]);
        assert_eq!(portions("abC"), ["ab", "C"]);
        assert_eq!(portions("ABcD"), ["AB", "c", "D"]);
        assert_eq!(portions("a-B-+cD"), ["a-", "B", "-+c", "D"]);
        assert_eq!(queue("").take().len(), 0);
    }

    /// The lengths of the texts in each portion.
    fn lengths(texts: &[usize]) -> Vec<Vec<usize>> {
        let mut queue = Queue::<()>::default();
        for length in texts {
            queue.send(Audience::All, DeliveryPolicy::BROADCAST, |out| out.resize(out.len() + length, b'x'));
        }
        let mut portions = Vec::new();
        while !queue.is_empty() {
            portions.push(queue.take().messages().map(|message| message.text.len()).collect());
        }
        portions
    }

    #[test]
    fn a_portion_is_full_when_it_has_its_bytes_however_large_a_message_is() {
        assert_eq!(lengths(&[PORTION - 1, 1, 1]), [vec![PORTION - 1, 1], vec![1]]);
        assert_eq!(lengths(&[1, 3 * PORTION, 1]), [vec![1, 3 * PORTION], vec![1]]);
    }

    #[test]
    fn changes_of_a_large_list_share_a_portion() {
        let portions = |list: usize| {
            let mut queue = Queue::<()>::default();
            for _ in 0..4 {
                let changed = Object::encode(&serde_json::json!({ "filler": "x".repeat(PORTION / 2) }));
                let (user, changed) = (UserId::new("a").expect("valid"), changed.expect("an object"));
                let change =
                    PresenceChange { kind: PresenceKind::Update, user, changed, request_id: 0, private_list: 0 };
                queue.push_presence(Audience::Tracked, change, list);
            }
            std::iter::from_fn(|| Some(queue.take().len()).filter(|taken| *taken > 0)).collect::<Vec<_>>()
        };
        assert_eq!(portions(0), [1, 1, 1, 1]);
        assert_eq!(portions(4 * PORTION), [4]);
    }

    #[test]
    fn the_first_of_several_members_that_leave_a_slot_is_its_listener_until_its_leave_is_taken() {
        let leave = |name: &str| {
            let (user, assigns) = (UserId::new(name).expect("valid"), Assigns::default());
            let last = Listener { connection: ConnectionId::from_u128(1), user, assigns, presence: None };
            Op::Leave { slot: Slot(0), last: Some(Box::new(last)) }
        };
        let mut queue = queue("A");
        queue.push(leave("ada"));
        queue.send(Audience::All, FILTERED, |out| out.push(b'B'));
        queue.push(leave("bob"));
        let seated = |queue: &Queue<()>| {
            let mut listeners = vec![None];
            queue.seat_leavers(&mut listeners);
            listeners[0].take().map(|listener: Listener| listener.user.to_string())
        };
        let mut at_each_step = vec![seated(&queue)];
        while !queue.is_empty() {
            queue.take();
            at_each_step.push(seated(&queue));
        }
        let (ada, bob) = (Some("ada".to_owned()), Some("bob".to_owned()));
        assert_eq!(at_each_step, [ada.clone(), ada, bob.clone(), bob, None]);
    }
}
