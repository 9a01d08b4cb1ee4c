//! The decoded events do not depend on the pieces in which a stream arrives.

use pondsocket_proto::ws::Deflate;
use proptest::prelude::*;

use crate::peer::{Decoded, Server, client_streams, damaged_streams, frame, negotiate};

/// Feeds the stream in pieces of the given sizes, over and over. A piece of which only some events are taken leaves
/// the rest to the decoder, as a server does that stops reading.
fn decode_in_pieces(stream: &[u8], pieces: &[(usize, usize)], deflate: Option<Deflate>) -> Decoded {
    let mut server = Server::with(70_000, deflate);
    let mut rest = stream;
    for &(size, count) in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at(size.min(rest.len()));
        server.decode_at_most(count, piece);
        rest = after;
    }
    server.decode(&[]);
    assert!(!server.decoder.has_pending());
    server.into_decoded()
}

fn decode_at_once(stream: &[u8], deflate: Option<Deflate>) -> Decoded {
    let mut server = Server::with(70_000, deflate);
    server.decode(stream);
    server.into_decoded()
}

fn pieces() -> impl Strategy<Value = Vec<(usize, usize)>> {
    let size = prop_oneof![4 => 1..20usize, 2 => 1..500usize, 1 => 1..70_000usize];
    let count = prop_oneof![3 => Just(usize::MAX), 1 => 0..3usize];
    prop::collection::vec((size, count), 1..12)
}

proptest! {
    #[test]
    fn splits_of_client_streams_decode_alike(stream in client_streams(), pieces in pieces()) {
        prop_assert_eq!(decode_in_pieces(&stream, &pieces, None), decode_at_once(&stream, None));
    }

    #[test]
    fn splits_of_damaged_streams_decode_alike(stream in damaged_streams(), pieces in pieces()) {
        prop_assert_eq!(decode_in_pieces(&stream, &pieces, None), decode_at_once(&stream, None));
    }

    #[test]
    fn splits_of_garbage_decode_alike(stream in prop::collection::vec(any::<u8>(), 0..300), pieces in pieces()) {
        let deflate = negotiate("permessage-deflate");
        prop_assert_eq!(decode_in_pieces(&stream, &pieces, deflate), decode_at_once(&stream, deflate));
    }
}

#[test]
fn byte_by_byte() {
    let stream = [
        frame(0x01, "sm\u{f8}rrebr".as_bytes()),
        frame(0x89, b"?"),
        frame(0x80, "\u{f8}d".as_bytes()),
        frame(0x82, &[7; 70_000]),
        frame(0x88, b"\x03\xe8"),
    ]
    .concat();
    let at_once = decode_at_once(&stream, None);
    assert_eq!(at_once.0.len(), 4);
    assert_eq!(decode_in_pieces(&stream, &[(1, usize::MAX)], None), at_once);
}
