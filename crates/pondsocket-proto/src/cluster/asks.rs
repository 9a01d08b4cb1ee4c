//! What users of this node's server want to know of, or to change on, other nodes (docs/cluster.md, Operations).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::channel::Channel;
use super::core::Core;
use super::legacy;
use super::message::{Body, Ext};
use super::record::Entry;
use super::timers::Timer;
use super::view::{Claim, unite};
use super::{Answer, ChannelKey, ClusterRequest, NodeId, Output, RemoteMember, Verdict};
use crate::id::UserId;
use crate::model::Assigns;
use crate::wire::{Json, Object};

/// Questions and commands that wait for answers.
#[derive(Debug, Default)]
pub(super) struct Asks {
    pending: BTreeMap<u64, Pending>,
    /// What other nodes know each of them by.
    names: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Pending {
    request: String,
    channel: ChannelKey,
    /// The nodes of ours that have not answered.
    awaited: BTreeSet<NodeId>,
    /// Whether somebody may have to act, or know, whose silence says nothing.
    strangers: bool,
    goal: Goal,
}

#[derive(Debug)]
enum Goal {
    /// Something is to be done.
    Act { user: UserId, takes_out: bool, done: bool, refused: bool },
    /// A user is to be found; and if it is, changed.
    Find { user: UserId, found: Vec<(Holder, Entry)>, then: Option<Wish> },
    /// All users are to be found.
    List,
}

/// How a user is to be changed.
#[derive(Debug)]
enum Wish {
    Assign(String, Json),
    Presence(Object),
}

/// A node that has a user.
#[derive(Clone, Debug)]
pub(super) enum Holder {
    Ours(NodeId),
    Stranger(Arc<str>),
}

impl Core {
    pub(super) fn ask(&mut self, id: u64, ask: ClusterRequest) {
        if let Some(answer) = self.answer_at_once(&ask) {
            return self.voice.output(Output::Answered { id, answer });
        }
        match ask {
            ClusterRequest::Evict { channel, user, reason } => {
                let body = Body::EvictUser { user: (&user).into(), reason };
                self.take_out_elsewhere(id, channel, user, body);
            }
            ClusterRequest::Remove { channel, user } => {
                let body = Body::UserRemove { user: (&user).into() };
                self.take_out_elsewhere(id, channel, user, body);
            }
            ClusterRequest::Presence { channel, user, presence } => {
                self.wish(id, channel, user, Wish::Presence(presence))
            }
            ClusterRequest::Assign { channel, user, key, value } => {
                self.wish(id, channel, user, Wish::Assign(key, value))
            }
            ClusterRequest::Get { channel, user } => self.find(id, channel, user, None),
            ClusterRequest::Users { channel } => self.list(id, channel),
        }
    }

    /// What is known need not be asked, and without the bus nothing can be.
    fn answer_at_once(&self, ask: &ClusterRequest) -> Option<Answer> {
        if let ClusterRequest::Get { channel, user } = ask
            && let Some(shown) = self.look(channel, user)
        {
            return Some(Answer::Found(shown));
        }
        if !self.voice.is_up || self.asks.pending.len() >= self.settings.max_requests {
            return Some(Answer::Unavailable);
        }
        match ask {
            ClusterRequest::Get { channel, .. } if self.is_settled(channel) => Some(Answer::NotFound),
            ClusterRequest::Users { channel } if self.is_settled(channel) => Some(self.users(channel, true)),
            _ => None,
        }
    }

    /// How an open channel shows a user of other nodes.
    fn look(&self, key: &ChannelKey, user: &UserId) -> Option<RemoteMember> {
        let channel = self.channels.get(key).filter(|channel| channel.is_open())?;
        channel.look(user, &self.nodes, &self.settings.node.name)
    }

    /// Whether all that others know of a channel should have arrived.
    fn is_settled(&self, key: &ChannelKey) -> bool {
        let asked = self.channels.get(key).filter(|channel| channel.is_open()).and_then(|channel| channel.asked);
        asked.is_some_and(|asked| self.now() >= asked + self.settings.question_timeout)
    }

