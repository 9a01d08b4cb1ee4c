use std::borrow::Cow;
use std::sync::Arc;

use pondsocket_proto::position::Position;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Channel;
use crate::endpoint::Live;
use crate::error::{InCall, Result};
use crate::json::decode;

/// A message that a channel has kept ([`Lobby::history`](crate::Lobby::history)).
#[derive(Clone, Debug)]
pub struct KeptMessage {
    position: Position,
    event: String,
    payload: String,
}

impl KeptMessage {
    /// The position of the message in the history.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The event.
    pub fn event(&self) -> &str {
        &self.event
    }

    /// The payload, with the position under the key of [`History::stamp`](crate::History::stamp), if one is set.
    ///
    /// # Errors
    /// 500 if it is of another type.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T> {
        decode::from_server("payload", &self.payload).in_call("message.payload")
    }
}

/// The text of a kept message, as it was sent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeptText<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    request_id: Position,
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl Channel {
    /// The position of the last message that the channel has kept; `None` if it keeps no history, or is not open.
    pub fn position(&self) -> Option<Position> {
        let live = self.with_history()?;
        live.read(|channel| channel.history().map(|history| history.position()))
    }

    /// The last messages that the channel has kept, at most `messages` of them, the oldest first. Empty if it keeps no history, or is
    /// not open on this node. On a node among others these are the messages of all nodes, if the bus has a store of histories.
    pub fn history(&self, messages: usize) -> Vec<KeptMessage> {
        let Some(live) = self.with_history() else { return Vec::new() };
        // The texts are copied under the lock, and parsed without it.
        let texts = live.kept(messages);
        let parse = |text: &Vec<u8>| serde_json::from_slice::<KeptText<'_>>(text).ok().map(KeptMessage::from);
        texts.iter().filter_map(parse).collect()
    }

    /// The live channel, with what an earlier server has kept.
    fn with_history(&self) -> Option<Arc<Live>> {
        self.endpoint.common.restore();
        self.endpoint.hub.get(self.name.as_str())
    }
}

impl From<KeptText<'_>> for KeptMessage {
    fn from(KeptText { event, request_id, payload }: KeptText<'_>) -> KeptMessage {
        KeptMessage { position: request_id, event: event.into_owned(), payload: payload.get().to_owned() }
    }
}
