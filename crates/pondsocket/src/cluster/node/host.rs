use pondsocket_proto::channel::RemoteChange;
use pondsocket_proto::cluster::message::UserMessage;
use pondsocket_proto::cluster::{Command, Verdict};
use pondsocket_proto::id::{ChannelName, UserId};

/// The channels of one endpoint, as its node sees them. Nothing of it waits.
pub(crate) trait Host: Send + Sync {
    /// What is shown of other nodes' users in a channel changes, if this life of it still lasts.
    fn show(&self, channel: &ChannelName, instance: u64, changes: Vec<RemoteChange>);
    /// Another node has said something to a channel's users.
    fn deliver(&self, channel: &ChannelName, message: UserMessage);
    /// Carries out a command of another node on a user here.
    fn execute(&self, channel: &ChannelName, user: &UserId, command: Command) -> Verdict;
}
