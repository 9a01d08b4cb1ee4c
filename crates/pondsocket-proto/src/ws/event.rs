//! Events that the decoder returns, and their making from a complete payload.

use std::ops::Range;

use super::header::{Control, Data};
use super::{CloseFrame, DecoderLimits, ProtocolError, Scratch};

/// A complete message or control frame of the peer. It borrows the bytes in which it arrived wherever that is possible.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A ping, to be answered with a pong that carries the same bytes (RFC 6455 section 5.5.2).
    Ping(&'a [u8]),
    /// The answer to a ping of this side, or an unsolicited pong, which serves as a heartbeat (RFC 6455 section 5.5.3).
    Pong(&'a [u8]),
    /// A close frame, the last frame of the peer: to be answered with one unless one was sent (RFC 6455 section 5.5.1).
    Close(Option<CloseFrame<'a>>),
}

/// A complete payload, unmasked, with its type and its place in memory.
#[derive(Debug)]
pub(super) enum Ready {
    /// Within the bytes being read.
    InPlace(Payload, Range<usize>),
    /// A payload that arrived in pieces.
    Kept(Payload, Vec<u8>),
    /// A text that arrived in pieces, each of which was checked when it arrived.
    Text(String),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Payload {
    Plain(Data),
    Deflated(Data),
    Control(Control),
}

impl Ready {
    /// The event of this payload. `bytes` are the bytes that are being read, to which the range of [`Ready::InPlace`]
    /// refers.
    pub(super) fn event<'e>(
        &'e self,
        bytes: &'e [u8],
        scratch: &'e mut Scratch,
        limits: DecoderLimits,
    ) -> Result<Event<'e>, ProtocolError> {
        match self {
            Self::InPlace(payload, range) => payload.event(&bytes[range.clone()], scratch, limits),
            Self::Kept(payload, bytes) => payload.event(bytes, scratch, limits),
            Self::Text(text) => Ok(Event::Text(text)),
        }
    }
}

impl Payload {
    fn event<'e>(
        self,
        bytes: &'e [u8],
        scratch: &'e mut Scratch,
        limits: DecoderLimits,
    ) -> Result<Event<'e>, ProtocolError> {
        match self {
            Self::Plain(data) => data_event(data, bytes),
            // The limit holds for the inflated message as well: a few bytes can inflate to any size.
            Self::Deflated(data) => data_event(data, scratch.inflate(bytes, limits)?),
            Self::Control(Control::Ping) => Ok(Event::Ping(bytes)),
            Self::Control(Control::Pong) => Ok(Event::Pong(bytes)),
            Self::Control(Control::Close) => CloseFrame::parse(bytes).map(Event::Close),
        }
    }
}

fn data_event(data: Data, bytes: &[u8]) -> Result<Event<'_>, ProtocolError> {
    match data {
        Data::Text => str::from_utf8(bytes).map(Event::Text).map_err(|_| ProtocolError::InvalidUtf8),
        Data::Binary => Ok(Event::Binary(bytes)),
    }
}
