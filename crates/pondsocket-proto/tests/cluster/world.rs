//! A few nodes and a bus that delivers at once, with a clock that is moved by hand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pondsocket_proto::channel::Assigns;
use pondsocket_proto::cluster::message::{Body, Envelope, UserState};
use pondsocket_proto::cluster::{
    Answer, Bus, ChannelKey, ClusterRequest, Command, Core, Input, Lease, MemberChange, NodeId, NodeOutput, Output,
    RemoteChange, RemoteMember, Settings, Topic, Topics, Verdict,
};
use pondsocket_proto::id::{ChannelName, UserId};
use pondsocket_proto::wire::{Json, Object};

pub(crate) fn topics() -> Topics {
    Topics::new("pondsocket", "test")
}

pub(crate) fn room() -> ChannelKey {
    key("/room")
}

pub(crate) fn key(name: &str) -> ChannelKey {
    ChannelKey { endpoint: "api/socket".into(), channel: ChannelName::new(name, 100).expect("valid") }
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::new(name).expect("valid")
}

pub(crate) fn object(text: &str) -> Object {
    Object::encode(&serde_json::from_str::<serde_json::Value>(text).expect("JSON")).expect("an object")
}

pub(crate) fn json(text: &str) -> Json {
    Json::from_raw(text).expect("JSON")
}

pub(crate) fn assigns(pairs: &[(&str, &str)]) -> Assigns {
    let mut assigns = Assigns::default();
    pairs.iter().for_each(|(key, value)| assigns.set(key, &json(value)));
    assigns
}

/// A node and what its server would keep.
pub(crate) struct TestNode {
    pub(crate) core: Core,
    pub(crate) id: NodeId,
    pub(crate) linked: bool,
    wanted: BTreeSet<Topic>,
    pub(crate) users: BTreeMap<ChannelKey, BTreeMap<UserId, Member>>,
    pub(crate) shown: BTreeMap<(ChannelKey, u64), BTreeMap<UserId, RemoteMember>>,
    instances: BTreeMap<ChannelKey, u64>,
    /// All other outputs of its core as text, since they were last read.
    pub(crate) log: Vec<String>,
    pub(crate) answers: BTreeMap<u64, Answer>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Member {
    assigns: Assigns,
    pub(crate) presence: Option<Object>,
}

pub(crate) struct TestCluster {
    pub(crate) now: u64,
    pub(crate) nodes: Vec<TestNode>,
    pub(crate) published: Vec<(Topic, Envelope)>,
    /// Selects messages that are lost without a report.
    pub(crate) lose: fn(&Envelope) -> bool,
    /// The nodes that have a lease, if there are leases.
    pub(crate) leases: Option<BTreeSet<NodeId>>,
    /// The presence grace of channels that open from now on.
    pub(crate) grace: u64,
    /// True if they show changes in their order among messages.
    pub(crate) in_order: bool,
    /// The suspended nodes, which get no ticks.
    pub(crate) asleep: Option<usize>,
    next_beat: u64,
    sweep: u64,
    /// The number of messages that foreign nodes have sent.
    pub(crate) foreign_messages: u64,
}

impl TestCluster {
    /// Creates a world of this many nodes, named `a`, `b` and so on, all connected.
    pub(crate) fn new(nodes: usize) -> TestCluster {
        TestCluster::with_sweeps_of(nodes, 600_000)
    }

    /// Creates a world whose nodes publish all their digests within this time.
    pub(crate) fn with_sweeps_of(nodes: usize, sweep: u64) -> TestCluster {
        let mut world = TestCluster {
            now: 1_000_000,
            nodes: Vec::new(),
            published: Vec::new(),
            lose: |_| false,
            leases: None,
            grace: 0,
            in_order: false,
            asleep: None,
            next_beat: 0,
            sweep,
            foreign_messages: 0,
        };
        for n in 0..nodes {
            let name = char::from(b'a' + n as u8).to_string();
            world.start(&name, 1);
        }
        world.pass(50);
        world
    }

