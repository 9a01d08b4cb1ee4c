//! The encoding of messages as bytes of a connection. A message is framed once per framing in use, not once per
//! receiver.
//!
//! A frame is a unit that is sent whole or not at all: a WebSocket frame, or an event of an event stream.

use std::cell::RefCell;

use pondsocket_proto::position::Position;
use pondsocket_proto::ws::{self, Deflater, Opcode};

/// Messages shorter than this are not compressed: there is little to gain, and each costs microseconds.
const COMPRESS_FROM: usize = 256;

/// A wire encoding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Framing {
    /// WebSocket text frames.
    Plain,
    /// Compressed WebSocket frames (RFC 7692) with this window.
    Deflate { window_bits: u8 },
    /// Events of an event stream (docs/protocol.md, Event streams). With `ids` those of kept messages have their positions as ids.
    Events { ids: bool },
}

thread_local! {
    /// One compressor for each window in use. Of the thread and not of a connection, because each takes 250 to 380 KB; a
    /// message does not refer to earlier ones, so connections can share it.
    static DEFLATERS: RefCell<Vec<(u8, Deflater)>> = const { RefCell::new(Vec::new()) };
}

impl Framing {
    /// Appends the frame of one message.
    pub(crate) fn encode(self, text: &[u8], out: &mut Vec<u8>) {
        match self {
            Framing::Events { ids } => {
                if let Some(position) = position_in(text).filter(|_| ids) {
                    out.extend_from_slice(format!("id: {position}\n").as_bytes());
                }
                [&b"data: "[..], text, b"\n\n"].iter().for_each(|part| out.extend_from_slice(part));
            }
            Framing::Deflate { window_bits } if text.len() >= COMPRESS_FROM => DEFLATERS.with_borrow_mut(|deflaters| {
                let known = deflaters.iter().position(|(bits, _)| *bits == window_bits);
                let at = known.unwrap_or_else(|| {
                    deflaters.push((window_bits, Deflater::new(window_bits)));
                    deflaters.len() - 1
                });
                deflaters[at].1.encode(Opcode::Text, text, out);
            }),
            Framing::Plain | Framing::Deflate { .. } => ws::encode(Opcode::Text, text, out),
        }
    }

    /// The frame of one message.
    pub(crate) fn frame(self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(text, &mut out);
        out
    }

    /// The frame that keeps a silent connection alive: a ping, which the client answers, or a comment, which it ignores.
    pub(crate) fn keep_alive(self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Framing::Events { .. } => out.extend_from_slice(b": keepalive\n\n"),
            Framing::Plain | Framing::Deflate { .. } => ws::encode(Opcode::Ping, &[], &mut out),
        }
        out
    }

    /// A ping with a number, which the answer to it carries (RFC 6455 section 5.5.2). `None` for an event stream, whose clients
    /// do not answer.
    pub(crate) fn numbered_ping(self, number: u32) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Framing::Events { .. } => return None,
            Framing::Plain | Framing::Deflate { .. } => ws::encode(Opcode::Ping, &number.to_be_bytes(), &mut out),
        }
        Some(out)
    }

    /// The last frame, with the code and the reason. `None` for an event stream, which simply ends.
    pub(crate) fn close(self, code: u16, reason: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Framing::Events { .. } => return None,
            Framing::Plain | Framing::Deflate { .. } => ws::encode_close(code, reason, &mut out),
        }
        Some(out)
    }

    /// The last frame to a peer that has closed with this code: it repeats the code. 1005 stands for a close frame without
    /// one and is never sent (RFC 6455 section 7.4.1), so an empty frame answers that.
    pub(crate) fn close_answer(self, code: u16) -> Option<Vec<u8>> {
        match (self, code) {
            (Framing::Events { .. }, _) => None,
            (Framing::Plain | Framing::Deflate { .. }, 1005) => {
                let mut out = Vec::new();
                ws::encode(Opcode::Close, &[], &mut out);
                Some(out)
            }
            (Framing::Plain | Framing::Deflate { .. }, code) => self.close(code, ""),
        }
    }

    /// The length of the frame that `bytes` begins with. The frame is one of the server, so it is well formed.
    pub(crate) fn frame_len(self, bytes: &[u8]) -> usize {
        match self {
            Framing::Events { .. } => event_len(bytes),
            Framing::Plain | Framing::Deflate { .. } => websocket_frame_len(bytes),
        }
    }
}

