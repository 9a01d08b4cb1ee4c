//! The commands of other nodes for users of this one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::cluster::context::{Context, Effect, ForeignUpdate};
use crate::cluster::directory::Directory;
use crate::cluster::message::{Body, Ext};
use crate::cluster::replication::Channels;
use crate::cluster::{ChannelKey, Command, NodeId, NodeOutput, Verdict};
use crate::id::UserId;

/// The identity of a command: the name of the requesting node of our kind, and the name of the request.
type CommandId = (Arc<str>, String);

/// The node that waits for the outcome of a command, and the name of its request. `None` for foreign nodes, which do
/// not wait.
pub(in crate::cluster) type Asker = Option<(NodeId, String)>;

/// The commands that are being executed, and the outcomes of earlier ones.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Commands {
    running: BTreeMap<u64, Running>,
    next: u64,
    /// The outcomes of the last commands: one that arrives again is not executed, only answered again.
    outcomes: BTreeMap<CommandId, Outcome>,
    /// In the order of arrival, to drop the oldest outcome.
    order: VecDeque<CommandId>,
}

#[derive(Debug)]
struct Running {
    channel: ChannelKey,
    user: UserId,
    /// True if the command removes the user from the channel.
    takes_out: bool,
    /// The nodes that wait for the outcome: several, if several have requested the removal of one user.
    askers: Vec<(NodeId, String)>,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Running,
    Over(Verdict),
}

impl Commands {
    /// Handles a request of a node of our kind that concerns a user in a channel.
    pub(in crate::cluster) fn requested(
        &mut self,
        cx: &mut Context,
        directory: &Directory<'_>,
        key: ChannelKey,
        ext: Ext,
        body: Body,
    ) {
        let asker = ext.request.map(|request| (ext.node.clone(), request));
        if let Some((user, command)) = Command::removal(&body) {
            let Ok(user) = UserId::new(user) else { return };
            return match ext.joined {
                // A repeated removal is for one membership of this node alone: the user may have joined here again, or others.
                Some(joined) if joined_after(directory.channels(), &key, &user, joined) => {}
                Some(_) => self.execute(cx, directory, &key, user, command, asker),
                None => self.remove_user(cx, directory, &key, user, command, asker),
            };
        }
        match body {
            Body::AssignsUpdate { user, assigns, delta } => {
                let Ok(user) = UserId::new(&user) else { return };
                if !directory.is_local(&key, &user) {
                    // A foreign node that has the user applies this request without a message of its own.
                    cx.effects.push(Effect::Foreign(key, user, ForeignUpdate::Assigns(assigns, delta)));
                    return answer(cx, asker, Verdict::NotFound);
                }
                // The single assign first: the complete ones beside it are for foreign nodes, and may be outdated here.
                let command = match (delta, assigns) {
                    (Some((key, value)), _) => Command::Assign { key, value },
                    (None, Some(assigns)) => Command::MergeAssigns(assigns),
                    (None, None) => return answer(cx, asker, Verdict::Done),
                };
                self.execute(cx, directory, &key, user, command, asker);
            }
            Body::PresenceUpdate { user, presence, .. } => {
                let Ok(user) = UserId::new(&user) else { return };
                if !directory.is_local(&key, &user) {
                    if let Some(presence) = cx.limits.presence(Some(presence)) {
                        cx.effects.push(Effect::Foreign(key, user, ForeignUpdate::Presence(presence)));
                    }
                    return answer(cx, asker, Verdict::NotFound);
                }
                self.execute(cx, directory, &key, user, Command::Presence(presence), asker);
            }
            Body::UserGetRequest { user, request, .. } => {
                lookup(cx, directory.channels(), &key, &user, request, Some(&ext.node));
            }
            _ => {}
        }
    }

    /// Removes a user from a channel. A user of a foreign node counts as gone at once: some of these nodes publish
    /// nothing when they have executed the command. In place of a node that has gone, each node that shows its user ends that.
    pub(in crate::cluster) fn remove_user(
        &mut self,
        cx: &mut Context,
        directory: &Directory<'_>,
        key: &ChannelKey,
        user: UserId,
        command: Command,
        asker: Asker,
    ) {
        cx.effects.push(Effect::Foreign(key.clone(), user.clone(), ForeignUpdate::Left));
        // A command that arrives again, as messages of a bus may, is not one for the membership that the user has by then.
        if self.outcome(asker.as_ref()).is_none() {
            cx.effects.push(Effect::RemoveOrphan(key.clone(), user.clone(), command.clone()));
        }
        self.execute(cx, directory, key, user, command, asker);
    }

    /// Executes a command once, however often it arrives. Of several removals of one user only the first is executed,
    /// and all get its outcome: otherwise the members would receive several notices of one eviction.
    pub(in crate::cluster) fn execute(
        &mut self,
        cx: &mut Context,
        directory: &Directory<'_>,
        key: &ChannelKey,
        user: UserId,
        command: Command,
        asker: Asker,
    ) {
        if let Some(outcome) = self.outcome(asker.as_ref()) {
            if let Outcome::Over(verdict) = outcome {
                answer(cx, asker, verdict);
            }
            return;
        }
        let most = cx.settings.max_commands;
        let takes_out = matches!(command, Command::Evict { .. } | Command::Remove);
        if takes_out && let Some(running) = self.taking_out(key, &user) {
            running.askers.extend(asker.clone());
            self.remember(asker.as_ref(), Outcome::Running, most);
        } else if takes_out && directory.is_orphan(key, &user) {
            self.conclude(cx, asker, Verdict::Done);
        } else if !directory.is_local(key, &user) {
            self.conclude(cx, asker, Verdict::NotFound);
        } else if self.running.len() >= most {
            // Each running command takes memory until it is done, so other nodes must not start any number of them.
            self.conclude(cx, asker, Verdict::Refused);
        } else {
            self.remember(asker.as_ref(), Outcome::Running, most);
            let askers = asker.into_iter().collect();
            let id = self.run(Running { channel: key.clone(), user: user.clone(), takes_out, askers });
            cx.output(NodeOutput::Command { id, channel: key.clone(), user, command });
        }
    }

