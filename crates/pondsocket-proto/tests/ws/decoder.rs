//! Frames, fragments and control frames (RFC 6455 sections 5 to 8).

use pondsocket_proto::ws::{Decoder, DecoderLimits, Event, ProtocolError, Scratch};

use crate::peer::{Decoded, OwnedEvent, Server, decode, frame, header};

fn text(text: &str) -> OwnedEvent {
    OwnedEvent::Text(text.to_owned())
}

fn refused(error: ProtocolError) -> Decoded {
    (vec![], Some(error))
}

#[test]
fn the_examples_of_the_rfc() {
    // RFC 6455 section 5.7.
    let masked_hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(decode(masked_hello), (vec![text("Hello")], None));
    let masked_pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(decode(masked_pong), (vec![OwnedEvent::Pong(b"Hello".to_vec())], None));
}

#[test]
fn a_complete_message_is_lent_in_place() {
    let mut decoder = Decoder::new(DecoderLimits { max_message_size: 1024 }, None);
    let mut scratch = Scratch::default();
    let mut bytes = frame(0x82, b"in place");
    let within = bytes.as_ptr_range();
    let mut input = decoder.feed(&mut bytes, &mut scratch);
    let Some(Ok(Event::Binary(payload))) = input.next() else {
        panic!("a binary message");
    };
    assert_eq!(payload, b"in place");
    assert!(within.contains(&payload.as_ptr()));
    drop(input);
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn control_frames_may_stand_between_fragments() {
    let stream = [
        frame(0x01, "h\u{e9}".as_bytes()),
        frame(0x89, b"are you there"),
        frame(0x00, b""),
        frame(0x00, b"ll"),
        frame(0x8a, b""),
        frame(0x80, b"o"),
        frame(0x82, b"next"),
    ];
    let expected = vec![
        OwnedEvent::Ping(b"are you there".to_vec()),
        OwnedEvent::Pong(vec![]),
        text("h\u{e9}llo"),
        OwnedEvent::Binary(b"next".to_vec()),
    ];
    assert_eq!(decode(&stream.concat()), (expected, None));
}

#[test]
fn a_control_frame_that_is_cut_does_not_mix_with_the_message_around_it() {
    let mut server = Server::new(100);
    let ping = frame(0x89, b"ping");
    server.decode(&[frame(0x01, b"mess"), ping[..8].to_vec()].concat());
    server.decode(&[ping[8..].to_vec(), frame(0x80, b"age")].concat());
    assert_eq!(server.into_decoded(), (vec![OwnedEvent::Ping(b"ping".to_vec()), text("message")], None));
}

#[test]
fn fragments_must_be_in_order() {
    assert_eq!(decode(&frame(0x80, b"x")), refused(ProtocolError::UnexpectedContinuation));
    let nested = [frame(0x01, b"x"), frame(0x81, b"y")].concat();
    assert_eq!(decode(&nested), refused(ProtocolError::ExpectedContinuation));
    let after = [frame(0x01, b"x"), frame(0x80, b"y"), frame(0x80, b"z")].concat();
    assert_eq!(decode(&after), (vec![text("xy")], Some(ProtocolError::UnexpectedContinuation)));
}

#[test]
fn the_compression_bit_needs_an_agreement() {
    assert_eq!(decode(&frame(0xc1, b"x")), refused(ProtocolError::ReservedBits));
}

#[test]
fn text_must_be_utf8() {
    assert_eq!(decode(&frame(0x81, b"\xff")), refused(ProtocolError::InvalidUtf8));
    let cut = [frame(0x01, b"\xe2\x82"), frame(0x80, b"\xac")].concat();
    assert_eq!(decode(&cut), (vec![text("\u{20ac}")], None));
    let unfinished = [frame(0x01, b"\xe2\x82"), frame(0x80, b"")].concat();
    assert_eq!(decode(&unfinished), refused(ProtocolError::InvalidUtf8));
}

#[test]
fn wrong_text_is_refused_before_its_frame_is_complete() {
    let mut server = Server::new(100);
    server.decode(&frame(0x81, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x8f....")[..6 + 12]);
    assert_eq!(server.error, None);
    let bytes = frame(0x81, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90....");
    let mut server = Server::new(100);
    server.decode(&bytes[..6 + 12]);
    assert_eq!(server.error, None);
    server.decode(&bytes[6 + 12..6 + 13]);
    assert_eq!(server.error, Some(ProtocolError::InvalidUtf8));
}

#[test]
fn closes() {
    let close = |payload: &[u8]| decode(&frame(0x88, payload));
    assert_eq!(close(b""), (vec![OwnedEvent::Close(None)], None));
    let going_away = OwnedEvent::Close(Some((1001, "bye".to_owned())));
    assert_eq!(close(b"\x03\xe9bye"), (vec![going_away], None));
    assert_eq!(close(b"\x03"), refused(ProtocolError::CloseTooShort));
    assert_eq!(close(b"\x03\xed"), refused(ProtocolError::CloseCode(1005)));
    assert_eq!(close(b"\x03\xe8\xff"), refused(ProtocolError::InvalidUtf8));
}

#[test]
fn nothing_is_decoded_after_a_close() {
    let mut server = Server::new(100);
    server.decode(&[frame(0x88, b""), frame(0x81, b"still here")].concat());
    server.decode(&frame(0x81, b"and here"));
    assert_eq!(server.decoder.buffered(), 0);
    assert!(!server.decoder.has_pending());
    assert_eq!(server.into_decoded(), (vec![OwnedEvent::Close(None)], None));
}

#[test]
fn nothing_is_decoded_after_a_violation() {
    let mut server = Server::new(100);
    server.decode(&[frame(0x01, b"x"), frame(0x83, b""), frame(0x80, b"y")].concat());
    server.decode(&frame(0x81, b"sorry"));
    assert_eq!(server.decoder.buffered(), 0);
    assert_eq!(server.into_decoded(), refused(ProtocolError::ReservedOpcode(3)));
}

#[test]
fn events_that_were_not_taken_are_kept() {
    let mut server = Server::new(100);
    let stream = [frame(0x81, b"a"), frame(0x81, b"b"), frame(0x81, b"c"), frame(0x81, b"d")];
    let stream = stream.concat();
    server.decode_at_most(1, &stream[..24]); // d is incomplete
    assert!(server.decoder.has_pending());
    server.decode_at_most(1, &[]);
    assert!(server.decoder.has_pending());
    server.decode(&stream[24..]);
    assert!(!server.decoder.has_pending());
    assert_eq!(server.decoder.buffered(), 0);
    assert_eq!(server.events, [text("a"), text("b"), text("c"), text("d")]);
}

#[test]
fn an_incomplete_frame_is_not_pending() {
    let mut server = Server::new(100);
    server.decode(&header(0x81, 100));
    assert!(!server.decoder.has_pending());
    assert!(server.decoder.buffered() > 0);
}
