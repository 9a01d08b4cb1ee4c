//! What users of this node have to undergo because another node wants it (docs/cluster.md, Operations).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::asks::Holder;
use super::core::Core;
use super::message::{Body, Ext};
use super::{ChannelKey, Command, NodeId, Output, Verdict, hear};
use crate::id::UserId;
use crate::model::Assigns;
use crate::wire::{Json, Object};

/// A command of another node of ours, by the node's name and what it calls the command.
type Request = (Arc<str>, String);

/// Commands that are carried out, and those that were.
#[derive(Debug, Default)]
pub(super) struct Commands {
    running: BTreeMap<u64, Running>,
    next: u64,
    /// What became of each of the last ones, so that one that comes again is only answered again.
    fates: BTreeMap<Request, Fate>,
    order: VecDeque<Request>,
}

#[derive(Debug)]
struct Running {
    channel: ChannelKey,
    user: UserId,
    takes_out: bool,
    /// Who waits for it: several, if several want the same user out.
    askers: Vec<(NodeId, String)>,
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Running,
    Over(Verdict),
}

/// Who wants to be told what became of a command. Nodes of other languages do not.
type Asker = Option<(NodeId, String)>;

impl Core {
    /// One of ours wants something of the users in a channel.
    pub(super) fn asked(&mut self, key: ChannelKey, ext: Ext, body: Body) {
        let asker = ext.request.map(|request| (ext.node.clone(), request));
        match body {
            Body::EvictUser { user, reason } => self.take_out(&key, &user, Command::Evict { reason }, asker),
            Body::UserRemove { user } => self.take_out(&key, &user, Command::Remove, asker),
            Body::AssignsUpdate { user, assigns, delta } => {
                let Some(user) = hear::user_id(&user) else { return };
                if self.has(&key, &user) {
                    self.assign(&key, user, assigns, delta, asker);
                } else {
                    self.with_guests(&key, &user, |guests| guests.assign(&user, assigns, delta));
                    self.answer(asker, Verdict::NotFound);
                }
            }
            Body::PresenceUpdate { user, presence, .. } => {
                let Some(user) = hear::user_id(&user) else { return };
                if self.has(&key, &user) {
                    self.command(&key, user, Command::Presence(presence), asker);
                } else {
                    if let Some(presence) = self.limits.presence(Some(presence)) {
                        self.with_guests(&key, &user, |guests| guests.show_known(&user, presence));
                    }
                    self.answer(asker, Verdict::NotFound);
                }
            }
            Body::UserGetRequest { user, request, .. } => self.tell_user(&key, &user, request, Some(&ext.node)),
            Body::UserGetResponse { user, request, assigns, presence } => {
                self.found(Holder::Ours(ext.node), &request, &user, (assigns, presence, ext.joined.unwrap_or(0)));
            }
            _ => {}
        }
    }

    /// Whether a user is here.
    pub(super) fn has(&self, key: &ChannelKey, user: &UserId) -> bool {
        self.channels.get(key).is_some_and(|channel| channel.own.users().contains_key(user))
    }

    /// Somebody wants a user out. If it is at a node of another language it is gone, as far as we are concerned: some
    /// of them do not say so when they have carried it out.
    pub(super) fn take_out(&mut self, key: &ChannelKey, user: &str, command: Command, asker: Asker) {
        let Some(user) = hear::user_id(user) else { return };
        self.dismiss(key, &user);
        self.command(key, user, command, asker);
    }

    /// Assigns of a user here are to be changed: by one, if that is told, or key by key.
    pub(super) fn assign(
        &mut self,
        key: &ChannelKey,
        user: UserId,
        assigns: Option<Assigns>,
        delta: Option<(String, Json)>,
        asker: Asker,
    ) {
        match (delta, assigns) {
            (Some((name, value)), _) => self.command(key, user, Command::Assign { key: name, value }, asker),
            (None, Some(assigns)) => self.command(key, user, Command::MergeAssigns(assigns), asker),
            (None, None) => self.answer(asker, Verdict::Done),
        }
    }

