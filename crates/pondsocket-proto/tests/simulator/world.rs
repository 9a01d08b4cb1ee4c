//! The world: all parts of a schedule, and the one queue of events.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use pondsocket_proto::cluster::message::{Body, Envelope, Ext, Target, UserMessage};
use pondsocket_proto::cluster::{
    Bus, ChannelKey, Command, Input, Lease, NodeId, NodeOutput, Output, Topic, Topics, Verdict,
};
use pondsocket_proto::id::UserId;
use pondsocket_proto::wire::Object;
use testkit::Rng;

use super::checker::Checker;
use super::faults::Repair;
use super::foreign_go::Go;
use super::foreign_js::Js;
use super::histories::Histories;
use super::histories::store::HistoryStore;
use super::leases::Leases;
use super::node::{LinkFault, Node, RunState};
use super::redis::{Delivered, Peer, Quality, Redis, Wire};
use super::sabotage::{Sabotage, SabotageFilter};
use super::schedule::{Fault, Plan};
use super::server_channel::UserAction;
use super::trace::Trace;

/// The time between two actions of a user, where it matters.
const HASTE: u64 = 400;

/// A server that is connected to Redis.
pub(crate) enum Participant {
    Ours(Box<Node>),
    Js(Js),
    Go(Go),
}

/// An output of a foreign server.
pub(crate) enum ForeignOutput {
    Publish(Rc<str>, Rc<Envelope>),
    UpdateSubscriptions { add: Vec<Rc<str>>, remove: Vec<Rc<str>> },
}

/// An event of the schedule.
pub(crate) enum Event {
    Wire(Wire),
    /// A tick of a node, unless its time was set anew.
    Look(Peer, u64),
    /// A node renews its lease; the renewal reaches the table; the answer reaches the node.
    Renew(Peer),
    /// The same, out of turn.
    RenewNow(Peer),
    RenewalArrived(Peer, u64),
    RenewalAnswered(Peer, u64, Lease),
    /// A node tries to connect.
    Connect(Peer),
    /// A node detects that its connection is broken.
    Detect(Peer, u64),
    /// A node executes a command of another one, and reports the outcome.
    Carry(Peer, u64, ChannelKey, UserId, Command),
    /// A delayed input of a node's core.
    Later(Peer, Input),
    /// An action of a user.
    UserAction,
    Fault,
    Repair(Repair),
    /// A timer, a delayed publication or a delayed message of a foreign node.
    ForeignTimer(Peer),
    ForeignSends(Peer, Rc<str>, Rc<Envelope>),
    ForeignReceives(Peer, Rc<Envelope>),
    /// An action of a client of a history, and a look at what clients have received.
    HistoryAction,
    HistoryLook,
    /// The work on the histories of a node that is due, unless its time was set anew.
    HistoryWork(Peer, u64),
    /// A node detects that a connection of a client is lost.
    HistoryLost(usize),
}

struct Agenda {
    queue: BinaryHeap<Reverse<Due>>,
    number: u64,
}

struct Due {
    at: (u64, u64),
    event: Box<Event>,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) participants: Vec<Participant>,
    pub(crate) redis: Redis,
    pub(crate) leases: Leases,
    /// The table as it was some seconds ago: what a replica may know.
    pub(crate) lagging: Leases,
    pub(crate) lagging_histories: HistoryStore,
    /// The time by which the clock of Redis is ahead.
    pub(crate) server_ahead: u64,
    pub(crate) slow_store_until: u64,
    pub(crate) topics: Topics,
    pub(crate) channels: Vec<ChannelKey>,
    pub(crate) checker: Checker,
    pub(crate) trace: Trace,
    /// Draws actions, deliveries and faults.
    pub(crate) events: u64,
    /// Numbers names, values and messages.
    pub(crate) counter: u64,
    /// True if anything has changed since views were last compared.
    pub(crate) is_dirty: bool,
    pub(crate) is_over: bool,
    /// The time at which all faults were repaired; before that the end of time.
    pub(crate) repaired: u64,
    /// The leave handlers of users of dead nodes that nodes were given.
    pub(crate) orphans: Vec<(Peer, ChannelKey, UserId)>,
    /// The time of each user's last action, if it matters.
    last_actions: HashMap<(Peer, String), u64>,
    agenda: Agenda,
    interned: HashMap<String, Rc<str>>,
    pub(crate) gate: SabotageFilter,
    /// The channels with a history.
    pub(crate) histories: Option<Histories>,
}

