//! A Go server: another node id for each instance of each channel, and no order of the messages that it publishes and
//! receives, which the world shuffles. When it closes a channel it receives no heartbeats until it opens another.

use std::collections::BTreeMap;
use std::sync::Arc;

use pondsocket_proto::cluster::message::{Body, Envelope};
use pondsocket_proto::cluster::{ChannelKey, Topics};

use super::foreign::{
    ForeignAction, ForeignSender, ForeignUser, ForeignUsers, LIFETIME, SCAN, heartbeat, non_empty, state,
};
use super::foreign_js::pick;
use super::server_channel::json;
use super::world::ForeignOutput;

pub(crate) struct Go {
    topics: Topics,
    pub(crate) rooms: BTreeMap<ChannelKey, GoChannel>,
    rooms_ever: u64,
    pub(crate) is_deaf: bool,
    /// The times at which users left for the last time.
    pub(crate) left: BTreeMap<Arc<str>, u64>,
}

pub(crate) struct GoChannel {
    sender: ForeignSender,
    pub(crate) here: ForeignUsers,
    pub(crate) elsewhere: ForeignUsers,
    heard: BTreeMap<Arc<str>, u64>,
    next_scan: u64,
}

impl Go {
    pub(crate) fn new(topics: Topics) -> Go {
        Go { topics, rooms: BTreeMap::new(), rooms_ever: 0, is_deaf: false, left: BTreeMap::new() }
    }

    pub(crate) fn timer(&mut self, now: u64) -> Vec<ForeignOutput> {
        for room in self.rooms.values_mut().filter(|room| now >= room.next_scan) {
            room.next_scan = now + SCAN;
            let dead: Vec<_> =
                room.heard.iter().filter(|(_, at)| now > **at + LIFETIME).map(|(id, _)| id.clone()).collect();
            for node in dead {
                room.heard.remove(&node);
                room.elsewhere.retain(|_, card| card.node.as_ref() != Some(&node));
            }
        }
        self.rooms.values_mut().map(|room| heartbeat(&self.topics, &mut room.sender, now)).collect()
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
        let topic: std::rc::Rc<str> = self.topics.channel(channel).as_str().into();
        if let (ForeignAction::Join(..), false) = (&action, self.rooms.contains_key(channel)) {
            self.rooms_ever += 1;
            let mut sender = ForeignSender::new(&format!("go-{}", self.rooms_ever));
            let request =
                sender.envelope(Some(channel), now, Body::StateRequest { from_node: sender.source.to_string() });
            outputs.push(ForeignOutput::UpdateSubscriptions { add: vec![topic.clone()], remove: vec![] });
            outputs.push(ForeignOutput::Publish(topic.clone(), request));
            outputs.push(heartbeat(&self.topics, &mut sender, now));
            let (here, elsewhere, heard) = (ForeignUsers::new(), ForeignUsers::new(), BTreeMap::new());
            self.rooms.insert(channel.clone(), GoChannel { sender, here, elsewhere, heard, next_scan: now + SCAN });
            self.is_deaf = false;
        }
        let Some(room) = self.rooms.get_mut(channel) else { return outputs };
        let user = name.clone();
        let bodies = match (room.here.get_mut(name), action) {
            (None, ForeignAction::Join(assigns, presence)) => {
                room.here.insert(
                    user.clone(),
                    ForeignUser { assigns: assigns.clone(), presence: presence.clone(), node: None },
                );
                let shown = presence.map(|presence| Body::PresenceUpdate { user: user.clone(), presence, event: None });
                [Body::UserJoined { user, presence: None, assigns }].into_iter().chain(shown).collect()
            }
            (Some(_), ForeignAction::Leave) => {
                let card = room.here.remove(name);
                self.left.insert(user.clone(), now);
                let hidden = card.and_then(|card| card.presence).map(|_| Body::PresenceRemoved { user: user.clone() });
                hidden.into_iter().chain([Body::UserLeft { user }]).collect()
            }
            (Some(card), ForeignAction::Show(presence)) => {
                card.presence = Some(presence.clone());
                vec![Body::PresenceUpdate { user, presence, event: None }]
            }
            (Some(card), ForeignAction::Assign(key, value)) => {
                card.assigns.set(&key, &json(&value));
                vec![Body::AssignsUpdate { user, assigns: Some(card.assigns.clone()), delta: None }]
            }
            (_, ForeignAction::EvictElsewhere) => match pick(&room.elsewhere, choice) {
                Some(user) => vec![Body::UserRemove { user }],
                None => vec![],
            },
            (_, ForeignAction::AssignElsewhere(value)) => match pick(&room.elsewhere, choice) {
                Some(user) => {
                    // It publishes only what it has changed.
                    let mut assigns = pondsocket_proto::channel::Assigns::default();
                    assigns.set("go", &json(&value));
                    room.elsewhere.get_mut(&user).expect("it was picked").assigns.set("go", &json(&value));
                    vec![Body::AssignsUpdate { user, assigns: Some(assigns), delta: None }]
                }
                None => vec![],
            },
            _ => vec![],
        };
        outputs.extend(
            bodies
                .into_iter()
                .map(|body| ForeignOutput::Publish(topic.clone(), room.sender.envelope(Some(channel), now, body))),
        );
        if room.here.is_empty() {
            self.rooms.remove(channel);
            self.is_deaf = true;
            outputs.push(ForeignOutput::UpdateSubscriptions { add: vec![], remove: vec![topic] });
        }
        outputs
    }

