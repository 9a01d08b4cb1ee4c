//! Nodes that share a history: every client receives all messages of all nodes in the order of the store, none twice, or is
//! told that it may have missed some. Messages, answers and reads come late, in any order, twice or not at all; the store
//! loses its data; nodes lose the store.

use std::collections::VecDeque;
use std::sync::Arc;

use pondsocket_proto::channel::{
    AppendedMessage, DeliveryPolicy, GapReason, HistoryRules, LocalTarget, Outbound, Recovery, ResumeRequest, Ring,
    StoredMessage, StoredMessages, Unproven, UserMessage,
};
use pondsocket_proto::position::{Epoch, Position};
use pondsocket_proto::wire::Resume;
use proptest::collection::vec;
use proptest::prelude::*;

use super::world::{FILTERED, HistoryWorld, USERS, empty, rules, user};

const NODES: usize = 3;

/// The number of messages that the store keeps.
const KEPT: usize = 8;

/// A message in the store.
#[derive(Clone, Debug)]
struct Stored {
    /// The node that has sent it, and its number there.
    by: (usize, u64),
    message: UserMessage,
    position: Position,
}

/// A store of histories.
struct Store {
    epochs: u32,
    top: Option<Position>,
    kept: VecDeque<Stored>,
    /// Every message that has ever had a position.
    all: Vec<Stored>,
}

impl Store {
    fn fresh(&mut self) -> Epoch {
        self.epochs += 1;
        Epoch::new(self.epochs)
    }

    fn append(&mut self, by: (usize, u64), message: UserMessage) -> Stored {
        let top = match self.top {
            Some(top) => top,
            None => Position { epoch: self.fresh(), offset: 0 },
        };
        let position = Position { offset: top.offset + 1, ..top };
        self.top = Some(position);
        let stored = Stored { by, message: UserMessage { position: Some(position), ..message }, position };
        self.kept.push_back(stored.clone());
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
        self.all.push(stored.clone());
        stored
    }

    fn lose_everything(&mut self) {
        self.top = None;
        self.kept.clear();
    }
}

struct Node {
    world: HistoryWorld,
    /// Messages for the store.
    requests: VecDeque<AppendedMessage>,
    /// Answers of the store on their way.
    answers: VecDeque<(u64, Position)>,
    /// Messages of other nodes on their way.
    inbox: VecDeque<Stored>,
    /// `true` if messages may be lost since the last read.
    is_to_read: bool,
}

/// A client, which knows its position and reconnects to any node.
#[derive(Default)]
struct Client {
    node: Option<usize>,
    last: Option<Position>,
    /// `true` if the next position may be any.
    was_told: bool,
    /// `true` if it is to be told of a gap: a node without the store has given it positions of its own.
    is_owed_notice: bool,
    /// Everything that it has received with a position.
    log: Vec<Position>,
}

struct Cluster {
    nodes: Vec<Node>,
    store: Store,
    /// The epochs of nodes that had lost the store.
    detached: Vec<Epoch>,
    clients: Vec<Client>,
}

#[derive(Clone, Debug)]
enum ClusterAction {
    Send {
        node: usize,
        from: usize,
        to: u8,
        filtered: bool,
    },
    /// The store takes the first request of a node, or the second one ahead of it.
    Append {
        node: usize,
        second: bool,
    },
    Answer(usize),
    Receive {
        node: usize,
        twice: bool,
    },
    LoseMessages(usize),
    Read(usize),
    /// The store is back: the node is about to read.
    Reattach(usize),
    Move {
        user: usize,
        node: usize,
    },
    /// The server closes the connection of a user, who reads it to its end.
    Close(usize),
    LoseStore,
    Detach(usize),
}

