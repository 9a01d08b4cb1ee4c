//! Actions of clients and servers: clients come, send, and lose their connections; servers send, and end connections.

use std::rc::Rc;

use pondsocket_proto::channel::{Join, LocalTarget, Progress, Step};
use pondsocket_proto::cluster::message::{Body, Envelope, Target, UserMessage};
use pondsocket_proto::cluster::{ChannelKey, Input};
use pondsocket_proto::position::Position;
use pondsocket_proto::wire::Object;

use super::super::node::RunState;
use super::super::redis::Peer;
use super::super::world::{Event, Participant, World};
use super::channel::{OpenHistory, WaitingJoin, policy_of};
use super::client::ClientKind;
use super::connection::{Connection, Joined};
use super::ledger::{LeftOut, NEWS, SECRET, Sent, TYPING};
use super::reads::GRACE;
use super::{Histories, STORE_TIMEOUT, evictions};

/// The time between two looks at what has arrived, and at channels that nobody needs.
const LOOK: u64 = 500;

/// The most messages of a schedule.
const MAX_MESSAGES: usize = 250;

#[derive(Clone, Copy)]
enum HistoryAction {
    Send,
    /// The client loses its connection. Its node notices it later.
    Cut,
    /// The client leaves the channel.
    Leave,
    ServerSends,
    ForeignServerSends,
}

const ACTIONS: [(u64, HistoryAction); 5] = [
    (50, HistoryAction::Send),
    (10, HistoryAction::Cut),
    (2, HistoryAction::Leave),
    (12, HistoryAction::ServerSends),
    (3, HistoryAction::ForeignServerSends),
];

impl World {
    pub(crate) fn begin_histories(&mut self) {
        if self.histories.is_some() {
            self.after(20, Event::HistoryAction);
            self.after(LOOK, Event::HistoryLook);
        }
    }

    pub(crate) fn history_look(&mut self) {
        if self.is_history_idle() {
            return;
        }
        self.receive_all();
        self.record_sessions();
        self.close_histories();
        self.after(LOOK, Event::HistoryLook);
    }

    pub(crate) fn a_history_client_acts(&mut self) {
        if self.is_history_idle() {
            return;
        }
        let histories = self.histories();
        let pace = histories.plan.pace;
        let next = histories.rng.range((1, 2 * pace));
        let number = histories.rng.index(histories.clients.len());
        let (action, is_full) = (histories.rng.weighted(&ACTIONS), histories.ledger.len() >= MAX_MESSAGES);
        let evicts = histories.plan.evictions > 0 && histories.eviction_rng.per_mille(histories.plan.evictions);
        self.after(next, Event::HistoryAction);
        if self.is_over {
            return;
        }
        self.client_receives(number);
        let client = &self.histories().clients[number];
        let (key, over) = (client.key.clone(), client.connection);
        match (over, action) {
            (Some(over), _) if evicts => self.evict_client(number, over),
            (_, HistoryAction::ServerSends) if !is_full => self.a_server_sends(&key),
            (_, HistoryAction::ForeignServerSends) if !is_full => self.a_foreign_server_sends(&key),
            (None, _) => self.client_connects(number, None),
            (Some(over), HistoryAction::Send) if !is_full => self.client_sends(number, over),
            (Some(over), HistoryAction::Cut) => {
                self.cut(over);
                let noticed = if self.histories().rng.coin() { 0 } else { self.histories().rng.below(4000) };
                self.after(noticed, Event::HistoryLost(over));
            }
            (Some(over), HistoryAction::Leave) => {
                self.cut(over);
                self.after(0, Event::HistoryLost(over));
            }
            _ => {}
        }
    }

    /// A client connects to a node that runs, or to this one.
    pub(super) fn client_connects(&mut self, number: usize, to: Option<Peer>) {
        let running = self.running();
        let histories = self.histories();
        let Some(peer) = to.or_else(|| histories.rng.pick(&running).copied()) else { return };
        let delay = histories.rng.below(40);
        self.resume_session(number, peer);
        let histories = self.histories();
        let client = &mut histories.clients[number];
        let key = client.key.clone();
        let connection = histories.connections.len();
        client.connection = Some(connection);
        let is_proven = client.kind == ClientKind::Stock;
        histories.connections.push(Connection::new(number, peer, key.clone(), delay, is_proven));
        self.note(|| format!("client {number} comes to {peer} over {connection}"));
        self.open_history(peer, &key);
        let node = self.histories().nodes.get_mut(&peer).expect("just opened");
        node.open.get_mut(&key).expect("just opened").joins.push(WaitingJoin { connection, read: None });
        self.admit_joins(peer, &key);
        self.plan_work(peer);
    }

