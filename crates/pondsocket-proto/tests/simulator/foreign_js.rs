//! A JavaScript server: it relays all users that it knows, and publishes nothing when one was evicted.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use pondsocket_proto::channel::Assigns;
use pondsocket_proto::cluster::message::{Body, Envelope};
use pondsocket_proto::cluster::{ChannelKey, Topics};
use pondsocket_proto::wire::Object;

use super::foreign::{
    ForeignAction, ForeignSender, ForeignUser, ForeignUsers, LIFETIME, SCAN, heartbeat, non_empty, state,
};
use super::server_channel::json;
use super::world::ForeignOutput;

pub(crate) struct Js {
    topics: Topics,
    sender: ForeignSender,
    pub(crate) rooms: BTreeMap<ChannelKey, JsChannel>,
    heard: BTreeMap<Arc<str>, u64>,
    next_scan: u64,
}

#[derive(Debug, Default)]
pub(crate) struct JsChannel {
    pub(crate) here: ForeignUsers,
    pub(crate) elsewhere: ForeignUsers,
}

impl Js {
    pub(crate) fn new(source: &str, topics: Topics) -> Js {
        Js {
            topics,
            sender: ForeignSender::new(source),
            rooms: BTreeMap::new(),
            heard: BTreeMap::new(),
            next_scan: SCAN,
        }
    }

    fn publish(&mut self, channel: &ChannelKey, now: u64, body: Body) -> ForeignOutput {
        ForeignOutput::Publish(
            self.topics.channel(channel).as_str().into(),
            self.sender.envelope(Some(channel), now, body),
        )
    }

    pub(crate) fn timer(&mut self, now: u64) -> Vec<ForeignOutput> {
        if now >= self.next_scan {
            self.next_scan = now + SCAN;
            let dead: Vec<_> =
                self.heard.iter().filter(|(_, at)| now > **at + LIFETIME).map(|(id, _)| id.clone()).collect();
            for node in dead {
                self.heard.remove(&node);
                let rooms = self.rooms.values_mut();
                rooms.for_each(|room| room.elsewhere.retain(|_, card| card.node.as_ref() != Some(&node)));
            }
        }
        vec![heartbeat(&self.topics, &mut self.sender, now)]
    }

    pub(crate) fn perform(
        &mut self,
        channel: &ChannelKey,
        name: &Arc<str>,
        action: ForeignAction,
        choice: u64,
        now: u64,
    ) -> Vec<ForeignOutput> {
        let mut outputs = Vec::new();
        if let (ForeignAction::Join(..), false) = (&action, self.rooms.contains_key(channel)) {
            self.rooms.insert(channel.clone(), JsChannel::default());
            outputs.push(ForeignOutput::UpdateSubscriptions {
                add: vec![self.topics.channel(channel).as_str().into()],
                remove: vec![],
            });
        }
        let Some(room) = self.rooms.get_mut(channel) else { return outputs };
        let user = name.clone();
        let bodies = match (room.here.get_mut(name), action) {
            (None, ForeignAction::Join(assigns, presence)) => {
                room.here.insert(
                    user.clone(),
                    ForeignUser { assigns: assigns.clone(), presence: presence.clone(), node: None },
                );
                let nothing = non_empty(None);
                let shown = presence.map(|presence| Body::PresenceUpdate { user: user.clone(), presence, event: None });
                [Body::UserJoined { user, presence: nothing, assigns }].into_iter().chain(shown).collect()
            }
            (Some(_), ForeignAction::Leave) => {
                room.here.remove(name);
                vec![Body::UserLeft { user }]
            }
            (Some(card), ForeignAction::Show(presence)) => {
                card.presence = Some(presence.clone());
                vec![Body::PresenceUpdate { user, presence, event: None }]
            }
            (Some(card), ForeignAction::Assign(key, value)) => {
                card.assigns.set(&key, &json(&value));
                let assigns = Some(card.assigns.clone());
                vec![Body::AssignsUpdate { user, assigns, delta: Some((key, json(&value))) }]
            }
            (_, ForeignAction::EvictElsewhere) => match pick(&room.elsewhere, choice) {
                Some(user) => {
                    room.elsewhere.remove(&user);
                    vec![Body::EvictUser { user, reason: format!("js {choice}") }]
                }
                None => vec![],
            },
            (_, ForeignAction::AssignElsewhere(value)) => match pick(&room.elsewhere, choice) {
                Some(user) => {
                    let card = room.elsewhere.get_mut(&user).expect("it was picked");
                    card.assigns.set("js", &json(&value));
                    vec![Body::AssignsUpdate { user, assigns: Some(card.assigns.clone()), delta: None }]
                }
                None => vec![],
            },
            _ => vec![],
        };
        outputs.extend(bodies.into_iter().map(|body| self.publish(channel, now, body)));
        outputs.extend(self.close_if_empty(channel));
        outputs
    }

