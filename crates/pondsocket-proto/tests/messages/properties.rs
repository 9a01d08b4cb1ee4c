//! Properties of every message, and of arbitrary bytes.

use pondsocket_proto::cluster::message::{Envelope, strict};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::any::envelope;

fn encoded(envelope: &Envelope) -> Vec<u8> {
    let mut out = Vec::new();
    envelope.encode(&mut out);
    out
}

/// Asserts that bytes that can be decoded survive encoding and decoding again unchanged.
fn holds_for(bytes: &[u8]) {
    if let Ok(read) = Envelope::decode(bytes) {
        assert_eq!(Envelope::decode(&encoded(&read)).as_ref(), Ok(&read));
    }
}

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_written(envelope in envelope()) {
        prop_assert_eq!(Envelope::decode(&encoded(&envelope)), Ok(envelope));
    }

    #[test]
    fn the_strictest_node_accepts_all_our_messages(envelope in envelope()) {
        let text = String::from_utf8(encoded(&envelope)).expect("UTF-8");
        prop_assert_eq!(strict::check(&text), Ok(()), "{}", text);
    }

    #[test]
    fn encoding_only_appends(envelope in envelope(), before in vec(any::<u8>(), 0..9)) {
        let mut out = before.clone();
        envelope.encode(&mut out);
        prop_assert_eq!(&out[..before.len()], &before[..]);
        prop_assert_eq!(&out[before.len()..], encoded(&envelope));
    }

    #[test]
    fn a_message_begins_with_its_signature(envelope in envelope()) {
        let (bytes, another) = (encoded(&envelope), envelope.source.to_string() + "x");
        prop_assert!(bytes.starts_with(&Envelope::beginning(&envelope.source)));
        prop_assert!(!bytes.starts_with(&Envelope::beginning(&another)));
    }

    #[test]
    fn no_bytes_cause_a_panic(bytes in vec(any::<u8>(), 0..200)) {
        holds_for(&bytes);
    }

    #[test]
    fn no_damage_to_a_message_causes_a_panic(
        envelope in envelope(),
        damages in vec((any::<Index>(), 0..12_usize, "[\\[\\]{}\",:0-9a-z\\\\ ]{0,4}"), 1..4),
    ) {
        let mut bytes = encoded(&envelope);
        for (at, cut, put) in damages {
            let at = at.index(bytes.len() + 1);
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, put.bytes());
        }
        holds_for(&bytes);
    }
}
