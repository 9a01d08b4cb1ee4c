//! The requests of this node's server to find or change users on other nodes.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::context::{Context, Effect, ForeignUpdate};
use crate::cluster::directory::{Claim, Directory, Holder, unite};
use crate::cluster::message::{Body, Ext};
use crate::cluster::replication::Entry;
use crate::cluster::timers::Timer;
use crate::cluster::{Answer, ChannelKey, ClusterRequest, Command, NodeId, NodeOutput, Verdict};
use crate::id::UserId;
use crate::model::Assigns;
use crate::wire::{Json, Object};

/// The requests that wait for answers.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Requests {
    pending: BTreeMap<u64, Pending>,
    /// The requests by the names that they have in messages. The ids of the caller are not unique among nodes.
    names: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Pending {
    name: String,
    channel: ChannelKey,
    /// The nodes whose answers are missing.
    awaited: BTreeSet<NodeId>,
    /// True if nodes that may never answer are concerned: then only a positive answer or the timeout ends the request.
    is_open_ended: bool,
    /// The time at which it was sent.
    sent: u64,
    goal: Goal,
}

#[derive(Debug)]
enum Goal {
    /// Change or remove a user. `done` and `refused` note the answers so far. `is_known` is true if the nodes that are asked are
    /// known to have the user.
    Act { user: UserId, takes_out: bool, is_known: bool, done: bool, refused: bool },
    /// Find a user, and then make the change `then`, if there is one.
    Find { user: UserId, found: Vec<(Holder, Entry)>, then: Option<PendingUpdate> },
    /// Find all users of a channel.
    List,
}

/// A change of a user that waits until the node of the user is known.
#[derive(Debug)]
enum PendingUpdate {
    Assign(String, Json),
    Presence(Object),
}

impl Requests {
    /// Starts a request, or answers it at once.
    pub(in crate::cluster) fn start(
        &mut self,
        cx: &mut Context,
        directory: &Directory<'_>,
        id: u64,
        request: ClusterRequest,
    ) {
        if let Some(answer) = self.answer_at_once(cx, directory, &request) {
            return cx.output(NodeOutput::Answered { id, answer });
        }
        match request {
            ClusterRequest::Evict { channel, user, reason } => {
                let body = Body::EvictUser { user: (&user).into(), reason: reason.clone() };
                self.remove_user(cx, directory, id, (channel, user), (Command::Evict { reason }, body));
            }
            ClusterRequest::Remove { channel, user } => {
                let body = Body::UserRemove { user: (&user).into() };
                self.remove_user(cx, directory, id, (channel, user), (Command::Remove, body));
            }
            ClusterRequest::Presence { channel, user, presence } => {
                self.update(cx, directory, id, channel, user, PendingUpdate::Presence(presence));
            }
            ClusterRequest::Assign { channel, user, key, value } => {
                self.update(cx, directory, id, channel, user, PendingUpdate::Assign(key, value));
            }
            ClusterRequest::Get { channel, user } => self.find(cx, directory, id, channel, user, None),
            ClusterRequest::Users { channel } => self.list(cx, directory, id, channel),
        }
    }

    /// The answer to a request that needs no other node, or that cannot be sent to any.
    fn answer_at_once(&self, cx: &Context, directory: &Directory<'_>, request: &ClusterRequest) -> Option<Answer> {
        if let ClusterRequest::Get { channel, user } = request
            && let Some(member) = directory.member_of_open(channel, user)
        {
            return Some(Answer::Found(member));
        }
        if !cx.is_connected() || self.pending.len() >= cx.settings.max_requests {
            return Some(Answer::Unavailable);
        }
        // Once the time of a query has passed since the channel's state was requested, the states of all nodes should
        // have arrived, and a user that is unknown here is on no node.
        let is_settled =
            |key: &ChannelKey| directory.asked(key).is_some_and(|asked| cx.now >= asked + cx.settings.question_timeout);
        match request {
            ClusterRequest::Get { channel, .. } if is_settled(channel) => Some(Answer::NotFound),
            ClusterRequest::Users { channel } if is_settled(channel) => Some(users(directory, channel, true)),
            _ => None,
        }
    }