    /// Has a command carried out, once, however often it comes; and of several that want the same user out, the first.
    pub(super) fn command(&mut self, key: &ChannelKey, user: UserId, command: Command, asker: Asker) {
        if let Some(fate) = self.commands.fate(asker.as_ref()) {
            if let Fate::Over(verdict) = fate {
                self.answer(asker, verdict);
            }
            return;
        }
        let takes_out = matches!(command, Command::Evict { .. } | Command::Remove);
        if takes_out && let Some(running) = self.commands.taking_out(key, &user) {
            running.askers.extend(asker.clone());
            self.commands.remember(asker.as_ref(), Fate::Running, self.settings.max_commands);
        } else if !self.has(key, &user) {
            self.conclude(asker, Verdict::NotFound);
        } else if self.commands.running.len() >= self.settings.max_commands {
            self.conclude(asker, Verdict::Refused);
        } else {
            self.commands.remember(asker.as_ref(), Fate::Running, self.settings.max_commands);
            let askers = asker.into_iter().collect();
            let id = self.commands.run(Running { channel: key.clone(), user: user.clone(), takes_out, askers });
            self.voice.output(Output::Command { id, channel: key.clone(), user, command });
        }
    }

    pub(super) fn done(&mut self, id: u64, verdict: Verdict) {
        let Some(running) = self.commands.running.remove(&id) else { return };
        running.askers.into_iter().for_each(|asker| self.conclude(Some(asker), verdict));
    }

    fn conclude(&mut self, asker: Asker, verdict: Verdict) {
        self.commands.remember(asker.as_ref(), Fate::Over(verdict), self.settings.max_commands);
        self.answer(asker, verdict);
    }

    fn answer(&mut self, asker: Asker, verdict: Verdict) {
        if let Some((node, request)) = asker {
            self.voice.whisper(&node, Body::Ack { request, verdict });
        }
    }

    /// Somebody wants to know a user. One of ours is answered alone, and also if the user is not here.
    pub(super) fn tell_user(&mut self, key: &ChannelKey, user: &str, request: String, asker: Option<&NodeId>) {
        let entry = hear::user_id(user).and_then(|id| self.channels.get(key)?.own.users().get(&id));
        let Some(entry) = entry else {
            let asker = asker.map(|node| (node.clone(), request));
            return self.answer(asker, Verdict::NotFound);
        };
        let ext = Ext { joined: Some(entry.joined), ..self.voice.ext() };
        // Nodes of other languages are used to an empty object.
        let nothing = || Object::encode(&()).expect("nothing is an empty object");
        let presence = entry.presence.clone().or_else(|| asker.is_none().then(nothing));
        let body = Body::UserGetResponse { user: user.into(), request, assigns: entry.assigns.clone(), presence };
        match asker {
            Some(node) => self.voice.whisper_about(node, key, body, ext),
            None => self.voice.say_with(key, body, ext),
        }
    }
}

impl Commands {
    fn run(&mut self, running: Running) -> u64 {
        self.next += 1;
        self.running.insert(self.next, running);
        self.next
    }

    fn taking_out(&mut self, key: &ChannelKey, user: &UserId) -> Option<&mut Running> {
        let is_it = |running: &&mut Running| running.takes_out && running.channel == *key && running.user == *user;
        self.running.values_mut().find(is_it)
    }

    fn fate(&self, asker: Option<&(NodeId, String)>) -> Option<Fate> {
        let (node, request) = asker?;
        self.fates.get(&(node.name.clone(), request.clone())).copied()
    }

    fn remember(&mut self, asker: Option<&(NodeId, String)>, fate: Fate, most: usize) {
        let Some((node, request)) = asker else { return };
        let request = (node.name.clone(), request.clone());
        if self.fates.insert(request.clone(), fate).is_none() {
            self.order.push_back(request);
        }
        if self.order.len() > most {
            let oldest = self.order.pop_front().expect("longer than nothing");
            self.fates.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::user;
    use super::*;
    use crate::id::ChannelName;

    fn asker(request: &str) -> (NodeId, String) {
        (NodeId { name: "a".into(), incarnation: 1 }, request.to_owned())
    }

    #[test]
    fn what_became_of_the_last_commands_is_remembered() {
        let mut commands = Commands::default();
        for request in ["1", "2", "3"] {
            commands.remember(Some(&asker(request)), Fate::Running, 2);
        }
        commands.remember(Some(&asker("3")), Fate::Over(Verdict::Done), 2);
        assert!(commands.fate(Some(&asker("1"))).is_none());
        assert!(matches!(commands.fate(Some(&asker("2"))), Some(Fate::Running)));
        assert!(matches!(commands.fate(Some(&asker("3"))), Some(Fate::Over(Verdict::Done))));
        assert!(commands.fate(None).is_none(), "nodes of other languages do not name their commands");
    }

    #[test]
    fn the_same_user_is_taken_out_of_a_channel_once_at_a_time() {
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
