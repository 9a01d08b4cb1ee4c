//! Broken rules: the inputs of a node's core are changed, so that it behaves as if one of its rules were broken. They
//! prove that the checker detects each broken rule.

use std::collections::{BTreeSet, HashMap};

use pondsocket_proto::cluster::message::{Body, NodeEvent};
use pondsocket_proto::cluster::{Bus, ChannelKey, Input, Lease, NodeId};

use super::redis::Peer;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sabotage {
    /// Every change is applied, also behind a gap.
    Gaps,
    /// Old changes are applied as if they were new.
    Order,
    /// All incarnations of a name are one.
    Lives,
    /// No death of a node is ever reported.
    Deaths,
    /// A repeated message counts as another message.
    Duplicates,
    /// The times of joins are missing.
    JoinTimes,
    /// Losses are not reported, and digests are dropped.
    Loss,
    /// Requests for the state of a channel are dropped.
    Questions,
    /// The number of an incarnation is the time of its node's clock.
    Clocks,
    /// Users of a node that has gone are hidden at once.
    Grace,
    /// A node that stops is taken for one that has died.
    Farewells,
}

impl Sabotage {
    pub(crate) const ALL: [Sabotage; 11] = [
        Sabotage::Gaps,
        Sabotage::Order,
        Sabotage::Lives,
        Sabotage::Deaths,
        Sabotage::Duplicates,
        Sabotage::JoinTimes,
        Sabotage::Loss,
        Sabotage::Questions,
        Sabotage::Clocks,
        Sabotage::Grace,
        Sabotage::Farewells,
    ];
}

/// The gate between a node's bus and its core.
pub(crate) struct SabotageFilter {
    sabotage: Option<Sabotage>,
    last: HashMap<(Peer, NodeId, ChannelKey), u64>,
    count: u64,
    ever: BTreeSet<NodeId>,
}

impl SabotageFilter {
    pub(crate) fn new(sabotage: Option<Sabotage>) -> SabotageFilter {
        SabotageFilter { sabotage, last: HashMap::new(), count: 0, ever: BTreeSet::new() }
    }

    /// Returns whether incarnations are numbered by clocks although there are leases.
    pub(crate) fn takes_clocks(&self) -> bool {
        self.sabotage == Some(Sabotage::Clocks)
    }

    pub(crate) fn admits(&mut self, peer: Peer, mut input: Input) -> Option<Input> {
        let Some(sabotage) = self.sabotage else { return Some(input) };
        if let (Sabotage::Loss, Input::Bus(Bus::Gap(_) | Bus::GapAll | Bus::Down | Bus::Subscribed(_))) =
            (sabotage, &input)
        {
            return None;
        }
        if let (Sabotage::Deaths, Input::Lease(lease)) = (sabotage, &mut input) {
            self.ever.extend(lease.alive.iter().cloned());
            *lease = Lease { alive: self.ever.iter().cloned().collect(), ..Lease::default() };
        }
        if let (Sabotage::Grace, Input::Opened { grace, .. }) = (sabotage, &mut input) {
            *grace = 0;
        }
        let Input::Received { message, .. } = &mut input else { return Some(input) };
        match (sabotage, &message.body) {
            (Sabotage::Loss, Body::Digest { .. }) => return None,
            (Sabotage::Deaths, Body::Node(NodeEvent::Down(_))) => return None,
            (Sabotage::Farewells, Body::Node(NodeEvent::Bye)) => return None,
            (Sabotage::Questions, Body::StateRequest { .. }) => return None,
            _ => {}
        }
        self.count += 1;
        let Some(ext) = &mut message.ext else { return Some(input) };
        match sabotage {
            Sabotage::Duplicates => message.id = format!("{} {}", message.id, self.count).into(),
            Sabotage::Lives => ext.node.incarnation = 1,
            Sabotage::JoinTimes => {
                ext.joined = ext.joined.map(|_| 0);
                let states = ext.own.iter_mut().chain(match &mut message.body {
                    Body::State(states) => states.iter_mut(),
                    _ => [].iter_mut(),
                });
                states.flat_map(|state| &mut state.users).for_each(|user| user.joined = 0);
            }
            Sabotage::Gaps | Sabotage::Order => {
                let key = message.channel.clone().map(|channel| (peer, ext.node.clone(), channel));
                if let (Some(key), Some((before, after))) = (key, &mut ext.change) {
                    let last = self.last.entry(key).or_insert(*before);
                    if *before > 0 && (*after > *last || sabotage == Sabotage::Order) {
                        *before = *last;
                        *after = (*after).max(*last + 1);
                    }
                    *last = *after;
                }
            }
            _ => {}
        }
        Some(input)
    }
}