    /// Sends the outcome of a command to the nodes that wait for it.
    pub(in crate::cluster) fn done(&mut self, cx: &mut Context, id: u64, verdict: Verdict) {
        let Some(running) = self.running.remove(&id) else { return };
        running.askers.into_iter().for_each(|asker| self.conclude(cx, Some(asker), verdict));
    }

    fn conclude(&mut self, cx: &mut Context, asker: Asker, verdict: Verdict) {
        self.remember(asker.as_ref(), Outcome::Over(verdict), cx.settings.max_commands);
        answer(cx, asker, verdict);
    }

    fn run(&mut self, running: Running) -> u64 {
        self.next += 1;
        self.running.insert(self.next, running);
        self.next
    }

    fn taking_out(&mut self, key: &ChannelKey, user: &UserId) -> Option<&mut Running> {
        let is_it = |running: &&mut Running| running.takes_out && running.channel == *key && running.user == *user;
        self.running.values_mut().find(is_it)
    }

    fn outcome(&self, asker: Option<&(NodeId, String)>) -> Option<Outcome> {
        let (node, request) = asker?;
        self.outcomes.get(&(node.name.clone(), request.clone())).copied()
    }

    fn remember(&mut self, asker: Option<&(NodeId, String)>, outcome: Outcome, most: usize) {
        let Some((node, request)) = asker else { return };
        let id = (node.name.clone(), request.clone());
        if self.outcomes.insert(id.clone(), outcome).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > most {
            let oldest = self.order.pop_front().expect("longer than `most`, so not empty");
            self.outcomes.remove(&oldest);
        }
    }
}

/// Answers a query for a user. A node of our kind gets an answer in its inbox, also if the user is not here, so that it
/// need not wait for the timeout. A foreign node has no inbox and expects an answer on the channel's topic, only from a
/// node that has the user.
pub(in crate::cluster) fn lookup(
    cx: &mut Context,
    channels: &Channels,
    key: &ChannelKey,
    user: &str,
    request: String,
    asker: Option<&NodeId>,
) {
    let users = channels.get(key).map(|channel| channel.local().users());
    let entry = UserId::new(user).ok().and_then(|id| users?.get(&id));
    let Some(entry) = entry else {
        return answer(cx, asker.map(|node| (node.clone(), request)), Verdict::NotFound);
    };
    let ext = Ext { joined: Some(entry.joined), ..cx.ext() };
    let (assigns, presence) = (entry.assigns.clone(), entry.presence.clone());
    let body = Body::UserGetResponse { user: user.into(), request, assigns, presence };
    match asker {
        Some(node) => cx.send_to_all(std::slice::from_ref(node), key, body, ext),
        None => cx.publish_with(key, body, ext),
    }
}

/// Returns `true` if this node has the user, by a join after this time.
fn joined_after(channels: &Channels, key: &ChannelKey, user: &UserId, joined: u64) -> bool {
    let entry = channels.get(key).and_then(|channel| channel.local().users().get(user));
    entry.is_some_and(|entry| entry.joined > joined)
}

fn answer(cx: &mut Context, asker: Asker, verdict: Verdict) {
    if let Some((node, request)) = asker {
        cx.send_to(&node, Body::Ack { request, verdict });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::replication::users::tests::user;
    use crate::id::ChannelName;

    fn asker(request: &str) -> (NodeId, String) {
        (NodeId { name: "a".into(), incarnation: 1 }, request.to_owned())
    }

    #[test]
    fn the_outcomes_of_the_last_commands_are_remembered() {
        let mut commands = Commands::default();
        for request in ["1", "2", "3"] {
            commands.remember(Some(&asker(request)), Outcome::Running, 2);
        }
        commands.remember(Some(&asker("3")), Outcome::Over(Verdict::Done), 2);
        assert!(commands.outcome(Some(&asker("1"))).is_none());
        assert!(matches!(commands.outcome(Some(&asker("2"))), Some(Outcome::Running)));
        assert!(matches!(commands.outcome(Some(&asker("3"))), Some(Outcome::Over(Verdict::Done))));
        assert!(commands.outcome(None).is_none(), "nodes of other languages do not name their commands");
    }

    #[test]
    fn a_user_is_removed_from_a_channel_once_at_a_time() {
        let key = ChannelKey { endpoint: "e".into(), channel: ChannelName::new("/x", 9).expect("valid") };
        let running = |takes_out| Running { channel: key.clone(), user: user("ada"), takes_out, askers: Vec::new() };
        let mut commands = Commands::default();
        assert_eq!(commands.run(running(false)), 1);
        assert!(commands.taking_out(&key, &user("ada")).is_none());
        assert_eq!(commands.run(running(true)), 2);
        assert!(commands.taking_out(&key, &user("ada")).is_some());
        assert!(commands.taking_out(&key, &user("bob")).is_none());
    }
}
