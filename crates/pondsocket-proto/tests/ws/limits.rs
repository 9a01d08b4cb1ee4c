//! Limits on the memory that a peer can make a decoder hold.

use pondsocket_proto::ws::{Decoder, DecoderLimits, ProtocolError, Scratch};

use crate::peer::{OwnedEvent, Server, frame, header};

const LIMIT: usize = 1000;
const TOO_LARGE: Option<ProtocolError> = Some(ProtocolError::TooLarge { limit: LIMIT });

#[test]
fn an_idle_connection_is_small() {
    assert!(size_of::<Decoder>() <= 32, "{}", size_of::<Decoder>());
    let server = Server::new(LIMIT);
    assert_eq!(server.decoder.buffered(), 0);
}

#[test]
fn the_limit_itself_is_allowed() {
    let mut server = Server::new(LIMIT);
    server.decode(&frame(0x82, &[7; LIMIT]));
    server.decode(&[frame(0x02, &[7; LIMIT - 1]), frame(0x00, &[7]), frame(0x80, b"")].concat());
    assert_eq!(server.into_decoded(), (vec![OwnedEvent::Binary(vec![7; LIMIT]); 2], None));
}

#[test]
fn an_announced_length_is_refused_before_anything_of_it_arrives() {
    for length in [LIMIT as u64 + 1, 1 << 40, i64::MAX as u64] {
        let mut server = Server::new(LIMIT);
        server.decode(&[header(0x82, length), vec![0; 4]].concat());
        assert_eq!(server.error, TOO_LARGE);
        assert_eq!(server.decoder.buffered(), 0);
    }
}

#[test]
fn fragments_are_counted_together() {
    let mut server = Server::new(LIMIT);
    server.decode(&frame(0x01, &[b'x'; LIMIT - 1]));
    server.decode(&frame(0x00, b"x"));
    server.decode(&frame(0x89, &[0; 125])); // no part of the message
    assert_eq!(server.error, None);
    server.decode(&header(0x00, 1));
    server.decode(&[0; 4]);
    assert_eq!(server.error, TOO_LARGE);
}

#[test]
fn a_flood_of_fragments_holds_no_more_than_their_bytes() {
    let mut server = Server::new(LIMIT);
    server.decode(&frame(0x02, b""));
    let empty = frame(0x00, b"");
    for _ in 0..100_000 {
        server.decode(&empty);
    }
    assert!(server.decoder.buffered() < 512, "{}", server.decoder.buffered());

    let single = frame(0x00, b"x");
    for _ in 0..LIMIT {
        server.decode(&single);
    }
    assert!(server.decoder.buffered() < 2 * LIMIT + 512, "{}", server.decoder.buffered());
    assert_eq!(server.error, None);
    server.decode(&single);
    assert_eq!(server.error, TOO_LARGE);
    assert_eq!(server.decoder.buffered(), 0);
}

#[test]
fn memory_grows_with_what_arrives_and_not_with_what_is_announced() {
    let mut server = Server::new(1 << 30);
    server.decode(&[header(0x82, 1 << 30), vec![0; 4]].concat());
    for byte in 1..=100_000 {
        server.decode(&[7]);
        if byte % 1000 == 0 {
            let held = server.decoder.buffered();
            assert!(held < 2 * byte + 512, "{held} for {byte}");
        }
    }
    assert_eq!(server.error, None);
}

#[test]
fn memory_is_given_back_after_a_large_message() {
    let message = frame(0x82, &vec![7; 1 << 20]);
    let mut server = Server::new(1 << 20);
    for piece in message.chunks(1400) {
        server.decode(piece);
    }
    assert_eq!(server.events.len(), 1);
    assert_eq!(server.decoder.buffered(), 0);
    server.decode(&message);
    assert_eq!(server.events.len(), 2);
    assert_eq!(server.decoder.buffered(), 0);
}

#[test]
fn taking_buffered_events_one_at_a_time_is_not_quadratic() {
    const FRAMES: usize = 100_000;
    let mut flood = frame(0x82, b"").repeat(FRAMES);
    let mut decoder = Decoder::new(DecoderLimits { max_message_size: LIMIT }, None);
    let mut scratch = Scratch::default();
    drop(decoder.feed(&mut flood, &mut scratch));
    // Moving what is left each time would be 30 GB of copying.
    for _ in 0..FRAMES {
        assert!(decoder.has_pending());
        assert!(matches!(decoder.feed(&mut [], &mut scratch).next(), Some(Ok(_))));
    }
    assert_eq!(decoder.buffered(), 0);
}
