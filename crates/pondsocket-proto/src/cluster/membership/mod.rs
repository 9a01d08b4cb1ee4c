//! The nodes of a cluster: which of them live, by their leases or their silence, and which of several lives of one name
//! counts.

mod contested;
mod known_node;
mod liveness;
mod name_conflict;
mod transition;

use super::context::Context;
use super::message::{Body, NodeEvent};
use super::timers::Timer;
use super::{ChannelKey, Lease, NodeId, NodeOutput, Settings};

use contested::Contested;
pub(super) use contested::Missed;
use liveness::Liveness;
use name_conflict::NameConflicts;
pub(super) use transition::NodeTransition;

/// The other nodes of ours, and the measures by which this one lives among them.
#[derive(Debug)]
pub(super) struct NodeMembership {
    liveness: Liveness,
    contested: Contested,
    conflicts: NameConflicts,
}

/// The outcome of a beat.
#[derive(Debug)]
pub(super) struct Beat {
    /// True if the beat came so late that this node must have been asleep.
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

    /// The nodes that live, by name.
    pub(super) fn up(&self) -> impl Iterator<Item = NodeId> {
        self.liveness.up()
    }

    /// Returns whether this life of a node lives.
    pub(super) fn is_up(&self, name: &str, incarnation: u64) -> bool {
        self.liveness.is_up(name, incarnation)
    }

    /// The present life of a node, if it lives.
    pub(super) fn living(&self, name: &str) -> Option<NodeId> {
        self.liveness.living(name)
    }

    /// Returns whether messages of this life of a node count.
    pub(super) fn counts(&self, node: &NodeId) -> bool {
        self.liveness.counts(node)
    }

    /// Returns whether all nodes that live should be known by now.
    pub(super) fn are_all_known(&self, now: u64) -> bool {
        self.liveness.are_all_known(now)
    }

    /// Returns and resets the number of times that a node was kept out, or had to make room.
    pub(super) fn take_refused(&mut self) -> u64 {
        self.liveness.take_refused()
    }

    /// Notes that the bus is up, `again` if it was before.
    pub(super) fn link(&mut self, cx: &mut Context, again: bool) {
        if again {
            self.liveness.excuse_silence(cx.now);
        }
        self.liveness.linked(cx.now);
    }

    /// Tells that this node lives, and checks which others do.
    pub(super) fn beat(&mut self, cx: &mut Context, due: u64) -> Beat {
        let was_asleep = cx.now > due + cx.settings.lifetime / 2;
        if was_asleep {
            // What others said meanwhile is yet to be heard, and they may have taken this node for dead.
            self.liveness.excuse_silence(cx.now);
            cx.announce(NodeEvent::Hello);
        }
        if self.liveness.beats() {
            cx.announce(NodeEvent::Hello);
        }
        let mut transitions = if cx.is_linked() { self.liveness.check_silence(cx.now) } else { Vec::new() };
        transitions.extend(self.liveness.expire(cx.now));
        let next = cx.now + cx.random.about(cx.settings.beat);
        cx.timers.set(Timer::Beat, next);
        Beat { was_asleep, transitions: self.settle(cx, transitions) }
    }

    /// Notes a message of a node.
    pub(super) fn heard(&mut self, cx: &mut Context, node: &NodeId) -> Vec<NodeTransition> {
        let transitions = self.liveness.heard(node, cx.now);
        self.settle(cx, transitions)
    }

    /// Notes a message by which a node says that it lives.
    pub(super) fn hello(&mut self, cx: &mut Context, node: &NodeId) -> Vec<NodeTransition> {
        let transitions = self.liveness.hello(node, cx.now);
        self.settle(cx, transitions)
    }

    /// Lets a node that is new know this one, without waiting for the next beat.
    pub(super) fn greet(&self, cx: &mut Context, node: &NodeId) {
        if self.liveness.beats() {
            cx.send_to(node, Body::Node(NodeEvent::Hello));
        }
    }

    /// Notes that a node goes, in good order.
    pub(super) fn leave(&mut self, cx: &mut Context, node: &NodeId) -> Vec<NodeTransition> {
        let transitions = self.liveness.leave(node, cx.now);
        self.settle(cx, transitions)
    }

    /// Notes a report that the lease of a node has run out.
    pub(super) fn down(&mut self, cx: &mut Context, node: &NodeId) -> Vec<NodeTransition> {
        if self.liveness.beats() {
            let transitions = self.liveness.down(node, cx.now);
            return self.settle(cx, transitions);
        }
        // Anybody may say so: the table of leases knows.
        if self.liveness.living(&node.name).as_ref() == Some(node) {
            self.ask_for_leases(cx);
        }
        Vec::new()
    }

    /// Takes in the table of leases, and tells others whose lease has run out.
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
        self.settle(cx, transitions)
    }

    /// Reports another life of this node's name, if this is one and it was not reported yet.
    pub(super) fn check_name(&mut self, cx: &mut Context, node: &NodeId) {
        if self.conflicts.is_news(&cx.settings.node, node, cx.now) {
            cx.output(NodeOutput::NameConflict(node.clone()));
        }
    }

    /// Returns whether a life that does not count may be the node soon, since the table of leases is being asked.
    pub(super) fn is_contender(&self, node: &NodeId) -> bool {
        self.contested.contains(&node.name) && self.liveness.may_follow(node)
    }

    /// Notes that a life which does not count yet spoke about these channels.
    pub(super) fn note_missed(&mut self, name: &str, channels: impl IntoIterator<Item = ChannelKey>) {
        self.contested.note(name, channels);
    }

    /// Returns and forgets the channels about which a node spoke before it counted.
    pub(super) fn take_missed(&mut self, name: &str) -> Option<Missed> {
        self.contested.take(name)
    }

    /// Acts upon the transitions that concern nodes alone, and returns the others.
    fn settle(&mut self, cx: &mut Context, transitions: Vec<NodeTransition>) -> Vec<NodeTransition> {
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

    /// Has the table of leases asked before it is time to.
    fn ask_for_leases(&mut self, cx: &mut Context) {
        if self.contested.may_ask(cx.now, cx.settings.beat) {
            cx.output(NodeOutput::RenewLease);
        }
    }
}