    fn open_history(&mut self, peer: Peer, key: &ChannelKey) {
        let now = self.now;
        if self.histories().nodes.get(&peer).is_some_and(|node| node.open.contains_key(key)) {
            return;
        }
        let node = self.node(peer).expect("it is ours");
        let (serial, is_subscribed) = (node.next_instance(), node.is_subscribed(key));
        let is_up = self.redis.is_up(peer);
        let read_at = if !is_up || is_subscribed { now } else { now + STORE_TIMEOUT };
        let histories = self.histories();
        let epoch = histories.fresh_epoch();
        let open = OpenHistory::new((key, serial), histories.plan, epoch, (now, read_at));
        let node = histories.nodes.entry(peer).or_default();
        if !is_up {
            node.down_since = node.down_since.or(Some(now));
        }
        node.open.insert(key.clone(), open);
        self.feed(peer, Input::Opened { channel: key.clone(), instance: serial, grace: 0, in_order: true });
    }

    /// Closes the channels that nobody needs.
    fn close_histories(&mut self) {
        let now = self.now;
        let mut over = Vec::new();
        for (peer, node) in &mut self.histories().nodes {
            for (key, open) in &mut node.open {
                open.channel.history_mut().expect("a history").advance(now);
                if open.is_over() {
                    over.push((*peer, key.clone(), open.serial));
                }
            }
        }
        for (peer, key, instance) in over {
            if self.node(peer).is_some_and(|node| node.run_state == RunState::Running) {
                self.histories().nodes.get_mut(&peer).expect("looked at").open.remove(&key);
                self.feed(peer, Input::Closed { channel: key, instance });
            }
        }
    }

    /// Lets the joins go on that need not wait any more.
    pub(super) fn admit_joins(&mut self, peer: Peer, key: &ChannelKey) {
        let (now, is_hasty) = (self.now, self.gate.joins_at_once());
        let Histories { nodes, connections, clients, .. } = self.histories.as_mut().expect("there are histories");
        let Some(open) = nodes.get_mut(&peer).and_then(|node| node.open.get_mut(key)) else { return };
        let mut admitted = Vec::new();
        for mut join in std::mem::take(&mut open.joins) {
            let connection = &connections[join.connection];
            if connection.cut.is_some() || connection.is_ended {
                continue;
            }
            let client = &clients[connection.client];
            let position = match client.kind {
                ClientKind::Aware => client.last,
                ClientKind::Stock => {
                    client.session.map(|Progress { epoch, proven, sent }| Position { epoch, offset: sent.max(proven) })
                }
            };
            let is_read = join.read.is_some_and(|(read, _)| open.done >= read);
            let is_behind = position.is_some_and(|position| open.channel.lacks(position)) && !is_read && !is_hasty;
            let has_waited = join.read.is_some_and(|(_, until)| now >= until);
            if !open.channel.is_loading() && (!is_behind || has_waited) {
                admitted.push((join.connection, is_behind));
                continue;
            }
            if !open.channel.is_loading() && join.read.is_none() {
                join.read = Some((open.begun + 1, now + STORE_TIMEOUT));
                open.plan_read(now + GRACE);
            }
            open.joins.push(join);
        }
        for (connection, is_unread) in admitted {
            self.join(peer, key, connection, is_unread);
        }
    }

    fn join(&mut self, peer: Peer, key: &ChannelKey, number: usize, is_unread: bool) {
        let replays_all = self.gate.replays_all();
        let Histories { nodes, connections, clients, .. } = self.histories.as_mut().expect("there are histories");
        let open = nodes.get_mut(&peer).and_then(|node| node.open.get_mut(key)).expect("it waits there");
        let connection = &mut connections[number];
        let client = &mut clients[connection.client];
        let chain = if replays_all { vec![Step::ReplayFrom(None)] } else { Vec::new() };
        let resume = client.request(is_unread);
        let join = Join { chain, resume, ..Join::new(number, Connection::id(number), &client.user, "join") };
        let accepted = open.channel.join(join, &|event| policy_of(event, false));
        let (recovery, owed_from) = (accepted.recovery, accepted.owed_from);
        self.trace
            .note(self.now, || format!("{peer} admits {} over {number}: {recovery:?} from {owed_from:?}", client.user));
        connection.joined = Some(Joined { slot: accepted.slot, recovery, owed_from });
        if client.standing.was_evicted() {
            evictions::announce_join(&mut open.channel, &client.user, number, self.now);
        }
        let at = (peer, open.serial);
        if let Err(what) = client.standing.joins(at, self.now, self.plan.is_well(), (resume, recovery))
            && !replays_all
        {
            self.checker.violated("H10", format!("{} at {peer} {what}", client.user));
        }
        if let Some(from) = owed_from {
            connection.watch(from, accepted.sent_before);
        }
        if client.kind == ClientKind::Stock {
            client.standing.knows();
            (client.recorded, client.session) = (Some(number), connection.progress(self.now));
            if !recovery.is_complete() {
                // The join handler knows, and answers with what the client needs.
                client.told(self.now, owed_from);
            }
        }
        self.change_history(peer, (key, None), |_| ());
    }

