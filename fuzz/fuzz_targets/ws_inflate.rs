//! Any bytes as a compressed message: inflating must end, stay within the limit and not panic. The same bytes, compressed by
//! this codec, must inflate to themselves.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pondsocket_fuzz::{OwnedEvent, Receiver, deflate};
use pondsocket_proto::ws::{Deflater, Opcode, ProtocolError};

const LIMIT: usize = 64 * 1024;

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };

    let mut receiver = Receiver::new(LIMIT, deflate());
    receiver.feed(&client_frame(0xc2, data), usize::MAX);
    match (&receiver.events[..], receiver.error) {
        ([OwnedEvent::Binary(bytes)], None) => assert!(bytes.len() <= LIMIT),
        ([], Some(ProtocolError::InvalidDeflate | ProtocolError::TooLarge { .. })) => {}
        other => panic!("{other:?}"),
    }

    let mut frame = Vec::new();
    Deflater::new(9 + choice % 7).encode(Opcode::Binary, data, &mut frame);
    let (first, payload) = server_frame(&frame);
    let mut receiver = Receiver::new(LIMIT, deflate());
    receiver.feed(&client_frame(first, payload), usize::MAX);
    assert_eq!(receiver.events, [OwnedEvent::Binary(data.to_vec())]);
});

/// A frame with a masking key of zeros.
fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let mut frame = match length {
        0..126 => vec![first, 0x80 | length as u8],
        126..0x1_0000 => [&[first, 0xfe][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, 0xff][..], &(length as u64).to_be_bytes()].concat(),
    };
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

fn server_frame(frame: &[u8]) -> (u8, &[u8]) {
    let header = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    (frame[0], &frame[header..])
}
