use std::sync::Arc;

use super::{ChannelKey, NodeId};
use crate::id::ChannelName;

/// The names of the topics of one namespace (docs/cluster.md, Topics).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Topics {
    /// `<prefix>:v1:<namespace>:`
    base: Arc<str>,
}

impl Topics {
    /// All nodes that are to see each other need the same prefix and namespace; other languages' defaults are
    /// `pondsocket` and `default`.
    pub fn new(prefix: &str, namespace: &str) -> Topics {
        Topics { base: format!("{prefix}:v1:{namespace}:").into() }
    }

    /// Where all that concerns a channel is said.
    pub fn channel(&self, key: &ChannelKey) -> String {
        format!("{}{}:{}", self.base, key.endpoint, key.channel)
    }

    /// Whether a topic is that of this channel.
    pub(super) fn is_channel(&self, topic: &str, key: &ChannelKey) -> bool {
        let name = topic.strip_prefix(&*self.base).and_then(|rest| rest.strip_prefix(&*key.endpoint));
        name.and_then(|rest| rest.strip_prefix(':')) == Some(key.channel.as_str())
    }

    /// The channels whose topic it may be: several, if names have colons.
    pub(super) fn readings<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = ChannelKey> {
        let names = topic.strip_prefix(&*self.base).unwrap_or_default();
        names.match_indices(':').filter_map(|(at, _)| {
            let channel = ChannelName::new(&names[at + 1..], usize::MAX).ok()?;
            Some(ChannelKey { endpoint: names[..at].into(), channel })
        })
    }

    /// Where every node says that it lives.
    pub fn heartbeat(&self) -> String {
        format!("{}__heartbeat__", self.base)
    }

    /// Where our own nodes say what concerns all of them.
    pub fn cluster(&self) -> String {
        format!("{}__cluster__", self.base)
    }

    /// Where one node of ours is told what concerns it alone.
    pub fn inbox(&self, node: &NodeId) -> String {
        format!("{}__node__:{}", self.base, node.source())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_that_of_one_channel_as_far_as_names_have_no_colons() {
        let topics = Topics::new("pondsocket", "default");
        let key = |endpoint: &str, channel| ChannelKey {
            endpoint: endpoint.into(),
            channel: ChannelName::new(channel, 100).expect("valid"),
        };
        let chat = key("api/socket", "/chat/7");
        assert_eq!(topics.channel(&chat), "pondsocket:v1:default:api/socket:/chat/7");
        assert!(topics.is_channel("pondsocket:v1:default:api/socket:/chat/7", &chat));
        for other in [key("api", "/chat/7"), key("api/socket", "/chat/77"), key("", "api/socket:/chat/7")] {
            assert!(!topics.is_channel("pondsocket:v1:default:api/socket:/chat/7", &other), "{other:?}");
        }
        assert!(topics.is_channel(&topics.channel(&key("a:b", "c")), &key("a", "b:c")));
    }

    #[test]
    fn a_topic_is_read_in_all_ways() {
        let topics = Topics::new("pondsocket", "default");
        let readings = |topic: &str| {
            let text = |key: ChannelKey| format!("{} {}", key.endpoint, key.channel);
            topics.readings(topic).map(text).collect::<Vec<_>>()
        };
        assert_eq!(readings("pondsocket:v1:default:api/socket:/chat/7"), ["api/socket /chat/7"]);
        assert_eq!(readings("pondsocket:v1:default:a:b:c"), ["a b:c", "a:b c"]);
        assert_eq!(readings("pondsocket:v1:default:a:"), [""; 0]);
        assert_eq!(readings("pondsocket:v1:other:a:b"), [""; 0]);
    }
}
