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
        let mut source = self.name.as_ref().to_owned();
        source.push('~');
        source.extend(digits(self.incarnation));
        source
    }

    /// Returns whether this is the [`source`](Self::source), without building it: every message received is checked.
    pub(super) fn signs_as(&self, source: &str) -> bool {
        signs_as(&self.name, self.incarnation, source)
    }
}

/// Returns whether this is the [`source`](NodeId::source) of a node.
pub(super) fn signs_as(name: &str, incarnation: u64, source: &str) -> bool {
    let number = source.strip_prefix(name).and_then(|rest| rest.strip_prefix('~'));
    number.is_some_and(|number| number.chars().eq(digits(incarnation)))
}

/// The digits of a number in base 36.
fn digits(number: u64) -> impl Iterator<Item = char> {
    let len = number.checked_ilog(36).map_or(1, |last| last + 1);
    // The remainder of a division by 36, so the cast loses nothing and the digit exists.
    (0..len).rev().map(move |at| char::from_digit((number / 36_u64.pow(at) % 36) as u32, 36).expect("a digit below 36"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_has_the_number_in_base_36() {
        for (incarnation, source) in [
            (0, "web~0"),
            (1, "web~1"),
            (35, "web~z"),
            (36, "web~10"),
            (36 * 36 - 1, "web~zz"),
            (36 * 36, "web~100"),
            ((1 << 53) - 1, "web~2gosa7pa2gv"),
            (u64::MAX, "web~3w5e11264sgsf"),
        ] {
            let node = NodeId { name: "web".into(), incarnation };
            assert_eq!(node.source(), source);
            assert!(node.signs_as(source));
        }
        let node = NodeId { name: "a~b".into(), incarnation: 36 };
        for other in ["a~b~1", "a~b~010", "a~b~100", "a~b10", "a~b~10 ", "", "a~b~", "A~b~10"] {
            assert!(!node.signs_as(other), "{other}");
        }
        assert!(node.signs_as("a~b~10"));
    }
}