fn action() -> impl Strategy<Value = ClusterAction> {
    let node = || 0..NODES;
    prop_oneof![
        8 => (node(), 0..USERS, 0..3u8, prop::bool::weighted(0.1)).prop_map(|(node, from, to, filtered)| {
            ClusterAction::Send { node, from, to, filtered }
        }),
        8 => (node(), prop::bool::weighted(0.1)).prop_map(|(node, second)| ClusterAction::Append { node, second }),
        8 => node().prop_map(ClusterAction::Answer),
        8 => (node(), prop::bool::weighted(0.1)).prop_map(|(node, twice)| ClusterAction::Receive { node, twice }),
        1 => node().prop_map(ClusterAction::LoseMessages),
        2 => node().prop_map(ClusterAction::Read),
        1 => node().prop_map(ClusterAction::Reattach),
        3 => (0..USERS, node()).prop_map(|(user, node)| ClusterAction::Move { user, node }),
        2 => (0..USERS).prop_map(ClusterAction::Close),
        1 => Just(ClusterAction::LoseStore),
        1 => node().prop_map(ClusterAction::Detach),
    ]
}

impl Node {
    fn new(node: usize) -> Node {
        let rules = HistoryRules { messages: 1000, replay_messages: 1000, ..rules() };
        let ring = Ring::new(Arc::new(rules), Epoch::new(1_000_000 + node as u32));
        let channel = empty().replicated().with_shared_history(ring);
        Node {
            world: HistoryWorld::new(channel),
            requests: VecDeque::new(),
            answers: VecDeque::new(),
            inbox: VecDeque::new(),
            is_to_read: false,
        }
    }

    fn collect(&mut self) {
        self.requests.extend(self.world.channel.take_outbound().into_iter().filter_map(|outbound| match outbound {
            Outbound::Append(message) => Some(message),
            _ => None,
        }));
    }
}

impl Cluster {
    fn new() -> Cluster {
        let store = Store { epochs: 0, top: None, kept: VecDeque::new(), all: Vec::new() };
        let mut cluster =
            Cluster { nodes: (0..NODES).map(Node::new).collect(), store, detached: Vec::new(), clients: Vec::new() };
        cluster.clients.resize_with(USERS, Client::default);
        (0..NODES).for_each(|node| cluster.read(node));
        cluster
    }

    fn act(&mut self, action: ClusterAction) {
        match action {
            ClusterAction::Send { node, from, to, filtered } => self.send(node, from, to, filtered),
            ClusterAction::Append { node, second } => self.append(node, usize::from(second)),
            ClusterAction::Answer(node) => self.answer(node),
            ClusterAction::Receive { node, twice } => self.receive(node, twice),
            ClusterAction::LoseMessages(node) => {
                self.nodes[node].is_to_read |= !self.nodes[node].inbox.is_empty();
                self.nodes[node].inbox.clear();
            }
            ClusterAction::Read(node) => self.read(node),
            ClusterAction::Reattach(node) => self.nodes[node].world.channel.reattach(),
            ClusterAction::Move { user, node } => {
                self.leave(user);
                self.join(user, node);
            }
            ClusterAction::Close(user) => self.leave(user),
            ClusterAction::LoseStore => {
                self.store.lose_everything();
                // The loss of its connection tells each node.
                self.nodes.iter_mut().for_each(|node| node.is_to_read = true);
            }
            ClusterAction::Detach(node) => {
                let epoch = self.store.fresh();
                let Node { world, requests, answers, inbox, is_to_read } = &mut self.nodes[node];
                world.channel.detach(epoch);
                self.detached.push(epoch);
                // The node gives up on what it has asked for.
                requests.clear();
                answers.clear();
                inbox.clear();
                *is_to_read = true;
                // Members learn when the store is back that they may have missed messages.
                self.deliver(node);
            }
        }
    }

    fn send(&mut self, node: usize, from: usize, to: u8, filtered: bool) {
        let at = &mut self.nodes[node];
        let to = match (to, at.world.seats.get(&from)) {
            (1, Some((slot, connection))) => LocalTarget::ExceptConnection((*slot, *connection)),
            (2, _) => LocalTarget::ExceptUser(from.to_string()),
            _ => LocalTarget::All,
        };
        at.world.send(&to, if filtered { FILTERED } else { DeliveryPolicy::BROADCAST });
        at.collect();
        self.deliver(node);
    }

