//! The other nodes of a cluster: their liveness, by leases or by silence, and the valid one of several incarnations of
//! a name.

mod contested;
mod known_nodes;
mod liveness;
mod name_conflict;
mod transition;

use super::context::Context;
use super::message::{Body, NodeEvent};
use super::timers::Timer;
use super::{ChannelKey, Lease, NodeId, NodeOutput, Settings};

use contested::Contested;
pub(super) use contested::MissedChannels;
use liveness::Liveness;
use name_conflict::NameConflicts;
pub(super) use transition::NodeTransition;

/// The other nodes of our kind, with the incarnations that compete for a name, be it theirs or this node's.
#[derive(Debug)]
pub(super) struct NodeMembership {
    liveness: Liveness,
    contested: Contested,
    conflicts: NameConflicts,
}

/// The outcome of a beat.
#[derive(Debug)]
pub(super) struct Beat {
    /// True if the beat came so late that this node must have been suspended.
    pub(super) was_asleep: bool,
    pub(super) transitions: Vec<NodeTransition>,
}

impl NodeMembership {
    pub(super) fn new(settings: &Settings) -> NodeMembership {
        NodeMembership {
            liveness: Liveness::new(settings),
            contested: Contested::default(),
            conflicts: NameConflicts::default(),
        }
    }

    pub(super) fn start(&mut self, cx: &mut Context) {
        self.conflicts.begin(cx.now, cx.settings.lifetime);
        cx.timers.set(Timer::Beat, cx.now + cx.settings.beat);
    }

    /// The name of this node.
    pub(super) fn me(&self) -> &str {
        self.liveness.me()
    }

    /// The nodes that are alive, by name.
    pub(super) fn up(&self) -> impl Iterator<Item = NodeId> {
        self.liveness.up()
    }

    /// Returns whether this incarnation of a node is alive.
    pub(super) fn is_up(&self, name: &str, incarnation: u64) -> bool {
        self.liveness.is_up(name, incarnation)
    }

    /// Returns whether this is the valid incarnation of its name, and has published its `Bye`.
    pub(super) fn has_left(&self, node: &NodeId) -> bool {
        self.liveness.has_left(node)
    }

    /// The valid incarnation of a node, if it is alive.
    pub(super) fn living(&self, name: &str) -> Option<NodeId> {
        self.liveness.living(name)
    }

    /// Returns whether this is the valid incarnation of its name, whose messages may change state.
    pub(super) fn counts(&self, node: &NodeId) -> bool {
        self.liveness.counts(node)
    }

    /// Returns whether all live nodes should be known by now.
    pub(super) fn are_all_known(&self, now: u64) -> bool {
        self.liveness.are_all_known(now)
    }

    /// Returns and resets the number of times that a node was refused or evicted for lack of room.
    pub(super) fn take_refused(&mut self) -> u64 {
        self.liveness.take_refused()
    }

    /// Notes that the bus is up, `again` if it was before.
    pub(super) fn link(&mut self, cx: &mut Context, again: bool) {
        // At the first connection no node is known, so none can be hidden too early.
        if again {
            self.liveness.suspend_detection(cx.now);
        }
        self.liveness.linked(cx.now);
    }

    /// Publishes `Hello` where there are no leases, and checks the liveness of other nodes. `due` is the time at which
    /// the beat was to come.
    pub(super) fn beat(&mut self, cx: &mut Context, due: u64) -> Beat {
        // A busy machine delays a beat by less than half a lifetime; a suspended process wakes up far later.
        let was_asleep = cx.now > due + cx.settings.lifetime / 2;
        if was_asleep {
            // Messages that arrived meanwhile are still unread, so the silence of others is no sign. And other nodes
            // may have hidden this one: without leases only its `Hello` brings it back.
            self.liveness.suspend_detection(cx.now);
            cx.announce(NodeEvent::Hello);
        }
        if self.liveness.beats() {
            cx.announce(NodeEvent::Hello);
        }
        // While the bus is down every node is silent: that is a failure of the bus, not of nodes.
        let mut transitions = if cx.is_connected() { self.liveness.check_silence(cx.now) } else { Vec::new() };
        transitions.extend(self.liveness.expire(cx.now));
        // Jitter spreads the beats of nodes that were started or resumed together.
        let next = cx.now + cx.random.about(cx.settings.beat);
        cx.timers.set(Timer::Beat, next);
        Beat { was_asleep, transitions: self.apply_own(cx, transitions) }
    }

