use pondsocket_proto::channel::RemoteChange;
use pondsocket_proto::cluster::message::UserMessage;
use pondsocket_proto::cluster::{Command, Verdict};
use pondsocket_proto::id::{ChannelName, UserId};

/// The channels of one endpoint, for the node. No method waits.
pub(crate) trait Host: Send + Sync {
    /// Changes the members on other nodes that a channel shows, if it is still the same instance of the channel.
    fn show(&self, channel: &ChannelName, instance: u64, changes: Vec<RemoteChange>);
    /// Delivers a message of another node to the members here.
    fn deliver(&self, channel: &ChannelName, message: UserMessage);
    /// Carries out a command of another node on a user here.
    fn execute(&self, channel: &ChannelName, user: &UserId, command: Command) -> Verdict;
}