    fn append(&mut self, node: usize, at: usize) {
        let Some(AppendedMessage { number, message }) = self.nodes[node].requests.remove(at) else { return };
        let stored = self.store.append((node, number), message);
        self.nodes[node].answers.push_back((number, stored.position));
        for (_, other) in self.nodes.iter_mut().enumerate().filter(|(at, _)| *at != node) {
            other.inbox.push_back(stored.clone());
        }
    }

    fn answer(&mut self, node: usize) {
        if let Some((number, position)) = self.nodes[node].answers.pop_front() {
            self.nodes[node].world.channel.place(number, Some(position));
            self.deliver(node);
        }
    }

    fn receive(&mut self, node: usize, twice: bool) {
        let Some(stored) = self.nodes[node].inbox.pop_front() else { return };
        let channel = &mut self.nodes[node].world.channel;
        for _ in 0..=usize::from(twice) {
            channel.deliver_kept(stored.position, stored.message.as_ref(), DeliveryPolicy::BROADCAST);
        }
        self.deliver(node);
    }

    fn read(&mut self, node: usize) {
        let channel = &mut self.nodes[node].world.channel;
        channel.reattach();
        if channel.owes_restart() {
            let epoch = self.store.fresh();
            self.store.lose_everything();
            self.store.top = Some(Position { epoch, offset: 0 });
            self.nodes.iter_mut().for_each(|node| node.is_to_read = true);
        }
        if self.store.top.is_none() {
            self.store.top = Some(Position { epoch: self.store.fresh(), offset: 0 });
        }
        let fresh = self.store.fresh();
        let messages = self.store.kept.iter().map(|stored| StoredMessage {
            offset: stored.position.offset,
            age: 0,
            own: (stored.by.0 == node).then_some(stored.by.1),
            message: Some(stored.message.as_ref()),
        });
        let stored = StoredMessages { position: self.store.top, messages: messages.collect(), fresh };
        self.nodes[node].is_to_read = false;
        self.nodes[node].world.channel.load(stored, &|_| DeliveryPolicy::BROADCAST);
        self.deliver(node);
    }

    fn leave(&mut self, user: usize) {
        if let Some(node) = self.clients[user].node.take() {
            self.nodes[node].world.leave(user);
        }
    }

    fn join(&mut self, user: usize, node: usize) {
        self.nodes.iter_mut().for_each(|node| node.world.give_up_connection(user));
        self.deliver(node);
        let client = &mut self.clients[user];
        client.node = Some(node);
        let resume = client.last.map_or(Resume::FromNothing, Resume::From);
        self.nodes[node].world.join(user, Some(resume), Vec::new());
        self.deliver(node);
    }

    fn deliver(&mut self, node: usize) {
        let world = &mut self.nodes[node].world;
        world.deliver();
        for user in 0..USERS {
            let received = std::mem::take(&mut world.received[user]);
            let client = &mut self.clients[user];
            for (id, event) in received {
                match id.parse::<Position>() {
                    Ok(position) if self.detached.contains(&position.epoch) => {
                        client.is_owed_notice |= client.last.is_none_or(|last| last.epoch != position.epoch);
                        client.last = Some(position);
                    }
                    Ok(position) => client.receive(user, position, &self.store),
                    Err(_) if event == "GAP" => (client.was_told, client.is_owed_notice) = (true, false),
                    Err(_) if event == "ACKNOWLEDGE" => client.read_acknowledgement(&world.acknowledgements[user]),
                    Err(_) => {}
                }
            }
        }
    }

    /// Lets everything arrive.
    fn settle(&mut self) {
        for _ in 0..4 {
            for node in 0..NODES {
                if self.nodes[node].world.channel.is_detached() {
                    self.read(node);
                }
                while !self.nodes[node].requests.is_empty() {
                    self.append(node, 0);
                }
            }
            for node in 0..NODES {
                while !self.nodes[node].answers.is_empty() {
                    self.answer(node);
                }
                while !self.nodes[node].inbox.is_empty() {
                    self.receive(node, false);
                }
                if self.nodes[node].is_to_read || self.nodes[node].world.channel.is_behind() {
                    self.read(node);
                }
            }
        }
    }
}