    /// Requests the removal of a user from the nodes that have it, or from all nodes if none is known to have it.
    fn remove_user(
        &mut self,
        cx: &mut Context,
        directory: &Directory<'_>,
        id: u64,
        (key, user): (ChannelKey, UserId),
        (command, body): (Command, Body),
    ) {
        let holders = directory.holders(&key, &user);
        let (is_known, is_orphan) = (!holders.is_empty(), directory.is_orphan(&key, &user));
        let awaited = if is_known { inboxes(&holders) } else { directory.nodes() };
        // Nodes that may not answer show no user whose node has gone.
        let is_open_ended =
            if is_known { has_silent(&holders) } else { !is_orphan && directory.may_have_silent_nodes(cx.now) };
        let goal = Goal::Act { user: user.clone(), takes_out: true, is_known, done: is_orphan, refused: false };
        let name = self.wait(cx, id, key.clone(), awaited.clone(), is_open_ended, goal);
        let ext = Ext { request: Some(name), ..cx.ext() };
        // A node that has the user is subscribed to the channel's topic. Only if its node is unknown here, perhaps
        // because the channel is not open here, the inboxes are needed as well: their owners answer even if they do not
        // have the user.
        let inboxes = if is_known { &[][..] } else { &awaited };
        cx.publish_and_send(&key, inboxes, body, ext);
        cx.effects.push(Effect::Foreign(key.clone(), user.clone(), ForeignUpdate::Left));
        cx.effects.push(Effect::RemoveOrphan(key, user, command));
        self.answer_if_certain(cx, directory, id);
    }

    /// Requests a change of a user from the nodes that have it. They have to be known first: foreign nodes create a
    /// user that they do not know when its change arrives.
    fn update(
        &mut self,
        cx: &mut Context,
        directory: &Directory<'_>,
        id: u64,
        key: ChannelKey,
        user: UserId,
        update: PendingUpdate,
    ) {
        match directory.member_of_open(&key, &user) {
            Some(member) => {
                let holders = directory.holders(&key, &user);
                self.update_at(cx, directory, id, key, user, &holders, (member.assigns, update));
            }
            None => self.find(cx, directory, id, key, user, Some(update)),
        }
    }

    /// Requests a change of a user from these nodes. Nodes of our kind get it in their inboxes, and publish the result
    /// as a change of their own. Foreign nodes have no inbox, so they get it on the channel's topic.
    #[expect(clippy::too_many_arguments, reason = "one step of a request, with all that is known by then")]
    fn update_at(
        &mut self,
        cx: &mut Context,
        directory: &Directory<'_>,
        id: u64,
        key: ChannelKey,
        user: UserId,
        holders: &[Holder],
        (assigns, update): (Assigns, PendingUpdate),
    ) {
        let (owners, is_open_ended) = (inboxes(holders), has_silent(holders));
        let goal = Goal::Act { user: user.clone(), takes_out: false, is_known: true, done: false, refused: false };
        let name = self.wait(cx, id, key.clone(), owners.clone(), is_open_ended, goal);
        let ext = Ext { request: Some(name), ..cx.ext() };
        let (body, foreign) = update.into_messages(&user, assigns);
        if !is_open_ended {
            cx.send_to_all(&owners, &key, body, ext);
            return self.answer_if_certain(cx, directory, id);
        }
        // The owners of our kind are subscribed to the topic as well, and get the request there.
        cx.publish_with(&key, body, ext);
        cx.effects.push(Effect::Foreign(key, user, foreign));
    }

    fn find(
        &mut self,
        cx: &mut Context,
        directory: &Directory<'_>,
        id: u64,
        key: ChannelKey,
        user: UserId,
        then: Option<PendingUpdate>,
    ) {
        let awaited = directory.nodes();
        let is_open_ended = directory.may_have_silent_nodes(cx.now);
        let goal = Goal::Find { user: user.clone(), found: Vec::new(), then };
        let name = self.wait(cx, id, key.clone(), awaited.clone(), is_open_ended, goal);
        let ext = Ext { request: Some(name.clone()), ..cx.ext() };
        let from_node = cx.me().source();
        let body = Body::UserGetRequest { user: (&user).into(), request: name, from_node };
        cx.send_to_all(&awaited, &key, body, ext);
        self.ask_silent_nodes(cx, directory, id);
        self.answer_if_certain(cx, directory, id);
    }