    /// Starts or restarts a node.
    pub(crate) fn start(&mut self, name: &str, incarnation: u64) -> usize {
        let id = NodeId { name: name.into(), incarnation };
        let seed = incarnation * 1000 + u64::from(name.as_bytes()[0]);
        let mut settings = Settings::new(id.clone(), topics());
        settings.sweep = self.sweep;
        // Thousands of users are shown whole.
        settings.max_shown = 16 << 20;
        let node = TestNode {
            core: Core::new(settings, seed),
            id: id.clone(),
            linked: false,
            wanted: BTreeSet::new(),
            users: BTreeMap::new(),
            shown: BTreeMap::new(),
            instances: BTreeMap::new(),
            log: Vec::new(),
            answers: BTreeMap::new(),
        };
        if let Some(leases) = &mut self.leases {
            leases.insert(id);
        }
        self.nodes.push(node);
        let n = self.nodes.len() - 1;
        self.link(n);
        n
    }

    pub(crate) fn link(&mut self, n: usize) {
        self.nodes[n].linked = true;
        self.input(n, Input::Bus(Bus::Up));
        let wanted = self.nodes[n].wanted.iter().cloned().collect();
        self.input(n, Input::Bus(Bus::Subscribed(wanted)));
    }

    pub(crate) fn cut(&mut self, n: usize) {
        self.nodes[n].linked = false;
        self.input(n, Input::Bus(Bus::Down));
    }

    /// Ends a node without a `Bye`.
    pub(crate) fn crash(&mut self, n: usize) {
        let id = self.nodes.remove(n).id;
        if let Some(leases) = &mut self.leases {
            leases.remove(&id);
        }
    }

    /// Advances the time, and executes timers in their order.
    pub(crate) fn pass(&mut self, time: u64) {
        let end = self.now + time;
        loop {
            let awake = self.nodes.iter().enumerate().filter(|(n, _)| self.asleep != Some(*n));
            let deadlines = awake.filter_map(|(n, node)| Some((node.core.deadline()?, n)));
            let beat = self.leases.as_ref().map(|_| (self.next_beat, usize::MAX));
            let Some((due, n)) = deadlines.chain(beat).min().filter(|(due, _)| *due <= end) else { break };
            self.now = self.now.max(due);
            if n == usize::MAX {
                self.next_beat = self.now + 1000;
                self.beat();
            } else {
                self.input(n, Input::Tick);
            }
        }
        self.now = end;
    }

    fn beat(&mut self) {
        let alive: Vec<_> = self.leases.iter().flatten().cloned().collect();
        for n in 0..self.nodes.len() {
            if self.nodes[n].linked {
                self.input(n, Input::Lease(Lease { alive: alive.clone(), ..Lease::default() }));
            }
        }
    }

    pub(crate) fn input(&mut self, n: usize, input: Input) {
        let mut queue = VecDeque::from([(n, input)]);
        while let Some((n, input)) = queue.pop_front() {
            let mut out = Vec::new();
            let quiet = matches!(input, Input::Opened { .. } | Input::Closed { .. } | Input::Local { .. });
            self.nodes[n].core.handle(input, self.now, &mut out);
            for output in out {
                assert!(
                    !quiet || !matches!(output, Output::Node(NodeOutput::RemoteMembers { .. })),
                    "a view under the channel's lock"
                );
                self.carry_out(n, output, &mut queue);
            }
        }
    }

