use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use super::message::{Body, Envelope};
use super::{ChannelKey, NodeId};
use crate::id::ChannelName;

// The last parts of the topics that concern no channel. Messages on them have the same word in place of the names of
// endpoint and channel, which other implementations require in every message.
pub(super) const HEARTBEAT: &str = "__heartbeat__";
pub(super) const CLUSTER: &str = "__cluster__";
pub(super) const NODE: &str = "__node__";

/// The name of an endpoint among nodes: the text of its pattern without leading slashes. Trailing slashes stay.
pub fn endpoint_name(pattern: &str) -> &str {
    pattern.trim_start_matches('/')
}

/// Returns whether an endpoint must not have this name: its channels would share topics with inboxes, or its messages
/// would look like messages that concern no channel.
pub fn is_reserved_endpoint(name: &str) -> bool {
    [HEARTBEAT, CLUSTER, NODE].contains(&name) || name.strip_prefix(NODE).is_some_and(|rest| rest.starts_with(':'))
}

/// The topic of messages: an exact name without a meaning for a bus. Globs, colons and all other characters are plain
/// text. Clones share the text.
#[derive(Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Topic {
    fn from(name: &str) -> Topic {
        Topic(name.into())
    }
}

impl From<String> for Topic {
    fn from(name: String) -> Topic {
        Topic(name.into())
    }
}

impl From<Arc<str>> for Topic {
    fn from(name: Arc<str>) -> Topic {
        Topic(name)
    }
}