    /// Notes a message of a node.
    pub(super) fn heard(&mut self, cx: &mut Context, node: &NodeId) -> Vec<NodeTransition> {
        let transitions = self.liveness.heard(node, cx.now);
        self.apply_own(cx, transitions)
    }

    /// Notes a message of the valid incarnation of a node. Returns `false` if it is another one, or the node unknown:
    /// then [`heard`](Self::heard) has to decide.
    pub(super) fn heard_again(&mut self, name: &str, incarnation: u64, now: u64) -> bool {
        self.liveness.heard_again(name, incarnation, now)
    }

    /// Notes a `Hello` of a node.
    pub(super) fn hello(&mut self, cx: &mut Context, node: &NodeId) -> Vec<NodeTransition> {
        let transitions = self.liveness.hello(node, cx.now);
        self.apply_own(cx, transitions)
    }

    /// Sends `Hello` to a new node, so that it knows this one before the next beat. With leases the table makes nodes
    /// known.
    pub(super) fn send_hello(&self, cx: &mut Context, node: &NodeId) {
        if self.liveness.beats() {
            cx.send_to(node, Body::Node(NodeEvent::Hello));
        }
    }

    /// Notes the `Bye` of a node that stops.
    pub(super) fn leave(&mut self, cx: &mut Context, node: &NodeId) -> Vec<NodeTransition> {
        let transitions = self.liveness.leave(node, cx.now);
        self.apply_own(cx, transitions)
    }

    /// Notes a `Down`: a report of another node that the lease of `node` has expired.
    pub(super) fn down(&mut self, cx: &mut Context, node: &NodeId) -> Vec<NodeTransition> {
        if self.liveness.beats() {
            let transitions = self.liveness.down(node, cx.now);
            return self.apply_own(cx, transitions);
        }
        // A report may be late or forged. It only leads to an early query of the table of leases, which decides.
        if self.liveness.living(&node.name).as_ref() == Some(node) {
            self.ask_for_leases(cx);
        }
        Vec::new()
    }

    /// Applies an answer of the table of leases, and publishes `Down` for nodes whose lease has expired. The table
    /// reports an expired lease to a single node, so the others learn of it only by this message or at their next
    /// renewal.
    pub(super) fn lease(&mut self, cx: &mut Context, lease: &Lease) -> Vec<NodeTransition> {
        lease.alive.iter().for_each(|node| self.check_name(cx, node));
        let transitions = self.liveness.lease(lease, cx.now);
        for transition in &transitions {
            if let NodeTransition::Down(node) = transition
                && lease.expired.contains(node)
            {
                cx.announce(NodeEvent::Down(node.clone()));
            }
        }
        self.apply_own(cx, transitions)
    }

    /// Reports another incarnation of this node's name, if `node` is one that was not reported yet.
    pub(super) fn check_name(&mut self, cx: &mut Context, node: &NodeId) {
        if self.conflicts.is_news(&cx.settings.node, node, cx.now) {
            cx.output(NodeOutput::NameConflict(node.clone()));
        }
    }

    /// Returns whether an incarnation may soon be the valid one: its number is larger, and the table of leases is being
    /// queried because of it.
    pub(super) fn is_contender(&self, node: &NodeId) -> bool {
        self.contested.contains(&node.name) && self.liveness.may_follow(node)
    }

    /// Notes that an incarnation that is not valid yet has published something about these channels.
    pub(super) fn note_missed(&mut self, name: &str, channels: impl IntoIterator<Item = ChannelKey>) {
        self.contested.note(name, channels);
    }

    /// Takes the channels about which a node published something before it was valid.
    pub(super) fn take_missed(&mut self, name: &str) -> Option<MissedChannels> {
        self.contested.take(name)
    }

    /// Handles the transitions that concern membership alone, and returns the others.
    fn apply_own(&mut self, cx: &mut Context, transitions: Vec<NodeTransition>) -> Vec<NodeTransition> {
        let mut rest = Vec::with_capacity(transitions.len());
        for transition in transitions {
            match transition {
                NodeTransition::Contested(node) => {
                    self.contested.begin(node.name);
                    self.ask_for_leases(cx);
                    continue;
                }
                NodeTransition::Dropped(ref name) => drop(self.contested.take(name)),
                _ => {}
            }
            rest.push(transition);
        }
        rest
    }

    /// Requests a renewal of the lease ahead of time: its answer contains the table of leases.
    fn ask_for_leases(&mut self, cx: &mut Context) {
        if self.contested.may_ask(cx.now, cx.settings.beat) {
            cx.output(NodeOutput::RenewLease);
        }
    }
}