    fn carry_out(&mut self, n: usize, output: Output, queue: &mut VecDeque<(usize, Input)>) {
        let node = &mut self.nodes[n];
        match output {
            Output::Publish { topic, message } => {
                assert!(node.linked, "nothing is published while the bus is down");
                self.published.push((topic.clone(), (*message).clone()));
                if !(self.lose)(&message) {
                    queue.extend(self.deliver_to_subscribers(&topic, &message));
                }
            }
            Output::UpdateSubscriptions { add, remove } => {
                node.wanted.retain(|topic| !remove.contains(topic));
                node.wanted.extend(add.iter().cloned());
                if node.linked && !add.is_empty() {
                    queue.push_back((n, Input::Bus(Bus::Subscribed(add))));
                }
            }
            Output::Node(NodeOutput::RemoteMembers { channel, instance, changes }) => {
                let shown = node.shown.entry((channel, instance)).or_default();
                for change in changes {
                    match change {
                        RemoteChange::Shown(user, as_this) => drop(shown.insert(user, as_this)),
                        RemoteChange::Gone(user) => assert!(shown.remove(&user).is_some(), "{user} was not shown"),
                    }
                }
            }
            Output::Node(NodeOutput::Command { id, channel, user, command }) => {
                node.log.push(format!("{user}: {command:?}"));
                for input in self.obey(n, channel, user, command) {
                    queue.push_back((n, input));
                }
                queue.push_back((n, Input::Done { id, verdict: Verdict::Done }));
            }
            Output::Node(NodeOutput::Deliver { message, .. }) => node.log.push(format!("deliver {}", message.event)),
            Output::Node(NodeOutput::Answered { id, answer }) => {
                assert_eq!(node.answers.insert(id, answer), None, "answered twice");
            }
            Output::Node(NodeOutput::Orphaned { user, member, .. }) => {
                let shown = node.shown.values().any(|shown| shown.contains_key(&user));
                assert!(!shown, "{user} is shown while its leave handler runs");
                node.log.push(format!("orphan {user} {}", member.assigns.to_json()));
            }
            Output::Node(NodeOutput::NodeUp(name)) => node.log.push(format!("up {name}")),
            Output::Node(NodeOutput::NameConflict(twin)) => node.log.push(format!("twin {}", twin.incarnation)),
            Output::Node(NodeOutput::NodeDown(name)) => node.log.push(format!("down {name}")),
            Output::Node(NodeOutput::RenewLease) => node.log.push("look".to_owned()),
            Output::Node(NodeOutput::Excess { what, times }) => {
                node.log.push(format!("excess {} {times}", what.as_str()))
            }
            Output::Node(NodeOutput::HistoryRestarted(key)) => node.log.push(format!("restarted {}", key.channel)),
            Output::Node(NodeOutput::SessionClaimed(record)) => node.log.push(format!("claimed {record}")),
            Output::Node(NodeOutput::Diverged(key)) => node.log.push(format!("diverged {}", key.channel)),
        }
    }

    fn deliver_to_subscribers(&self, topic: &Topic, message: &Envelope) -> Vec<(usize, Input)> {
        let is_subscribed = |node: &TestNode| node.linked && node.wanted.contains(topic);
        let nodes = self.nodes.iter().enumerate().filter(|(_, node)| is_subscribed(node));
        nodes.map(|(n, _)| (n, Input::Received { topic: topic.clone(), message: Box::new(message.clone()) })).collect()
    }

    /// Executes a command, as a server does.
    fn obey(&mut self, n: usize, channel: ChannelKey, user: UserId, command: Command) -> Vec<Input> {
        let members = self.nodes[n].users.entry(channel.clone()).or_default();
        let member = members.get_mut(&user).expect("commands are about users that are here");
        let change = match command {
            Command::Evict { .. } | Command::Remove => {
                members.remove(&user);
                MemberChange::Left { user }
            }
            Command::Assign { key, value } => {
                member.assigns.set(&key, &value);
                MemberChange::Assigns { user, assigns: member.assigns.clone(), key: Some(key) }
            }
            Command::MergeAssigns(assigns) => {
                member.assigns.merge(assigns);
                MemberChange::Assigns { user, assigns: member.assigns.clone(), key: None }
            }
            Command::Presence(presence) => {
                member.presence = Some(presence.clone());
                MemberChange::Presence { user, presence: Some(presence) }
            }
            Command::Untrack => {
                member.presence = None;
                MemberChange::Presence { user, presence: None }
            }
        };
        let mut inputs = vec![Input::Local { channel: channel.clone(), change }];
        if self.nodes[n].users[&channel].is_empty() {
            let instance = self.nodes[n].instances[&channel];
            inputs.push(Input::Closed { channel, instance });
        }
        inputs
    }

    pub(crate) fn join(&mut self, n: usize, channel: &ChannelKey, name: &str) {
        self.join_with(n, channel, name, Assigns::default());
    }

    pub(crate) fn join_with(&mut self, n: usize, channel: &ChannelKey, name: &str, assigns: Assigns) {
        let node = &mut self.nodes[n];
        let members = node.users.entry(channel.clone()).or_default();
        let opens = members.is_empty();
        members.insert(user(name), Member { assigns: assigns.clone(), presence: None });
        if opens {
            let instance = node.instances.entry(channel.clone()).or_default();
            *instance += 1;
            let instance = *instance;
            let (grace, in_order) = (self.grace, self.in_order);
            self.input(n, Input::Opened { channel: channel.clone(), instance, grace, in_order });
        }
        self.local(n, channel, MemberChange::Joined { user: user(name), assigns });
    }

