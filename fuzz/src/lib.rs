//! What the fuzz targets of the WebSocket codec share.

use pondsocket_proto::ws::{Decoder, DecoderLimits, Deflate, Event, ProtocolError, Scratch, accept};

/// An [`Event`] that outlives its input: its kind, and what it carries.
#[derive(Debug, Eq, PartialEq)]
pub enum Said {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

/// One connection's decoder and everything it has said.
pub struct Listener {
    decoder: Decoder,
    scratch: Scratch,
    pub heard: Vec<Said>,
    pub error: Option<ProtocolError>,
}

impl Listener {
    pub fn new(max_message_size: usize, deflate: Option<Deflate>) -> Self {
        let decoder = Decoder::new(DecoderLimits { max_message_size }, deflate);
        Self {
            decoder,
            scratch: Scratch::default(),
            heard: Vec::new(),
            error: None,
        }
    }

    /// Feeds `bytes` and takes at most `count` events.
    pub fn hear(&mut self, bytes: &[u8], count: usize) {
        let mut bytes = bytes.to_vec();
        let mut input = self.decoder.feed(&mut bytes, &mut self.scratch);
        for _ in 0..count {
            match input.next() {
                Some(Ok(event)) => self.heard.push(said(event)),
                Some(Err(error)) => self.error = Some(error),
                None => break,
            }
        }
    }

    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }
}

fn said(event: Event<'_>) -> Said {
    match event {
        Event::Text(text) => Said::Text(text.to_owned()),
        Event::Binary(bytes) => Said::Binary(bytes.to_owned()),
        Event::Ping(bytes) => Said::Ping(bytes.to_owned()),
        Event::Pong(bytes) => Said::Pong(bytes.to_owned()),
        Event::Close(None) => Said::Close(None),
        Event::Close(Some(close)) => Said::Close(Some((close.code, close.reason.to_owned()))),
    }
}

/// An agreement to compress, as a handshake reaches it.
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