impl World {
    pub(crate) fn new(seed: u64, trace: Trace, sabotage: Option<Sabotage>) -> World {
        let mut rng = Rng::new(seed);
        let plan = Plan::new(&mut rng);
        let names = ["/room/1", "/room/2", "/room/a:b", "/lobby"];
        let mut world = World {
            now: 0,
            redis: Redis::new(Quality::of(&plan)),
            checker: Checker::new(&plan),
            channels: names[..plan.channels].iter().map(|name| super::server_channel::key(name)).collect(),
            plan,
            rng,
            participants: Vec::new(),
            leases: Leases::default(),
            lagging: Leases::default(),
            lagging_histories: HistoryStore::default(),
            server_ahead: 0,
            slow_store_until: 0,
            topics: Topics::new("pondsocket", "sim"),
            trace,
            events: 0,
            counter: 0,
            is_dirty: true,
            is_over: false,
            repaired: u64::MAX,
            orphans: Vec::new(),
            last_actions: HashMap::new(),
            agenda: Agenda { queue: BinaryHeap::new(), number: 0 },
            interned: HashMap::new(),
            gate: SabotageFilter::new(sabotage),
            histories: None,
        };
        world.redis.histories.ignores_generations = world.gate.ignores_generations();
        world.histories = world.plan.histories.map(|plan| Histories::new(plan, world.rng.clone()));
        world.begin();
        world
    }

    fn begin(&mut self) {
        let plan = self.plan.clone();
        self.note(|| format!("{plan:?}"));
        for number in 0..plan.nodes {
            self.start_node(&format!("web-{number}"));
        }
        if plan.js {
            let peer = self.redis.add_peer();
            self.participants.push(Participant::Js(Js::new("js-k3f9", self.topics.clone())));
            self.start_foreign(peer);
        }
        if plan.go {
            let peer = self.redis.add_peer();
            self.participants.push(Participant::Go(Go::new(self.topics.clone())));
            self.start_foreign(peer);
        }
        self.after(10, Event::UserAction);
        if plan.faults.is_some() {
            self.after(3000, Event::Fault);
        }
        self.begin_histories();
    }

    fn start_foreign(&mut self, peer: Peer) {
        self.redis.connect(peer, self.now, &mut self.rng);
        let heartbeat = self.intern(self.topics.heartbeat().as_str());
        self.redis.update_subscriptions(peer, self.now, &[heartbeat], &[], &mut self.rng);
        self.after(1, Event::ForeignTimer(peer));
    }

    /// Starts a node, under a name that may have run before.
    pub(crate) fn start_node(&mut self, name: &str) -> Peer {
        let mut ahead = self.rng.below(self.plan.skew + 1) as i64 - (self.plan.skew / 2) as i64;
        let mut last = None;
        for participant in &mut self.participants {
            let Participant::Ours(node) = participant else { continue };
            if &*node.id.name == name {
                // One machine has one clock; it may be set between two incarnations.
                ahead = if self.plan.sets_clocks { ahead } else { node.ahead };
                node.is_replaced = true;
                node.ended = node.ended.min(self.now);
                last = last.max(Some(node.id.incarnation));
            }
        }
        let peer = self.redis.add_peer();
        let id = self.new_incarnation(name.into(), ahead, last);
        let mut node = Node::new(id, ahead, self.now, self.topics.clone(), self.plan.encoded, self.rng.next_u64());
        node.grace = self.plan.grace;
        self.checker.born(peer, &node.id);
        self.note(|| format!("{} starts as {peer}", node.id.source()));
        self.participants.push(Participant::Ours(Box::new(node)));
        self.is_dirty = true;
        let soon = self.rng.range((0, 300));
        self.after(soon, Event::Connect(peer));
        if self.plan.leases {
            self.after(soon + 5, Event::Renew(peer));
        }
        self.feed(peer, Input::Tick);
        peer
    }

