//! The protocol of a server that trusts its clients.

use super::frame;

/// The answer to an upgrade with the key of RFC 6455 section 1.3, which our load sends.
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const CONNECTION: &str = r#"{"action":"CONNECT","event":"CONNECTION","channelName":"GATEWAY","requestId":"0","payload":{"connectionId":"0","id":"0"}}"#;
const ACKNOWLEDGE: &str =
    r#"{"action":"SYSTEM","event":"ACKNOWLEDGE","channelName":"/plain/bench","requestId":"0","payload":{}}"#;

/// A request of a client.
pub enum ClientRequest<'a> {
    /// Asks to join this channel.
    Join(&'a str),
    /// Publishes this to the others.
    Publish(&'a [u8]),
    /// Asks for this to be sent back.
    Echo(&'a [u8]),
    /// Closes the connection.
    Close,
}

/// Returns `true` if `bytes` end with the head of a request. It is always an upgrade, because clients of the load wait
/// for the answer before they send more.
pub fn is_request(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n\r\n")
}

/// The answer to a client that asked for an upgrade.
pub fn upgraded() -> Vec<u8> {
    [SWITCHING, &text(CONNECTION.as_bytes())].concat()
}

/// The answer to a client that asks to join.
pub fn joined() -> Vec<u8> {
    text(ACKNOWLEDGE.as_bytes())
}

/// A whole text message.
pub fn text(text: &[u8]) -> Vec<u8> {
    let mut frame = frame::head(text.len(), 0);
    frame.extend_from_slice(text);
    frame
}

/// The request in the first frame of `bytes`, if there is one, and the frame's whole length. The mask of our load is
/// zero, so the payload is read without unmasking.
pub fn parse_request(bytes: &[u8]) -> Option<(Option<ClientRequest<'_>>, usize)> {
    let (start, len) = frame::lengths(bytes)?;
    let end = start + 4 + len;
    let said = bytes.get(start + 4..end)?;
    // `{"action":"JOIN_CHANNEL"` or `{"action":"BROADCAST","event":"`, and the event.
    let request = match (bytes[0] & 0x0f, said.get(11)) {
        (1, Some(b'J')) => Some(ClientRequest::Join(channel(said)?)),
        (1, Some(b'B')) if said.get(31) == Some(&b'e') => Some(ClientRequest::Echo(said)),
        (1, Some(b'B')) => Some(ClientRequest::Publish(said)),
        (8, _) => Some(ClientRequest::Close),
        _ => None,
    };
    Some((request, end))
}

/// The channel that a message names, found by its quotes.
fn channel(said: &[u8]) -> Option<&str> {
    let (_, name) = std::str::from_utf8(said).ok()?.split_once(r#""channelName":""#)?;
    Some(name.split_once('"')?.0)
}
