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

/// One life of a node: a name that stays, and the number of the life. Where there is a table of leases it gives the
/// numbers, so that a later life has the larger one whatever the clocks of nodes say; elsewhere it is the time of the start
/// in milliseconds since 1970 (docs/cluster.md, Incarnations of one name).
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct NodeId {
    /// Stays the same when the node is started again.
    pub name: Arc<str>,
    /// The larger, the later. Below 2^53.
    pub incarnation: u64,
}

impl NodeId {
    /// The id that signs the node's messages: nodes of other languages see another node after each start.
    pub fn source(&self) -> String {
        let (mut digits, mut rest) = (Vec::new(), self.incarnation);
        while rest > 0 || digits.is_empty() {
            digits.push(char::from_digit((rest % 36) as u32, 36).expect("a digit below 36"));
            rest /= 36;
        }
        format!("{}~{}", self.name, digits.iter().rev().collect::<String>())
    }
}
