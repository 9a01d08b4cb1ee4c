//! Compression, also of what was decided for one recipient.

use std::io::Read;
use std::net::SocketAddr;

use flate2::read::DeflateDecoder;
use pondsocket::{Options, Outgoing, OutgoingContext, PondSocket, Result};
use serde_json::{Value, json};
use testkit::{DEADLINE, Peer, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{connect, join, send};

/// Requests compression, and returns the stream behind the head of the response.
async fn connect_compressed(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = "GET /?user=zip HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    let head = String::from_utf8(head).expect("text").to_lowercase();
    assert!(head.contains("sec-websocket-extensions: permessage-deflate"), "{head}");
    stream
}

/// Sends a text frame, masked with zeros (RFC 6455 section 5.2).
async fn send_frame(stream: &mut TcpStream, message: &Value) {
    let text = message.to_string();
    let length = u8::try_from(text.len()).ok().filter(|length| *length < 126).expect("a short message");
    let head = [0x81, 0x80 | length, 0, 0, 0, 0];
    stream.write_all(&[&head, text.as_bytes()].concat()).await.expect("it reads");
}

/// The next message, and whether it came compressed (RFC 7692 section 6).
async fn next_frame(stream: &mut TcpStream) -> (Value, bool) {
    let first = stream.read_u8().await.expect("a frame");
    assert_eq!(first & !0x40, 0x81, "one whole text");
    let length = match stream.read_u8().await.expect("a length") {
        126 => stream.read_u16().await.expect("a longer length").into(),
        length => usize::from(length),
    };
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.expect("a payload");
    let is_compressed = first & 0x40 != 0;
    let mut text = String::new();
    if is_compressed {
        bytes.extend_from_slice(&[0, 0, 0xff, 0xff]);
        let mut inflated = Vec::new();
        // A message has no final block, so it is complete when no more output follows.
        let _ = DeflateDecoder::new(&bytes[..]).read_to_end(&mut inflated);
        bytes = inflated;
    }
    text.push_str(std::str::from_utf8(&bytes).expect("text"));
    (serde_json::from_str(&text).expect("JSON"), is_compressed)
}

/// A member whose messages come compressed.
async fn join_compressed(address: SocketAddr) -> TcpStream {
    let mut stream = connect_compressed(address).await;
    assert_eq!(next_frame(&mut stream).await.0["action"], "CONNECT");
    let join = json!({
        "action": "JOIN_CHANNEL", "event": "JOIN_CHANNEL", "channelName": "/c", "requestId": "q", "payload": {},
    });
    send_frame(&mut stream, &join).await;
    assert_eq!(next_frame(&mut stream).await.0["event"], "ACKNOWLEDGE");
    stream
}

#[tokio::test]
async fn long_messages_are_compressed_for_the_clients_that_have_agreed_to_it_and_short_ones_for_none() {
    let pond = PondSocket::with_options(Options::default().enable_compression(true)).expect("valid");
    let lobby = pond.create_endpoint("/", connect).create_channel("/c", join);
    lobby.on_event("say", send);
    let (_server, address) = serve(&pond).await;
    let talk = async {
        // A frame with the bit of compression would be an error to this client: it has not offered any.
        let mut plain = Peer::connect(address, "/?user=plain").await;
        plain.join("/c", json!({})).await;
        let mut stream = join_compressed(address).await;
        for (length, expect_compressed) in [(1, false), (100, false), (300, true), (5000, true), (50, false)] {
            let said = json!({ "text": "x".repeat(length) });
            plain.event("/c", "say", said.clone()).await;
            let (message, is_compressed) = next_frame(&mut stream).await;
            assert_eq!((&message["payload"], is_compressed), (&said, expect_compressed), "{length}");
            assert_eq!(plain.next().await["payload"], said);
        }
    };
    timeout(DEADLINE, talk).await.expect("in time");
}

#[tokio::test]
async fn filtered_messages_are_compressed_for_clients_with_compression() {
    let pond = PondSocket::with_options(Options::default().enable_compression(true)).expect("valid");
    let lobby = pond.create_endpoint("/", connect).create_channel("/c", join);
    let long = "all work and no play ".repeat(20);
    let replacement = long.clone();
    lobby.on_event("say", send).on_outgoing("say", move |ctx: &OutgoingContext| -> Result<Outgoing> {
        match ctx.payload::<Value>()?["how"].as_str() {
            Some("pass") => Ok(Outgoing::Pass),
            Some("block") => Ok(Outgoing::Block),
            _ => Outgoing::replace(&json!({ "for": ctx.recipient().id(), "text": replacement })),
        }
    });
    let (_server, address) = serve(&pond).await;
    let talk = async {
        let mut plain = Peer::connect(address, "/?user=plain").await;
        plain.join("/c", json!({})).await;
        let mut stream = join_compressed(address).await;
        for how in ["block", "pass", "replace"] {
            plain.event("/c", "say", json!({ "how": how, "text": long })).await;
        }
        let passed = json!({ "how": "pass", "text": long });
        let (message, is_compressed) = next_frame(&mut stream).await;
        assert_eq!((&message["payload"], is_compressed), (&passed, true));
        let (message, is_compressed) = next_frame(&mut stream).await;
        assert_eq!((&message["payload"], is_compressed), (&json!({ "for": "zip", "text": long }), true));
        assert_eq!(plain.next().await["payload"], passed);
        assert_eq!(plain.next().await["payload"], json!({ "for": "plain", "text": long }));
    };
    timeout(DEADLINE, talk).await.expect("in time");
}
