use std::collections::VecDeque;

use crate::channel::DeliveryPolicy;
use crate::id::UserId;
use crate::model::{Target, UserMessageRef};
use crate::position::Position;
use crate::wire::{Object, PresenceKind};

/// The most that waits, in number and in bytes. Messages with a position are as many at most, and the store has those that do not
/// fit; nobody has these.
const MAX_MESSAGES: usize = 1024;
const MAX_BYTES: usize = 1 << 20;

/// The size of a message without its event and payload, roughly, in bytes.
const ENVELOPE: usize = 256;

/// Something that another node has sent without a position.
#[derive(Debug)]
pub(in crate::channel) enum Unkept {
    /// A message that is not kept.
    Message(Box<UnkeptMessage>),
    /// A change of the presence that members see of a user.
    Presence { kind: PresenceKind, user: UserId, changed: Object },
}

/// A message of another node that is not kept.
#[derive(Debug)]
pub(in crate::channel) struct UnkeptMessage {
    pub(in crate::channel) to: Target,
    pub(in crate::channel) event: String,
    pub(in crate::channel) request_id: String,
    pub(in crate::channel) payload: Object,
    pub(in crate::channel) policy: DeliveryPolicy,
}

impl Unkept {
    pub(in crate::channel) fn message(message: UserMessageRef<'_>, policy: DeliveryPolicy) -> Unkept {
        let UserMessageRef { event, request_id, payload, to, .. } = message;
        Unkept::Message(Box::new(UnkeptMessage {
            to: to.clone(),
            event: event.to_owned(),
            request_id: request_id.to_owned(),
            payload: Object::from_valid(payload),
            policy,
        }))
    }

    fn bytes(&self) -> usize {
        ENVELOPE
            + match self {
                Unkept::Message(message) => message.event.len() + message.payload.as_str().len(),
                Unkept::Presence { changed, .. } => changed.as_str().len(),
            }
    }

    fn shows(&self, of: &UserId) -> bool {
        matches!(self, Unkept::Presence { user, .. } if user == of)
    }
}

/// The messages and the presence that other nodes have sent behind kept messages whose turn has not come, in the order of arrival.
#[derive(Debug, Default)]
pub(in crate::channel) struct Followers {
    /// Each with the position that it waits for. These never descend, because each is the highest that has come.
    waiting: VecDeque<(Position, Unkept)>,
    bytes: usize,
}

impl Followers {
    /// Returns `true` if there is room for one more.
    pub(in crate::channel) fn has_room(&self) -> bool {
        self.waiting.len() < MAX_MESSAGES && self.bytes < MAX_BYTES
    }

    pub(in crate::channel) fn push(&mut self, behind: Position, unkept: Unkept) {
        self.bytes += unkept.bytes();
        self.waiting.push_back((behind, unkept));
    }

    /// Takes the first one, if its turn has come: the history has reached its position, or is another one.
    pub(in crate::channel) fn take(&mut self, reached: Position) -> Option<Unkept> {
        let is_due = |behind: &Position| behind.epoch != reached.epoch || behind.offset <= reached.offset;
        self.waiting.front().filter(|(behind, _)| is_due(behind))?;
        self.take_first()
    }

    /// Takes the first one, whatever it waits for.
    pub(in crate::channel) fn take_first(&mut self) -> Option<Unkept> {
        let (_, first) = self.waiting.pop_front()?;
        self.bytes -= first.bytes();
        Some(first)
    }

    /// Takes the changes of the presence of a user.
    pub(in crate::channel) fn take_presence(&mut self, user: &UserId) -> Vec<Unkept> {
        let mut taken = Vec::new();
        // The usual case: nothing waits.
        if self.waiting.iter().any(|(_, unkept)| unkept.shows(user)) {
            for (behind, unkept) in std::mem::take(self).waiting {
                match unkept.shows(user) {
                    true => taken.push(unkept),
                    false => self.push(behind, unkept),
                }
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Epoch;

    fn at(epoch: u32, offset: u64) -> Position {
        Position { epoch: Epoch::new(epoch), offset }
    }

    fn presence(user: &str, changed: &str) -> Unkept {
        let (user, changed) = (UserId::new(user).expect("valid"), Object::from_valid(changed));
        Unkept::Presence { kind: PresenceKind::Update, user, changed }
    }

    fn shown(unkept: &Unkept) -> (&str, &str) {
        match unkept {
            Unkept::Presence { user, changed, .. } => (user.as_str(), changed.as_str()),
            Unkept::Message(message) => ("", message.payload.as_str()),
        }
    }

    #[test]
    fn each_waits_for_its_position_or_for_another_history() {
        let mut followers = Followers::default();
        followers.push(at(1, 5), presence("a", "1"));
        followers.push(at(1, 7), presence("a", "2"));
        assert!(followers.take(at(1, 4)).is_none());
        assert_eq!(followers.take(at(1, 6)).as_ref().map(shown), Some(("a", "1")));
        assert!(followers.take(at(1, 6)).is_none());
        assert_eq!(followers.take(at(2, 0)).as_ref().map(shown), Some(("a", "2")));
        assert_eq!(followers.bytes, 0);
    }

    #[test]
    fn the_presence_of_one_user_is_taken_out_in_its_order() {
        let mut followers = Followers::default();
        for (user, changed) in [("a", "1"), ("b", "2"), ("a", "3")] {
            followers.push(at(1, 5), presence(user, changed));
        }
        let taken = followers.take_presence(&UserId::new("a").expect("valid"));
        assert_eq!(taken.iter().map(shown).collect::<Vec<_>>(), [("a", "1"), ("a", "3")]);
        assert_eq!((followers.take_first().as_ref().map(shown), followers.bytes), (Some(("b", "2")), 0));
    }

    #[test]
    fn neither_their_number_nor_their_size_is_unbounded() {
        let mut many = Followers::default();
        (0..MAX_MESSAGES - 1).for_each(|_| many.push(at(1, 5), presence("a", "{}")));
        assert!(many.has_room());
        many.push(at(1, 5), presence("a", "{}"));
        assert!(!many.has_room());
        let mut large = Followers::default();
        large.push(at(1, 5), presence("a", &"x".repeat(MAX_BYTES)));
        assert!(!large.has_room());
    }
}
