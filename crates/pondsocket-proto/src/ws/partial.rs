//! The state that a decoder keeps between two reads. It exists only while a frame or message is incomplete.

use std::mem;

use super::ProtocolError;
use super::event::{Payload, Ready};
use super::header::{Header, Kind, MAX_LEN};
use super::mask;
use super::message::Message;

/// The unfinished state of a decoder. It is boxed by the decoder, and dropped as soon as it [is empty](Self::is_empty).
#[derive(Debug, Default)]
pub(super) struct Partial {
    pub(super) head: Head,
    frame: Option<OpenFrame>,
    message: Option<Message>,
    /// The part of a control frame that has arrived. It is kept apart, because the frame may stand inside a message.
    control: Vec<u8>,
    pub(super) unread: Unread,
}

/// A frame whose header has been read and whose payload is not complete.
#[derive(Debug)]
struct OpenFrame {
    fin: bool,
    kind: Kind,
    remaining: u64,
    /// The masking key, rotated so that its first byte belongs to the next byte of the payload.
    key: [u8; 4],
}

/// The start of an incomplete header.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: [u8; MAX_LEN],
    len: usize,
}

/// Bytes that the caller has fed, and whose events it has not taken yet. Those before `at` are decoded.
#[derive(Debug, Default)]
pub(super) struct Unread {
    pub(super) bytes: Vec<u8>,
    pub(super) at: usize,
}

impl Partial {
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.frame.is_none() && self.message.is_none() && self.unread.is_empty()
    }

    /// Heap bytes held, this struct included.
    pub(super) fn capacity(&self) -> usize {
        let message = self.message.as_ref().map_or(0, Message::capacity);
        size_of::<Self>() + message + self.control.capacity() + self.unread.bytes.capacity()
    }

    /// The message that waits for its continuation.
    pub(super) fn message(&self) -> Option<&Message> {
        self.message.as_ref()
    }

    pub(super) fn in_frame(&self) -> bool {
        self.frame.is_some()
    }

    /// Expects the payload of a frame that the decoder has admitted.
    pub(super) fn open(&mut self, header: Header) {
        let Header { fin, rsv1, kind, length, key } = header;
        if let Kind::Start(data) = kind {
            self.message = Some(Message::start(data, rsv1));
        }
        self.frame = Some(OpenFrame { fin, kind, remaining: length, key });
    }

    /// Moves the part of the open frame's payload that is in `bytes` to its message or control frame. Returns the
    /// number of bytes.
    pub(super) fn take_payload(&mut self, bytes: &mut [u8]) -> Result<usize, ProtocolError> {
        let Some(frame) = &mut self.frame else {
            return Ok(0);
        };
        // `remaining` may exceed `usize` on 32-bit targets; then all bytes belong to the frame.
        let taken = usize::try_from(frame.remaining).map_or(bytes.len(), |left| left.min(bytes.len()));
        let piece = &mut bytes[..taken];
        mask::apply(piece, frame.key);
        frame.key.rotate_left(taken % 4);
        frame.remaining -= taken as u64;
        match frame.kind {
            // At most 125 bytes, as the header was checked.
            Kind::Control(_) => self.control.extend_from_slice(piece),
            Kind::Start(_) | Kind::Continuation => {
                let message = self.message.as_mut();
                message.expect("a continuation is only admitted to a message").append(piece)?;
            }
        }
        Ok(taken)
    }

    /// Ends the open frame if all of its payload has been taken, and with it the message that it completes.
    pub(super) fn finish_frame(&mut self) -> Result<Option<Ready>, ProtocolError> {
        let Some(frame) = self.frame.take_if(|frame| frame.remaining == 0) else {
            return Ok(None);
        };
        match frame.kind {
            Kind::Control(control) => Ok(Some(Ready::Kept(Payload::Control(control), mem::take(&mut self.control)))),
            Kind::Start(_) | Kind::Continuation if frame.fin => self.message.take().map(Message::finish).transpose(),
            Kind::Start(_) | Kind::Continuation => Ok(None),
        }
    }
}

impl Head {
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds bytes until the header is complete. Returns the header, if it is, and the number of bytes used.
    pub(super) fn complete(&mut self, bytes: &[u8]) -> Result<(Option<Header>, usize), ProtocolError> {
        let before = self.len;
        // There is always room: a header of `MAX_LEN` bytes is complete, so the buffer is never full here.
        let added = bytes.len().min(MAX_LEN - before);
        self.bytes[before..][..added].copy_from_slice(&bytes[..added]);
        self.len += added;
        let Some((header, length)) = Header::parse(&self.bytes[..self.len])? else {
            return Ok((None, added));
        };
        self.len = 0;
        // Bytes behind the header were copied as well, but do not count as used.
        Ok((Some(header), length - before))
    }
}

impl Unread {
    pub(super) fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::header::Data;

    #[test]
    fn all_buffered_bytes_are_counted() {
        for (text, binary, control, unread) in [(0, 0, 0, 0), (500, 0, 0, 0), (0, 300, 0, 0), (0, 300, 100, 7)] {
            let mut message = Message::start(if text > 0 { Data::Text } else { Data::Binary }, false);
            message.append(&vec![b'x'; text + binary]).expect("text");
            let unread = Unread { bytes: Vec::with_capacity(unread), at: 0 };
            let partial =
                Partial { message: Some(message), control: Vec::with_capacity(control), unread, ..Partial::default() };
            let expected = size_of::<Partial>() + text + binary + control + partial.unread.bytes.capacity();
            assert_eq!(partial.capacity(), expected);
        }
    }

    #[test]
    fn unfinished_state_is_not_empty() {
        assert!(Partial::default().is_empty());
        let head = Partial { head: Head { len: 1, ..Head::default() }, ..Partial::default() };
        let frame = OpenFrame { fin: true, kind: Kind::Continuation, remaining: 1, key: [0; 4] };
        let frame = Partial { frame: Some(frame), ..Partial::default() };
        let message = Partial { message: Some(Message::start(Data::Binary, false)), ..Partial::default() };
        let unread = Partial { unread: Unread { bytes: vec![7], at: 0 }, ..Partial::default() };
        for partial in [head, frame, message, unread] {
            assert!(!partial.is_empty(), "{partial:?}");
        }
        let read = Partial { unread: Unread { bytes: vec![7], at: 1 }, ..Partial::default() };
        assert!(read.is_empty());
    }
}
