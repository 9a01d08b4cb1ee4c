use super::{MemberChange, UserMessage};
use crate::id::UserId;

/// An entry of the log of a channel for other nodes.
#[derive(Clone, Debug)]
pub enum Outbound {
    /// A change of the members on this node.
    Change(MemberChange),
    /// A ghost has joined on another node, and is no member here any more.
    Moved(UserId),
    /// A message for the members on other nodes.
    Message(UserMessage),
    /// A message for the members on all nodes, which is to be appended to the history that they share.
    Append(AppendedMessage),
}

/// A message to be appended to a shared history.
#[derive(Clone, Debug)]
pub struct AppendedMessage {
    /// Its number in the channel, for the answer.
    pub number: u64,
    /// The message. It has no request id: its position is that.
    pub message: UserMessage,
}

/// The log of changes and messages for other nodes, in the order in which they happened. A channel of a single node
/// keeps none.
#[derive(Debug, Default)]
pub(super) struct Log(Option<Vec<Outbound>>);

impl Log {
    pub(super) fn open() -> Log {
        Log(Some(Vec::new()))
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.is_some()
    }

    /// Appends an entry. It is only built if the log is open.
    pub(super) fn note(&mut self, entry: impl FnOnce() -> Outbound) {
        if let Some(entries) = &mut self.0 {
            entries.push(entry());
        }
    }

    pub(super) fn take(&mut self) -> Vec<Outbound> {
        self.0.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