    /// The number of a new incarnation, from the table of leases. Without a table it is the time of the start, and no
    /// clock is set back so far that it would be smaller than that of the incarnation before.
    fn new_incarnation(&mut self, name: Arc<str>, ahead: i64, last: Option<u64>) -> NodeId {
        let clock = super::node::by_clock(ahead, self.now);
        if self.plan.leases && !self.gate.takes_clocks() {
            return self.leases.begin(&name, self.now + self.server_ahead);
        }
        let least = if self.plan.leases { 0 } else { last.map_or(0, |last| last + 1) };
        NodeId { name, incarnation: clock.max(least) }
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        self.trace.note(self.now, line);
    }

    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    pub(crate) fn at(&mut self, time: u64, event: Event) {
        self.agenda.number += 1;
        self.agenda.queue.push(Reverse(Due { at: (time.max(self.now), self.agenda.number), event: Box::new(event) }));
    }

    pub(crate) fn intern(&mut self, topic: &str) -> Rc<str> {
        match self.interned.get(topic) {
            Some(topic) => topic.clone(),
            None => self.interned.entry(topic.to_owned()).or_insert_with(|| topic.into()).clone(),
        }
    }

    pub(crate) fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub(crate) fn node(&mut self, peer: Peer) -> Option<&mut Node> {
        match &mut self.participants[peer] {
            Participant::Ours(node) => Some(node),
            _ => None,
        }
    }

    /// Our nodes that have not ended, whether they are paused or not.
    pub(crate) fn started(&self) -> impl Iterator<Item = (Peer, &Node)> {
        self.participants.iter().enumerate().filter_map(|(peer, participant)| match participant {
            Participant::Ours(node) if node.run_state != RunState::Ended => Some((peer, &**node)),
            _ => None,
        })
    }

    /// Those of our nodes whose name no later incarnation has taken.
    pub(crate) fn live(&self) -> impl Iterator<Item = (Peer, &Node)> {
        self.started().filter(|(_, node)| node.is_live())
    }

    /// The live nodes that are not paused.
    pub(crate) fn running(&self) -> Vec<Peer> {
        self.live().filter(|(_, node)| node.run_state == RunState::Running).map(|(peer, _)| peer).collect()
    }

