//! One channel on one node: its local members, and the members of other nodes that it shows.

use std::collections::BTreeMap;
use std::sync::Arc;

use pondsocket_proto::channel::Assigns;
use pondsocket_proto::cluster::{ChannelKey, Command, Input, MemberChange, RemoteChange, RemoteMember, Verdict};
use pondsocket_proto::id::UserId;
use pondsocket_proto::wire::{Json, Object};

/// A user that is here.
#[derive(Clone, Debug)]
pub(crate) struct ChannelUser {
    /// By the node's clock.
    pub(crate) joined: u64,
    pub(crate) assigns: Assigns,
    pub(crate) presence: Option<Object>,
}

#[derive(Debug)]
pub(crate) struct ServerChannel {
    pub(crate) key: ChannelKey,
    pub(crate) instance: u64,
    pub(crate) members: BTreeMap<UserId, ChannelUser>,
    pub(crate) view: BTreeMap<UserId, RemoteMember>,
    /// The members without connections, each with the time of its latest join on another node by then.
    pub(crate) ghosts: BTreeMap<UserId, Option<u64>>,
    /// The joins and leaves that members here have seen.
    pub(crate) seen: Vec<(UserId, bool)>,
}

/// An action of a member, or a command that is executed on it.
#[derive(Clone, Debug)]
pub(crate) enum UserAction {
    Join(Assigns, Option<Object>),
    Leave,
    /// The last connection is lost.
    Lose,
    Show(Option<Object>),
    Assign(String, Json),
    Merge(Assigns),
}

impl ServerChannel {
    pub(crate) fn new(key: ChannelKey, instance: u64) -> ServerChannel {
        let (members, view, ghosts) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        ServerChannel { key, instance, members, view, ghosts, seen: Vec::new() }
    }

    /// Executes an action, and returns the inputs for the core. An impossible action has no effect.
    pub(crate) fn perform(&mut self, user: &UserId, action: UserAction, now: u64) -> Vec<Input> {
        let (user, before) = (user.clone(), self.is_seen(user));
        let who = user.clone();
        let changes: Vec<_> = match (self.members.get_mut(&user), action) {
            (None, UserAction::Join(assigns, presence)) => {
                let member = ChannelUser { joined: now, assigns: assigns.clone(), presence: presence.clone() };
                self.members.insert(user.clone(), member);
                let shown =
                    presence.map(|presence| MemberChange::Presence { user: user.clone(), presence: Some(presence) });
                [MemberChange::Joined { user, assigns }].into_iter().chain(shown).collect()
            }
            (Some(_), UserAction::Leave) => {
                self.members.remove(&user);
                self.ghosts.remove(&user);
                vec![MemberChange::Left { user }]
            }
            (Some(member), UserAction::Show(presence)) => {
                member.presence = presence.clone();
                vec![MemberChange::Presence { user, presence }]
            }
            (Some(member), UserAction::Assign(key, value)) => {
                member.assigns.set(&key, &value);
                vec![MemberChange::Assigns { user, assigns: member.assigns.clone(), key: Some(key) }]
            }
            (Some(member), UserAction::Merge(assigns)) => {
                member.assigns.merge(assigns);
                vec![MemberChange::Assigns { user, assigns: member.assigns.clone(), key: None }]
            }
            (Some(_), UserAction::Lose) => {
                let elsewhere = self.view.get(&user).map(|shown| shown.joined);
                self.ghosts.insert(user, elsewhere);
                Vec::new()
            }
            (Some(_), UserAction::Join(..)) => {
                self.ghosts.remove(&user);
                Vec::new()
            }
            (None, _) => Vec::new(),
        };
        self.note(&who, before);
        changes.into_iter().map(|change| Input::Local { channel: self.key.clone(), change }).collect()
    }

    /// The action that executes a command of another node.
    pub(crate) fn execute(&mut self, user: &UserId, command: Command, now: u64) -> (Verdict, Vec<Input>) {
        let action = match command {
            Command::Evict { .. } | Command::Remove => UserAction::Leave,
            Command::Assign { key, value } => UserAction::Assign(key, value),
            Command::MergeAssigns(assigns) => UserAction::Merge(assigns),
            Command::Presence(presence) => UserAction::Show(Some(presence)),
            Command::Untrack => UserAction::Show(None),
        };
        if !self.members.contains_key(user) {
            return (Verdict::NotFound, Vec::new());
        }
        (Verdict::Done, self.perform(user, action, now))
    }

    /// Shows changes of other nodes. Returns the input for each ghost that has joined there.
    pub(crate) fn apply(&mut self, changes: Vec<RemoteChange>) -> Vec<Input> {
        let mut inputs = Vec::new();
        for change in changes {
            let (RemoteChange::Shown(user, _) | RemoteChange::Gone(user)) = &change;
            let (user, before) = (user.clone(), self.is_seen(user));
            match change {
                RemoteChange::Shown(user, shown) => {
                    if self.ghosts.get(&user).is_some_and(|before| before.is_none_or(|before| shown.joined > before)) {
                        self.ghosts.remove(&user);
                        self.members.remove(&user);
                        inputs.push(Input::Moved { channel: self.key.clone(), user: user.clone() });
                    }
                    self.view.insert(user, shown);
                }
                RemoteChange::Gone(user) => drop(self.view.remove(&user)),
            }
            self.note(&user, before);
        }
        inputs
    }

    fn is_seen(&self, user: &UserId) -> bool {
        self.members.contains_key(user) || self.view.contains_key(user)
    }

    fn note(&mut self, user: &UserId, before: bool) {
        let now = self.is_seen(user);
        if now != before {
            self.seen.push((user.clone(), now));
        }
    }
}

pub(crate) fn key(channel: &str) -> ChannelKey {
    let channel = pondsocket_proto::id::ChannelName::new(channel, 64).expect("a name");
    ChannelKey { endpoint: Arc::from("api/socket"), channel }
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::new(name).expect("a name")
}

/// `{"at": n}`
pub(crate) fn presence(number: u64) -> Object {
    Object::encode(&serde_json::json!({ "at": number })).expect("an object")
}

pub(crate) fn json<T: serde::Serialize + ?Sized>(value: &T) -> Json {
    Json::encode(value).expect("JSON")
}
