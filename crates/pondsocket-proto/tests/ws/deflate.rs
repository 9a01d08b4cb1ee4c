//! `permessage-deflate` (RFC 7692).

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use pondsocket_proto::ws::{Deflater, Opcode, ProtocolError};
use proptest::prelude::*;

use crate::peer::{Decoded, OwnedEvent, Server, frame, negotiate};

const LIMIT: usize = 1 << 20;

fn server() -> Server {
    let deflate = negotiate("permessage-deflate");
    assert!(deflate.is_some());
    Server::with(LIMIT, deflate)
}

fn decode(stream: &[u8]) -> Decoded {
    let mut server = server();
    server.decode(stream);
    server.into_decoded()
}

fn hello() -> Decoded {
    (vec![OwnedEvent::Text("Hello".to_owned())], None)
}

/// Compresses as a client does: any level, any window.
fn deflated(payload: &[u8], level: u32, window_bits: u8) -> Vec<u8> {
    let mut compress = Compress::new_with_window_bits(Compression::new(level), false, window_bits);
    let mut out = Vec::with_capacity(payload.len() * 2 + 100);
    compress.compress_vec(payload, &mut out, FlushCompress::Sync).unwrap();
    assert!(out.len() < out.capacity());
    out.truncate(out.len() - 4);
    out
}

