use crate::channel::{DeliveryPolicy, Slot};
use crate::id::{ConnectionId, UserId};

/// A message that is kept.
#[derive(Debug)]
pub(in crate::channel) struct KeptMessage {
    /// The lower half of the place of its text in the sequence of all texts: a history is far smaller than 4 GiB.
    pub(super) start: u32,
    pub(super) length: u32,
    pub(in crate::channel) policy: DeliveryPolicy,
    /// The lower bytes of the time at which it was sent, in milliseconds. They are enough for 34 years.
    pub(super) at: [u8; 5],
    /// The recipient that is left out. Boxed, because most messages exclude none.
    pub(in crate::channel) excluded: Option<Box<Exclusion>>,
}

/// The recipients that a message leaves out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::channel) enum Exclusion {
    /// A user, with all connections.
    User(UserId),
    /// One connection of a user.
    Connection(UserId, Slot, ConnectionId),
}

impl Exclusion {
    /// Returns `true` if a user does not get the message. If it leaves out a connection of this user, `is_own` decides whether that
    /// counts as the one over which the user gets messages.
    pub(in crate::channel) fn leaves_out(
        &self,
        user: &UserId,
        is_own: impl FnOnce(Slot, ConnectionId) -> bool,
    ) -> bool {
        match self {
            Exclusion::User(other) => other == user,
            Exclusion::Connection(other, slot, connection) => other == user && is_own(*slot, *connection),
        }
    }
}

impl KeptMessage {
    pub(in crate::channel) fn length(&self) -> usize {
        self.length as usize
    }

    /// The time at which it was sent, in milliseconds.
    pub(in crate::channel::history) fn at(&self) -> u64 {
        let [a, b, c, d, e] = self.at;
        u64::from_le_bytes([a, b, c, d, e, 0, 0, 0])
    }
}

/// The lower bytes of a time.
pub(super) fn to_bytes(at: u64) -> [u8; 5] {
    let [a, b, c, d, e, ..] = at.to_le_bytes();
    [a, b, c, d, e]
}
