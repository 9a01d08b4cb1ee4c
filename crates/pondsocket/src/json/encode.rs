//! Encoding of the application's values into the text of messages.

use std::cell::RefCell;

use pondsocket_proto::id::{RequestId, is_reserved_event};
use pondsocket_proto::wire::{Action, EncodeError, encode_object, server};
use serde::Serialize;

use crate::engine::ids;
use crate::error::{Error, Result};
use crate::json::received::Received;

thread_local! {
    static SCRATCH: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// The scratch buffers keep at most this much between two messages.
const KEEP: usize = 64 * 1024;

/// An event name that clients act upon by themselves (docs/protocol.md, Names and patterns).
#[derive(Debug)]
pub(crate) struct ReservedEvent(String);

impl From<ReservedEvent> for Error {
    fn from(ReservedEvent(name): ReservedEvent) -> Error {
        Error::internal(format!("the event name `{name}` is reserved"))
    }
}

/// Refuses the reserved event names.
pub(crate) fn check_event(event: &str) -> Result<(), ReservedEvent> {
    if is_reserved_event(event) { Err(ReservedEvent(event.to_owned())) } else { Ok(()) }
}

/// The failure of the encoding of a message.
#[derive(Debug)]
pub(crate) enum MessageError {
    Reserved(ReservedEvent),
    Payload(EncodeError),
}

impl MessageError {
    /// The error of an application that has sent `payload` while it handled what was received.
    pub(crate) fn explain<T: Serialize + ?Sized>(self, received: &Received, payload: &T) -> Error {
        match self {
            MessageError::Reserved(reserved) => reserved.into(),
            MessageError::Payload(error) => received.explain(payload, error),
        }
    }
}

/// A message with its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoded<'a> {
    pub(crate) request_id: &'a str,
    /// The text of a JSON object without line breaks.
    pub(crate) payload: &'a str,
    /// The whole message.
    pub(crate) text: &'a [u8],
}

/// Encodes a broadcast, outside all locks: `Serialize` is the application's code.
pub(crate) fn with_broadcast<T: Serialize + ?Sized, A>(
    channel: &str,
    event: &str,
    payload: &T,
    send: impl FnOnce(&Encoded<'_>) -> A,
) -> Result<A, MessageError> {
    let id = RequestId::from_u128(ids::fresh());
    with_message(Action::Broadcast, channel, event, id.as_str(), payload, send)
}

/// Encodes an answer to one connection.
pub(crate) fn with_reply<T: Serialize + ?Sized, A>(
    channel: &str,
    event: &str,
    request_id: &str,
    payload: &T,
    send: impl FnOnce(&[u8]) -> A,
) -> Result<A, MessageError> {
    with_message(Action::System, channel, event, request_id, payload, |message| send(message.text))
}

fn with_message<T: Serialize + ?Sized, A>(
    action: Action,
    channel: &str,
    event: &str,
    request_id: &str,
    payload: &T,
    send: impl FnOnce(&Encoded<'_>) -> A,
) -> Result<A, MessageError> {
    check_event(event).map_err(MessageError::Reserved)?;
    // Taken out, not borrowed: the payload's `Serialize` may itself broadcast.
    let (mut body, mut text) = SCRATCH.take();
    body.clear();
    text.clear();
    let answer = encode_object(payload, &mut body).map_err(MessageError::Payload).map(|()| {
        let body = std::str::from_utf8(&body).expect("serde_json writes UTF-8");
        server::message(&mut text, action, event, channel, request_id, body);
        send(&Encoded { request_id, payload: body, text: &text })
    });
    body.shrink_to(KEEP);
    text.shrink_to(KEEP);
    SCRATCH.set((body, text));
    answer
}
