//! The history of a channel: messages that are kept, and their replay to connections that join.

use std::ops::Range;

use super::{Channel, Full, Published};
use crate::channel::batch::Op;
use crate::channel::history::{
    Exclusion, GapReason, HistoryRules, KeptMessage, Recovery, ResumeRequest, Ring, Unproven,
};
use crate::channel::{Audience, DeliveryPolicy, Listener, LocalTarget, Seats, Slot};
use crate::id::{ConnectionId, UserId};
use crate::position::Position;
use crate::wire::Resume;

impl<R> Channel<R> {
    /// The same channel, which keeps a history.
    #[must_use]
    pub fn with_history(self, ring: Ring) -> Self {
        Channel { history: Some(Box::new(ring)), ..self }
    }

    /// Notes that a user of another node was evicted: it does not resume from an earlier position, if it joins here. A user that is
    /// connected here has joined since, or is about to be evicted here as well.
    pub fn note_evicted(&mut self, user: &UserId) {
        let is_here = self.local.member(user.as_str()).is_some_and(|member| member.seats != Seats::None);
        if !is_here {
            self.note_removed(user);
        }
    }

    /// Notes that a user was removed from the channel.
    pub(super) fn note_removed(&mut self, user: &UserId) {
        let joined_elsewhere = self.remote.get(user.as_str()).map_or(0, |shown| shown.joined);
        if let Some(ring) = &mut self.history {
            ring.note_removed(user, joined_elsewhere);
        }
    }

    /// The history; `None` if the channel keeps none.
    pub fn history(&self) -> Option<&Ring> {
        self.history.as_deref()
    }

    /// The history, to advance its time, to hold positions and to clear it.
    pub fn history_mut(&mut self) -> Option<&mut Ring> {
        self.history.as_deref_mut()
    }

    /// Returns `true` if a message is kept. Its request id is its position then.
    pub fn keeps(&self, to: &LocalTarget, policy: DeliveryPolicy) -> bool {
        self.history.is_some() && policy.kept && !matches!(to, LocalTarget::Users(_))
    }

    /// Sends a message if it is [kept](Self::keeps). `None` if it is not: then nothing is sent. `payload` is the text of a
    /// JSON object without line breaks. `from` is the sender, as other nodes see it; `None` for the server.
    ///
    /// # Errors
    /// [`Full`], as for [`broadcast`](Self::broadcast).
    pub fn publish_kept(
        &mut self,
        from: Option<&str>,
        to: &LocalTarget,
        event: &str,
        payload: &str,
        policy: DeliveryPolicy,
    ) -> Result<Option<Published>, Full> {
        if self.keeps(to, policy) && self.exceeds(self.limits.hard_factor) {
            return Err(Full);
        }
        Ok(self.keep(from, to, event, payload, policy))
    }

    /// Appends a message to the history and to the queue, if it is kept. In a shared history it is appended once the store has
    /// given its position.
    pub(super) fn keep(
        &mut self,
        from: Option<&str>,
        to: &LocalTarget,
        event: &str,
        payload: &str,
        policy: DeliveryPolicy,
    ) -> Option<Published> {
        if !self.keeps(to, policy) {
            return None;
        }
        if self.asks_for_positions() {
            let members = self.ask_for_position(from, to, event, payload, policy);
            return Some(Published { members, position: None });
        }
        let ((audience, members), excluded) = (self.audience(to), self.exclusion(to));
        let position = self.history.as_deref()?.next();
        self.append_kept((members > 0).then_some(audience), event, payload, policy, (excluded, 0));
        Some(Published { members, position: Some(position) })
    }

    /// Keeps the history for a while if the last connection has left.
    pub(super) fn linger(&mut self) {
        if self.local.connection_count() == 0
            && let Some(ring) = &mut self.history
        {
            ring.linger();
        }
    }

    /// The recipients that a replay of a message leaves out.
    pub(super) fn exclusion(&self, to: &LocalTarget) -> Option<Exclusion> {
        match to {
            LocalTarget::All | LocalTarget::Users(_) => None,
            LocalTarget::ExceptUser(user) => UserId::new(user).ok().map(Exclusion::User),
            LocalTarget::ExceptConnection((slot, connection)) => {
                let user = self.local.is_seated(*slot, *connection).then(|| self.local.user(*slot)).flatten()?;
                Some(Exclusion::Connection(user.clone(), *slot, *connection))
            }
        }
    }