    fn users(&self, key: &ChannelKey, complete: bool) -> Answer {
        let all = |channel: &Channel| {
            let shown = |user: UserId| Some((user.clone(), channel.look(&user, &self.nodes, &self.me().name)?));
            channel.others(&self.nodes).into_iter().filter_map(shown).collect()
        };
        Answer::Users { users: self.channels.get(key).map(all).unwrap_or_default(), complete }
    }

    /// Whether there may be nodes whose silence says nothing: those of other languages only say what they have, and
    /// of ours some may not be known yet.
    fn may_have_strangers(&self) -> bool {
        self.settings.interop && !self.legacy.is_empty() || !self.nodes.are_all_known(self.now())
    }

    /// Has a user taken out by those who have it; if it is not known who does, by whoever does.
    fn take_out_elsewhere(&mut self, id: u64, key: ChannelKey, user: UserId, body: Body) {
        let holders = self.holders(&key, &user);
        let is_known = !holders.is_empty();
        let awaited = if is_known { ours(&holders) } else { self.nodes.up().collect() };
        let strangers = if is_known { has_strangers(&holders) } else { self.may_have_strangers() };
        let goal = Goal::Act { user: user.clone(), takes_out: true, done: false, refused: false };
        let request = self.wait(id, key.clone(), awaited.clone(), strangers, goal);
        let ext = Ext { request: Some(request), ..self.voice.ext() };
        // Who is known to have the user listens to the channel's topic.
        let inboxes = if is_known { &[][..] } else { &awaited };
        self.voice.say_to_all(&key, inboxes, body, ext);
        self.dismiss(&key, &user);
        self.settle(id);
    }

    /// Has a user changed. Who has it has to be known before: nodes of other languages take whoever is said to change for
    /// somebody who is there.
    fn wish(&mut self, id: u64, key: ChannelKey, user: UserId, wish: Wish) {
        match self.look(&key, &user) {
            Some(shown) => {
                let holders = self.holders(&key, &user);
                self.change_elsewhere(id, key, user, &holders, shown.assigns, wish);
            }
            None => self.find(id, key, user, Some(wish)),
        }
    }

    /// Who is known to have a user.
    fn holders(&self, key: &ChannelKey, user: &UserId) -> Vec<Holder> {
        let Some(channel) = self.channels.get(key) else { return Vec::new() };
        let guest = channel.guests.get(user).map(|guest| Holder::Stranger(guest.home().into()));
        channel.owners_of(user, &self.nodes).map(Holder::Ours).chain(guest).collect()
    }

    /// Nodes of ours that have the user tell everybody what they make of the wish, so only they are told of it. One of
    /// another language has to hear it on the channel's topic.
    fn change_elsewhere(
        &mut self,
        id: u64,
        key: ChannelKey,
        user: UserId,
        holders: &[Holder],
        assigns: Assigns,
        wish: Wish,
    ) {
        let (owners, strangers) = (ours(holders), has_strangers(holders));
        let goal = Goal::Act { user: user.clone(), takes_out: false, done: false, refused: false };
        let request = self.wait(id, key.clone(), owners.clone(), strangers, goal);
        let ext = Ext { request: Some(request), ..self.voice.ext() };
        let body = wish.body(&user, assigns);
        if !strangers {
            self.voice.whisper_to_all(&owners, &key, body, ext);
            return self.settle(id);
        }
        self.voice.say_with(&key, body.clone(), ext);
        match body {
            Body::AssignsUpdate { assigns, delta, .. } => {
                self.with_guests(&key, &user, |guests| guests.assign(&user, assigns, delta));
            }
            Body::PresenceUpdate { presence, .. } => {
                self.with_guests(&key, &user, |guests| guests.show_known(&user, presence));
            }
            _ => {}
        }
    }

    fn find(&mut self, id: u64, key: ChannelKey, user: UserId, then: Option<Wish>) {
        let awaited: Vec<_> = self.nodes.up().collect();
        let strangers = self.may_have_strangers();
        let goal = Goal::Find { user: user.clone(), found: Vec::new(), then };
        let request = self.wait(id, key.clone(), awaited.clone(), strangers, goal);
        let ext = Ext { request: Some(request.clone()), ..self.voice.ext() };
        let from_node = self.voice.source().to_string();
        let body = Body::UserGetRequest { user: (&user).into(), request, from_node };
        self.voice.whisper_to_all(&awaited, &key, body, ext);
        self.ask_strangers(id);
        self.settle(id);
    }

