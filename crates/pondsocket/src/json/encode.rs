//! Encoding of the application's values into the text of messages.

use std::cell::RefCell;

use pondsocket_proto::id::{RequestId, is_reserved_event};
use pondsocket_proto::wire::{Action, EncodeError, encode_object, server};
use serde::Serialize;

use crate::engine::ids;
use crate::error::{Error, Result};
use crate::json::received::ReceivedPayload;

/// The buffers for a payload and for the message around it.
#[derive(Default)]
struct EncodeBuffers {
    payload: Vec<u8>,
    message: Vec<u8>,
}

impl EncodeBuffers {
    /// Discards the contents, and the capacity above [`MAX_KEPT`].
    fn empty(&mut self) {
        for buffer in [&mut self.payload, &mut self.message] {
            // First, because a buffer never shrinks below its length.
            buffer.clear();
            buffer.shrink_to(MAX_KEPT);
        }
    }
}

thread_local! {
    // Reused for all messages of a thread, because a broadcast is encoded for each event that a client sends.
    static SCRATCH: RefCell<EncodeBuffers> = const { RefCell::new(EncodeBuffers { payload: Vec::new(), message: Vec::new() }) };
}

/// The capacity that each scratch buffer keeps between two messages, so that one large message does not occupy memory
/// forever.
const MAX_KEPT: usize = 64 * 1024;

/// An event name to which clients give a meaning of their own (docs/protocol.md, Names and patterns).
#[derive(Debug)]
pub(crate) struct ReservedEvent(String);

#[diagnostic::do_not_recommend]
impl From<ReservedEvent> for Error {
    fn from(ReservedEvent(name): ReservedEvent) -> Error {
        Error::internal(format!("the event name `{name}` is reserved"))
    }
}

/// Rejects reserved event names.
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
    /// Returns the error for the application, which has sent `payload` while it handled `received`.
    pub(crate) fn explain<T: Serialize + ?Sized>(self, received: &ReceivedPayload, payload: &T) -> Error {
        match self {
            MessageError::Reserved(reserved) => reserved.into(),
            MessageError::Payload(error) => received.explain(payload, error),
        }
    }
}

/// An encoded message and its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoded<'a> {
    pub(crate) request_id: &'a str,
    /// The text of a JSON object without line breaks.
    pub(crate) payload: &'a str,
    /// The complete message.
    pub(crate) text: &'a [u8],
}

/// Encodes a broadcast and passes it on. To be called without a lock held, because `Serialize` is code of the
/// application.
pub(crate) fn with_broadcast<T: Serialize + ?Sized, A>(
    channel: &str,
    event: &str,
    payload: &T,
    send: impl FnOnce(&Encoded<'_>) -> A,
) -> Result<A, MessageError> {
    let id = RequestId::from_u128(ids::fresh());
    with_message(Action::Broadcast, channel, event, id.as_str(), payload, send)
}

/// Encodes an answer to one connection and passes it on.
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
    // Clients act on these names by themselves, for example leave the channel.
    check_event(event).map_err(MessageError::Reserved)?;
    // Taken out, not borrowed: the payload's `Serialize` may itself broadcast.
    let mut scratch = SCRATCH.take();
    let result = encode_object(payload, &mut scratch.payload).map_err(MessageError::Payload).map(|()| {
        let payload = std::str::from_utf8(&scratch.payload).expect("serde_json writes UTF-8");
        server::message(&mut scratch.message, action, event, channel, request_id, payload);
        send(&Encoded { request_id, payload, text: &scratch.message })
    });
    scratch.empty();
    SCRATCH.set(scratch);
    result
}