impl Client {
    fn receive(&mut self, user: usize, position: Position, store: &Store) {
        if let (Some(last), false) = (self.last, self.was_told) {
            assert_eq!(position.epoch, last.epoch, "user {user} was not told that {last} is of an earlier epoch");
            assert!(position.offset > last.offset, "user {user} got {position} behind {last}");
            let missed = (last.offset + 1..position.offset).map(|offset| Position { offset, ..last });
            missed.for_each(|missed| assert!(store.leaves_out(missed, user), "user {user} missed {missed}"));
        }
        (self.last, self.was_told) = (Some(position), false);
        self.log.push(position);
    }

    fn read_acknowledgement(&mut self, payload: &str) {
        let payload: serde_json::Value = serde_json::from_str(payload).expect("JSON");
        if payload["recovered"] != true {
            self.last = payload["position"].as_str().map(|position| position.parse().expect("a position"));
            (self.was_told, self.is_owed_notice) = (false, false);
        }
    }
}

impl Store {
    /// Returns `true` if a user does not get a message, or need not: its own, for which another node does not know the
    /// connection that sent it.
    fn leaves_out(&self, position: Position, user: usize) -> bool {
        let stored = self.all.iter().find(|stored| stored.position == position).expect("stored");
        let is_sender = *stored.message.from == *user.to_string();
        is_sender && !matches!(stored.message.to, pondsocket_proto::cluster::message::Target::All)
    }
}

proptest! {
    #[test]
    fn all_clients_receive_all_messages_of_all_nodes_in_one_order(actions in vec(action(), 0..150)) {
        let mut cluster = Cluster::new();
        (0..USERS).for_each(|user| cluster.join(user, user % NODES));
        actions.into_iter().for_each(|action| cluster.act(action));
        cluster.settle();
        for node in &cluster.nodes {
            prop_assert!(!node.world.channel.awaits_positions() && !node.world.channel.is_behind());
        }
        let top = cluster.store.top;
        for user in 0..USERS {
            let client = &cluster.clients[user];
            prop_assert!(!client.is_owed_notice || client.node.is_none(), "user {}", user);
            let (Some(_), Some(last), Some(top), false) = (client.node, client.last, top, client.was_told) else { continue };
            prop_assert_eq!(last.epoch, top.epoch, "user {}", user);
            for offset in last.offset + 1..=top.offset {
                prop_assert!(cluster.store.leaves_out(Position { offset, ..top }, user), "user {} lacks {}", user, offset);
            }
        }
    }
}

#[test]
fn a_client_that_joins_behind_a_message_without_a_position_is_told_when_its_node_loses_the_store() {
    let mut cluster = Cluster::new();
    cluster.join(0, 0);
    cluster.send(0, 0, 0, false);
    cluster.join(1, 0);
    cluster.act(ClusterAction::Detach(0));
    assert_eq!(cluster.clients[0].log, [], "its position is one of the node alone");
    assert!(cluster.clients[0].last.is_some_and(|last| last.offset == 1) && cluster.clients[1].was_told);
}

#[test]
fn an_outgoing_handler_decides_for_the_member_that_gets_the_message_although_another_has_its_place_by_now() {
    let mut cluster = Cluster::new();
    cluster.join(0, 0);
    // It waits for its position, and so does what comes behind it: one user leaves, another joins and gets the free slot.
    cluster.send(0, 0, 0, false);
    cluster.leave(0);
    cluster.nodes[0].world.join(1, Some(Resume::FromNothing), Vec::new());
    cluster.send(1, 2, 0, false);
    cluster.append(1, 0);
    let stored = cluster.nodes[0].inbox.pop_front().expect("appended");
    let world = &mut cluster.nodes[0].world;
    world.channel.deliver_kept(stored.position, stored.message.as_ref(), FILTERED);
    world.deliver();
    assert_eq!((world.positions(0), world.positions(1)), (vec![stored.position], Vec::new()));
}

