use super::Assigns;
use crate::cluster::message::UserMessage;
use crate::id::UserId;
use crate::wire::Object;

/// What has changed in a channel, of users that are here.
#[derive(Clone, Debug)]
pub enum Local {
    /// A user has become a member.
    Joined {
        /// Who.
        user: UserId,
        /// With which assigns.
        assigns: Assigns,
    },
    /// It is no member any more.
    Left {
        /// Who.
        user: UserId,
    },
    /// What it shows of itself; `None` hides it.
    Presence {
        /// Who.
        user: UserId,
        /// Shown from now on.
        presence: Option<Object>,
    },
    /// Its assigns after a change, and the one that was changed.
    Assigns {
        /// Who.
        user: UserId,
        /// All of them.
        assigns: Assigns,
        /// The key that was set, if it was one.
        key: Option<String>,
    },
}

impl Local {
    /// Whom it concerns.
    pub fn user(&self) -> &UserId {
        match self {
            Local::Joined { user, .. }
            | Local::Left { user }
            | Local::Presence { user, .. }
            | Local::Assigns { user, .. } => user,
        }
    }
}

/// Something that other nodes have to hear of a channel.
#[derive(Clone, Debug)]
pub enum Outbound {
    /// A change of its users here.
    Change(Local),
    /// A message for its users elsewhere.
    Message(UserMessage),
}

/// What other nodes have to hear, in the order in which it happened; nothing is noted if there are none.
#[derive(Debug, Default)]
pub(super) struct Log(Option<Vec<Outbound>>);

impl Log {
    pub(super) fn open() -> Log {
        Log(Some(Vec::new()))
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn note(&mut self, entry: impl FnOnce() -> Outbound) {
        if let Some(entries) = &mut self.0 {
            entries.push(entry());
        }
    }

    pub(super) fn take(&mut self) -> Vec<Outbound> {
        self.0.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