/// The length of an event: a line with its id, if it has one, a line of data, and an empty line.
fn event_len(bytes: &[u8]) -> usize {
    // A message has no line break (docs/protocol.md, Envelope): the first one is the end of the line.
    let line =
        |from: usize| bytes[from..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| from + at + 1);
    let id = if bytes.starts_with(b"id: ") { line(0) } else { 0 };
    (line(id) + 1).min(bytes.len())
}

/// The position of a kept message: it is the request id of the message, which stands ahead of the payload.
fn position_in(text: &[u8]) -> Option<Position> {
    const KEY: &[u8] = b"\"requestId\":\"";
    // Within a text of JSON the quotes would be escaped, so the first one is that of the envelope.
    let at = text.windows(KEY.len()).position(|part| part == KEY)? + KEY.len();
    let length = text[at..].iter().position(|byte| *byte == b'"')?;
    str::from_utf8(&text[at..at + length]).ok()?.parse().ok()
}

/// The length of a frame with its header, in which a server's frames have no masking key (RFC 6455 section 5.2).
fn websocket_frame_len(bytes: &[u8]) -> usize {
    let extended =
        |from: usize, to: usize| bytes[from..to].iter().fold(0usize, |len, byte| len << 8 | usize::from(*byte));
    match bytes[1] {
        126 => 4 + extended(2, 4),
        127 => 10 + extended(2, 10),
        len => 2 + usize::from(len),
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    const EVENTS: Framing = Framing::Events { ids: false };
    const WITH_IDS: Framing = Framing::Events { ids: true };
    const ALL: [Framing; 4] = [Framing::Plain, Framing::Deflate { window_bits: 12 }, EVENTS, WITH_IDS];

    #[test]
    fn an_event_is_a_line_of_data_and_an_empty_line() {
        assert_eq!(EVENTS.frame(br#"{"a":"\n"}"#), b"data: {\"a\":\"\\n\"}\n\n");
        assert_eq!(EVENTS.keep_alive(), b": keepalive\n\n");
        assert_eq!(EVENTS.close(1001, "bye"), None);
    }

    #[test]
    fn an_event_of_a_kept_message_has_its_position_as_its_id() {
        let event = |text: &str| String::from_utf8(WITH_IDS.frame(text.as_bytes())).expect("text");
        let kept =
            r#"{"event":"\"requestId\":\"00000a.9\"","requestId":"00000a.12","payload":{"requestId":"00000b.1"}}"#;
        assert_eq!(event(kept), format!("id: 00000a.12\ndata: {kept}\n\n"));
        for other in [r#"{"requestId":"6f9619ff-8b86-d011","payload":{}}"#, r#"{"requestId":""#, "{}", ""] {
            assert_eq!(event(other), format!("data: {other}\n\n"));
        }
    }

    #[test]
    fn consecutive_frames_are_separated() {
        for framing in ALL {
            let mut frames = [0, 1, 125, 126, 300, 70_000].map(|len| framing.frame(&vec![b'x'; len])).to_vec();
            frames.push(framing.frame(br#"{"requestId":"00000a.12","payload":{}}"#));
            frames.push(framing.keep_alive());
            frames.extend(framing.close(1001, "bye"));
            let all = frames.concat();
            let mut rest = &all[..];
            for frame in &frames {
                let (first, behind) = rest.split_at(framing.frame_len(rest));
                assert_eq!(first, frame, "{framing:?}");
                rest = behind;
            }
            assert!(rest.is_empty());
        }
    }
}