#[test]
fn a_connection_does_not_get_its_own_message_back_when_its_node_has_lost_the_store_for_a_while() {
    let mut cluster = Cluster::new();
    cluster.join(0, 0);
    cluster.join(1, 0);
    cluster.send(0, 0, 1, false);
    cluster.append(0, 0);
    cluster.answer(0);
    cluster.act(ClusterAction::Detach(0));
    // The node has sent nothing meanwhile, so it goes on with the history that the store has.
    cluster.read(0);
    let first = cluster.store.all[0].position;
    assert_eq!((&cluster.clients[0].log[..], &cluster.clients[1].log[..]), (&[][..], &[first, first][..]));
    assert!(cluster.clients[0].was_told, "the history has begun anew here");
}

#[test]
fn a_node_that_gives_up_the_store_twice_still_begins_the_history_anew_for_all() {
    let mut cluster = Cluster::new();
    (0..NODES).for_each(|node| cluster.join(node, node));
    cluster.send(1, 1, 0, false);
    cluster.append(1, 0);
    cluster.settle();
    cluster.send(0, 0, 0, false);
    // Both the message and a read have waited for too long.
    cluster.act(ClusterAction::Detach(0));
    cluster.act(ClusterAction::Detach(0));
    cluster.settle();
    let told: Vec<_> = cluster.clients.iter().take(NODES).map(|client| client.was_told).collect();
    assert_eq!(told, [true; NODES], "the members of other nodes have missed a message");
}

#[test]
fn a_message_that_was_read_does_not_come_again_from_the_bus_when_the_store_is_lost() {
    let mut cluster = Cluster::new();
    cluster.join(1, 1);
    cluster.send(0, 0, 0, false);
    cluster.append(0, 0);
    cluster.read(1);
    assert_eq!(cluster.clients[1].log.len(), 1);
    cluster.act(ClusterAction::Detach(1));
    let late = cluster.store.all[0].clone();
    let world = &mut cluster.nodes[1].world;
    world.channel.deliver_kept(late.position, late.message.as_ref(), DeliveryPolicy::BROADCAST);
    world.deliver();
    assert_eq!(world.received[1], []);
}

#[test]
fn a_connection_that_has_joined_behind_a_message_without_a_position_does_not_get_its_own_message_back() {
    let mut cluster = Cluster::new();
    cluster.join(1, 0);
    cluster.send(0, 1, 0, false);
    cluster.join(0, 0);
    cluster.send(0, 0, 1, false);
    cluster.append(0, 0);
    cluster.append(0, 0);
    // Both positions come from a read, ahead of the answers.
    cluster.read(0);
    let [first, second] = [0, 1].map(|at| cluster.store.all[at].position);
    assert_eq!((&cluster.clients[0].log[..], &cluster.clients[1].log[..]), (&[first][..], &[first, second][..]));
}