/// Allows look-ups by name in sets and maps of topics.
impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Topic {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The names of the topics of one namespace (docs/cluster.md, Topics).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Topics {
    /// `<prefix>:v1:<namespace>:`
    base: Arc<str>,
}

impl Topics {
    /// The topics of a prefix and a namespace. All nodes that are to see each other need the same; the defaults of
    /// other languages are `pondsocket` and `default`.
    pub fn new(prefix: &str, namespace: &str) -> Topics {
        Topics { base: format!("{prefix}:v1:{namespace}:").into() }
    }

    /// The topic of all messages about a channel.
    pub fn channel(&self, key: &ChannelKey) -> Topic {
        // Not by `format!`, because every message has a topic.
        let parts = [&*self.base, &*key.endpoint, ":", key.channel.as_str()];
        parts.concat().into()
    }

    /// The part of a topic behind the prefix and the namespace.
    pub(super) fn names<'a>(&self, topic: &'a Topic) -> Option<&'a str> {
        topic.as_str().strip_prefix(&*self.base)
    }

    /// Returns whether this is the topic of a channel.
    pub(super) fn is_of_channel(&self, topic: &Topic, endpoint: &str, channel: &str) -> bool {
        let names = self.names(topic).filter(|_| !is_reserved_endpoint(endpoint));
        let name = names.and_then(|names| names.strip_prefix(endpoint)).and_then(|rest| rest.strip_prefix(':'));
        name == Some(channel)
    }

    /// The channels whose topic this may be. Names may contain colons and nothing is escaped, so each colon may be the
    /// one between endpoint and channel.
    pub(super) fn readings<'a>(&'a self, topic: &'a Topic) -> impl Iterator<Item = ChannelKey> {
        let names = topic.as_str().strip_prefix(&*self.base).unwrap_or_default();
        names.match_indices(':').filter_map(|(at, _)| {
            let channel = ChannelName::new(&names[at + 1..], usize::MAX).ok()?;
            Some(ChannelKey { endpoint: names[..at].into(), channel })
        })
    }

    /// The topic of heartbeats, to which every node subscribes.
    pub fn heartbeat(&self) -> Topic {
        format!("{}{HEARTBEAT}", self.base).into()
    }

    /// The topic of messages about our own nodes.
    pub fn cluster(&self) -> Topic {
        format!("{}{CLUSTER}", self.base).into()
    }

    /// The topic of messages for one node of ours: its inbox.
    pub fn inbox(&self, node: &NodeId) -> Topic {
        format!("{}{NODE}:{}", self.base, node.source()).into()
    }

    /// Returns whether a message belongs on the topic on which the node that signs as `me` has received it. An inbox
    /// takes any message of our nodes; foreign nodes know of no inbox. A channel's topic takes messages about that
    /// channel, and each of the topics that concern none takes its one type.
    ///
    /// Two channels may share a topic, since names contain colons: `a:b` at the endpoint `c` and `b` at `c:a`. Messages
    /// of both fit: each names its channel itself.
    pub fn fits(&self, topic: &Topic, message: &Envelope, me: &str) -> bool {
        let Some(name) = topic.as_str().strip_prefix(&*self.base) else { return false };
        if let Some(owner) = name.strip_prefix(NODE).and_then(|rest| rest.strip_prefix(':')) {
            return message.ext.is_some() && owner == me;
        }
        match (&message.channel, &message.body) {
            (Some(key), _) => {
                let rest = name.strip_prefix(&*key.endpoint).and_then(|rest| rest.strip_prefix(':'));
                rest == Some(key.channel.as_str())
            }
            (None, Body::NodeHeartbeat { .. }) => name == HEARTBEAT,
            (None, Body::Node(_)) => name == CLUSTER,
            (None, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::message::{Ext, NodeEvent};
    use crate::id::ChannelName;

    fn topics() -> Topics {
        Topics::new("pondsocket", "default")
    }

    fn node() -> NodeId {
        NodeId { name: "web-1".into(), incarnation: 35 }
    }

    fn key(endpoint: &str, channel: &str) -> ChannelKey {
        ChannelKey { endpoint: endpoint.into(), channel: ChannelName::new(channel, 100).expect("a name") }
    }

    fn about(channel: Option<ChannelKey>, body: Body) -> Envelope {
        Envelope { id: "m".into(), source: "n".into(), channel, timestamp: 1, body, ext: None }
    }

    fn left(endpoint: &str, channel: &str) -> Envelope {
        about(Some(key(endpoint, channel)), Body::UserLeft { user: "u".into() })
    }

    #[test]
    fn topics_have_the_names_of_the_common_protocol() {
        assert_eq!(
            topics().channel(&key("api/socket", "/chat/7")).as_str(),
            "pondsocket:v1:default:api/socket:/chat/7"
        );
        assert_eq!(topics().channel(&key("", "lobby?x=1")).as_str(), "pondsocket:v1:default::lobby?x=1");
        assert_eq!(topics().heartbeat().as_str(), "pondsocket:v1:default:__heartbeat__");
        assert_eq!(topics().cluster().as_str(), "pondsocket:v1:default:__cluster__");
        assert_eq!(topics().inbox(&node()).as_str(), "pondsocket:v1:default:__node__:web-1~z");
        assert_eq!(Topics::new("p", "n").heartbeat().as_str(), "p:v1:n:__heartbeat__");
    }

    #[test]
    fn leading_slashes_are_no_part_of_an_endpoint_name() {
        for (pattern, name) in [("/api/socket", "api/socket"), ("///a//b/", "a//b/"), ("/", ""), ("t/:x", "t/:x")] {
            assert_eq!(endpoint_name(pattern), name, "{pattern}");
        }
    }

    /// Returns whether the message fits, for a node that signs as `web-1~z`.
    fn fits(topic: &Topic, message: &Envelope) -> bool {
        topics().fits(topic, message, "web-1~z")
    }

    #[test]
    fn the_names_of_topics_of_nodes_are_reserved() {
        for name in ["__node__", "__node__:web-1", "__heartbeat__", "__cluster__"] {
            assert!(is_reserved_endpoint(name), "{name}");
        }
        for name in ["", "node", "__node__/", "__node__x", "api/__node__", "__cluster__:a"] {
            assert!(!is_reserved_endpoint(name), "{name}");
            let key = key(name, "web-1~z");
            assert_ne!(topics().channel(&key), topics().inbox(&node()));
        }
        assert_eq!(topics().channel(&key("__node__", "web-1~z")), topics().inbox(&node()));
    }

    #[test]
    fn the_topic_of_a_channel_fits_messages_about_that_channel() {
        let topic = topics().channel(&key("a", "b"));
        assert!(fits(&topic, &left("a", "b")));
        for other in [left("a", "c"), left("a", "bb"), left("b", "b"), left("a", "a:b"), left("", "a:b")] {
            assert_eq!(fits(&topic, &other), topics().channel(other.channel.as_ref().expect("one")) == topic);
        }
        let beat = Body::NodeHeartbeat { node: "n".into() };
        assert!(!fits(&topic, &about(None, beat)));
        assert!(!fits(&topic, &about(None, Body::Node(NodeEvent::Bye))));
        assert!(!Topics::new("pondsocket", "other").fits(&topic, &left("a", "b"), "web-1~z"));
        assert!(!fits(&"pondsocket".into(), &left("a", "b")));
    }

    #[test]
    fn a_topic_that_two_channels_share_fits_messages_of_both() {
        let topic = topics().channel(&key("a", "b:c"));
        assert_eq!(topic, topics().channel(&key("a:b", "c")));
        assert!(fits(&topic, &left("a", "b:c")));
        assert!(fits(&topic, &left("a:b", "c")));
    }

    #[test]
    fn messages_that_concern_no_channel_fit_the_topic_of_their_type() {
        let beat = about(None, Body::NodeHeartbeat { node: "n".into() });
        let hello = about(None, Body::Node(NodeEvent::Hello));
        let repair = about(None, Body::Repair(Vec::new()));
        let all = |topic: &Topic| [&beat, &hello, &repair].map(|message| fits(topic, message));
        assert_eq!(all(&topics().heartbeat()), [true, false, false]);
        assert_eq!(all(&topics().cluster()), [false, true, false]);
        assert!(!fits(&topics().heartbeat(), &left("a", "b")));
        assert!(!fits(&"pondsocket:v1:default:__node__".into(), &repair));
    }

    #[test]
    fn an_inbox_fits_all_messages_of_our_nodes_to_its_owner() {
        let inbox = topics().inbox(&node());
        let ours = |message: Envelope| Envelope { ext: Some(Ext::new(node())), ..message };
        for message in [left("a", "b"), about(None, Body::Repair(Vec::new()))] {
            assert!(!fits(&inbox, &message), "nodes of other languages know of no inbox");
            assert!(fits(&inbox, &ours(message.clone())));
            assert!(
                !topics().fits(&inbox, &ours(message), "web-1~y"),
                "another incarnation of the node has another inbox"
            );
        }
    }

    #[test]
    fn a_topic_has_a_reading_for_each_colon() {
        let topics = Topics::new("pondsocket", "default");
        let readings = |topic: &str| {
            let text = |key: ChannelKey| format!("{} {}", key.endpoint, key.channel);
            topics.readings(&topic.into()).map(text).collect::<Vec<_>>()
        };
        assert_eq!(readings("pondsocket:v1:default:api/socket:/chat/7"), ["api/socket /chat/7"]);
        assert_eq!(readings("pondsocket:v1:default:a:b:c"), ["a b:c", "a:b c"]);
        assert_eq!(readings("pondsocket:v1:default:a:"), [""; 0]);
        assert_eq!(readings("pondsocket:v1:other:a:b"), [""; 0]);
    }
}
