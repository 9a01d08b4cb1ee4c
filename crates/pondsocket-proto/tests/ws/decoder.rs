//! Frames, fragments and control frames (RFC 6455 sections 5 to 8).

use pondsocket_proto::ws::{Decoder, DecoderLimits, Event, ProtocolError, Scratch};

use crate::peer::{Conversation, Said, Server, frame, header, hear};

fn text(text: &str) -> Said {
    Said::Text(text.to_owned())
}

fn refused(error: ProtocolError) -> Conversation {
    (vec![], Some(error))
}

#[test]
fn the_examples_of_the_rfc() {
    // RFC 6455 section 5.7.
    let masked_hello = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(hear(masked_hello), (vec![text("Hello")], None));
    let masked_pong = b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
    assert_eq!(hear(masked_pong), (vec![Said::Pong(b"Hello".to_vec())], None));
}

#[test]
fn a_message_that_is_all_there_is_lent_where_it_lies() {
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
        Said::Ping(b"are you there".to_vec()),
        Said::Pong(vec![]),
        text("h\u{e9}llo"),
        Said::Binary(b"next".to_vec()),
    ];
    assert_eq!(hear(&stream.concat()), (expected, None));
}

#[test]
fn a_control_frame_that_is_cut_does_not_mix_with_the_message_around_it() {
    let mut server = Server::new(100);
    let ping = frame(0x89, b"ping");
    server.hear(&[frame(0x01, b"mess"), ping[..8].to_vec()].concat());
    server.hear(&[ping[8..].to_vec(), frame(0x80, b"age")].concat());
    assert_eq!(server.conversation(), (vec![Said::Ping(b"ping".to_vec()), text("message")], None));
}

#[test]
fn fragments_come_in_order() {
    assert_eq!(hear(&frame(0x80, b"x")), refused(ProtocolError::UnexpectedContinuation));
    let nested = [frame(0x01, b"x"), frame(0x81, b"y")].concat();
    assert_eq!(hear(&nested), refused(ProtocolError::ExpectedContinuation));
    let after = [frame(0x01, b"x"), frame(0x80, b"y"), frame(0x80, b"z")].concat();
    assert_eq!(hear(&after), (vec![text("xy")], Some(ProtocolError::UnexpectedContinuation)));
}

#[test]
fn the_compression_bit_needs_an_agreement() {
    assert_eq!(hear(&frame(0xc1, b"x")), refused(ProtocolError::ReservedBits));
}

#[test]
fn text_must_be_utf8() {
    assert_eq!(hear(&frame(0x81, b"\xff")), refused(ProtocolError::InvalidUtf8));
    let cut = [frame(0x01, b"\xe2\x82"), frame(0x80, b"\xac")].concat();
    assert_eq!(hear(&cut), (vec![text("\u{20ac}")], None));
    let unfinished = [frame(0x01, b"\xe2\x82"), frame(0x80, b"")].concat();
    assert_eq!(hear(&unfinished), refused(ProtocolError::InvalidUtf8));
}

#[test]
fn wrong_text_is_refused_before_its_frame_is_complete() {
    let mut server = Server::new(100);
    server.hear(&frame(0x81, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x8f....")[..6 + 12]);
    assert_eq!(server.error, None);
    let bytes = frame(0x81, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90....");
    let mut server = Server::new(100);
    server.hear(&bytes[..6 + 12]);
    assert_eq!(server.error, None);
    server.hear(&bytes[6 + 12..6 + 13]);
    assert_eq!(server.error, Some(ProtocolError::InvalidUtf8));
}

#[test]
fn closes() {
    let close = |payload: &[u8]| hear(&frame(0x88, payload));
    assert_eq!(close(b""), (vec![Said::Close(None)], None));
    let going_away = Said::Close(Some((1001, "bye".to_owned())));
    assert_eq!(close(b"\x03\xe9bye"), (vec![going_away], None));
    assert_eq!(close(b"\x03"), refused(ProtocolError::CloseTooShort));
    assert_eq!(close(b"\x03\xed"), refused(ProtocolError::CloseCode(1005)));
    assert_eq!(close(b"\x03\xe8\xff"), refused(ProtocolError::InvalidUtf8));
}

#[test]
fn nothing_is_heard_after_a_close() {
    let mut server = Server::new(100);
    server.hear(&[frame(0x88, b""), frame(0x81, b"still here")].concat());
    server.hear(&frame(0x81, b"and here"));
    assert_eq!(server.decoder.buffered(), 0);
    assert!(!server.decoder.has_pending());
    assert_eq!(server.conversation(), (vec![Said::Close(None)], None));
}

#[test]
fn nothing_is_heard_after_a_mistake() {
    let mut server = Server::new(100);
    server.hear(&[frame(0x01, b"x"), frame(0x83, b""), frame(0x80, b"y")].concat());
    server.hear(&frame(0x81, b"sorry"));
    assert_eq!(server.decoder.buffered(), 0);
    assert_eq!(server.conversation(), refused(ProtocolError::ReservedOpcode(3)));
}

#[test]
fn what_was_not_asked_for_is_kept() {
    let mut server = Server::new(100);
    let stream = [frame(0x81, b"a"), frame(0x81, b"b"), frame(0x81, b"c"), frame(0x81, b"d")];
    let stream = stream.concat();
    server.hear_at_most(1, &stream[..24]); // d is incomplete
    assert!(server.decoder.has_pending());
    server.hear_at_most(1, &[]);
    assert!(server.decoder.has_pending());
    server.hear(&stream[24..]);
    assert!(!server.decoder.has_pending());
    assert_eq!(server.decoder.buffered(), 0);
    assert_eq!(server.heard, [text("a"), text("b"), text("c"), text("d")]);
}

#[test]
fn an_incomplete_frame_is_not_pending() {
    let mut server = Server::new(100);
    server.hear(&header(0x81, 100));
    assert!(!server.decoder.has_pending());
    assert!(server.decoder.buffered() > 0);
}