    fn list(&mut self, cx: &mut Context, directory: &Directory<'_>, id: u64, key: ChannelKey) {
        // States are only kept for channels that this node listens to.
        cx.effects.push(Effect::Listen(key.clone()));
        let awaited = directory.nodes();
        let is_open_ended = directory.may_have_silent_nodes(cx.now);
        self.wait(cx, id, key.clone(), awaited.clone(), is_open_ended, Goal::List);
        for node in &awaited {
            cx.send_to(node, Body::Repair(vec![key.clone()]));
        }
        self.ask_silent_nodes(cx, directory, id);
        self.answer_if_certain(cx, directory, id);
    }

    /// Queries the nodes that have no inbox. They answer on the channel's topic, so the query is sent once this node is
    /// subscribed to it.
    fn ask_silent_nodes(&self, cx: &mut Context, directory: &Directory<'_>, id: u64) {
        let Some(pending) = self.pending.get(&id).filter(|pending| pending.is_open_ended) else { return };
        let from_node = cx.me().source();
        let body = match &pending.goal {
            Goal::Find { user, .. } => {
                Body::UserGetRequest { user: user.into(), request: pending.name.clone(), from_node }
            }
            Goal::List => Body::StateRequest { from_node },
            Goal::Act { .. } => return,
        };
        cx.effects.push(Effect::Listen(pending.channel.clone()));
        if directory.is_subscribed(&pending.channel) {
            cx.publish(&pending.channel, body);
        }
    }

    /// Sends the queries that waited for the subscription of these channels.
    pub(in crate::cluster) fn subscribed(&self, cx: &mut Context, directory: &Directory<'_>, keys: &[ChannelKey]) {
        let concerned = self.pending.iter().filter(|(_, pending)| keys.contains(&pending.channel));
        concerned.for_each(|(id, _)| self.ask_silent_nodes(cx, directory, *id));
    }

    fn wait(
        &mut self,
        cx: &mut Context,
        id: u64,
        channel: ChannelKey,
        awaited: Vec<NodeId>,
        is_open_ended: bool,
        goal: Goal,
    ) -> String {
        let name = cx.fresh_id();
        let time = match goal {
            Goal::Act { .. } => cx.settings.command_timeout,
            Goal::Find { .. } | Goal::List => cx.settings.question_timeout,
        };
        cx.timers.set(Timer::Request(id), cx.now + time);
        let awaited = awaited.into_iter().collect();
        let pending = Pending { name: name.clone(), channel, awaited, is_open_ended, sent: cx.now, goal };
        self.names.insert(name.clone(), id);
        if let Some(before) = self.pending.insert(id, pending) {
            self.names.remove(&before.name);
        }
        name
    }

    /// Notes the outcome of a command on one node, or that the node does not have the user of a query.
    pub(in crate::cluster) fn acknowledged(
        &mut self,
        cx: &mut Context,
        directory: &Directory<'_>,
        from: &NodeId,
        name: &str,
        verdict: Verdict,
    ) {
        let Some((id, pending)) = self.by_name(name) else { return };
        if pending.awaited.remove(from)
            && let Goal::Act { done, refused, .. } = &mut pending.goal
        {
            *done |= verdict == Verdict::Done;
            *refused |= verdict == Verdict::Refused;
        }
        self.answer_if_certain(cx, directory, id);
    }

    /// Notes that a node has the user of a query.
    pub(in crate::cluster) fn found(
        &mut self,
        cx: &mut Context,
        directory: &Directory<'_>,
        holder: Holder,
        name: &str,
        (who, entry): (&str, Entry),
    ) {
        let Some((id, pending)) = self.by_name(name) else { return };
        if let Goal::Find { user, found, .. } = &mut pending.goal
            && user.as_str() == who
        {
            // By name: an incarnation that was started since the query answers for its name, too.
            pending.awaited.retain(|awaited| awaited.name != holder.name);
            let Entry { assigns, presence, joined } = entry;
            let (assigns, presence) = (cx.limits.assigns(assigns), cx.limits.presence(presence));
            found.push((holder, Entry { assigns, presence, joined }));
        }
        self.answer_if_certain(cx, directory, id);
    }

