//! The checker: it observes the inputs and outputs of every core, and notes the first that breaks a rule.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use pondsocket_proto::cluster::message::{Body, ChannelState, Envelope, NodeEvent};
use pondsocket_proto::cluster::{Answer, ChannelKey, Command, Input, NodeId, NodeOutput, Output, RemoteChange};

use super::redis::Peer;
use super::schedule::Plan;
use super::user_actions::INCARNATION;

/// A rule that was broken.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) rule: &'static str,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// The position of an owner: its incarnation, and its version.
type At = (u64, u64);

pub(crate) struct Checker {
    is_well: bool,
    /// True if each loss is reported, so that any divergence is a bug.
    is_loud: bool,
    relays: bool,
    /// True if users of nodes that have gone are shown for a while.
    has_grace: bool,
    has_leases: bool,
    violation: Option<Violation>,
    incarnations: HashMap<String, NodeId>,
    ids: HashMap<Peer, NodeId>,
    /// The last version that an owner has published.
    said: HashMap<(Peer, ChannelKey), u64>,
    /// The last position of an owner that a node has reported to hold, in one instance of a channel.
    known: HashMap<(Peer, ChannelKey, Arc<str>), At>,
    /// The latest incarnation of a name that a node has learned of, of those that live.
    youngest: HashMap<(Peer, Arc<str>), u64>,
    /// The incarnations whose end a node has heard of.
    ended: HashSet<(Peer, Arc<str>, u64)>,
    evicted: HashSet<(Peer, String)>,
    delivered: HashSet<(Peer, String)>,
    spins: (Peer, u64, u32),
    /// True while nothing may be published but renewals and digests.
    is_still: bool,
    /// True when nodes are about to die, and names to come back.
    expects_deaths: bool,
    pub(crate) answers: HashMap<(Peer, u64), Answer>,
}

impl Checker {
    pub(crate) fn new(plan: &Plan) -> Checker {
        Checker {
            is_well: plan.is_well(),
            is_loud: plan.silent == 0,
            relays: plan.js,
            has_grace: plan.grace > 0,
            has_leases: plan.leases,
            violation: None,
            incarnations: HashMap::new(),
            ids: HashMap::new(),
            said: HashMap::new(),
            known: HashMap::new(),
            youngest: HashMap::new(),
            ended: HashSet::new(),
            evicted: HashSet::new(),
            delivered: HashSet::new(),
            spins: (0, 0, 0),
            is_still: false,
            expects_deaths: false,
            answers: HashMap::new(),
        }
    }

    pub(crate) fn is_content(&self) -> bool {
        self.violation.is_none()
    }

    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Notes a violation. Only the first is kept: later ones are often its consequences.
    pub(crate) fn violated(&mut self, rule: &'static str, what: String) {
        self.violation.get_or_insert(Violation { rule, what });
    }

    pub(crate) fn born(&mut self, peer: Peer, id: &NodeId) {
        self.incarnations.insert(id.source(), id.clone());
        self.ids.insert(peer, id.clone());
    }

    pub(crate) fn be_still(&mut self, is_still: bool) {
        self.is_still = is_still;
    }

    /// Allows divergence from now on, because a message is about to be lost without a report.
    pub(crate) fn expect_divergence(&mut self) {
        self.is_loud = false;
    }

    /// Allows reports of dead nodes from now on, because nodes are about to be killed.
    pub(crate) fn expect_deaths(&mut self) {
        self.expects_deaths = true;
    }

    /// Checks an input of a core.
    pub(crate) fn received(&mut self, peer: Peer, input: &Input) {
        match input {
            // Where there are leases, an incarnation is valid once it is known to hold one: a larger number is only a
            // claim.
            Input::Received { message, .. } if !self.has_leases => {
                if let Some(ext) = &message.ext {
                    self.note_incarnation(peer, &ext.node);
                    if let Body::Node(NodeEvent::Bye) = message.body {
                        self.note_end(peer, &ext.node);
                    }
                }
            }
            Input::Lease(lease) => {
                // The largest number that holds a lease is valid: an older one, too, once a younger one has ended.
                for id in &lease.alive {
                    self.youngest.remove(&(peer, id.name.clone()));
                }
                lease.alive.iter().for_each(|id| self.note_incarnation(peer, id));
            }
            Input::Opened { channel, .. } => self.known.retain(|(who, key, _), _| *who != peer || key != channel),
            _ => {}
        }
    }

    fn note_incarnation(&mut self, peer: Peer, id: &NodeId) {
        if self.ended.contains(&(peer, id.name.clone(), id.incarnation)) {
            return;
        }
        let youngest = self.youngest.entry((peer, id.name.clone())).or_default();
        *youngest = id.incarnation.max(*youngest);
    }

    /// An incarnation has stopped: from now on an older one that is awake is the youngest that lives.
    fn note_end(&mut self, peer: Peer, id: &NodeId) {
        self.ended.insert((peer, id.name.clone(), id.incarnation));
        if self.youngest.get(&(peer, id.name.clone())) == Some(&id.incarnation) {
            self.youngest.remove(&(peer, id.name.clone()));
        }
    }