    /// Closes a channel, unless it knows users on other servers.
    fn close_if_empty(&mut self, channel: &ChannelKey) -> Option<ForeignOutput> {
        self.rooms.get(channel).filter(|room| room.here.is_empty() && room.elsewhere.is_empty())?;
        self.rooms.remove(channel);
        Some(ForeignOutput::UpdateSubscriptions {
            add: vec![],
            remove: vec![self.topics.channel(channel).as_str().into()],
        })
    }

    pub(crate) fn subscribed(&mut self, topics: &[Rc<str>], now: u64) -> Vec<ForeignOutput> {
        let is_new = |(key, room): &(&ChannelKey, &JsChannel)| {
            room.elsewhere.is_empty() && topics.iter().any(|topic| **topic == *self.topics.channel(key).as_str())
        };
        let channels: Vec<_> = self.rooms.iter().filter(is_new).map(|(key, _)| key.clone()).collect();
        let request = || Body::StateRequest { from_node: "another id".into() };
        channels.iter().map(|channel| self.publish(channel, now, request())).collect()
    }

    pub(crate) fn receive(&mut self, message: &Envelope, now: u64) -> Vec<ForeignOutput> {
        if message.source == self.sender.source {
            return Vec::new();
        }
        if let Body::NodeHeartbeat { node } = &message.body {
            self.heard.insert(node.clone(), now);
            return Vec::new();
        }
        let Some(channel) = message.channel.as_ref() else { return Vec::new() };
        let Some(room) = self.rooms.get_mut(channel) else { return Vec::new() };
        let JsChannel { here, elsewhere } = room;
        let source = &message.source;
        let heard = &mut self.heard;
        let mut attribute = |user: &Arc<str>, assigns: &Assigns, presence: &Option<Object>| {
            heard.entry(source.clone()).or_insert(now);
            let card = elsewhere.entry(user.clone()).or_default();
            card.assigns = assigns.clone();
            card.presence = non_empty(presence.clone()).or(card.presence.take());
            card.node = Some(source.clone());
        };
        let mut answer = None;
        match &message.body {
            Body::UserJoined { user, presence, assigns } if !here.contains_key(user) => {
                attribute(user, assigns, presence);
            }
            Body::StateResponse { users } => {
                for told in users.iter().filter(|told| !here.contains_key(&told.id)) {
                    attribute(&told.id, &told.assigns, &told.presence);
                }
            }
            Body::PresenceUpdate { user, presence, .. } => match here.get_mut(user) {
                Some(card) => card.presence = Some(presence.clone()),
                None => elsewhere.entry(user.clone()).or_default().presence = Some(presence.clone()),
            },
            Body::PresenceRemoved { user } => drop(elsewhere.get_mut(user).map(|card| card.presence = None)),
            Body::AssignsUpdate { user, assigns, delta } => {
                let card = here.get_mut(user).or_else(|| elsewhere.get_mut(user));
                match (card, assigns, delta) {
                    (Some(card), Some(assigns), _) => card.assigns = assigns.clone(),
                    (Some(card), None, Some((key, value))) => card.assigns.set(key, value),
                    _ => {}
                }
            }
            Body::EvictUser { user, .. } | Body::UserLeft { user } => {
                // The eviction of a user here is published to no other server.
                if let Body::EvictUser { .. } = message.body {
                    here.remove(user);
                }
                elsewhere.remove(user);
            }
            Body::UserRemove { user } => {
                elsewhere.remove(user);
                answer = here.remove(user).map(|_| Body::UserLeft { user: user.clone() });
            }
            Body::StateRequest { .. } => {
                let users: Vec<_> = here.iter().chain(&*elsewhere).map(|entry| state(entry, true)).collect();
                answer = (!users.is_empty()).then_some(Body::StateResponse { users });
            }
            Body::UserGetRequest { user, request, .. } => {
                answer = here.get_key_value(user).map(|entry| {
                    let told = state(entry, true);
                    let (request, presence) = (request.clone(), told.presence);
                    Body::UserGetResponse { user: told.id, request, assigns: told.assigns, presence }
                });
            }
            _ => {}
        }
        let mut outputs: Vec<_> = answer.map(|body| self.publish(channel, now, body)).into_iter().collect();
        outputs.extend(self.close_if_empty(channel));
        outputs
    }
}

pub(crate) fn pick(cards: &ForeignUsers, choice: u64) -> Option<Arc<str>> {
    let index = choice.checked_rem(cards.len() as u64)?;
    cards.keys().nth(index as usize).cloned()
}