    /// Returns `true` if a user that has been away gets a message over the connection in a slot, or over one that is yet to be
    /// seated. A connection that sent a message and is no longer in the channel counts as the one that the user resumes with: it
    /// does not get its own messages back.
    fn is_missed(&self, user: &UserId, over: Option<Slot>, excluded: Option<&Exclusion>) -> bool {
        excluded.is_none_or(|excluded| {
            !excluded.leaves_out(user, |slot, connection| {
                // One that joins behind a barrier may have sent what its replay ends with.
                over == Some(slot) || !self.local.is_seated(slot, connection)
            })
        })
    }

    /// The outcome for a user that asks to resume, as of now.
    pub fn recovery(&self, user: &UserId, resume: Option<ResumeRequest>) -> Recovery {
        Missed::recovery(self.missed(user, resume))
    }

    /// The messages that a user missed.
    pub(super) fn missed(&self, user: &UserId, request: Option<ResumeRequest>) -> Option<Result<Missed, GapReason>> {
        let ring = self.history.as_deref()?;
        let ResumeRequest { resume, sent, is_unread, unproven, gap } = request?;
        let position = match resume {
            Resume::FromNothing => return None,
            Resume::FromUnknown => return Some(Err(GapReason::Epoch)),
            Resume::From(position) => position,
        };
        if ring.has_removed(user, position) {
            // What was sent since is not for a user that was put out.
            return None;
        }
        if let Some(reason) = gap {
            return Some(Err(reason));
        }
        if self.is_loading() {
            return Some(Err(GapReason::Epoch));
        }
        Some(ring.resume(position).and_then(|offset| {
            let HistoryRules { replay_messages, replay_bytes, .. } = **ring.rules();
            let (mut missed, mut bytes) = (Missed { offset, messages: 0, may_repeat: 0 }, 0);
            for (at, entry) in ring.after(offset) {
                if self.is_missed(user, None, entry.excluded.as_deref()) {
                    missed.messages += 1;
                    missed.may_repeat += usize::from(sent.is_some_and(|sent| at <= sent));
                    bytes += entry.length();
                    if missed.messages > replay_messages || bytes > replay_bytes {
                        return Err(GapReason::TooMany);
                    }
                }
            }
            // Sent by another node, and yet to arrive here: they come behind the replay.
            let ahead = match sent {
                Some(u64::MAX) if is_unread => usize::MAX,
                None | Some(u64::MAX) => 0,
                Some(sent) => usize::try_from(sent.saturating_sub(ring.position().offset)).unwrap_or(usize::MAX),
            };
            missed.messages = missed.messages.saturating_add(ahead);
            missed.may_repeat = missed.may_repeat.saturating_add(ahead);
            match unproven {
                // `Skip` has passed over those that are known.
                Unproven::Gap | Unproven::Skip if missed.may_repeat > 0 => Err(GapReason::Unproven),
                Unproven::Repeat | Unproven::Skip | Unproven::Gap => Ok(missed),
            }
        }))
    }

    /// The kept messages of these offsets that a replay sends to a user over the connection in a slot.
    pub(super) fn replayed(
        &self,
        user: &UserId,
        over: Slot,
        offsets: &Range<u64>,
    ) -> impl Iterator<Item = (u64, &KeptMessage)> {
        let kept = self.history.iter().flat_map(|ring| ring.after(offsets.start - 1));
        kept.take_while(|(offset, _)| *offset < offsets.end)
            .filter(move |(_, entry)| self.is_missed(user, Some(over), entry.excluded.as_deref()))
    }

    /// Queues the kept messages of these offsets for one connection.
    pub(super) fn replay(&mut self, slot: Slot, user: &UserId, offsets: Range<u64>) {
        let Some(ring) = self.history.as_deref() else { return };
        let mut pieces: Vec<ReplayPiece> = Vec::new();
        for (offset, entry) in self.replayed(user, slot, &offsets) {
            match pieces.last_mut() {
                // An outgoing handler decides about this message now, as about any other: it is queued as a text.
                _ if entry.policy.filtered => {
                    let mut text = Vec::with_capacity(entry.length());
                    ring.write(entry, &mut text);
                    pieces.push(ReplayPiece::Text(text, entry.policy.of_reply()));
                }
                Some(ReplayPiece::Offsets(last)) if last.end == offset => last.end += 1,
                _ => pieces.push(ReplayPiece::Offsets(offset..offset + 1)),
            }
        }
        for piece in pieces {
            match piece {
                ReplayPiece::Text(text, policy) => {
                    let to = Audience::Only(Seats::One(slot));
                    self.queue.send(to, policy, |out| out.extend_from_slice(&text));
                }
                ReplayPiece::Offsets(offsets) => {
                    // The texts are read when the batch is taken, and until then stay.
                    if let Some(ring) = &mut self.history {
                        ring.queue(offsets.start - 1);
                    }
                    self.queue.push(Op::Replay { slot, offsets });
                }
            }
        }
    }
}