    /// Checks an output of a core.
    pub(crate) fn wanted(&mut self, peer: Peer, output: &Output, _now: u64) {
        match output {
            Output::Publish { message, .. } => self.said(peer, message),
            Output::Node(NodeOutput::RemoteMembers { channel, changes, .. }) => self.shown(peer, channel, changes),
            Output::Node(NodeOutput::Command { command: Command::Evict { reason }, user, .. })
                if !self.evicted.insert((peer, reason.clone())) =>
            {
                self.violated("I6", format!("{peer} evicts {user} twice: {reason}"));
            }
            // A core remembers the last 1024 messages of a source. None publishes as many while a repeated message is on its
            // way, unless its queries beget queries. One with a position may come again after thousands of others: its
            // channel drops it, which H1 checks.
            Output::Node(NodeOutput::Deliver { message, .. })
                if message.position.is_none() && !self.delivered.insert((peer, message.request_id.clone())) =>
            {
                self.violated("messages", format!("{peer} delivers {} twice", message.request_id));
            }
            Output::Node(NodeOutput::Diverged(channel)) if self.is_loud => {
                self.violated(
                    "divergence",
                    format!("{peer} finds that it was wrong about {channel:?}, and nothing was lost"),
                );
            }
            _ => {}
        }
    }

    fn said(&mut self, peer: Peer, message: &Envelope) {
        let id = self.ids[&peer].clone();
        if message.ext.as_ref().is_none_or(|ext| ext.node != id) {
            return self.violated("ext", format!("{peer} does not name its node: {message:?}"));
        }
        let ext = message.ext.as_ref().expect("it was looked at");
        if let Some(channel) = &message.channel {
            if let Some((before, after)) = ext.change {
                let last = self.said.insert((peer, channel.clone()), after).unwrap_or(0);
                if after <= last || after <= before || (before != 0 && before < last) {
                    let what = format!("{peer} goes from {before} to {after} in {channel:?}, and had been at {last}");
                    self.violated("I2", what);
                }
            }
            if let Body::Digest { version, .. } = message.body {
                self.check_version(peer, channel, version);
            }
            for (owner, version) in &ext.have {
                let at = (owner.incarnation, *version);
                let last = self.known.insert((peer, channel.clone(), owner.name.clone()), at).unwrap_or_default();
                let youngest = self.youngest.get(&(peer, owner.name.clone())).copied().unwrap_or(u64::MAX);
                let is_valid_again = owner.incarnation < last.0 && owner.incarnation >= youngest;
                if at < last && !is_valid_again {
                    let what = format!("{peer} knew {} at {last:?} in {channel:?}, and then at {at:?}", owner.name);
                    self.violated("I2", what);
                }
            }
        }
        let states: &[ChannelState] = if let Body::State(states) = &message.body { states } else { &[] };
        for state in states.iter().chain(&ext.own) {
            self.check_version(peer, &state.channel, state.version);
        }
        if self.is_still && !is_routine(&message.body) {
            self.violated(
                "I8",
                format!("{peer} has something to say when all is quiet: {}", super::format::envelope(message)),
            );
        }
    }

    fn check_version(&mut self, peer: Peer, channel: &ChannelKey, version: u64) {
        let last = self.said.get(&(peer, channel.clone())).copied().unwrap_or(0);
        if version < last {
            self.violated("I2", format!("{peer} is at {version} in {channel:?}, and had been at {last}"));
        }
    }

    fn shown(&mut self, peer: Peer, channel: &ChannelKey, changes: &[RemoteChange]) {
        if self.is_still {
            self.violated("I8", format!("{peer} shows something new when all is quiet: {channel:?} {changes:?}"));
        }
        for change in changes {
            let RemoteChange::Shown(user, shown) = change else { continue };
            let incarnation =
                shown.assigns.get(INCARNATION).and_then(|incarnation| incarnation.decode::<String>().ok());
            let Some(owner) = incarnation.and_then(|incarnation| self.incarnations.get(&incarnation)) else { continue };
            let youngest = self.youngest.get(&(peer, owner.name.clone())).copied().unwrap_or(0);
            // Users that a foreign server relays have no incarnation. A node does not learn that it was replaced
            // itself.
            let is_other = self.ids[&peer].name != owner.name;
            if owner.incarnation < youngest && is_other && !self.relays && !self.has_grace {
                let what = format!("{peer} shows {user} of {} in {channel:?}, and knew of {youngest}", owner.source());
                self.violated("I3", what);
            }
        }
    }

    /// Checks a tick of a node's core. `again` is whether the core needs another tick at once.
    pub(crate) fn looked(&mut self, peer: Peer, now: u64, again: bool) {
        let (who, when, times) = self.spins;
        self.spins = if again && (who, when) == (peer, now) { (peer, now, times + 1) } else { (peer, now, 0) };
        if self.spins.2 > 20 {
            self.violated("spinning", format!("{peer} looks at the clock over and over"));
        }
    }

    pub(crate) fn node_down(&mut self, peer: Peer, name: &str, is_alive: bool) {
        if self.is_well && is_alive && !self.expects_deaths {
            self.violated("B3", format!("{peer} takes {name} for dead, which is alive, without a fault"));
        }
    }

    pub(crate) fn answered(&mut self, peer: Peer, id: u64, was_asked: bool, answer: Answer) {
        if !was_asked {
            self.violated("asks", format!("{peer} answers {id}, which was not requested or was answered before"));
        }
        self.answers.insert((peer, id), answer);
    }
}

/// Returns whether a message is published on schedule, without any change.
fn is_routine(body: &Body) -> bool {
    matches!(body, Body::NodeHeartbeat { .. } | Body::Digest { .. } | Body::Node(_))
}
