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
    fn incomplete_frames_are_waited_for() {
        let whole = [&[0x81, 126, 0, 200][..], &[b'x'; 200]].concat();
        assert_eq!(frame(&whole[..203]), None);
        assert_eq!(frame(&whole).map(|(first, payload, len)| (first, payload.len(), len)), Some((0x81, 200, 204)));
    }
}
