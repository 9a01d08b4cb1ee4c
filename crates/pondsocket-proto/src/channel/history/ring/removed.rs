use crate::id::UserId;
use crate::position::{Epoch, Position};

/// The most removed users that a history remembers. Over it the messages ahead of the earliest removal are forgotten with it.
const MAX_REMOVED: usize = 256;

/// The users that were removed from a channel. They join as new ones: they do not resume from positions as of before.
#[derive(Debug, Default)]
pub(in crate::channel) struct RemovedUsers(Vec<RemovedUser>);

#[derive(Debug)]
struct RemovedUser {
    user: UserId,
    /// The last position from which it does not resume. Others of the same history follow that it may have received since it was
    /// accepted again.
    last: Position,
    /// The time of its latest join on other nodes, as of the removal.
    joined_elsewhere: u64,
    /// `true` if it was accepted again on this node.
    is_back: bool,
}

impl RemovedUsers {
    /// The users that were removed from the history of an earlier server, each with the last offset from which it does not resume.
    pub(in crate::channel) fn restore(epoch: Epoch, removed: Vec<(UserId, u64)>) -> RemovedUsers {
        let restored = removed.into_iter().map(|(user, offset)| {
            let last = Position { epoch, offset };
            RemovedUser { user, last, joined_elsewhere: 0, is_back: false }
        });
        RemovedUsers(restored.collect())
    }

    /// The users that were removed from a history, each with the last offset from which it does not resume.
    pub(in crate::channel) fn save(&self, epoch: Epoch) -> Vec<(UserId, u64)> {
        let of_epoch = self.0.iter().filter(|removed| removed.last.epoch == epoch);
        of_epoch.map(|removed| (removed.user.clone(), removed.last.offset)).collect()
    }

    /// Notes a removal behind the last message, which has the position `last`. `first` is the offset of the first message that is
    /// kept: nobody resumes from a position ahead of it.
    pub(super) fn note(&mut self, user: &UserId, last: Position, first: u64, joined_elsewhere: u64) {
        self.0.retain(|removed| {
            removed.last.epoch != last.epoch || removed.user != *user && removed.last.offset + 1 >= first
        });
        self.0.push(RemovedUser { user: user.clone(), last, joined_elsewhere, is_back: false });
    }

    /// Notes that a user was accepted on this node: it may have received everything behind a position.
    pub(super) fn note_accepted(&mut self, user: &UserId, from: Position) {
        self.0.retain_mut(|removed| {
            if removed.user != *user {
                return true;
            }
            removed.is_back = true;
            removed.last.offset = removed.last.offset.min(from.offset.wrapping_sub(1));
            removed.last.epoch == from.epoch && from.offset > 0
        });
    }

    /// Notes the time of the latest join of a user on other nodes. If it has joined since its removal, this node does not know the
    /// positions that it has received there.
    pub(super) fn note_elsewhere(&mut self, user: &UserId, joined: u64) {
        self.0.retain(|removed| removed.user != *user || joined <= removed.joined_elsewhere);
    }

    /// The history begins anew. Members are told from where they go on, and that may be a position from before their join.
    pub(super) fn forget_accepted(&mut self) {
        self.0.retain(|removed| !removed.is_back);
    }

    /// The history that the nodes share was read up to a position. Removals that this node has noted in an epoch of its own count
    /// there: these users have not received anything since.
    pub(super) fn carry(&mut self, own: Epoch, last: Position) {
        self.0.retain_mut(|removed| {
            let is_carried = removed.last.epoch == own;
            if is_carried {
                removed.last = last;
            }
            !is_carried || !removed.is_back
        });
    }

    /// Takes out the removal that is forgotten first, if they are too many.
    pub(super) fn take_excess(&mut self, epoch: Epoch) -> Option<Position> {
        if self.0.len() <= MAX_REMOVED {
            return None;
        }
        // One of an earlier epoch costs no messages. Otherwise as few messages as possible.
        let order = |removed: &RemovedUser| (removed.last.epoch == epoch, removed.last.offset);
        let (first, _) = self.0.iter().enumerate().min_by_key(|(_, removed)| order(removed))?;
        Some(self.0.remove(first).last)
    }

    /// Returns `true` if a user was removed since this position.
    pub(super) fn has(&self, user: &UserId, Position { epoch, offset }: Position) -> bool {
        let is_ahead = |removed: &RemovedUser| removed.last.epoch == epoch && offset <= removed.last.offset;
        self.0.iter().any(|removed| removed.user == *user && is_ahead(removed))
    }
}
