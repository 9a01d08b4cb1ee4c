//! The little of the protocols that load needs: frames made once, and read by looking at bytes.

/// The key of RFC 6455 section 1.3: a server that computes anything computes the same from it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// An upgrade request for `path`.
pub(crate) fn upgrade_request(path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    )
    .into_bytes()
}

/// A masked text frame. The mask is zero: it must be there, and this one costs nothing.
pub(crate) fn client_frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        len @ 0..=125 => frame.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// A join of `channel`.
pub(crate) fn join(channel: &str, user: usize) -> Vec<u8> {
    client_frame(&format!(
        r#"{{"action":"JOIN_CHANNEL","event":"JOIN_CHANNEL","channelName":"{channel}","requestId":"j{user}","payload":{{"username":"u{user}"}}}}"#
    ))
}

/// The n-th message of a publisher, with a payload of about 100 bytes.
pub(crate) fn publish(channel: &str, publisher: usize, n: u64) -> Vec<u8> {
    client_frame(&format!(
        r#"{{"action":"BROADCAST","event":"message","channelName":"{channel}","requestId":"p{publisher}n{n}","payload":{{"p":{publisher},"n":{n},"pad":"{:0>76}"}}}}"#,
        n
    ))
}

/// The first server frame of `bytes`: its first byte, its payload, and its whole length.
pub(crate) fn server_frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (start, len) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        len => (2, usize::from(len)),
    };
    Some((first, bytes.get(start..start + len)?, start + len))
}

/// Publisher and number of a message made by [`publish`], found by scanning its payload.
pub(crate) fn mark(text: &[u8]) -> Option<(usize, u64)> {
    let at = text.windows(5).position(|window| window == br#"{"p":"#)?;
    let (publisher, rest) = digits(&text[at + 5..])?;
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
        let frame = publish("/plain/bench", 7, 1234);
        assert_eq!(mark(&frame), Some((7, 1234)));
        assert_eq!(mark(br#"{"event":"ACKNOWLEDGE","payload":{}}"#), None);
    }

    #[test]
    fn incomplete_frames_are_waited_for() {
        let frame = [&[0x81, 126, 0, 200][..], &[b'x'; 200]].concat();
        assert_eq!(server_frame(&frame[..203]), None);
        assert_eq!(
            server_frame(&frame).map(|(first, payload, len)| (first, payload.len(), len)),
            Some((0x81, 200, 204))
        );
    }
}
