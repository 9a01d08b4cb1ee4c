//! The decoder, which turns a client's bytes into events.
//!
//! A frame that is complete in the bytes fed, and is a message by itself, is unmasked in place and lent to the caller.
//! Everything else goes through [`Partial`], piece by piece, so that an invalid byte is found when it arrives. The path
//! that a frame takes depends on the pieces in which the stream arrives; the events that the caller gets do not.

use std::mem;

use super::event::{Payload, Ready};
use super::header::{Header, Kind};
use super::message::Message;
use super::partial::{Partial, Unread};
use super::{Deflate, Event, ProtocolError, Scratch, mask};

/// Limits on the memory that a peer can make the decoder hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DecoderLimits {
    /// The most bytes of a message. Holds for each frame as announced, for the message reassembled, and for the
    /// message inflated: so a message that compression makes *longer* must fit in that form, too.
    pub max_message_size: usize,
}

/// The receiving half of one connection.
#[derive(Debug)]
pub struct Decoder {
    limits: DecoderLimits,
    deflate: Option<Deflate>,
    /// Set after a close frame or a violation of the protocol: later bytes are dropped.
    ended: bool,
    /// Boxed and optional, so that an idle connection holds no more than a pointer.
    partial: Option<Box<Partial>>,
}

/// The events in the bytes that are being decoded, one after the other with [`next`](Self::next).
#[derive(Debug)]
pub struct Events<'a> {
    decoder: &'a mut Decoder,
    scratch: &'a mut Scratch,
    source: Source<'a>,
    at: usize,
    /// The payload from which the last event was made, and from which that event borrows.
    ready: Option<Ready>,
}

impl Decoder {
    /// Creates a decoder. `deflate` is the compression that the handshake has agreed on.
    pub fn new(limits: DecoderLimits, deflate: Option<Deflate>) -> Self {
        Self { limits, deflate, ended: false, partial: None }
    }

    /// Starts decoding `input`, behind all bytes that are [pending](Self::has_pending). Bytes are unmasked in place.
    ///
    /// Bytes that have not been decoded when the [`Events`] is dropped are kept: an incomplete frame, and complete
    /// frames that the caller did not ask for. The size of the latter is not limited: a caller that pauses must not
    /// feed more.
    pub fn feed<'a>(&'a mut self, input: &'a mut [u8], scratch: &'a mut Scratch) -> Events<'a> {
        let unread = match &mut self.partial {
            Some(partial) => mem::take(&mut partial.unread),
            None => Unread::default(),
        };
        // Kept bytes precede the new ones. `partial` itself stays: a frame may still be incomplete.
        let (source, at) = unread.followed_by(input);
        Events { decoder: self, scratch, source, at, ready: None }
    }

    /// Returns `true` if bytes were kept that may hold complete frames. Feed nothing (`&mut []`) to decode them.
    pub fn has_pending(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| !partial.unread.is_empty())
    }

    /// Heap bytes held now: nothing unless a frame or a message is incomplete, or bytes are pending.
    pub fn buffered(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.capacity())
    }

    /// Frees everything that is held. No event follows, also if more bytes are fed.
    pub fn discard(&mut self) {
        self.end();
    }

    /// Checks by its header alone that a frame may follow the frames before it, and is within the limits. A frame that
    /// is too large is so refused before its payload arrives.
    fn admit(&self, header: &Header) -> Result<(), ProtocolError> {
        let message = self.partial.as_ref().and_then(|partial| partial.message());
        let arrived = match (header.kind, message) {
            // RFC 6455 section 5.4: the fragments of one message are not interleaved with those of another.
            (Kind::Start(_), Some(_)) => return Err(ProtocolError::ExpectedContinuation),
            (Kind::Continuation, None) => return Err(ProtocolError::UnexpectedContinuation),
            (_, message) => message.map_or(0, Message::len),
        };
        // RFC 7692 section 6: the bit is set only in the first frame of a message, and never in a control frame.
        let may_be_deflated = matches!(header.kind, Kind::Start(_)) && self.deflate.is_some();
        if header.rsv1 && !may_be_deflated {
            return Err(ProtocolError::ReservedBits);
        }
        let limit = self.limits.max_message_size;
        // Compared as `u64`: the length on the wire may exceed `usize` on 32-bit targets.
        let room = limit.saturating_sub(arrived) as u64;
        // A control frame is not part of a message, and its length is already limited to 125 bytes by the header.
        if header.length > room && !matches!(header.kind, Kind::Control(_)) {
            return Err(ProtocolError::TooLarge { limit });
        }
        Ok(())
    }

    fn in_frame(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| partial.in_frame())
    }

    fn partial(&mut self) -> &mut Partial {
        self.partial.get_or_insert_default()
    }

    fn end(&mut self) {
        self.ended = true;
        self.partial = None;
    }
}

