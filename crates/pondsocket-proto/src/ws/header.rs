//! The header of a frame (RFC 6455 section 5.2): parsed as a client writes it, written as a server does.

use super::ProtocolError;

/// The most bytes a header can take: two fixed, eight of length, four of masking key.
pub(super) const MAX_LEN: usize = 14;

/// The bytes that the header of a frame without a masking key takes.
pub(super) fn unmasked_len(payload: usize) -> usize {
    match payload {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    }
}

/// The most bytes a control frame may carry (RFC 6455 section 5.5).
pub(super) const MAX_CONTROL: usize = 125;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_AND_3: u8 = 0x30;
const OPCODE: u8 = 0x0f;
const MASK: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_IN_2_BYTES: u8 = 126;
const LENGTH_IN_8_BYTES: u8 = 127;

/// A client's frame header that is valid by itself. The decoder checks that it may follow the frames before it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Header {
    pub(super) fin: bool,
    /// The first reserved bit, which marks a compressed message if RFC 7692 was negotiated.
    pub(super) rsv1: bool,
    pub(super) kind: Kind,
    pub(super) length: u64,
    pub(super) key: [u8; 4],
}

/// The role of a frame: it starts a message, continues one, or stands between frames of messages as a control frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Start(Data),
    Continuation,
    Control(Control),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Data {
    Text,
    Binary,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Control {
    Close,
    Ping,
    Pong,
}

impl Header {
    /// The header at the start of `bytes` and its length, or `None` if it is not all there yet.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, ProtocolError> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        let fin = first & FIN != 0;
        // Everything that the first two bytes decide is checked before the rest has arrived.
        let kind = Kind::parse(first & OPCODE)?;
        if first & RSV2_AND_3 != 0 {
            return Err(ProtocolError::ReservedBits);
        }
        // RFC 6455 section 5.1: a server closes the connection upon a frame that is not masked.
        if second & MASK == 0 {
            return Err(ProtocolError::Unmasked);
        }
        let short = second & LENGTH;
        // By the first form of the length: a control frame that is too long is refused before its extended length
        // arrives.
        if let Kind::Control(_) = kind {
            check_control(fin, short)?;
        }
        let Some((length, rest)) = parse_length(short, rest)? else {
            return Ok(None);
        };
        let Some((&key, rest)) = rest.split_first_chunk() else {
            return Ok(None);
        };
        let rsv1 = first & RSV1 != 0;
        let header = Self { fin, rsv1, kind, length, key };
        Ok(Some((header, bytes.len() - rest.len())))
    }
}

impl Kind {
    fn parse(opcode: u8) -> Result<Self, ProtocolError> {
        Ok(match opcode {
            0x0 => Self::Continuation,
            0x1 => Self::Start(Data::Text),
            0x2 => Self::Start(Data::Binary),
            0x8 => Self::Control(Control::Close),
            0x9 => Self::Control(Control::Ping),
            0xa => Self::Control(Control::Pong),
            reserved => return Err(ProtocolError::ReservedOpcode(reserved)),
        })
    }
}