#[test]
fn the_examples_of_the_rfc() {
    // RFC 7692 section 7.2.3.1: one block; in one frame, and fragmented.
    assert_eq!(decode(&frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00")), hello());
    let fragments = [frame(0x41, b"\xf2\x48\xcd"), frame(0x80, b"\xc9\xc9\x07\x00")];
    assert_eq!(decode(&fragments.concat()), hello());
    // 7.2.3.3: a block without compression.
    assert_eq!(decode(&frame(0xc1, b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00")), hello());
    // 7.2.3.4: a final block.
    assert_eq!(decode(&frame(0xc1, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00")), hello());
    // 7.2.3.5: two blocks.
    let two = b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00";
    assert_eq!(decode(&frame(0xc1, two)), hello());
    // 7.2.3.6: an empty message.
    assert_eq!(decode(&frame(0xc1, b"\x00")), (vec![OwnedEvent::Text(String::new())], None));
}

#[test]
fn a_final_block_may_be_the_last_byte_or_be_followed_by_more() {
    assert_eq!(decode(&frame(0xc1, b"\xf3\x48\xcd\xc9\xc9\x07\x00")), hello());
    let twice = b"\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00\x00";
    assert_eq!(decode(&frame(0xc1, twice)), (vec![OwnedEvent::Text("HelloHello".to_owned())], None));
}

#[test]
fn messages_do_not_depend_on_earlier_ones() {
    let message = frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00");
    let (events, error) = decode(&message.repeat(2));
    assert_eq!((events.len(), error), (2, None));
    // RFC 7692 section 7.2.3.2: the second of two messages, compressed with the window of the first.
    let (events, error) = decode(&[message, frame(0xc1, b"\xf2\x00\x11\x00\x00")].concat());
    assert_eq!((events.len(), error), (1, Some(ProtocolError::InvalidDeflate)));
}

#[test]
fn plain_and_compressed_messages_mix() {
    let stream =
        [frame(0x81, b"Hello"), frame(0x41, b"\xf2\x48\xcd"), frame(0x89, b"?"), frame(0x80, b"\xc9\xc9\x07\x00")];
    let expected = vec![
        OwnedEvent::Text("Hello".to_owned()),
        OwnedEvent::Ping(b"?".to_vec()),
        OwnedEvent::Text("Hello".to_owned()),
    ];
    assert_eq!(decode(&stream.concat()), (expected, None));
}

#[test]
fn the_bit_belongs_to_the_first_frame_of_a_message() {
    let refused = (vec![], Some(ProtocolError::ReservedBits));
    assert_eq!(decode(&[frame(0x41, b"\xf2"), frame(0xc0, b"\x48")].concat()), refused);
    assert_eq!(decode(&frame(0xc9, b"ping")), refused);
    assert_eq!(decode(&frame(0xc8, b"")), refused);
}

#[test]
fn invalid_deflate_is_refused() {
    let refused = (vec![], Some(ProtocolError::InvalidDeflate));
    let whole = deflated(&[b"all of this ".repeat(20), b"and the end".to_vec()].concat(), 6, 15);
    assert_eq!(decode(&frame(0xc2, &whole)).1, None);
    for length in 0..whole.len() {
        assert_eq!(decode(&frame(0xc2, &whole[..length])), refused, "cut after {length} bytes");
    }
    assert_eq!(decode(&frame(0xc2, b"\xff\xff\xff")), refused);
    assert_eq!(decode(&frame(0xc2, b"plain text")), refused);
}

#[test]
fn inflated_text_must_be_utf8() {
    let wrong = deflated(b"\xce\xba\xff", 6, 15);
    assert_eq!(decode(&frame(0xc1, &wrong)), (vec![], Some(ProtocolError::InvalidUtf8)));
}

#[test]
fn a_bomb_is_refused_at_the_limit() {
    let fits = deflated(&vec![0; LIMIT], 9, 15);
    assert!(fits.len() < 2000);
    assert_eq!(decode(&frame(0xc2, &fits)), (vec![OwnedEvent::Binary(vec![0; LIMIT])], None));
    for size in [LIMIT + 1, 4 * LIMIT] {
        let bomb = deflated(&vec![0; size], 9, 15);
        let refused = (vec![], Some(ProtocolError::TooLarge { limit: LIMIT }));
        assert_eq!(decode(&frame(0xc2, &bomb)), refused);
    }
}

#[test]
fn messages_are_compressed_and_control_frames_are_not() {
    let mut deflater = Deflater::new(15);
    let mut out = Vec::new();
    deflater.encode(Opcode::Text, b"", &mut out);
    deflater.encode(Opcode::Ping, b"Hello", &mut out);
    deflater.encode(Opcode::Text, b"Hello", &mut out);
    let expected = b"\xc1\x01\x00\x89\x05Hello\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00";
    assert_eq!(out, expected);
}

#[test]
fn one_deflater_compresses_any_number_of_messages_alike() {
    let mut deflater = Deflater::new(15);
    let payload = br#"{"event":"message"}"#.repeat(20);
    let mut first = Vec::new();
    deflater.encode(Opcode::Text, &payload, &mut first);
    assert_eq!(first[0], 0xc1);
    assert!(first.len() < payload.len() / 4);
    deflater.encode(Opcode::Binary, &vec![7; 1 << 20], &mut Vec::new());
    let mut again = Vec::new();
    deflater.encode(Opcode::Text, &payload, &mut again);
    assert_eq!(first, again);
}

/// Bytes that repeat themselves near and far, as far as windows reach and farther.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 1..6);
    let order = prop::collection::vec(any::<prop::sample::Index>(), 0..200);
    (pieces, order).prop_map(|(pieces, order)| order.iter().flat_map(|index| index.get(&pieces).clone()).collect())
}

/// Inflates a frame of ours as a client does, with a window no larger than agreed on.
fn inflated_by_a_client(bytes: &[u8], window_bits: u8) -> Vec<u8> {
    let (first, payload) = match bytes[1] {
        126 => (bytes[0], &bytes[4..]),
        127 => (bytes[0], &bytes[10..]),
        _ => (bytes[0], &bytes[2..]),
    };
    assert_eq!(first, 0xc2);
    let mut inflate = Decompress::new_with_window_bits(false, window_bits);
    let mut out = Vec::new();
    let mut input = [payload, b"\x00\x00\xff\xff"].concat();
    loop {
        // Little by little: the window is used only for what has been handed out before.
        let mut piece = [0; 100];
        let (read, written) = (inflate.total_in(), inflate.total_out());
        inflate.decompress(&input, &mut piece, FlushDecompress::None).unwrap();
        input.drain(..(inflate.total_in() - read) as usize);
        let written = (inflate.total_out() - written) as usize;
        out.extend_from_slice(&piece[..written]);
        if input.is_empty() && written < piece.len() {
            return out;
        }
    }
}

proptest! {
    #[test]
    fn clients_may_compress_as_they_like(payload in payloads(), level in 0..=9u32, bits in 9..=15u8) {
        let message = frame(0xc2, &deflated(&payload, level, bits));
        prop_assert_eq!(decode(&message), (vec![OwnedEvent::Binary(payload)], None));
    }

    #[test]
    fn clients_inflate_messages_with_the_negotiated_window(payload in payloads(), bits in 9..=15u8) {
        let mut out = Vec::new();
        Deflater::new(bits).encode(Opcode::Binary, &payload, &mut out);
        prop_assert_eq!(inflated_by_a_client(&out, bits), payload);
    }
}
