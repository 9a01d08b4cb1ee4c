//! Encoding of the application's values into the text of messages.

use std::cell::RefCell;

use pondsocket_proto::id::{RequestId, is_reserved_event};
use pondsocket_proto::wire::{Action, encode_object, server};
use serde::Serialize;

use crate::engine::ids;
use crate::error::{Error, Result, encoding};

thread_local! {
    static SCRATCH: RefCell<(Vec<u8>, Vec<u8>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

/// The scratch buffers keep at most this much between two messages.
const KEEP: usize = 64 * 1024;

/// Refuses the event names that clients act upon by themselves (docs/protocol.md, Names and patterns).
pub(crate) fn check_event(event: &str) -> Result<()> {
    if is_reserved_event(event) {
        return Err(Error::internal(format!("the event name `{event}` is reserved")));
    }
    Ok(())
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
) -> Result<A> {
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
) -> Result<A> {
    with_message(Action::System, channel, event, request_id, payload, |message| send(message.text))
}

fn with_message<T: Serialize + ?Sized, A>(
    action: Action,
    channel: &str,
    event: &str,
    request_id: &str,
    payload: &T,
    send: impl FnOnce(&Encoded<'_>) -> A,
) -> Result<A> {
    check_event(event)?;
    // Taken out, not borrowed: the payload's `Serialize` may itself broadcast.
    let (mut body, mut text) = SCRATCH.take();
    body.clear();
    text.clear();
    let encoded = encode_object(payload, &mut body).map_err(encoding);
    let answer = encoded.and_then(|()| {
        let body = std::str::from_utf8(&body).map_err(Error::internal)?;
        server::message(&mut text, action, event, channel, request_id, body);
        Ok(send(&Encoded { request_id, payload: body, text: &text }))
    });
    body.shrink_to(KEEP);
    text.shrink_to(KEEP);
    SCRATCH.set((body, text));
    answer
}