    fn list(&mut self, id: u64, key: ChannelKey) {
        self.visit(&key);
        let awaited: Vec<_> = self.nodes.up().collect();
        let strangers = self.may_have_strangers();
        self.wait(id, key.clone(), awaited.clone(), strangers, Goal::List);
        for node in &awaited {
            self.voice.whisper(node, Body::Repair(vec![key.clone()]));
        }
        self.ask_strangers(id);
        self.settle(id);
    }

    /// Nodes of other languages answer on the channel's topic, so they are asked when it is heard.
    fn ask_strangers(&mut self, id: u64) {
        let Some(pending) = self.asks.pending.get(&id).filter(|pending| pending.strangers) else { return };
        let (key, request) = (pending.channel.clone(), pending.request.clone());
        let from_node = self.voice.source().to_string();
        let body = match &pending.goal {
            Goal::Find { user, .. } => Body::UserGetRequest { user: user.into(), request, from_node },
            Goal::List => Body::StateRequest { from_node },
            Goal::Act { .. } => return,
        };
        if self.visit(&key).subscribed {
            self.voice.say(&key, body);
        }
    }

    /// The bus delivers the topics of these channels from now on.
    pub(super) fn ask_strangers_in(&mut self, keys: &[ChannelKey]) {
        let ids = self.asks.pending.iter().filter(|(_, pending)| keys.contains(&pending.channel)).map(|(id, _)| *id);
        ids.collect::<Vec<_>>().into_iter().for_each(|id| self.ask_strangers(id));
    }

    fn wait(&mut self, id: u64, channel: ChannelKey, awaited: Vec<NodeId>, strangers: bool, goal: Goal) -> String {
        let request = self.voice.fresh_id();
        let time = match goal {
            Goal::Act { .. } => self.settings.command_timeout,
            Goal::Find { .. } | Goal::List => self.settings.question_timeout,
        };
        self.timers.set(Timer::Request(id), self.now() + time);
        let awaited = awaited.into_iter().collect();
        let pending = Pending { request: request.clone(), channel, awaited, strangers, goal };
        self.asks.names.insert(request.clone(), id);
        if let Some(before) = self.asks.pending.insert(id, pending) {
            self.asks.names.remove(&before.request);
        }
        request
    }

    /// A node has done what it was told, or not; or it does not have the user that it was asked for.
    pub(super) fn acknowledged(&mut self, from: &NodeId, request: &str, verdict: Verdict) {
        let Some((id, pending)) = self.asks.by_request(request) else { return };
        if pending.awaited.remove(from)
            && let Goal::Act { done, refused, .. } = &mut pending.goal
        {
            *done |= verdict == Verdict::Done;
            *refused |= verdict == Verdict::Refused;
        }
        self.settle(id);
    }

    /// A node has the user that it was asked for.
    pub(super) fn found(
        &mut self,
        holder: Holder,
        request: &str,
        who: &str,
        (assigns, presence, joined): (Assigns, Option<Object>, u64),
    ) {
        let Some((id, pending)) = self.asks.by_request(request) else { return };
        if let Goal::Find { user, found, .. } = &mut pending.goal
            && user.as_str() == who
        {
            pending.awaited.retain(|awaited| awaited.name != *holder.name());
            let (assigns, presence) = (self.limits.assigns(assigns), self.limits.presence(presence));
            found.push((holder, Entry { assigns, presence: legacy::shown(presence), joined }));
        }
        self.settle(id);
    }

    /// A node has told all its users in a channel.
    pub(super) fn listed(&mut self, from: &NodeId, key: &ChannelKey) {
        let is_it = |pending: &Pending| pending.channel == *key && matches!(pending.goal, Goal::List);
        let ids: Vec<_> = self.asks.pending.iter().filter(|(_, it)| is_it(it)).map(|(id, _)| *id).collect();
        for id in ids {
            self.asks.pending.entry(id).and_modify(|pending| drop(pending.awaited.take(from)));
            self.settle(id);
        }
    }