    pub(crate) fn receive(&mut self, message: &Envelope, now: u64) -> Vec<ForeignOutput> {
        if let Body::NodeHeartbeat { node } = &message.body {
            if !self.is_deaf {
                self.rooms.values_mut().for_each(|room| room.heard.extend([(node.clone(), now)]));
            }
            return Vec::new();
        }
        let Some(channel) = message.channel.as_ref() else { return Vec::new() };
        let Some(room) = self.rooms.get_mut(channel).filter(|room| room.sender.source != message.source) else {
            return Vec::new();
        };
        let GoChannel { here, elsewhere, heard, .. } = room;
        let mut answer = None;
        match &message.body {
            Body::UserJoined { user, presence, assigns } if !here.contains_key(user) => {
                let card = elsewhere.entry(user.clone()).or_default();
                card.assigns = assigns.clone();
                card.presence = non_empty(presence.clone()).or(card.presence.take());
                card.node = Some(message.source.clone());
                heard.entry(message.source.clone()).or_insert(now);
            }
            Body::StateResponse { users } => {
                for told in users.iter().filter(|told| !here.contains_key(&told.id)) {
                    let card = elsewhere.entry(told.id.clone()).or_default();
                    card.assigns = told.assigns.clone();
                    card.presence = non_empty(told.presence.clone()).or(card.presence.take());
                    card.node = Some(message.source.clone());
                    heard.entry(message.source.clone()).or_insert(now);
                }
            }
            Body::PresenceUpdate { user, presence, .. } => match here.get_mut(user) {
                Some(card) => card.presence = Some(presence.clone()),
                None => {
                    let card = elsewhere.entry(user.clone()).or_default();
                    card.presence = Some(presence.clone());
                    card.node = Some(message.source.clone());
                }
            },
            Body::PresenceRemoved { user } => drop(elsewhere.get_mut(user).map(|card| card.presence = None)),
            Body::AssignsUpdate { user, assigns: Some(assigns), .. } => match here.get_mut(user) {
                Some(card) => card.assigns.merge(assigns.clone()),
                None => elsewhere.entry(user.clone()).or_default().assigns.merge(assigns.clone()),
            },
            Body::UserLeft { user } => drop(elsewhere.remove(user)),
            Body::EvictUser { user, .. } | Body::UserRemove { user } => {
                self.left.insert(user.clone(), now);
                answer = here.remove(user).map(|_| Body::UserLeft { user: user.clone() });
            }
            Body::StateRequest { .. } => {
                let users: Vec<_> = here.iter().map(|entry| state(entry, false)).collect();
                answer = (!users.is_empty()).then_some(Body::StateResponse { users });
            }
            Body::UserGetRequest { user, request, .. } => {
                answer = here.get_key_value(user).map(|entry| {
                    let told = state(entry, false);
                    let (request, presence) = (request.clone(), told.presence);
                    Body::UserGetResponse { user: told.id, request, assigns: told.assigns, presence }
                });
            }
            _ => {}
        }
        let topic = self.topics.channel(channel);
        answer
            .map(|body| ForeignOutput::Publish(topic.as_str().into(), room.sender.envelope(Some(channel), now, body)))
            .into_iter()
            .collect()
    }
}
