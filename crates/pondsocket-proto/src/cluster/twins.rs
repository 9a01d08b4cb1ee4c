//! Other nodes that run under this node's name, as after a copy of a deployment. Each of the others takes the youngest
//! for the one that lives, so the users of the rest are not seen. Nothing can be done about it here but to say so.

use std::collections::BTreeSet;

use super::core::Core;
use super::message::{Body, Envelope};
use super::{NodeId, Output};

/// How many are told of. Whoever has more has been told.
const MOST: usize = 64;

/// The lives of this node's name that were told of.
#[derive(Debug, Default)]
pub(super) struct Twins {
    known: BTreeSet<u64>,
    /// Before that time an older life may just have ended: what it has said may be on its way, and its lease may run.
    patient_until: u64,
}

impl Twins {
    /// This life begins.
    pub(super) fn born(&mut self, now: u64, lifetime: u64) {
        self.patient_until = now + 2 * lifetime;
    }

    /// Whether this other life is to be told of: once.
    fn is_news(&mut self, me: &NodeId, other: &NodeId, now: u64) -> bool {
        let is_alive = other.incarnation > me.incarnation || now >= self.patient_until;
        is_alive && self.known.len() < MOST && self.known.insert(other.incarnation)
    }
}

impl Core {
    /// Another life of this node's name has said something. As everywhere, messages for users count, whoever lives.
    pub(super) fn receive_twin(&mut self, message: Envelope) {
        if let Some(ext) = &message.ext {
            self.notice_twin(&ext.node);
        }
        if let (Some(channel), Body::UserMessage(message)) = (message.channel, message.body) {
            self.deliver(channel, message);
        }
    }

    /// A life of some node is heard, or holds a lease.
    pub(super) fn notice_twin(&mut self, node: &NodeId) {
        let (me, now) = (self.me().clone(), self.now());
        if node.name == me.name && *node != me && self.twins.is_news(&me, node, now) {
            self.voice.output(Output::Twin(node.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(incarnation: u64) -> NodeId {
        NodeId { name: "a".into(), incarnation }
    }

    #[test]
    fn a_younger_life_is_told_of_at_once_and_an_older_one_if_it_goes_on() {
        let (mut twins, me) = (Twins::default(), life(5));
        twins.born(100, 10);
        assert!(!twins.is_news(&me, &life(4), 119), "it may just have ended");
        assert!(twins.is_news(&me, &life(6), 100));
        assert!(!twins.is_news(&me, &life(6), 200), "once is enough");
        assert!(twins.is_news(&me, &life(7), 200), "this is another one");
        assert!(twins.is_news(&me, &life(4), 120));
    }

    #[test]
    fn so_many_are_told_of() {
        let (mut twins, me) = (Twins::default(), life(0));
        assert_eq!((1..1000).filter(|n| twins.is_news(&me, &life(*n), 0)).count(), MOST);
    }
}