    /// The client loses its connection, and what is on its way.
    pub(super) fn cut(&mut self, number: usize) {
        let now = self.now;
        let histories = self.histories();
        let connection = &mut histories.connections[number];
        connection.cut = connection.cut.or(Some(now));
        let client = connection.client;
        histories.clients[client].connection.take_if(|over| *over == number);
        self.note(|| format!("client {client} loses {number}"));
    }

    /// A node notices that a connection is lost.
    pub(crate) fn history_connection_lost(&mut self, number: usize) {
        if self.is_history_idle() || self.histories().connections[number].is_ended {
            return;
        }
        let peer = self.histories().connections[number].peer;
        match self.node(peer).map(|node| node.run_state) {
            Some(RunState::Running) => self.lose_connection(number, true),
            Some(RunState::Paused) => self.after(100, Event::HistoryLost(number)),
            _ => {}
        }
    }

    /// Ends a connection, on the side of its node, too. If the node knows that, the record of the session has the positions of
    /// now, and else those of then.
    pub(super) fn lose_connection(&mut self, number: usize, is_known: bool) {
        let (now, trusts_sent) = (self.now, self.gate.trusts_sent());
        let client = self.histories().connections[number].client;
        self.client_receives(client);
        self.cut(number);
        let histories = self.histories();
        let connection = &mut histories.connections[number];
        connection.is_ended = true;
        let (peer, key, joined) = (connection.peer, connection.key.clone(), connection.joined);
        let is_evicted = connection.is_evicted;
        // All that the channel has so far may still come to it.
        let here = histories.nodes.get(&peer).and_then(|node| node.open.get(&key)).map(OpenHistory::position);
        let progress = here.and_then(|Position { epoch, offset }| {
            let progress = connection.progress_in(epoch, now)?;
            // It is that in the history before, if the client may not know of a gap.
            let sent = if progress.epoch == epoch { offset.max(progress.sent) } else { u64::MAX };
            Some(Progress { sent, ..progress })
        });
        let client = &mut histories.clients[client];
        if client.recorded == Some(number) {
            client.recorded = None;
            client.session = match is_known {
                true => progress,
                // What was sent behind the record is not known.
                false => client.session.map(|session| Progress { sent: u64::MAX, ..session }),
            };
            if trusts_sent {
                let sent = progress.map_or(0, |progress| progress.sent);
                client.session = client.session.map(|session| Progress { proven: sent.max(session.proven), ..session });
            }
        }
        if let Some(Joined { slot, .. }) = joined.filter(|_| !is_evicted) {
            self.change_history(peer, (&key, None), |open| {
                open.channel.leave(slot, Connection::id(number), None).expect("seated");
            });
        }
    }

    /// A client with a session has come to a node. The node that has its last connection is asked to end it. If that node does
    /// not answer, the record is what is known.
    fn resume_session(&mut self, number: usize, to: Peer) {
        let Some(over) = self.histories().clients[number].recorded else { return };
        let holder = self.histories().connections[over].peer;
        let is_running = self.node(holder).is_some_and(|node| node.run_state == RunState::Running);
        let is_asked = holder == to || (self.redis.can_send(holder) && self.redis.can_send(to));
        if is_running && is_asked {
            return self.lose_connection(over, true);
        }
        let client = &mut self.histories().clients[number];
        client.recorded = None;
        client.session = client.session.map(|session| Progress { sent: u64::MAX, ..session });
    }