impl Events<'_> {
    /// The next event, or `None` if it takes more bytes. After an error or a [`Event::Close`] nothing follows, and
    /// bytes that arrive later are dropped (RFC 6455 sections 1.4 and 7.1.7).
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend")]
    pub fn next(&mut self) -> Option<Result<Event<'_>, ProtocolError>> {
        // Frees the payload of the last event, whose borrow has ended with this call.
        self.ready = None;
        let ready = match self.advance() {
            Ok(ready) => self.ready.insert(ready?),
            Err(error) => {
                self.decoder.end();
                return Some(Err(error));
            }
        };
        let event = ready.event(self.source.bytes(), self.scratch, self.decoder.limits);
        // Only the payload shows these faults: text that is not UTF-8, corrupt compression, an invalid close code.
        if matches!(event, Err(_) | Ok(Event::Close(_))) {
            self.decoder.end();
        }
        Some(event)
    }

    /// Reads on until something is complete.
    fn advance(&mut self) -> Result<Option<Ready>, ProtocolError> {
        while !self.decoder.ended {
            if !self.decoder.in_frame() {
                let Some(header) = self.read_header()? else {
                    return Ok(None);
                };
                self.decoder.admit(&header)?;
                // Tried for each new frame, also between fragments: a control frame does not touch the message around
                // it.
                if let Some(ready) = self.take_in_place(&header) {
                    return Ok(Some(ready));
                }
                self.decoder.partial().open(header);
            }
            let partial = self.decoder.partial();
            self.at += partial.take_payload(&mut self.source.bytes_mut()[self.at..])?;
            let ready = partial.finish_frame()?;
            // Otherwise a fragment has ended that is not the last one, and the next frame may already be there.
            if ready.is_some() || partial.in_frame() {
                return Ok(ready);
            }
        }
        Ok(None)
    }

    fn read_header(&mut self) -> Result<Option<Header>, ProtocolError> {
        let rest = &self.source.bytes()[self.at..];
        let started = self.decoder.partial.as_ref().is_some_and(|partial| !partial.head.is_empty());
        // The common case: the header is complete in the bytes read, and is not copied.
        if !started && let Some((header, length)) = Header::parse(rest)? {
            self.at += length;
            return Ok(Some(header));
        }
        if rest.is_empty() {
            return Ok(None);
        }
        let (header, taken) = self.decoder.partial().head.complete(rest)?;
        self.at += taken;
        Ok(header)
    }

    /// Takes the payload in place if all of it has arrived and it is a message or control frame by itself.
    fn take_in_place(&mut self, header: &Header) -> Option<Ready> {
        let payload = match header.kind {
            Kind::Start(data) if header.fin && header.rsv1 => Payload::Deflated(data),
            Kind::Start(data) if header.fin => Payload::Plain(data),
            Kind::Start(_) | Kind::Continuation => return None,
            Kind::Control(control) => Payload::Control(control),
        };
        let length = usize::try_from(header.length).ok()?;
        // `None` if a part is missing. Nothing has been unmasked then.
        let bytes = self.source.bytes_mut()[self.at..].get_mut(..length)?;
        mask::apply(bytes, header.key);
        let start = self.at;
        self.at += length;
        Some(Ready::InPlace(payload, start..self.at))
    }
}

impl Drop for Events<'_> {
    fn drop(&mut self) {
        // The last event's borrow of the output has ended, so a large buffer can be freed.
        self.scratch.trim();
        if self.decoder.ended {
            return;
        }
        let unread = mem::take(&mut self.source).unread(self.at);
        if !unread.is_empty() {
            self.decoder.partial().unread = unread;
        }
        // An idle connection holds no buffer.
        self.decoder.partial.take_if(|partial| partial.is_empty());
    }
}

/// The bytes that an [`Events`] reads: those that were just fed, or those that had been kept, followed by these.
#[derive(Debug)]
enum Source<'a> {
    Fed(&'a mut [u8]),
    Kept(Vec<u8>),
}

impl Source<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Fed(bytes) => bytes,
            Self::Kept(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Fed(bytes) => bytes,
            Self::Kept(bytes) => bytes,
        }
    }

    fn unread(self, at: usize) -> Unread {
        match self {
            Self::Fed(bytes) => Unread { bytes: bytes[at..].to_vec(), at: 0 },
            // Moved with its position, not shifted: see `followed_by`.
            Self::Kept(bytes) => Unread { bytes, at },
        }
    }
}

impl Default for Source<'_> {
    fn default() -> Self {
        Self::Fed(&mut [])
    }
}

impl Unread {
    fn followed_by(mut self, input: &mut [u8]) -> (Source<'_>, usize) {
        if self.is_empty() {
            return (Source::Fed(input), 0);
        }
        // The decoded bytes are removed only when others are appended. If they were removed at each call, a caller that
        // takes one event at a time would move all the rest each time, which is quadratic.
        if !input.is_empty() {
            self.bytes.drain(..self.at);
            self.at = 0;
            self.bytes.extend_from_slice(input);
        }
        (Source::Kept(self.bytes), self.at)
    }
}
