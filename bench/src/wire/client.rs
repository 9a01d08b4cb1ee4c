//! The protocol of a client.

use super::frame;

/// The key of RFC 6455 section 1.3, for which every server computes the same answer.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// An upgrade request for `path`, which offers compression without context takeover if it is `compressed`.
pub fn upgrade_request(path: &str, compressed: bool) -> Vec<u8> {
    let offer = if compressed {
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n"
    } else {
        ""
    };
    format!(
        "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{offer}\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
    .into_bytes()
}

/// A masked text frame. Its mask is zero, which needs no computation.
pub fn text(text: &str) -> Vec<u8> {
    let mut frame = frame::head(text.len(), frame::MASKED);
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// The text of a join of `channel`.
pub fn join_text(channel: &str, user: usize) -> String {
    format!(
        r#"{{"action":"JOIN_CHANNEL","event":"JOIN_CHANNEL","channelName":"{channel}","requestId":"j{user}","payload":{{"username":"u{user}"}}}}"#
    )
}

/// The text of a join of `channel` by a client that can resume: from a position, or as a new member if that is empty.
pub fn resume_text(channel: &str, user: usize, position: &str) -> String {
    format!(
        r#"{{"action":"JOIN_CHANNEL","event":"JOIN_CHANNEL","channelName":"{channel}","requestId":"j{user}","payload":{{"username":"u{user}","$resume":"{position}"}}}}"#
    )
}

/// The epoch of the position in an acknowledgement, which the server sends to clients that can resume.
pub fn epoch(text: &[u8]) -> Option<&str> {
    let key = br#""position":""#;
    let position = std::str::from_utf8(&text[memchr::memmem::find(text, key)? + key.len()..]).ok()?;
    Some(position.split_once('.')?.0)
}

/// Returns `true` if a message of the server says that messages are missing.
pub fn tells_of_gap(text: &[u8]) -> bool {
    memchr::memmem::find(text, br#""gap":""#).is_some()
}

/// Returns `true` if a message of the contract server says that the client is a new one.
pub fn tells_of_new(text: &[u8]) -> bool {
    memchr::memmem::find(text, br#""recovery":"new""#).is_some()
}

/// An answer to a ping: a masked frame with the same payload.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    // The payload of a control frame has at most 125 bytes.
    [&[0x8a, frame::MASKED | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

/// The text of the n-th message of a client.
pub fn broadcast_text(channel: &str, event: &str, n: u64, payload: &str) -> String {
    format!(
        r#"{{"action":"BROADCAST","event":"{event}","channelName":"{channel}","requestId":"n{n}","payload":{payload}}}"#
    )
}

/// A payload of exactly `size` bytes, at least some 40. It is the end of the message. Its names are in alphabetical order, since
/// some servers decode a payload and encode it again in that order.
pub fn payload(publisher: usize, n: u64, size: usize) -> String {
    let start = format!(r#"{{"by":{publisher},"n":{n},"pad":""#);
    let pad = "0".repeat(size.saturating_sub(start.len() + 2));
    format!(r#"{start}{pad}"}}"#)
}

/// The first frame of a server in `bytes`: its first byte, its payload, and its whole length.
pub fn frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (start, len) = frame::lengths(bytes)?;
    Some((bytes[0], bytes.get(start..start + len)?, start + len))
}

/// The publisher and the number of a message with a [`payload`].
pub fn message_id(text: &[u8]) -> Option<(usize, u64)> {
    let at = memchr::memmem::find(text, br#"{"by":"#)?;
    let (publisher, rest) = digits(&text[at + 6..])?;
    let (n, _) = digits(rest.strip_prefix(br#","n":"#)?)?;
    Some((publisher as usize, n))
}

fn digits(text: &[u8]) -> Option<(u64, &[u8])> {
    let len = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let number = text[..len].iter().fold(0, |number, byte| number * 10 + u64::from(byte - b'0'));
    (len > 0).then_some((number, &text[len..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_message_is_recognised() {
        let sent = text(&broadcast_text("/plain/bench", "message", 1234, &payload(7, 1234, 100)));
        assert_eq!(message_id(&sent), Some((7, 1234)));
        assert_eq!(message_id(br#"{"event":"ACKNOWLEDGE","payload":{}}"#), None);
    }

    #[test]
    fn the_epoch_of_an_acknowledgement_is_found() {
        let acknowledgement = br#"{"event":"ACKNOWLEDGE","payload":{"position":"7kq2fw.12","recovered":false}}"#;
        assert_eq!(epoch(acknowledgement), Some("7kq2fw"));
        assert_eq!(epoch(br#"{"event":"ACKNOWLEDGE","payload":{}}"#), None);
    }

    #[test]
    fn incomplete_frames_are_waited_for() {
        let whole = [&[0x81, 126, 0, 200][..], &[b'x'; 200]].concat();
        assert_eq!(frame(&whole[..203]), None);
        assert_eq!(frame(&whole).map(|(first, payload, len)| (first, payload.len(), len)), Some((0x81, 200, 204)));
    }
}
