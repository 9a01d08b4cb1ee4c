//! Tungstenite as an independent reference.
//!
//! These tests allow for its differences from RFC 6455. Tungstenite
//! - accepts lengths that are not minimally encoded (section 5.2 forbids them);
//! - refuses close code 1014, which was registered after the RFC;
//! - reports a close with a code that must not be sent as 1002 "Protocol violation", instead of failing;
//! - checks a frame only when it is complete, while this decoder refuses one as soon as it can no longer become valid.

use std::io::{self, Cursor, Read, Write};

use pondsocket_proto::ws::{Opcode, ProtocolError, encode, encode_close};
use proptest::prelude::*;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use crate::peer::{OwnedEvent, Server, client_streams, damaged_streams, frame};

const LIMIT: usize = 70_000;

/// A socket on which all bytes have already arrived.
struct Recorded {
    incoming: Cursor<Vec<u8>>,
    outgoing: Vec<u8>,
}

impl Read for Recorded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.incoming.read(buffer)
    }
}

impl Write for Recorded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn websocket_over(role: Role, incoming: Vec<u8>) -> WebSocket<Recorded> {
    let config =
        WebSocketConfig::default().max_message_size(Some(LIMIT)).max_frame_size(Some(LIMIT)).read_buffer_size(4096);
    let stream = Recorded { incoming: Cursor::new(incoming), outgoing: Vec::new() };
    WebSocket::from_raw_socket(stream, role, Some(config))
}

/// Decodes a stream with tungstenite. Returns the messages, and whether the stream ended because of a protocol
/// violation.
fn decode_with_tungstenite(role: Role, incoming: Vec<u8>) -> (Vec<OwnedEvent>, bool) {
    let mut socket = websocket_over(role, incoming);
    let mut events = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Close(Some(close))) if close.reason == "Protocol violation" => {
                return (events, true);
            }
            Ok(message) => events.push(owned_event(message)),
            Err(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                return (events, false);
            }
            Err(_) => return (events, true),
        }
        if matches!(events.last(), Some(OwnedEvent::Close(_))) {
            return (events, false);
        }
    }
}

fn owned_event(message: Message) -> OwnedEvent {
    match message {
        Message::Text(text) => OwnedEvent::Text(text.to_string()),
        Message::Binary(bytes) => OwnedEvent::Binary(bytes.to_vec()),
        Message::Ping(bytes) => OwnedEvent::Ping(bytes.to_vec()),
        Message::Pong(bytes) => OwnedEvent::Pong(bytes.to_vec()),
        Message::Close(close) => OwnedEvent::Close(close.map(|close| (close.code.into(), close.reason.to_string()))),
        Message::Frame(_) => unreachable!("never read"),
    }
}

/// Compares the events of both decoders. The stream is followed by pings, which complete its last frame if that lacks
/// bytes, and are decoded unless the stream was refused.
fn compare(mut stream: Vec<u8>) {
    for number in 0..(LIMIT / 128 + 4) as u32 {
        let payload = [number.to_be_bytes(); 30].concat();
        stream.extend(frame(0x89, &payload));
    }
    let mut server = Server::new(LIMIT);
    server.decode(&stream);
    let (ours, error) = server.into_decoded();
    let (theirs, refused) = decode_with_tungstenite(Role::Server, stream);
    match error {
        Some(ProtocolError::LengthNotMinimal) => assert!(theirs.starts_with(&ours)),
        None if matches!(ours.last(), Some(OwnedEvent::Close(Some((1014, _))))) => {
            assert!(refused && ours[..ours.len() - 1] == theirs[..]);
        }
        None => assert_eq!((ours, false), (theirs, refused)),
        // A damaged length may include the end of the pings: then tungstenite waits for the rest of a frame that this
        // decoder has refused.
        Some(_) => assert_eq!(ours, theirs),
    }
}

proptest! {
    #[test]
    fn decodes_client_streams_alike(stream in client_streams()) {
        compare(stream);
    }

    #[test]
    fn decodes_damaged_streams_alike(stream in damaged_streams()) {
        compare(stream);
    }

    #[test]
    fn decodes_garbage_alike(stream in prop::collection::vec(any::<u8>(), 0..200)) {
        compare(stream);
    }

    #[test]
    fn decodes_the_messages_of_this_encoder(messages in prop::collection::vec(messages(), 0..8)) {
        let mut bytes = Vec::new();
        for message in &messages {
            match message {
                OwnedEvent::Text(text) => encode(Opcode::Text, text.as_bytes(), &mut bytes),
                OwnedEvent::Binary(payload) => encode(Opcode::Binary, payload, &mut bytes),
                OwnedEvent::Ping(payload) => encode(Opcode::Ping, payload, &mut bytes),
                OwnedEvent::Pong(payload) => encode(Opcode::Pong, payload, &mut bytes),
                OwnedEvent::Close(None) => encode(Opcode::Close, b"", &mut bytes),
                OwnedEvent::Close(Some((code, reason))) => encode_close(*code, reason, &mut bytes),
            }
        }
        prop_assert_eq!(decode_with_tungstenite(Role::Client, bytes), (until_close(messages), false));
    }

    #[test]
    fn is_decoded_by_this_decoder(messages in prop::collection::vec(messages(), 0..8)) {
        let messages = until_close(messages);
        let mut client = websocket_over(Role::Client, Vec::new());
        for message in messages.clone() {
            client.send(match message {
                OwnedEvent::Text(text) => Message::text(text),
                OwnedEvent::Binary(bytes) => Message::binary(bytes),
                OwnedEvent::Ping(bytes) => Message::Ping(bytes.into()),
                OwnedEvent::Pong(bytes) => Message::Pong(bytes.into()),
                OwnedEvent::Close(close) => Message::Close(
                    close.map(|(code, reason)| CloseFrame { code: code.into(), reason: reason.into() }),
                ),
            }).unwrap();
        }
        let mut server = Server::new(LIMIT);
        server.decode(&client.get_ref().outgoing);
        prop_assert_eq!(server.into_decoded(), (messages, None));
    }
}

fn messages() -> impl Strategy<Value = OwnedEvent> {
    let bytes = || {
        let small = prop::collection::vec(any::<u8>(), 0..300);
        prop_oneof![5 => small, 1 => prop::collection::vec(any::<u8>(), 65_530..65_540)]
    };
    let short = || prop::collection::vec(any::<u8>(), 0..=125);
    let close = (prop_oneof![1000..=1003u16, 1007..=1013u16, 3000..=4999u16], "\\PC{0,30}");
    prop_oneof![
        4 => "\\PC{0,200}".prop_map(OwnedEvent::Text),
        4 => bytes().prop_map(OwnedEvent::Binary),
        2 => short().prop_map(OwnedEvent::Ping),
        2 => short().prop_map(OwnedEvent::Pong),
        1 => prop::option::of(close).prop_map(OwnedEvent::Close),
    ]
}

/// The messages up to the first close, behind which nothing is decoded.
fn until_close(mut messages: Vec<OwnedEvent>) -> Vec<OwnedEvent> {
    if let Some(close) = messages.iter().position(|event| matches!(event, OwnedEvent::Close(_))) {
        messages.truncate(close + 1);
    }
    messages
}
