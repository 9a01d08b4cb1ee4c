//! Tungstenite as an independent judge.
//!
//! It differs from RFC 6455 as we read it, and these tests make allowance for it, in that it
//! - takes lengths that are not minimally encoded (section 5.2 forbids them);
//! - refuses close code 1014, which came into the registry after the RFC;
//! - hands on a close with a code that must not be sent, as 1002 "Protocol violation", instead of failing;
//! - judges a frame only when it is complete, where we refuse what cannot become valid any more.

use std::io::{self, Cursor, Read, Write};

use pondsocket_proto::ws::{Opcode, ProtocolError, encode, encode_close};
use proptest::prelude::*;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use crate::peer::{Said, Server, client_streams, damaged_streams, frame};

const LIMIT: usize = 70_000;

/// A socket on which everything has arrived already.
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

fn judge(role: Role, incoming: Vec<u8>) -> WebSocket<Recorded> {
    let config =
        WebSocketConfig::default().max_message_size(Some(LIMIT)).max_frame_size(Some(LIMIT)).read_buffer_size(4096);
    let stream = Recorded { incoming: Cursor::new(incoming), outgoing: Vec::new() };
    WebSocket::from_raw_socket(stream, role, Some(config))
}

/// Decodes a stream with tungstenite. Returns the messages, and whether the stream ended because of a protocol
/// violation.
fn hear(role: Role, incoming: Vec<u8>) -> (Vec<Said>, bool) {
    let mut socket = judge(role, incoming);
    let mut heard = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Close(Some(close))) if close.reason == "Protocol violation" => {
                return (heard, true);
            }
            Ok(message) => heard.push(said(message)),
            Err(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => {
                return (heard, false);
            }
            Err(_) => return (heard, true),
        }
        if matches!(heard.last(), Some(Said::Close(_))) {
            return (heard, false);
        }
    }
}

fn said(message: Message) -> Said {
    match message {
        Message::Text(text) => Said::Text(text.to_string()),
        Message::Binary(bytes) => Said::Binary(bytes.to_vec()),
        Message::Ping(bytes) => Said::Ping(bytes.to_vec()),
        Message::Pong(bytes) => Said::Pong(bytes.to_vec()),
        Message::Close(close) => Said::Close(close.map(|close| (close.code.into(), close.reason.to_string()))),
        Message::Frame(_) => unreachable!("never read"),
    }
}

/// Both read the stream, followed by pings that complete its last frame if that lacks bytes, and that are heard
/// by whoever has not refused the stream.
fn compare(mut stream: Vec<u8>) {
    for number in 0..(LIMIT / 128 + 4) as u32 {
        let payload = [number.to_be_bytes(); 30].concat();
        stream.extend(frame(0x89, &payload));
    }
    let mut server = Server::new(LIMIT);
    server.hear(&stream);
    let (ours, error) = server.conversation();
    let (theirs, refused) = hear(Role::Server, stream);
    match error {
        Some(ProtocolError::LengthNotMinimal) => assert!(theirs.starts_with(&ours)),
        None if matches!(ours.last(), Some(Said::Close(Some((1014, _))))) => {
            assert!(refused && ours[..ours.len() - 1] == theirs[..]);
        }
        None => assert_eq!((ours, false), (theirs, refused)),
        // A damaged length may swallow the end of the pings: then tungstenite waits for the rest of a frame that
        // we have refused.
        Some(_) => assert_eq!(ours, theirs),
    }
}

proptest! {
    #[test]
    fn hears_the_same_of_what_clients_send(stream in client_streams()) {
        compare(stream);
    }

    #[test]
    fn hears_the_same_of_damaged_streams(stream in damaged_streams()) {
        compare(stream);
    }

    #[test]
    fn hears_the_same_of_garbage(stream in prop::collection::vec(any::<u8>(), 0..200)) {
        compare(stream);
    }

    #[test]
    fn understands_what_we_send(messages in prop::collection::vec(messages(), 0..8)) {
        let mut bytes = Vec::new();
        for message in &messages {
            match message {
                Said::Text(text) => encode(Opcode::Text, text.as_bytes(), &mut bytes),
                Said::Binary(payload) => encode(Opcode::Binary, payload, &mut bytes),
                Said::Ping(payload) => encode(Opcode::Ping, payload, &mut bytes),
                Said::Pong(payload) => encode(Opcode::Pong, payload, &mut bytes),
                Said::Close(None) => encode(Opcode::Close, b"", &mut bytes),
                Said::Close(Some((code, reason))) => encode_close(*code, reason, &mut bytes),
            }
        }
        prop_assert_eq!(hear(Role::Client, bytes), (until_close(messages), false));
    }

    #[test]
    fn is_understood_by_us(messages in prop::collection::vec(messages(), 0..8)) {
        let messages = until_close(messages);
        let mut client = judge(Role::Client, Vec::new());
        for message in messages.clone() {
            client.send(match message {
                Said::Text(text) => Message::text(text),
                Said::Binary(bytes) => Message::binary(bytes),
                Said::Ping(bytes) => Message::Ping(bytes.into()),
                Said::Pong(bytes) => Message::Pong(bytes.into()),
                Said::Close(close) => Message::Close(
                    close.map(|(code, reason)| CloseFrame { code: code.into(), reason: reason.into() }),
                ),
            }).unwrap();
        }
        let mut server = Server::new(LIMIT);
        server.hear(&client.get_ref().outgoing);
        prop_assert_eq!(server.conversation(), (messages, None));
    }
}

fn messages() -> impl Strategy<Value = Said> {
    let bytes = || {
        let small = prop::collection::vec(any::<u8>(), 0..300);
        prop_oneof![5 => small, 1 => prop::collection::vec(any::<u8>(), 65_530..65_540)]
    };
    let short = || prop::collection::vec(any::<u8>(), 0..=125);
    let close = (prop_oneof![1000..=1003u16, 1007..=1013u16, 3000..=4999u16], "\\PC{0,30}");
    prop_oneof![
        4 => "\\PC{0,200}".prop_map(Said::Text),
        4 => bytes().prop_map(Said::Binary),
        2 => short().prop_map(Said::Ping),
        2 => short().prop_map(Said::Pong),
        1 => prop::option::of(close).prop_map(Said::Close),
    ]
}

/// Nothing is heard after a close.
fn until_close(mut messages: Vec<Said>) -> Vec<Said> {
    if let Some(close) = messages.iter().position(|said| matches!(said, Said::Close(_))) {
        messages.truncate(close + 1);
    }
    messages
}
