//! Any bytes, in any pieces: the decoder must not panic, and must return the same events as for all bytes at once.
//!
//! The first byte selects compression (bit 0), a small limit (bit 1) and the share of the feeds after which only some events are
//! taken (bits 2 and 3). The second byte is the seed by which the rest, the stream, is cut into pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pondsocket_fuzz::{Receiver, deflate};

fuzz_target!(|data: &[u8]| {
    let Some((&[choice, seed], stream)) = data.split_first_chunk() else {
        return;
    };
    let deflate = if choice & 1 != 0 { deflate() } else { None };
    let limit = if choice & 2 != 0 { 64 } else { 4096 };
    let pause = choice >> 2 & 3;

    let mut at_once = Receiver::new(limit, deflate);
    at_once.feed(stream, usize::MAX);

    let mut in_pieces = Receiver::new(limit, deflate);
    let mut rest = stream;
    let mut state = u32::from(seed);
    while !rest.is_empty() {
        // A linear congruential generator is random enough to choose where to cut.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let longest = if seed & 1 == 0 { 4 } else { 40 };
        let (piece, after) = rest.split_at((1 + (state >> 16) as usize % longest).min(rest.len()));
        let some_only = pause != 0 && (state >> 24) % 4 < u32::from(pause);
        in_pieces.feed(piece, if some_only { (state >> 28) as usize % 3 } else { usize::MAX });
        rest = after;
    }
    in_pieces.feed(&[], usize::MAX);

    assert_eq!(at_once.events, in_pieces.events);
    assert_eq!(at_once.error, in_pieces.error);
    assert!(!in_pieces.decoder().has_pending());
    // A message and a control frame, each in a buffer that may have doubled its capacity, and the decoder's own state.
    assert!(in_pieces.decoder().buffered() <= 2 * limit + 1024);
});
