//! The peer of the decoder: frames as clients write them, and the events that are decoded from them.

use pondsocket_proto::ws::{Decoder, DecoderLimits, Deflate, Event, ProtocolError, Scratch, accept};
use proptest::prelude::*;

/// A client's frame. `first` is the first byte of the wire: FIN 0x80, RSV1 0x40, and the opcode.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    masked_frame(first, [0x37, 0xfa, 0x21, 0x3d], payload)
}

pub(crate) fn masked_frame(first: u8, key: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64);
    bytes.extend(key);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// The start of a client's frame, up to the masking key.
pub(crate) fn header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..126 => bytes.push(0x80 | length as u8),
        126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes
}

/// An [`Event`] that outlives its input.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum OwnedEvent {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Event<'_>> for OwnedEvent {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.to_owned()),
            Event::Binary(bytes) => Self::Binary(bytes.to_owned()),
            Event::Ping(bytes) => Self::Ping(bytes.to_owned()),
            Event::Pong(bytes) => Self::Pong(bytes.to_owned()),
            Event::Close(close) => Self::Close(close.map(|close| (close.code, close.reason.to_owned()))),
        }
    }
}

/// The decoded events, and the violation that ended the stream.
pub(crate) type Decoded = (Vec<OwnedEvent>, Option<ProtocolError>);

/// A server's connection.
pub(crate) struct Server {
    pub(crate) decoder: Decoder,
    pub(crate) scratch: Scratch,
    pub(crate) events: Vec<OwnedEvent>,
    pub(crate) error: Option<ProtocolError>,
}

impl Server {
    pub(crate) fn new(max_message_size: usize) -> Self {
        Self::with(max_message_size, None)
    }

    pub(crate) fn with(max_message_size: usize, deflate: Option<Deflate>) -> Self {
        Self {
            decoder: Decoder::new(DecoderLimits { max_message_size }, deflate),
            scratch: Scratch::default(),
            events: Vec::new(),
            error: None,
        }
    }

    pub(crate) fn decode(&mut self, bytes: &[u8]) {
        self.decode_at_most(usize::MAX, bytes);
    }

    /// Takes at most `count` events, and leaves the rest to the decoder.
    pub(crate) fn decode_at_most(&mut self, count: usize, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let mut input = self.decoder.feed(&mut bytes, &mut self.scratch);
        for _ in 0..count {
            match input.next() {
                Some(Ok(event)) => self.events.push(event.into()),
                Some(Err(error)) => self.error = Some(error),
                None => break,
            }
        }
    }

    pub(crate) fn into_decoded(self) -> Decoded {
        (self.events, self.error)
    }
}

/// Decodes `bytes` in one read.
pub(crate) fn decode(bytes: &[u8]) -> Decoded {
    let mut server = Server::new(1 << 20);
    server.decode(bytes);
    server.into_decoded()
}

/// The outcome of negotiating `offer`.
pub(crate) fn negotiate(offer: &str) -> Option<Deflate> {
    let request = http::Request::get("/")
        .header("Upgrade", "websocket")
        .header("Connection", "Upgrade")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Extensions", offer)
        .body(())
        .unwrap();
    accept(&request, true).unwrap().deflate()
}

/// Valid streams of clients: whole messages, fragmented ones with control frames in between, closes.
pub(crate) fn client_streams() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(messages(), 0..8).prop_map(|messages| messages.concat())
}

/// As [`client_streams`], with a few bytes wrong.
pub(crate) fn damaged_streams() -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (client_streams(), damage).prop_map(|(mut stream, damage)| {
        for (index, byte) in damage {
            if !stream.is_empty() {
                *index.get_mut(&mut stream) = byte;
            }
        }
        stream
    })
}

fn messages() -> impl Strategy<Value = Vec<u8>> {
    let text = "\\PC{0,80}".prop_map(|text| (1, text.into_bytes()));
    let binary = prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..200),
        1 => prop::collection::vec(any::<u8>(), 65_500..65_600),
    ];
    let data = prop_oneof![text, binary.prop_map(|bytes| (2, bytes))];
    let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
    let between = prop::option::of(controls());
    let key = any::<[u8; 4]>();
    let message = (data, cuts, between, key).prop_map(|((opcode, payload), cuts, between, key)| {
        fragmented(opcode, &payload, &cuts, &between.unwrap_or_default(), key)
    });
    prop_oneof![6 => message, 3 => controls(), 1 => closes()]
}

fn fragmented(opcode: u8, payload: &[u8], cuts: &[prop::sample::Index], between: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(payload.len() + 1)).collect();
    cuts.sort_unstable();
    let mut bytes = Vec::new();
    let mut start = 0;
    let mut first = opcode;
    for cut in cuts {
        bytes.extend(masked_frame(first, key, &payload[start..cut]));
        bytes.extend(between);
        start = cut;
        first = 0;
    }
    bytes.extend(masked_frame(0x80 | first, key, &payload[start..]));
    bytes
}

fn controls() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop::collection::vec(any::<u8>(), 0..=125);
    (prop_oneof![Just(0x89), Just(0x8a)], any::<[u8; 4]>(), payload)
        .prop_map(|(first, key, payload)| masked_frame(first, key, &payload))
}

fn closes() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![3 => 1000..1020u16, 1 => 2990..5010u16, 1 => any::<u16>()];
    let close = (code, "\\PC{0,20}").prop_map(|(code, reason)| [&code.to_be_bytes(), reason.as_bytes()].concat());
    prop_oneof![4 => close, 1 => prop::collection::vec(any::<u8>(), 0..4)].prop_map(|payload| frame(0x88, &payload))
}