    /// Executes the events that are due until then, or until a rule is broken.
    pub(crate) fn run_until(&mut self, until: u64) {
        while self.agenda.queue.peek().is_some_and(|Reverse(due)| due.at.0 <= until) && self.checker.is_content() {
            let Reverse(Due { at, event }) = self.agenda.queue.pop().expect("it was there");
            self.now = at.0;
            self.dispatch(*event);
        }
        self.now = self.now.max(until);
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Wire(Wire::Deliver { to, session, what }) => self.land(to, session, what),
            Event::Wire(wire) => {
                self.redis.arrive(wire, self.now, &mut self.rng);
                self.collect();
            }
            Event::Look(peer, number) => self.look(peer, number),
            Event::Renew(peer) => self.renew(peer),
            Event::RenewNow(peer) => self.renew_now(peer),
            Event::RenewalArrived(peer, session) => self.renewal_arrived(peer, session),
            Event::RenewalAnswered(peer, session, lease) => self.renewal_answered(peer, session, lease),
            Event::Connect(peer) => self.connect(peer),
            Event::Detect(peer, session) => self.detect(peer, session),
            Event::Carry(peer, id, channel, user, command) => self.execute_command(peer, id, channel, user, command),
            Event::Later(peer, input) => self.feed(peer, input),
            Event::UserAction => self.a_user_acts(),
            Event::Fault => self.a_fault_occurs(),
            Event::Repair(repair) => self.repair(repair),
            Event::ForeignTimer(peer) => self.foreign_timer(peer),
            Event::ForeignSends(peer, topic, message) => {
                self.redis.publish(peer, self.now, topic, message, &mut self.rng);
                self.collect();
            }
            Event::ForeignReceives(peer, message) => self.foreign_receives(peer, &message),
            Event::HistoryAction => self.a_history_client_acts(),
            Event::HistoryLook => self.history_look(),
            Event::HistoryWork(peer, at) => self.history_work(peer, at),
            Event::HistoryLost(connection) => self.history_connection_lost(connection),
        }
    }

    /// Schedules the messages that Redis has sent.
    pub(crate) fn collect(&mut self) {
        self.note_given();
        let Agenda { queue, number } = &mut self.agenda;
        for (at, wire) in self.redis.drain() {
            *number += 1;
            queue.push(Reverse(Due { at: (at.max(self.now), *number), event: Box::new(Event::Wire(wire)) }));
        }
    }

    fn land(&mut self, to: Peer, session: u64, what: Delivered) {
        if let Delivered::Answer { number, answer } = &what {
            // It comes over the connection for commands, which works where only subscriptions are blocked.
            let is_wedged = self.node(to).is_some_and(|node| node.link_fault == Some(LinkFault::Wedge));
            let lands = match is_wedged {
                true => self.redis.passes(to, session),
                false => self.redis.lands(to, session, &what),
            };
            if lands {
                self.store_answers(to, session, *number, answer);
            }
            return;
        }
        if !self.redis.lands(to, session, &what) {
            return;
        }
        self.events += 1;
        match (&self.participants[to], what) {
            (Participant::Ours(_), what) => {
                let input = match what {
                    Delivered::Message { topic, message } => {
                        Input::Received { topic: Topic::from(&*topic), message: Box::new((*message).clone()) }
                    }
                    Delivered::Subscribed(topics) => {
                        Input::Bus(Bus::Subscribed(topics.iter().map(|topic| Topic::from(&**topic)).collect()))
                    }
                    Delivered::Gap(topic) => Input::Bus(Bus::Gap(vec![Topic::from(&*topic)])),
                    Delivered::Answer { .. } => return,
                };
                self.feed(to, input);
            }
            (Participant::Js(_), Delivered::Message { message, .. }) => self.foreign_receives(to, &message),
            (Participant::Go(_), Delivered::Message { message, .. }) => {
                let late = self.rng.below(100);
                self.after(late, Event::ForeignReceives(to, message));
            }
            (_, Delivered::Subscribed(topics)) => self.foreign_subscribed(to, &topics),
            (_, Delivered::Gap(_) | Delivered::Answer { .. }) => {}
        }
    }

    /// Gives an input to a node's core: at once, or when its pause is over.
    pub(crate) fn feed(&mut self, peer: Peer, input: Input) {
        let now = self.now;
        let input = match &mut self.participants[peer] {
            Participant::Ours(node) => match node.run_state {
                RunState::Ended => return,
                RunState::Paused => return node.waiting.push(input),
                RunState::Running => self.gate.admits(peer, input),
            },
            _ => return,
        };
        let Some(input) = input else { return };
        self.trace.note(now, || format!("{peer} <- {}", super::format::input(&input)));
        self.checker.received(peer, &input);
        if let Input::Local { .. } | Input::Opened { .. } | Input::Closed { .. } = input {
            self.is_dirty = true;
        }
        let bus = if let Input::Bus(bus) = &input { Some(bus.clone()) } else { None };
        let outputs = self.node(peer).expect("it is ours").handle(input, now);
        for output in outputs {
            self.apply(peer, output);
        }
        if let Some(bus) = bus {
            self.history_bus(peer, &bus);
        }
        self.schedule_tick(peer);
    }

    fn apply(&mut self, peer: Peer, output: Output) {
        self.trace.note(self.now, || format!("{peer} -> {}", super::format::output(&output)));
        self.checker.wanted(peer, &output, self.now);
        match output {
            Output::Publish { topic, message } => {
                let topic = self.intern(topic.as_str());
                let message = self.by_wire(*message);
                self.redis.publish(peer, self.now, topic, Rc::new(message), &mut self.rng);
                self.collect();
            }
            Output::UpdateSubscriptions { add, remove } => {
                let add: Vec<_> = add.iter().map(|topic| self.intern(topic.as_str())).collect();
                let remove: Vec<_> = remove.iter().map(|topic| self.intern(topic.as_str())).collect();
                self.redis.update_subscriptions(peer, self.now, &add, &remove, &mut self.rng);
                self.collect();
            }
            Output::Node(NodeOutput::RemoteMembers { channel, instance, changes }) => {
                self.is_dirty = true;
                let node = self.node(peer).expect("it is ours");
                let room = node.rooms.get_mut(&channel).filter(|room| room.instance == instance);
                let inputs = room.map_or_else(Vec::new, |room| room.apply(changes));
                inputs.into_iter().for_each(|input| self.feed(peer, input));
                self.close_if_empty(peer, &channel);
            }
            Output::Node(NodeOutput::Command { id, channel, user, command }) => {
                let delay = if self.rng.per_mille(100) { self.rng.below(600) } else { self.rng.below(20) };
                self.after(delay, Event::Carry(peer, id, channel, user, command));
            }
            Output::Node(NodeOutput::Answered { id, answer }) => self.answered(peer, id, answer),
            Output::Node(NodeOutput::NodeDown(name)) => {
                let is_alive = self.live().any(|(_, node)| node.id.name == name);
                self.checker.node_down(peer, &name, is_alive);
            }
            Output::Node(NodeOutput::RenewLease) => self.after(0, Event::RenewNow(peer)),
            Output::Node(NodeOutput::Orphaned { channel, user, .. }) => self.orphans.push((peer, channel, user)),
            Output::Node(NodeOutput::Deliver { channel, message }) => self.history_received(peer, &channel, message),
            Output::Node(NodeOutput::HistoryRestarted(channel)) => self.history_restarted(peer, &channel),
            Output::Node(NodeOutput::NodeUp(_))
            | Output::Node(NodeOutput::Excess { .. })
            | Output::Node(NodeOutput::NameConflict(_))
            | Output::Node(NodeOutput::SessionClaimed(_))
            | Output::Node(NodeOutput::Diverged(_)) => {}
        }
    }

    /// A message as the receiver gets it.
    fn by_wire(&mut self, message: Envelope) -> Envelope {
        if !self.plan.encoded {
            return message;
        }
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        // Some messages have one text for `{}` and for no presence, so the encoded texts are compared.
        let decoded = Envelope::decode(&bytes);
        let mut again = Vec::new();
        decoded.iter().for_each(|decoded| decoded.encode(&mut again));
        if again != bytes {
            let text = String::from_utf8_lossy(&bytes);
            self.checker.violated("codec", format!("{message:?} is encoded as {text} and decoded as {decoded:?}"));
        }
        decoded.unwrap_or(message)
    }

    fn schedule_tick(&mut self, peer: Peer) {
        let node = self.node(peer).expect("it is ours");
        let Some(deadline) = node.deadline() else { return };
        if node.looks_for.is_none_or(|at| deadline < at) {
            node.looks_for = Some(deadline);
            node.looks += 1;
            let number = node.looks;
            let late = self.rng.range((0, self.plan.tick_late));
            self.at(deadline.max(self.now) + late, Event::Look(peer, number));
        }
    }

    fn look(&mut self, peer: Peer, number: u64) {
        let now = self.now;
        let node = self.node(peer).expect("it is ours");
        if node.looks != number {
            return;
        }
        node.looks_for = None;
        match node.run_state {
            RunState::Ended => {}
            RunState::Paused => self.after(50, Event::Look(peer, number)),
            RunState::Running if node.deadline().is_some_and(|deadline| deadline <= now) => {
                self.feed(peer, Input::Tick);
                let again = self.node(peer).and_then(|node| node.deadline()).is_some_and(|deadline| deadline <= now);
                self.checker.looked(peer, now, again);
            }
            RunState::Running => self.schedule_tick(peer),
        }
    }

    fn connect(&mut self, peer: Peer) {
        if self.redis.is_up(peer) || self.node(peer).is_none_or(|node| node.run_state == RunState::Ended) {
            return;
        }
        if !self.redis.is_reachable(peer, self.now) {
            let pause = self.rng.range((100, 1500));
            return self.after(pause, Event::Connect(peer));
        }
        self.redis.connect(peer, self.now, &mut self.rng);
        self.feed(peer, Input::Bus(Bus::Up));
        self.collect();
    }

    /// Closes the connections of a node, which detects it at once.
    pub(crate) fn hang_up(&mut self, peer: Peer, back_in: u64) {
        if !self.redis.is_up(peer) {
            return;
        }
        self.redis.disconnect(peer);
        self.feed(peer, Input::Bus(Bus::Down));
        self.after(back_in, Event::Connect(peer));
    }

    fn detect(&mut self, peer: Peer, session: u64) {
        if self.redis.session(peer) != session || self.node(peer).is_none_or(|node| node.link_fault.is_none()) {
            return;
        }
        if let Some(LinkFault::Wedge) = self.node(peer).and_then(|node| node.link_fault) {
            // The connection was replaced meanwhile.
            self.redis.disconnect(peer);
            self.redis.unblock(peer, self.now);
            self.node(peer).expect("it is ours").link_fault = None;
            self.feed(peer, Input::Bus(Bus::Down));
            return self.after(100, Event::Connect(peer));
        }
        self.hang_up(peer, 100);
    }

    fn execute_command(&mut self, peer: Peer, id: u64, channel: ChannelKey, user: UserId, command: Command) {
        if self.is_hasty(peer, user.as_str()) {
            return self.after(HASTE, Event::Carry(peer, id, channel, user, command));
        }
        let (now, refused) = (self.now, self.rng.per_mille(self.plan.refusals));
        let Some(node) = self.node(peer).filter(|node| node.run_state != RunState::Ended) else { return };
        if node.run_state == RunState::Paused {
            return self.after(100, Event::Carry(peer, id, channel, user, command));
        }
        let clock = node.clock(now);
        let leaves = matches!(command, Command::Evict { .. } | Command::Remove);
        let (verdict, inputs) = match node.rooms.get_mut(&channel) {
            None => (Verdict::NotFound, Vec::new()),
            Some(_) if refused && !leaves => (Verdict::Refused, Vec::new()),
            Some(room) => room.execute(&user, command, clock),
        };
        inputs.into_iter().for_each(|input| self.feed(peer, input));
        self.feed(peer, Input::Done { id, verdict });
        self.close_if_empty(peer, &channel);
    }

    /// Executes an action of a member on one of our nodes.
    pub(crate) fn perform(&mut self, peer: Peer, channel: &ChannelKey, user: &UserId, action: UserAction) {
        let now = self.now;
        if self.is_hasty(peer, user.as_str()) {
            return;
        }
        let Some(node) = self.node(peer).filter(|node| node.run_state == RunState::Running) else { return };
        let clock = node.clock(now);
        let (room, opened) = match action {
            UserAction::Join(..) => node.open(channel),
            _ => match node.rooms.get_mut(channel) {
                Some(room) => (room, None),
                None => return,
            },
        };
        let inputs = opened.into_iter().chain(room.perform(user, action, clock)).collect::<Vec<_>>();
        inputs.into_iter().for_each(|input| self.feed(peer, input));
        self.close_if_empty(peer, channel);
    }

    /// Returns whether this user has acted a moment ago. A Go server keeps no order, so with one in the schedule users
    /// pause between actions: otherwise the final state would not be determined.
    pub(crate) fn is_hasty(&mut self, peer: Peer, user: &str) -> bool {
        if !self.plan.go {
            return false;
        }
        let last = self.last_actions.entry((peer, user.to_owned())).or_default();
        let is_hasty = self.now < *last + HASTE;
        if !is_hasty {
            *last = self.now;
        }
        is_hasty
    }

    fn close_if_empty(&mut self, peer: Peer, channel: &ChannelKey) {
        let Some(closed) = self.node(peer).and_then(|node| node.close_if_empty(channel)) else { return };
        self.is_dirty = true;
        // Another instance of the channel may open before the core gets the input for the end of this one.
        match self.rng.per_mille(200) {
            true => {
                let late = self.rng.below(60);
                self.after(late, Event::Later(peer, closed));
            }
            false => self.feed(peer, closed),
        }
    }

    /// Broadcasts a message to the members of a channel on all nodes.
    pub(crate) fn broadcast(&mut self, peer: Peer, channel: &ChannelKey) {
        let (number, timestamp) = (self.count(), self.now);
        let Some(node) = self.node(peer) else { return };
        let id: Arc<str> = format!("message-{number}").into();
        let payload = Object::encode(&serde_json::json!({ "n": number })).expect("an object");
        let (from, event, request_id) = ("CHANNEL".into(), "news".to_owned(), id.to_string());
        let (to, position) = (Target::All, None);
        let body = Body::UserMessage(UserMessage { from, event, payload, request_id, to, position });
        let ext = Ext { node: node.id.clone(), change: None, joined: None, request: None, have: vec![], own: None };
        let source = node.id.source().into();
        let message = Envelope { id, source, channel: Some(channel.clone()), timestamp, body, ext: Some(ext) };
        let topic = self.intern(self.topics.channel(channel).as_str());
        self.note(|| format!("{peer} broadcasts {number}"));
        self.redis.publish(peer, self.now, topic, Rc::new(message), &mut self.rng);
        self.collect();
    }

    pub(crate) fn break_now(&mut self, fault: Fault) {
        self.events += 1;
        self.note(|| format!("** {fault:?}"));
    }
}
