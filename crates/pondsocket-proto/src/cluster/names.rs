use std::sync::Arc;

use crate::id::ChannelName;

/// A channel, wherever it is served: its name within the endpoint's registered pattern without leading slashes.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct ChannelKey {
    /// The endpoint, as in topics.
    pub endpoint: Arc<str>,
    /// The exact name.
    pub channel: ChannelName,
}

/// The incarnation of a node: a name, which a restart keeps, and the number of the incarnation. A table of leases
/// assigns the numbers, so that a later incarnation has the larger one whatever the clocks of nodes show. Without a
/// table the number is the time of the start, in milliseconds since 1970 (docs/cluster.md, Incarnations of one name).
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct NodeId {
    /// The name, which stays the same when the node is restarted.
    pub name: Arc<str>,
    /// The number: a later incarnation has a larger one. Below 2^53, which every language holds exactly.
    pub incarnation: u64,
}

impl NodeId {
    /// The id that signs the node's messages, such as `web-3~miau5irk`: the name, and the number in base 36. To foreign
    /// nodes each start is another node.
    pub fn source(&self) -> String {
        let (mut digits, mut rest) = (Vec::new(), self.incarnation);
        while rest > 0 || digits.is_empty() {
            // The remainder of a division by 36, so the cast loses nothing and the digit exists.
            digits.push(char::from_digit((rest % 36) as u32, 36).expect("a digit below 36"));
            rest /= 36;
        }
        format!("{}~{}", self.name, digits.iter().rev().collect::<String>())
    }
}
