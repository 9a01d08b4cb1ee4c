//! Frames from a server: unmasked and never fragmented (RFC 6455 sections 5.1 and 5.4).

use super::header::{self, MAX_CONTROL};

/// The type of a frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opcode {
    /// A text message.
    Text,
    /// A binary message.
    Binary,
    /// The last frame: see [`encode_close`].
    Close,
    /// A request for a [`Pong`](Self::Pong) with the same payload.
    Ping,
    /// The answer to a [`Ping`](Self::Ping).
    Pong,
}

impl Opcode {
    /// The four bits of the wire (RFC 6455 section 5.2).
    pub(super) fn bits(self) -> u8 {
        match self {
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Appends a frame to `out`.
///
/// The payload of [`Opcode::Text`] must be UTF-8, that of a control frame at most 125 bytes. The caller guarantees
/// both; only the second is checked, in debug builds.
pub fn encode(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    debug_assert!(!opcode.is_control() || payload.len() <= MAX_CONTROL, "oversized control frame");
    // One allocation for both, without spare room: a buffer that is full is shared without another allocation.
    out.reserve(header::unmasked_len(payload.len()) + payload.len());
    header::write(opcode.bits(), false, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends a close frame to `out`. A reason of more than 123 bytes, for which there is no room, is truncated.
pub fn encode_close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let code = code.to_be_bytes();
    let most = reason.len().min(MAX_CONTROL - code.len());
    // A text that is cut within a character is not UTF-8, which a close frame must be (RFC 6455 section 5.5.1).
    let end = (0..=most).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
    let reason = &reason[..end];
    header::write(Opcode::Close.bits(), false, code.len() + reason.len(), out);
    out.extend_from_slice(&code);
    out.extend_from_slice(reason.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(opcode, payload, &mut out);
        out
    }

    #[test]
    fn one_final_unmasked_frame() {
        // RFC 6455 section 5.7.
        assert_eq!(encoded(Opcode::Text, b"Hello"), b"\x81\x05Hello");
        assert_eq!(encoded(Opcode::Pong, b""), b"\x8a\x00");
        assert_eq!(encoded(Opcode::Binary, &[7; 256])[..5], [0x82, 0x7e, 0x01, 0x00, 7]);
    }

    #[test]
    fn a_frame_takes_as_much_room_as_it_needs() {
        for len in [100, 1000, 70_000] {
            let frame = encoded(Opcode::Text, &vec![b'x'; len]);
            assert_eq!(frame.capacity(), frame.len());
        }
    }

    #[test]
    fn a_control_frame_of_125_bytes_is_the_longest() {
        for opcode in [Opcode::Ping, Opcode::Pong, Opcode::Close] {
            assert_eq!(encoded(opcode, &[7; 125])[1..], [&[125][..], &[7; 125]].concat());
        }
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "oversized control frame")]
    fn a_longer_control_frame_panics_in_debug_builds() {
        encoded(Opcode::Ping, &[7; 126]);
    }

    #[test]
    fn appends_to_what_is_there() {
        let mut out = b"before".to_vec();
        encode(Opcode::Ping, b"?", &mut out);
        encode_close(1000, "", &mut out);
        assert_eq!(out, b"before\x89\x01?\x88\x02\x03\xe8");
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        encode_close(1008, &"€".repeat(42), &mut out); // 126 bytes; 41 characters fit
        assert_eq!(out[..4], [0x88, 125, 0x03, 0xf0]);
        assert_eq!(str::from_utf8(&out[4..]).unwrap(), "€".repeat(41));

        out.clear();
        encode_close(1008, &format!("{}€", "x".repeat(121)), &mut out);
        assert_eq!(out[1], 123);
    }
}
