//! The channels, as the histories that they share see them.

use pondsocket_proto::channel::StoredMessages;
use pondsocket_proto::cluster::message::UserMessageRef;
use pondsocket_proto::id::ChannelName;
use pondsocket_proto::position::{Epoch, Position};

/// The time in milliseconds for which messages and joins wait for a store that does not answer.
pub(in super::super) const STORE_TIMEOUT: u64 = 2000;

/// The time in milliseconds after which a failed read is repeated.
pub(super) const RETRY: u64 = 500;

/// The channels of one endpoint, for the histories that they share. No method waits. Those that return `bool` return `true`
/// if the channel lacks messages that have to be read from the store.
pub(crate) trait HistoryHost: Send + Sync {
    /// Delivers a message of another node at its position.
    fn deliver_kept(&self, channel: &str, position: Position, message: UserMessageRef<'_>) -> bool;
    /// Passes on the position of a message of this node; `None` if it is not kept.
    fn place(&self, of: &Instance, number: u64, position: Option<Position>) -> bool;
    /// Passes on what was read from the store, if the history is still in the epoch `seen`.
    fn load(&self, of: &Instance, seen: Epoch, stored: StoredMessages<'_>) -> bool;
    /// Lets the channel give positions by itself.
    fn detach(&self, of: &Instance, epoch: Epoch);
    /// Lets the messages of a channel that gives positions by itself wait for the store again.
    fn reattach(&self, of: &Instance);
    /// The state of the history; `None` if the channel has closed.
    fn history(&self, of: &Instance) -> Option<HistoryState>;
}

/// One instance of a channel.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) channel: ChannelName,
    /// The serial of the live channel.
    pub(crate) serial: u64,
}

/// The state of the history of a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HistoryState {
    /// The position of the last message.
    pub(crate) position: Position,
    /// `true` if the history is yet to be read.
    pub(crate) is_loading: bool,
    /// `true` if the channel gives positions by itself.
    pub(crate) is_detached: bool,
    /// `true` if it lacks messages ahead of others that have come.
    pub(crate) is_behind: bool,
    /// `true` if the history is to begin anew, because members of other nodes may have missed messages of this one.
    pub(crate) owes_restart: bool,
}
