//! Broadcasts: to the members on this node, and to those on other nodes.

use std::sync::Arc;

use pondsocket_proto::channel::{Channel as Core, ChannelLimits, Full, LocalTarget, Outbound, Published};
use pondsocket_proto::id::ChannelName;
use serde::Serialize;

use super::inner::{EndpointInner, Live};
use crate::context::Call;
use crate::delivery::{Delivery, Remote};
use crate::engine::handle::ConnectionHandle;
use crate::engine::ids;
use crate::engine::live::Rules;
use crate::error::Error;
use crate::json::encode::{Encoded, MessageError, with_broadcast};
use crate::json::received::ReceivedPayload;
use crate::limits::stored::NoRoom;

/// A message to members of a channel, but for its payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broadcast<'a> {
    pub(crate) endpoint: &'a EndpointInner,
    pub(crate) channel: &'a ChannelName,
    pub(crate) source: BroadcastSource<'a>,
    pub(crate) to: &'a LocalTarget,
    pub(crate) event: &'a str,
}

/// The sender of a broadcast, where it is known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BroadcastSource<'a> {
    /// The live channel that the sender is in.
    pub(crate) channel: Option<&'a Arc<Live>>,
    /// The user whose message the broadcast answers: other nodes see it as from that user.
    pub(crate) user: Option<&'a str>,
    /// The message whose handler it comes from.
    pub(crate) call: Option<&'a Call>,
}

/// The failure of a broadcast. Nothing was enqueued.
#[derive(Debug)]
pub(crate) enum BroadcastError {
    Message(MessageError),
    NoRoom(NoRoom),
}

impl BroadcastError {
    /// The error of an application that has broadcast `payload` while it handled what was received.
    pub(crate) fn explain<T: Serialize + ?Sized>(self, received: &ReceivedPayload, payload: &T) -> Error {
        match self {
            BroadcastError::Message(error) => error.explain(received, payload),
            BroadcastError::NoRoom(reason) => reason.into(),
        }
    }
}

impl Broadcast<'_> {
    /// Encodes the message and enqueues it for the members on this node, and for other nodes if members there may get it.
    pub(crate) fn send<T: Serialize + ?Sized>(self, payload: &T) -> Result<Delivery, BroadcastError> {
        let Broadcast { endpoint, channel, event, .. } = self;
        let sent = with_broadcast(channel.as_str(), event, payload, |message| self.enqueue(message));
        let delivery = sent.map_err(BroadcastError::Message)?.map_err(BroadcastError::NoRoom)?;
        let (observer, channel, members) = (&endpoint.observer, channel.as_str(), delivery.local);
        tracing::trace!(target: "pondsocket::message", endpoint = &*observer.endpoint, channel, event, members, "broadcast");
        observer.count(|metrics, endpoint| metrics.message_broadcast(endpoint, channel, event, members));
        Ok(delivery)
    }

    fn enqueue(self, message: &Encoded<'_>) -> Result<Delivery, NoRoom> {
        let Broadcast { endpoint, channel: name, source, to, event } = self;
        let Encoded { request_id, payload, text } = *message;
        if endpoint.is_out_of_memory() {
            return Err(endpoint.refuse(name, NoRoom::OutOfMemory));
        }
        // The sender's own channel first: a channel of the same name that was opened since has other members. Once it is
        // closed its members have gone, and the one that has the name now is meant.
        let mut channel = source.channel.cloned();
        loop {
            let live = channel.take().or_else(|| endpoint.hub.get(name.as_str())).or_else(|| self.open_history());
            let Some(live) = live else {
                return Ok(Delivery { local: 0, remote: self.publish_remote(message), position: None });
            };
            let policy = live.delivery_policy(event);
            if live.asks_for_positions() && endpoint.node().is_some_and(|node| !node.has_room_to_append()) {
                return Err(endpoint.refuse(name, NoRoom::QueueFull));
            }
            // One step under the channel's lock, so that nodes get the messages of this channel in the order in which its
            // members here do.
            let sent = live.change(source.call.and_then(|call| call.flush_scope(&live)), |channel| {
                let (local, position) = match channel.publish_kept(source.user, to, event, payload, policy)? {
                    // Other nodes get it from the store.
                    Some(Published { members, position: None }) => {
                        return Ok(Delivery { local: members, remote: Remote::Queued, position: None });
                    }
                    Some(Published { members, position }) => (members, position),
                    None => (channel.broadcast(to, text, policy)?, None),
                };
                let has_room = endpoint.node().is_none_or(|node| node.has_room());
                let remote = match channel.forward(source.user, to, event, request_id, payload) {
                    false => Remote::None,
                    true if has_room => Remote::Queued,
                    true => Remote::Dropped,
                };
                Ok(Delivery { local, remote, position })
            });
            match sent {
                Ok(Ok(delivery)) => return Ok(delivery),
                Ok(Err(Full)) => return Err(endpoint.refuse(name, NoRoom::QueueFull)),
                Err(_closed) => endpoint.hub.remove(&live),
            }
        }
    }

    /// Opens a channel without members for a message that it keeps, so that later members get it. On a node among others only
    /// if they share the history: it would know nothing of what the others send.
    fn open_history(&self) -> Option<Arc<Live>> {
        let Broadcast { endpoint, channel, to, event, .. } = self;
        if endpoint.node().is_some_and(|node| !node.shares_histories()) || matches!(to, LocalTarget::Users(_)) {
            return None;
        }
        let lobby = endpoint.history_lobby(channel.as_str())?;
        // The channel may be one of an earlier server.
        endpoint.common.restore();
        lobby.delivery_policy(event).kept.then(|| endpoint.hub.get_or_create(channel, &lobby))
    }

    /// Publishes the message for members on other nodes, where the channel has no member on this node.
    fn publish_remote(self, message: &Encoded<'_>) -> Remote {
        let Broadcast { endpoint, channel, source, to, event } = self;
        let Some(node) = endpoint.node() else { return Remote::None };
        // An empty channel makes the same messages of it as one with members.
        let mut empty =
            Core::<Arc<ConnectionHandle>>::new(channel.clone(), ChannelLimits::default(), ids::fresh).replicated();
        empty.forward(source.user, to, event, message.request_id, message.payload);
        let messages = empty.take_outbound().into_iter().filter_map(|outbound| match outbound {
            Outbound::Message(message) => Some(message),
            Outbound::Change(_) | Outbound::Moved(_) | Outbound::Append(_) => None,
        });
        let key = endpoint.key(channel);
        let taken = messages.map(|message| node.publish_message(key.clone(), message));
        match taken.reduce(|all, taken| all && taken) {
            None => Remote::None,
            Some(true) => Remote::Queued,
            Some(false) => Remote::Dropped,
        }
    }
}
