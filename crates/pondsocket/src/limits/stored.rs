//! The limits of the values that a server stores for its clients.

use crate::error::Error;
use crate::metrics::{Limit, Observer};

/// A change that was refused because a stored value would be over its limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TooLarge {
    /// The assigns of a connection or of a member.
    Assigns,
    /// The presence of a member.
    Presence,
    /// The presence of all members of a channel together.
    PresenceOfAll,
}

impl TooLarge {
    fn limit(self) -> Limit {
        match self {
            TooLarge::Assigns => Limit::Assigns,
            TooLarge::Presence => Limit::Presence,
            TooLarge::PresenceOfAll => Limit::ChannelPresence,
        }
    }
}

#[diagnostic::do_not_recommend]
impl From<TooLarge> for Error {
    fn from(error: TooLarge) -> Error {
        Error::too_large(match error {
            TooLarge::Assigns => "the assigns would be over the limit",
            TooLarge::Presence => "the presence would be over the limit",
            TooLarge::PresenceOfAll => "the presence of all members would be over the limit",
        })
    }
}

/// The reason for which a channel takes no further message. Joins and leaves are never refused for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NoRoom {
    /// `memory_limit` is reached.
    OutOfMemory,
    /// The hard limit of the channel's queue is reached.
    QueueFull,
}

impl NoRoom {
    pub(crate) fn limit(self) -> Limit {
        match self {
            NoRoom::OutOfMemory => Limit::MemoryFull,
            NoRoom::QueueFull => Limit::ChannelQueue,
        }
    }
}

#[diagnostic::do_not_recommend]
impl From<NoRoom> for Error {
    fn from(reason: NoRoom) -> Error {
        Error::unavailable(match reason {
            NoRoom::OutOfMemory => "out of memory",
            NoRoom::QueueFull => "the channel's queue is full",
        })
    }
}

impl Observer {
    /// Logs and counts a refused change. Must not be called under a lock, because it calls the application's metrics.
    pub(crate) fn too_large(&self, error: TooLarge) -> TooLarge {
        let limit = error.limit();
        tracing::debug!(target: "pondsocket::limit", endpoint = &*self.endpoint, %limit, "limit reached");
        self.count(|metrics, endpoint| metrics.limit_reached(endpoint, limit));
        error
    }
}
