use std::sync::Arc;

use super::{ChannelKey, NodeId};

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