    pub(crate) fn track(&mut self, n: usize, channel: &ChannelKey, name: &str, presence: &str) {
        let member = self.nodes[n].users.get_mut(channel).and_then(|users| users.get_mut(&user(name)));
        member.expect("here").presence = Some(object(presence));
        self.local(n, channel, MemberChange::Presence { user: user(name), presence: Some(object(presence)) });
    }

    pub(crate) fn set(&mut self, n: usize, channel: &ChannelKey, name: &str, key: &str, value: &str) {
        let member = self.nodes[n].users.get_mut(channel).and_then(|users| users.get_mut(&user(name))).expect("here");
        member.assigns.set(key, &json(value));
        let change = MemberChange::Assigns { user: user(name), assigns: member.assigns.clone(), key: Some(key.into()) };
        self.local(n, channel, change);
    }

    pub(crate) fn leave(&mut self, n: usize, channel: &ChannelKey, name: &str) {
        let members = self.nodes[n].users.get_mut(channel).expect("here");
        members.remove(&user(name)).expect("here");
        let closes = members.is_empty();
        self.local(n, channel, MemberChange::Left { user: user(name) });
        if closes {
            let instance = self.nodes[n].instances[channel];
            self.input(n, Input::Closed { channel: channel.clone(), instance });
        }
    }

    fn local(&mut self, n: usize, channel: &ChannelKey, change: MemberChange) {
        self.input(n, Input::Local { channel: channel.clone(), change });
    }

    pub(crate) fn ask(&mut self, n: usize, id: u64, ask: ClusterRequest) {
        self.input(n, Input::Request { id, request: ask });
    }

    /// Has a foreign node publish a message in the channel.
    pub(crate) fn foreign(&mut self, source: &str, body: Body) {
        self.foreign_messages += 1;
        let is_heartbeat = matches!(body, Body::NodeHeartbeat { .. });
        let message = Envelope {
            id: self.foreign_messages.to_string().into(),
            source: source.into(),
            channel: (!is_heartbeat).then(room),
            timestamp: self.now,
            body,
            ext: None,
        };
        let topic = if is_heartbeat { topics().heartbeat() } else { topics().channel(&room()) };
        for (n, input) in self.deliver_to_subscribers(&topic, &message) {
            self.input(n, input);
        }
    }

    /// The names of the users that an open channel shows; `*` marks tracked ones.
    pub(crate) fn shown(&self, n: usize, channel: &ChannelKey) -> String {
        let node = &self.nodes[n];
        let is_open = node.users.get(channel).is_some_and(|users| !users.is_empty());
        let Some(instance) = node.instances.get(channel).filter(|_| is_open) else { return String::new() };
        let shown = node.shown.get(&(channel.clone(), *instance));
        let name = |(user, shown): (&UserId, &RemoteMember)| {
            format!("{user}{}", if shown.presence.is_some() { "*" } else { "" })
        };
        shown.into_iter().flatten().map(name).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn shown_user(&self, n: usize, channel: &ChannelKey, name: &str) -> Option<&RemoteMember> {
        let node = &self.nodes[n];
        node.shown.get(&(channel.clone(), *node.instances.get(channel)?))?.get(&user(name))
    }

    pub(crate) fn log(&mut self, n: usize) -> Vec<String> {
        std::mem::take(&mut self.nodes[n].log)
    }

    /// The numbers of messages of each kind since the last call.
    pub(crate) fn kinds(&mut self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for (_, message) in self.published.drain(..) {
            let text = format!("{:?}", message.body);
            let end = text.find(|letter: char| !letter.is_alphanumeric()).unwrap_or(text.len());
            *kinds.entry(text[..end].to_owned()).or_default() += 1;
        }
        kinds
    }
}

pub(crate) fn listed(name: &str) -> UserState {
    UserState { id: name.into(), assigns: Assigns::default(), presence: Some(object("{}")), joined: 0 }
}
