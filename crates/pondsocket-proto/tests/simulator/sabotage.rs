//! Broken rules: the inputs of a node's core and of its histories are changed, or the simulated server around them, so that they
//! behave as if one of their rules were broken. They prove that the checker detects each broken rule.

use std::collections::{BTreeSet, HashMap};

use pondsocket_proto::cluster::message::{Body, NodeEvent, Target, UserMessage};
use pondsocket_proto::cluster::{Bus, ChannelKey, Input, Lease, NodeId};
use pondsocket_proto::position::Position;

use super::histories::store::Stored;
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
    /// A node gives its own messages the next positions that it knows, and does not wait for the store.
    EarlyBarriers,
    /// A message that a history already has is another message.
    RepeatedOffsets,
    /// A message is delivered although those ahead of it have not come.
    Holes,
    /// A node goes on with its history when the store has begun another one.
    Epochs,
    /// The store goes on with the history of an earlier generation of its data.
    Generations,
    /// A message whose outcome is unknown is appended again as if it were another one.
    AppendIds,
    /// A message whose outcome is unknown is not appended again.
    LostAppends,
    /// Reads lack a message.
    PartialReads,
    /// Messages that leave out their sender come back to it.
    OwnMessages,
    /// Outgoing handlers decide about messages of this node only.
    BlockedMessages,
    /// Clients that join for the first time get the whole history.
    FirstJoins,
    /// A client that is ahead of its node is told that nothing is known of its position.
    HastyJoins,
    /// A node that has sent messages without the store goes on with the history that the store has.
    Outages,
    /// Everything that was sent to a client counts as received.
    Proofs,
    /// Messages that are not kept are sent at once, and not behind kept messages that wait for the store.
    Overtaking,
}

impl Sabotage {
    pub(crate) const ALL: [Sabotage; 26] = [
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
        Sabotage::EarlyBarriers,
        Sabotage::RepeatedOffsets,
        Sabotage::Holes,
        Sabotage::Epochs,
        Sabotage::Generations,
        Sabotage::AppendIds,
        Sabotage::LostAppends,
        Sabotage::PartialReads,
        Sabotage::OwnMessages,
        Sabotage::BlockedMessages,
        Sabotage::FirstJoins,
        Sabotage::HastyJoins,
        Sabotage::Outages,
        Sabotage::Proofs,
        Sabotage::Overtaking,
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

/// The broken rules of histories.
impl SabotageFilter {
    fn is(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    pub(crate) fn opens_barriers_early(&self) -> bool {
        self.is(Sabotage::EarlyBarriers)
    }

    pub(crate) fn ignores_epochs(&self) -> bool {
        self.is(Sabotage::Epochs)
    }

    pub(crate) fn ignores_generations(&self) -> bool {
        self.is(Sabotage::Generations)
    }

    pub(crate) fn forgets_repeats(&self) -> bool {
        self.is(Sabotage::AppendIds)
    }

    pub(crate) fn appends_once(&self) -> bool {
        self.is(Sabotage::LostAppends)
    }

    pub(crate) fn forgets_filters(&self) -> bool {
        self.is(Sabotage::BlockedMessages)
    }

    pub(crate) fn replays_all(&self) -> bool {
        self.is(Sabotage::FirstJoins)
    }

    pub(crate) fn joins_at_once(&self) -> bool {
        self.is(Sabotage::HastyJoins)
    }

    pub(crate) fn forgets_outages(&self) -> bool {
        self.is(Sabotage::Outages)
    }

    pub(crate) fn overtakes_appends(&self) -> bool {
        self.is(Sabotage::Overtaking)
    }

    pub(crate) fn trusts_sent(&self) -> bool {
        self.is(Sabotage::Proofs)
    }

    /// A message of another node, as it comes to a channel whose history is at `here`.
    pub(crate) fn kept(&self, here: Position, is_loaded: bool, mut message: UserMessage) -> UserMessage {
        if self.is(Sabotage::OwnMessages) {
            message.to = Target::All;
        }
        if let (true, Some(position)) = (is_loaded, &mut message.position) {
            let is_changed = match self.sabotage {
                Some(Sabotage::RepeatedOffsets) => position.epoch == here.epoch && position.offset <= here.offset,
                Some(Sabotage::Holes) => position.epoch == here.epoch && position.offset > here.offset,
                _ => false,
            };
            if is_changed {
                position.offset = here.offset + 1;
            }
            if self.ignores_epochs() {
                position.epoch = here.epoch;
            }
        }
        message
    }

    /// The content of the store as it is read for a channel whose history is at `here`: the position, and the messages.
    pub(crate) fn read(
        &self,
        here: Position,
        is_loaded: bool,
        position: Option<Position>,
        messages: &[Stored],
    ) -> (Option<Position>, Vec<(Stored, UserMessage)>) {
        let mut read: Vec<_> =
            messages.iter().map(|stored| (stored.clone(), self.kept(here, false, stored.user_message()))).collect();
        if self.is(Sabotage::PartialReads) {
            read.pop();
        }
        let epoch = |position: Position| if self.ignores_epochs() && is_loaded { here.epoch } else { position.epoch };
        (position.map(|position| Position { epoch: epoch(position), ..position }), read)
    }
}