    /// Notes that the snapshot of a node's users in a channel is complete.
    pub(in crate::cluster) fn listed(
        &mut self,
        cx: &mut Context,
        directory: &Directory<'_>,
        from: &NodeId,
        key: &ChannelKey,
    ) {
        // Snapshots have no name of a request: whichever request has caused one, it answers them all.
        let is_it = |pending: &Pending| pending.channel == *key && matches!(pending.goal, Goal::List);
        let ids: Vec<_> = self.pending.iter().filter(|(_, it)| is_it(it)).map(|(id, _)| *id).collect();
        for id in ids {
            self.pending.entry(id).and_modify(|pending| drop(pending.awaited.take(from)));
            self.answer_if_certain(cx, directory, id);
        }
    }

    /// Notes that a user has left a foreign node, which does not acknowledge commands: a pending removal of it is done.
    pub(in crate::cluster) fn left(
        &mut self,
        cx: &mut Context,
        directory: &Directory<'_>,
        key: &ChannelKey,
        who: &UserId,
    ) {
        let mut ids = Vec::new();
        for (id, pending) in &mut self.pending {
            if let Goal::Act { user, takes_out: true, done, .. } = &mut pending.goal
                && pending.channel == *key
                && user == who
            {
                (*done, pending.is_open_ended) = (true, false);
                ids.push(*id);
            }
        }
        ids.into_iter().for_each(|id| self.answer_if_certain(cx, directory, id));
    }

    /// Notes that nodes may have gone, which answer nothing any more. A user that one of them was known to have was removed with it:
    /// each node that has got the command has it on record, and does not show the user for its grace. Where the users of the channel
    /// are not known, no node has the user any more.
    pub(in crate::cluster) fn nodes_changed(&mut self, cx: &mut Context, directory: &Directory<'_>) {
        let mut ids = Vec::new();
        for (id, pending) in &mut self.pending {
            let Goal::Act { takes_out: true, is_known, done, .. } = &mut pending.goal else { continue };
            let before = pending.awaited.len();
            pending.awaited.retain(|node| directory.is_up(node));
            if pending.awaited.len() < before {
                *done |= *is_known;
                ids.push(*id);
            }
        }
        ids.into_iter().for_each(|id| self.answer_if_certain(cx, directory, id));
    }

    /// Answers a request, if no missing answer can change the result.
    fn answer_if_certain(&mut self, cx: &mut Context, directory: &Directory<'_>, id: u64) {
        // Also a `Find` with a result waits for all nodes of our kind, since the user may be on several.
        let Some(pending) = self.pending.get(&id).filter(|pending| pending.awaited.is_empty()) else { return };
        let answer = match &pending.goal {
            Goal::Act { refused: true, .. } => Answer::Refused,
            Goal::Find { found, .. } if !found.is_empty() => return self.conclude_find(cx, directory, id),
            // Nodes that never answer may still have the user: neither success nor absence is certain before the
            // timeout.
            _ if pending.is_open_ended => return,
            Goal::Act { done: true, .. } => Answer::Confirmed,
            Goal::Act { .. } | Goal::Find { .. } => Answer::NotFound,
            Goal::List => users(directory, &pending.channel, true),
        };
        self.conclude(cx, id, answer);
    }

    /// The time of a request is over. The removal of a user waits on for a node that does not answer, because it may be dead: the
    /// others notice that within a lifetime and two beats, and the user goes with its node.
    pub(in crate::cluster) fn timed_out(&mut self, cx: &mut Context, directory: &Directory<'_>, id: u64) {
        let Some(pending) = self.pending.get(&id) else { return };
        let until = pending.sent + cx.settings.lifetime + 2 * cx.settings.beat;
        let may_be_dead = matches!(pending.goal, Goal::Act { takes_out: true, .. }) && !pending.awaited.is_empty();
        // Without the bus no node is noticed to be dead.
        if may_be_dead && cx.is_connected() && cx.now < until {
            return cx.timers.set(Timer::Request(id), until);
        }
        self.give_up(cx, directory, id);
    }

