//! The decoder and the events that the fuzz targets of the WebSocket codec share.

use pondsocket_proto::ws::{Decoder, DecoderLimits, Deflate, Event, ProtocolError, Scratch, accept};

/// An [`Event`] that owns its data.
#[derive(Debug, Eq, PartialEq)]
pub enum OwnedEvent {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

/// The decoder of one connection, with all events and the error that it has returned.
pub struct Receiver {
    decoder: Decoder,
    scratch: Scratch,
    pub events: Vec<OwnedEvent>,
    pub error: Option<ProtocolError>,
}

impl Receiver {
    pub fn new(max_message_size: usize, deflate: Option<Deflate>) -> Self {
        let decoder = Decoder::new(DecoderLimits { max_message_size }, deflate);
        Self { decoder, scratch: Scratch::default(), events: Vec::new(), error: None }
    }

    /// Feeds `bytes`, and takes at most `count` events.
    pub fn feed(&mut self, bytes: &[u8], count: usize) {
        let mut bytes = bytes.to_vec();
        let mut input = self.decoder.feed(&mut bytes, &mut self.scratch);
        for _ in 0..count {
            match input.next() {
                Some(Ok(event)) => self.events.push(to_owned(event)),
                Some(Err(error)) => self.error = Some(error),
                None => break,
            }
        }
    }

    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }
}

fn to_owned(event: Event<'_>) -> OwnedEvent {
    match event {
        Event::Text(text) => OwnedEvent::Text(text.to_owned()),
        Event::Binary(bytes) => OwnedEvent::Binary(bytes.to_owned()),
        Event::Ping(bytes) => OwnedEvent::Ping(bytes.to_owned()),
        Event::Pong(bytes) => OwnedEvent::Pong(bytes.to_owned()),
        Event::Close(None) => OwnedEvent::Close(None),
        Event::Close(Some(close)) => OwnedEvent::Close(Some((close.code, close.reason.to_owned()))),
    }
}

/// The compression parameters that a handshake agrees on.
pub fn deflate() -> Option<Deflate> {
    let request = http::Request::get("/")
        .header("Upgrade", "websocket")
        .header("Connection", "Upgrade")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Extensions", "permessage-deflate")
        .body(())
        .expect("valid headers");
    accept(&request, true).expect("a valid handshake").deflate()
}