#[test]
fn what_comes_from_other_nodes_while_the_store_is_lost_does_not_come_again_over_another_node() {
    let mut cluster = Cluster::new();
    cluster.join(0, 0);
    // The client does not get its own message, and so not the position that its node gives.
    cluster.send(0, 0, 1, false);
    (0..3).for_each(|_| cluster.send(1, 1, 0, false));
    (0..3).for_each(|_| cluster.append(1, 0));
    (0..3).for_each(|_| cluster.answer(1));
    let late = cluster.nodes[0].inbox.pop_back().expect("the third");
    // The first is lost, so the second waits for it until the store is.
    cluster.nodes[0].inbox.pop_front();
    cluster.receive(0, false);
    cluster.act(ClusterAction::Detach(0));
    cluster.nodes[0].inbox.push_back(late);
    cluster.receive(0, false);
    let here = cluster.nodes[0].world.channel.history().expect("a history").position();
    assert_eq!((cluster.clients[0].last, here.offset), (Some(here), 3), "its node gives positions to all three");
    cluster.act(ClusterAction::Move { user: 0, node: 1 });
    let answer = cluster.nodes[1].world.acknowledgements[0].clone();
    assert!(cluster.clients[0].log.is_empty() && answer.contains(r#""gap":"epoch""#), "{answer}");
}

#[test]
fn a_message_reaches_all_that_is_sent_while_its_node_returns_to_the_store() {
    let mut cluster = Cluster::new();
    (0..2).for_each(|node| cluster.join(node, node));
    cluster.act(ClusterAction::Detach(0));
    cluster.send(0, 0, 0, false);
    cluster.act(ClusterAction::Reattach(0));
    // The node begins the history anew. Members of another one are told of that before the node has read it.
    cluster.store.lose_everything();
    cluster.read(1);
    assert!(cluster.clients[1].was_told);
    cluster.send(0, 0, 0, false);
    cluster.append(0, 0);
    cluster.receive(1, false);
    assert_eq!(cluster.clients[1].log, [cluster.store.all[0].position]);
}

#[test]
fn a_node_that_loses_the_store_again_while_it_returns_goes_on_with_its_own_positions() {
    let mut cluster = Cluster::new();
    cluster.join(0, 0);
    cluster.act(ClusterAction::Detach(0));
    cluster.send(0, 0, 0, false);
    let first = cluster.clients[0].last.expect("a position of the node");
    (cluster.clients[0].was_told, cluster.clients[0].is_owed_notice) = (false, false);
    cluster.act(ClusterAction::Reattach(0));
    cluster.send(0, 0, 0, false);
    assert_eq!(cluster.clients[0].last, Some(first), "it waits for the store");
    cluster.act(ClusterAction::Detach(0));
    let client = &cluster.clients[0];
    assert_eq!((client.last, client.was_told), (Some(Position { offset: 2, ..first }), false));
}

/// As with a former primary of Redis that starts again and is not yet told that another one has taken its place.
#[test]
fn the_members_of_all_nodes_are_told_when_a_node_has_appended_to_a_store_that_the_others_do_not_use() {
    let mut cluster = Cluster::new();
    (0..2).for_each(|node| cluster.join(node, node));
    cluster.send(1, 1, 0, false);
    cluster.append(1, 0);
    cluster.settle();
    cluster.send(0, 0, 0, false);
    cluster.nodes[0].requests.clear();
    let stray = Position { epoch: Epoch::new(77), offset: 1 };
    cluster.nodes[0].world.channel.place(1, Some(stray));
    assert!(cluster.nodes[0].world.channel.is_behind());
    cluster.read(0);
    assert!(cluster.nodes[0].world.channel.owes_restart());
    assert!(!cluster.clients[1].was_told);
    cluster.settle();
    assert!(!cluster.nodes[0].world.channel.owes_restart());
    assert!(cluster.clients[1].was_told, "the member of the other node has missed a message");
}

#[test]
fn it_is_not_known_how_much_may_come_twice_if_the_node_of_a_client_is_lost_and_the_next_one_cannot_read_the_store() {
    let mut cluster = Cluster::new();
    cluster.join(0, 0);
    for _ in 0..2 {
        cluster.send(0, 1, 0, false);
        cluster.append(0, 0);
        cluster.answer(0);
    }
    let first = cluster.clients[0].log[0];
    assert_eq!(cluster.clients[0].log.len(), 2);
    // The last that is known of the client is that it has received the first one. The second is on its way to the other node.
    cluster.receive(1, false);
    let recovery = |cluster: &Cluster, is_unread, unproven| {
        let request = ResumeRequest { sent: Some(u64::MAX), is_unread, unproven, ..Resume::From(first).into() };
        cluster.nodes[1].world.channel.recovery(&user(0), Some(request))
    };
    let unknown = Recovery::Resumed { missed: usize::MAX, may_repeat: usize::MAX };
    assert_eq!(recovery(&cluster, true, Unproven::Repeat), unknown);
    assert_eq!(recovery(&cluster, true, Unproven::Gap), Recovery::Gap(GapReason::Unproven));
    cluster.read(1);
    assert_eq!(recovery(&cluster, false, Unproven::Repeat), Recovery::Resumed { missed: 1, may_repeat: 1 });
    assert_eq!(recovery(&cluster, false, Unproven::Gap), Recovery::Gap(GapReason::Unproven));
}