    /// Answers a request with the answers so far.
    fn give_up(&mut self, cx: &mut Context, directory: &Directory<'_>, id: u64) {
        let Some(pending) = self.pending.get(&id) else { return };
        let answer = match &pending.goal {
            Goal::Find { found, .. } if !found.is_empty() => return self.conclude_find(cx, directory, id),
            Goal::Act { .. } | Goal::Find { .. } => Answer::Unconfirmed,
            Goal::List => users(directory, &pending.channel, false),
        };
        self.conclude(cx, id, answer);
    }

    /// Answers all requests with the answers so far.
    pub(in crate::cluster) fn give_up_all(&mut self, cx: &mut Context, directory: &Directory<'_>) {
        // One by one from the start: an update that waited for a `Find` becomes a new request, which is given up in
        // turn.
        while let Some(id) = self.pending.keys().next().copied() {
            self.give_up(cx, directory, id);
        }
    }

    /// Answers a query with the user that was found, or sends the change that waited for it.
    fn conclude_find(&mut self, cx: &mut Context, directory: &Directory<'_>, id: u64) {
        let Some(Pending { channel, goal: Goal::Find { user, found, then }, .. }) = self.take(id) else { return };
        let claims: Vec<_> = found.iter().map(|(holder, entry)| Claim::of(&holder.name, entry)).collect();
        let Some(member) = unite(None, &claims) else { return };
        cx.timers.stop(&Timer::Request(id));
        match then {
            Some(update) => {
                let holders: Vec<_> = found.into_iter().map(|(holder, _)| holder).collect();
                self.update_at(cx, directory, id, channel, user, &holders, (member.assigns, update));
            }
            None => cx.output(NodeOutput::Answered { id, answer: Answer::Found(member) }),
        }
    }

    fn conclude(&mut self, cx: &mut Context, id: u64, answer: Answer) {
        cx.timers.stop(&Timer::Request(id));
        if self.take(id).is_some() {
            cx.output(NodeOutput::Answered { id, answer });
        }
    }

    fn by_name(&mut self, name: &str) -> Option<(u64, &mut Pending)> {
        let id = *self.names.get(name)?;
        Some((id, self.pending.get_mut(&id)?))
    }

    fn take(&mut self, id: u64) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        self.names.remove(&pending.name);
        Some(pending)
    }
}

impl PendingUpdate {
    /// The message to the nodes that have the user, and the change that foreign nodes make of it. `all` are the user's
    /// present assigns: the message contains them all, because some foreign nodes delete those that are missing.
    fn into_messages(self, user: &UserId, mut all: Assigns) -> (Body, ForeignUpdate) {
        let user = user.into();
        match self {
            PendingUpdate::Presence(presence) => {
                let body = Body::PresenceUpdate { user, presence: presence.clone(), event: None };
                (body, ForeignUpdate::Presence(presence))
            }
            PendingUpdate::Assign(key, value) => {
                all.set(&key, &value);
                let delta = Some((key, value));
                let body = Body::AssignsUpdate { user, assigns: Some(all.clone()), delta: delta.clone() };
                (body, ForeignUpdate::Assigns(Some(all), delta))
            }
        }
    }
}

/// The answer with the known users of a channel.
fn users(directory: &Directory<'_>, key: &ChannelKey, complete: bool) -> Answer {
    let member = |user: UserId| {
        let member = directory.member(key, &user)?;
        Some((user, member))
    };
    Answer::Users { users: directory.members(key).into_iter().filter_map(member).collect(), complete }
}

/// The holders that have an inbox.
fn inboxes(holders: &[Holder]) -> Vec<NodeId> {
    holders.iter().filter_map(|holder| holder.inbox.clone()).collect()
}

fn has_silent(holders: &[Holder]) -> bool {
    holders.iter().any(|holder| holder.inbox.is_none())
}