    /// Nodes write the positions of their clients into the store.
    fn record_sessions(&mut self) {
        let now = self.now;
        for number in 0..self.histories().clients.len() {
            let Some(over) = self.histories().clients[number].recorded else { continue };
            let peer = self.histories().connections[over].peer;
            let is_running = self.node(peer).is_some_and(|node| node.run_state == RunState::Running);
            if is_running && self.redis.can_send(peer) {
                let histories = self.histories();
                let progress = histories.connections[over].progress(now);
                let client = &mut histories.clients[number];
                client.session = progress.or(client.session);
            }
        }
    }

    fn client_sends(&mut self, number: usize, over: usize) {
        let histories = self.histories();
        let connection = &histories.connections[over];
        let (peer, key) = (connection.peer, connection.key.clone());
        let Some(joined) = connection.joined else { return };
        let to = histories.rng.below(3);
        let user = histories.clients[number].user.clone();
        let (to, left_out) = match to {
            0 => (LocalTarget::All, LeftOut::Nobody),
            1 => (LocalTarget::ExceptUser(user.to_string()), LeftOut::User(number)),
            _ => (
                LocalTarget::ExceptConnection((joined.slot, Connection::id(over))),
                LeftOut::Connection { client: number, connection: over },
            ),
        };
        self.send(peer, &key, Some(user.as_str()), (to, left_out));
    }

    /// A server sends a message to a channel that is open on it.
    fn a_server_sends(&mut self, key: &ChannelKey) {
        let running = self.running();
        let histories = self.histories();
        let opened: Vec<_> = running
            .into_iter()
            .filter(|peer| histories.nodes.get(peer).is_some_and(|node| node.open.contains_key(key)))
            .collect();
        if let Some(&peer) = histories.rng.pick(&opened) {
            self.send(peer, key, None, (LocalTarget::All, LeftOut::Nobody));
        }
    }

    pub(super) fn send(&mut self, peer: Peer, key: &ChannelKey, from: Option<&str>, to: (LocalTarget, LeftOut)) {
        if self.node(peer).is_none_or(|node| node.run_state != RunState::Running) {
            return;
        }
        // Some messages follow each other at once, so that one waits for the store while the next one is sent.
        let more = if self.histories().rng.below(6) == 0 { 2 } else { 0 };
        for _ in 0..=more {
            let event = self.histories().rng.weighted(&[(14, NEWS), (3, SECRET), (2 + 2 * more, TYPING)]);
            self.send_event(peer, key, from, to.clone(), event);
        }
    }

    pub(super) fn send_event(
        &mut self,
        peer: Peer,
        key: &ChannelKey,
        from: Option<&str>,
        (to, left_out): (LocalTarget, LeftOut),
        event: &'static str,
    ) {
        let by = Some((peer, self.now));
        let number = self.histories().ledger.send(Sent { event, left_out, is_kept: event != TYPING, by });
        let payload = format!(r#"{{"n":{number}}}"#);
        self.note(|| format!("{peer} sends message {number}, {event}, {left_out:?}"));
        self.change_history(peer, (key, None), |open| {
            let channel = &mut open.channel;
            let kept = channel.publish_kept(from, &to, event, &payload, policy_of(event, false)).expect("room");
            if kept.is_none() {
                let id = format!("typing-{number}");
                let text = format!(r#"{{"event":"{event}","requestId":"{id}","payload":{payload}}}"#);
                channel.broadcast(&to, text.as_bytes(), policy_of(event, false)).expect("room");
                channel.forward(from, &to, event, &id, &payload);
            }
        });
        self.plan_work(peer);
    }

    /// A server of another kind, which knows no positions, sends a message.
    fn a_foreign_server_sends(&mut self, key: &ChannelKey) {
        let foreign = |participant: &Participant| !matches!(participant, Participant::Ours(_));
        let Some(peer) = self.participants.iter().position(foreign) else { return };
        let sent = Sent { event: NEWS, left_out: LeftOut::Nobody, is_kept: false, by: None };
        let number = self.histories().ledger.send(sent);
        let payload = Object::encode(&serde_json::json!({ "n": number })).expect("an object");
        let (from, event, request_id) = ("CHANNEL".into(), NEWS.to_owned(), format!("foreign-{number}"));
        let body = Body::UserMessage(UserMessage { from, event, payload, request_id, to: Target::All, position: None });
        let (id, source, timestamp) = (format!("foreign-{number}").into(), "foreign".into(), self.now);
        let message = Envelope { id, source, channel: Some(key.clone()), timestamp, body, ext: None };
        let topic = self.topics.channel(key);
        let topic = self.intern(topic.as_str());
        self.after(0, Event::ForeignSends(peer, topic, Rc::new(message)));
    }
}
