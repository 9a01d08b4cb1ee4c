//! A data message whose payload arrives in pieces: fragments (RFC 6455 section 5.4), or parts of a frame.

use super::ProtocolError;
use super::event::{Payload, Ready};
use super::header::Data;
use super::utf8::PartialText;

/// The part of a message that has arrived, unmasked.
///
/// Its memory grows with the bytes that arrive, never with the announced length, so a peer must send as many bytes as
/// it makes the server hold. A compressed message is kept compressed until it is complete, because the inflater is
/// shared with other connections.
#[derive(Debug)]
pub(super) enum Message {
    Text(PartialText),
    Binary(Vec<u8>),
    Deflated(Data, Vec<u8>),
}

impl Message {
    pub(super) fn start(data: Data, deflated: bool) -> Self {
        match data {
            data if deflated => Self::Deflated(data, Vec::new()),
            Data::Text => Self::Text(PartialText::default()),
            Data::Binary => Self::Binary(Vec::new()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) | Self::Deflated(_, bytes) => bytes.len(),
        }
    }

    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Text(text) => text.capacity(),
            Self::Binary(bytes) | Self::Deflated(_, bytes) => bytes.capacity(),
        }
    }

    pub(super) fn append(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        match self {
            // Checked while it arrives: a wrong byte ends the connection at once, not at the end of the message.
            Self::Text(text) => text.append(piece)?,
            Self::Binary(bytes) | Self::Deflated(_, bytes) => bytes.extend_from_slice(piece),
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Ready, ProtocolError> {
        Ok(match self {
            Self::Text(text) => Ready::Text(text.finish()?),
            Self::Binary(bytes) => Ready::Kept(Payload::Plain(Data::Binary), bytes),
            Self::Deflated(data, bytes) => Ready::Kept(Payload::Deflated(data), bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_message_counts_its_received_bytes() {
        for (data, deflated) in [(Data::Text, false), (Data::Binary, false), (Data::Text, true)] {
            let mut message = Message::start(data, deflated);
            assert_eq!((message.len(), message.capacity()), (0, 0));
            message.append(b"four").expect("text");
            message.append(b"teen chars").expect("text");
            assert_eq!(message.len(), 14);
            assert!((14..100).contains(&message.capacity()));
        }
    }
}