    /// A node of another language says that a user has left: if it had to, it has obeyed.
    pub(super) fn left(&mut self, key: &ChannelKey, who: &UserId) {
        let mut ids = Vec::new();
        for (id, pending) in &mut self.asks.pending {
            if let Goal::Act { user, takes_out: true, done, .. } = &mut pending.goal
                && pending.channel == *key
                && user == who
            {
                (*done, pending.strangers) = (true, false);
                ids.push(*id);
            }
        }
        ids.into_iter().for_each(|id| self.settle(id));
    }

    /// Answers, if there is nobody left who could change the answer.
    fn settle(&mut self, id: u64) {
        let Some(pending) = self.asks.pending.get(&id).filter(|pending| pending.awaited.is_empty()) else { return };
        let answer = match &pending.goal {
            Goal::Act { refused: true, .. } => Answer::Refused,
            Goal::Find { found, .. } if !found.is_empty() => return self.conclude_find(id),
            _ if pending.strangers => return,
            Goal::Act { done: true, .. } => Answer::Confirmed,
            Goal::Act { .. } | Goal::Find { .. } => Answer::NotFound,
            Goal::List => self.users(&pending.channel, true),
        };
        self.conclude_ask(id, answer);
    }

    /// It is time: some have not answered.
    pub(super) fn give_up(&mut self, id: u64) {
        let Some(pending) = self.asks.pending.get(&id) else { return };
        let answer = match &pending.goal {
            Goal::Find { found, .. } if !found.is_empty() => return self.conclude_find(id),
            Goal::Act { .. } | Goal::Find { .. } => Answer::Unconfirmed,
            Goal::List => self.users(&pending.channel, false),
        };
        self.conclude_ask(id, answer);
    }

    pub(super) fn give_up_all(&mut self) {
        // What was to be set upon an answer is asked for as another question, which is given up in turn.
        while let Some(id) = self.asks.pending.keys().next().copied() {
            self.give_up(id);
        }
    }

    /// The user is found: that is the answer, or where the next question goes.
    fn conclude_find(&mut self, id: u64) {
        let Some(Pending { channel, goal: Goal::Find { user, found, then }, .. }) = self.asks.take(id) else { return };
        let claims: Vec<_> = found.iter().map(|(holder, entry)| Claim::of(holder.name(), entry)).collect();
        let Some(shown) = unite(None, &claims) else { return };
        self.timers.stop(&Timer::Request(id));
        match then {
            Some(wish) => {
                let holders: Vec<_> = found.into_iter().map(|(holder, _)| holder).collect();
                self.change_elsewhere(id, channel, user, &holders, shown.assigns, wish);
            }
            None => self.voice.output(Output::Answered { id, answer: Answer::Found(shown) }),
        }
    }

    fn conclude_ask(&mut self, id: u64, answer: Answer) {
        self.timers.stop(&Timer::Request(id));
        if self.asks.take(id).is_some() {
            self.voice.output(Output::Answered { id, answer });
        }
    }
}

impl Wish {
    /// Nodes of other languages need all assigns, not only the new one.
    fn body(self, user: &UserId, mut all: Assigns) -> Body {
        let user = user.into();
        match self {
            Wish::Presence(presence) => Body::PresenceUpdate { user, presence, event: None },
            Wish::Assign(key, value) => {
                all.set(&key, value.clone());
                Body::AssignsUpdate { user, assigns: Some(all), delta: Some((key, value)) }
            }
        }
    }
}

impl Holder {
    fn name(&self) -> &Arc<str> {
        match self {
            Holder::Ours(NodeId { name, .. }) | Holder::Stranger(name) => name,
        }
    }
}

/// Those that are nodes of ours.
fn ours(holders: &[Holder]) -> Vec<NodeId> {
    let ours = |holder: &Holder| if let Holder::Ours(node) = holder { Some(node.clone()) } else { None };
    holders.iter().filter_map(ours).collect()
}

fn has_strangers(holders: &[Holder]) -> bool {
    holders.iter().any(|holder| matches!(holder, Holder::Stranger(_)))
}

impl Asks {
    fn by_request(&mut self, request: &str) -> Option<(u64, &mut Pending)> {
        let id = *self.names.get(request)?;
        Some((id, self.pending.get_mut(&id)?))
    }

    fn take(&mut self, id: u64) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        self.names.remove(&pending.request);
        Some(pending)
    }
}