/// The most that a connection takes of a history at once: at least one message.
#[derive(Clone, Copy, Debug)]
pub struct CatchUpLimits {
    /// The most messages.
    pub messages: usize,
    /// The most bytes of their texts.
    pub bytes: usize,
}

/// Kept messages for a connection that had no room for them.
#[derive(Debug, Default)]
pub struct CatchUp {
    /// The messages in order, each with its position and its text.
    pub messages: Vec<(Position, Vec<u8>, DeliveryPolicy)>,
    /// The offset up to which these are all messages for the connection.
    pub up_to: u64,
    /// The member, if the connection is in the channel.
    pub listener: Option<Listener>,
}

impl<R> Channel<R> {
    /// The member with a connection of this user, for an outgoing handler; `None` if the connection is not in the channel.
    pub fn listener_of(&self, user: &UserId, connection: ConnectionId) -> Option<Listener> {
        let seats = &self.local.member(user.as_str())?.seats;
        let slot = seats.as_slice().iter().copied().find(|slot| self.local.is_seated(*slot, connection))?;
        self.local.listener(slot)
    }

    /// Copies the kept messages from a position up to the offset `last`, as many as the limits allow, for a connection that
    /// had no room for them when they were sent. Messages that were not for it are left out.
    ///
    /// # Errors
    /// The reason for which the first of them is not kept any more.
    pub fn catch_up(
        &mut self,
        (user, connection): (&UserId, ConnectionId),
        from: Position,
        last: u64,
        limits: CatchUpLimits,
    ) -> Result<CatchUp, GapReason> {
        let listener = self.listener_of(user, connection);
        let ring = self.history.as_deref_mut().ok_or(GapReason::Epoch)?;
        let after = ring.resume(Position { offset: from.offset.saturating_sub(1), ..from })?;
        ring.touch();
        // Not `is_missed`, which is for a user that has been away: this connection was there when they were sent.
        let is_own = |excluded: &Exclusion| excluded.leaves_out(user, |_, sender| sender == connection);
        let (mut caught_up, mut bytes) = (CatchUp { up_to: last, listener, ..CatchUp::default() }, 0);
        for (offset, entry) in ring.after(after).take_while(|(offset, _)| *offset <= last) {
            if entry.excluded.as_deref().is_some_and(is_own) {
                continue;
            }
            let is_full = caught_up.messages.len() >= limits.messages || bytes + entry.length() > limits.bytes;
            if is_full && !caught_up.messages.is_empty() {
                caught_up.up_to = offset - 1;
                break;
            }
            let mut text = Vec::with_capacity(entry.length());
            ring.write(entry, &mut text);
            bytes += text.len();
            caught_up.messages.push((Position { offset, ..from }, text, entry.policy));
        }
        Ok(caught_up)
    }
}

/// The messages that a user missed.
#[derive(Clone, Copy)]
pub(super) struct Missed {
    /// The offset to resume from.
    pub(super) offset: u64,
    /// The number of messages behind it that the user gets.
    pub(super) messages: usize,
    /// The number of those that it may have received nevertheless.
    pub(super) may_repeat: usize,
}

impl Missed {
    /// The outcome of a request to resume, from what the user missed.
    pub(super) fn recovery(missed: Option<Result<Missed, GapReason>>) -> Recovery {
        match missed {
            Some(Ok(Missed { messages, may_repeat, .. })) => Recovery::Resumed { missed: messages, may_repeat },
            Some(Err(reason)) => Recovery::Gap(reason),
            None => Recovery::New,
        }
    }
}

/// A part of a replay.
enum ReplayPiece {
    /// Messages that each connection gets as they are.
    Offsets(Range<u64>),
    /// A message that an outgoing handler decides about.
    Text(Vec<u8>, DeliveryPolicy),
}