/// Appends the header of an unfragmented, unmasked frame. `opcode` is the four bits of the wire.
pub(super) fn write(opcode: u8, rsv1: bool, length: usize, out: &mut Vec<u8>) {
    out.push(FIN | if rsv1 { RSV1 } else { 0 } | opcode);
    if length <= MAX_CONTROL {
        out.push(length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(LENGTH_IN_2_BYTES);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(LENGTH_IN_8_BYTES);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

fn check_control(fin: bool, short: u8) -> Result<(), ProtocolError> {
    if !fin {
        return Err(ProtocolError::ControlFragmented);
    }
    if usize::from(short) > MAX_CONTROL {
        return Err(ProtocolError::ControlTooLong);
    }
    Ok(())
}

fn parse_length(short: u8, rest: &[u8]) -> Result<Option<(u64, &[u8])>, ProtocolError> {
    let (length, minimum, rest) = match short {
        // RFC 6455 section 5.2: the shortest of the three forms must be used. `minimum` is the least length of this
        // form.
        LENGTH_IN_2_BYTES => match rest.split_first_chunk() {
            Some((&bytes, rest)) => (u16::from_be_bytes(bytes).into(), 126, rest),
            None => return Ok(None),
        },
        LENGTH_IN_8_BYTES => match rest.split_first_chunk() {
            Some((&bytes, rest)) => (u64::from_be_bytes(bytes), 0x1_0000, rest),
            None => return Ok(None),
        },
        short => (short.into(), 0, rest),
    };
    if length < minimum {
        return Err(ProtocolError::LengthNotMinimal);
    }
    // RFC 6455 section 5.2: the most significant bit must be 0.
    if length > i64::MAX as u64 {
        return Err(ProtocolError::LengthOverflow);
    }
    Ok(Some((length, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [1, 2, 3, 4];

    fn parse(start: &[u8]) -> Result<Header, ProtocolError> {
        let bytes = [start, &KEY].concat();
        for short in 0..bytes.len() {
            // An error may show before the header is complete; anything else must wait for all of it.
            assert!(!matches!(Header::parse(&bytes[..short]), Ok(Some(_))));
        }
        Header::parse(&bytes).map(|header| header.expect("complete").0)
    }

    #[test]
    fn reads_every_field() {
        assert_eq!(
            parse(&[0xc1, 0x85]),
            Ok(Header { fin: true, rsv1: true, kind: Kind::Start(Data::Text), length: 5, key: KEY })
        );
        assert_eq!(parse(&[0x02, 0x80]).unwrap().kind, Kind::Start(Data::Binary));
        assert!(!parse(&[0x02, 0x80]).unwrap().fin);
        assert_eq!(parse(&[0x80, 0x80]).unwrap().kind, Kind::Continuation);
        assert_eq!(parse(&[0x88, 0x80]).unwrap().kind, Kind::Control(Control::Close));
        assert_eq!(parse(&[0x89, 0x80]).unwrap().kind, Kind::Control(Control::Ping));
        assert_eq!(parse(&[0x8a, 0x80]).unwrap().kind, Kind::Control(Control::Pong));
    }

    #[test]
    fn lengths_must_take_the_fewest_bytes() {
        assert_eq!(parse(&[0x82, 0xfe, 0, 126]).unwrap().length, 126);
        assert_eq!(parse(&[0x82, 0xfe, 0, 125]), Err(ProtocolError::LengthNotMinimal));
        assert_eq!(parse(&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]).unwrap().length, 65_536);
        assert_eq!(parse(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 255, 255]), Err(ProtocolError::LengthNotMinimal));
    }

    #[test]
    fn the_highest_bit_of_a_length_is_reserved() {
        assert_eq!(parse(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]), Err(ProtocolError::LengthOverflow));
        assert_eq!(parse(&[0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255]).unwrap().length, i64::MAX as u64);
    }

    #[test]
    fn reserved_bits_and_opcodes_are_refused() {
        assert_eq!(parse(&[0xa1, 0x80]), Err(ProtocolError::ReservedBits));
        assert_eq!(parse(&[0x91, 0x80]), Err(ProtocolError::ReservedBits));
        for opcode in [3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf] {
            assert_eq!(parse(&[0x80 | opcode, 0x80]), Err(ProtocolError::ReservedOpcode(opcode)));
        }
    }

    #[test]
    fn frames_of_a_client_are_masked() {
        assert_eq!(parse(&[0x81, 0x05]), Err(ProtocolError::Unmasked));
    }

    #[test]
    fn control_frames_are_short_and_whole() {
        assert_eq!(parse(&[0x89, 0xfd]).unwrap().length, 125);
        assert_eq!(parse(&[0x89, 0xfe, 0, 126]), Err(ProtocolError::ControlTooLong));
        assert_eq!(parse(&[0x09, 0x80]), Err(ProtocolError::ControlFragmented));
    }

    #[test]
    fn writes_the_shortest_length() {
        let written = |length| {
            let mut out = Vec::new();
            write(0x2, false, length, &mut out);
            out
        };
        assert_eq!(written(125), [0x82, 125]);
        assert_eq!(written(126), [0x82, 126, 0, 126]);
        assert_eq!(written(65_535), [0x82, 126, 255, 255]);
        assert_eq!(written(65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
