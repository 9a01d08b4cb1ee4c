//! Any bytes as a message of another node: decoding must not panic; what is accepted must be complete and safe to pass
//! on, must be accepted by the strictest node when we say it again, and must be the same when we read that.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pondsocket_proto::cluster::message::{Body, Envelope, MAX_ID, strict};
use pondsocket_proto::wire::client;

fuzz_target!(|bytes: &[u8]| match Envelope::decode(bytes) {
    Ok(envelope) => {
        assert!((1..=MAX_ID).contains(&envelope.id.len()));
        assert!((1..=MAX_ID).contains(&envelope.source.len()));
        if let Body::UserMessage(message) = &envelope.body {
            assert!(!message.request_id.is_empty());
            assert!(passes_as_of_a_client(message.payload.as_str()));
        }
        let mut again = Vec::new();
        envelope.encode(&mut again);
        let text = std::str::from_utf8(&again).expect("UTF-8");
        // Nodes of other languages may tell a change without all assigns; we never do.
        if !matches!(envelope.body, Body::AssignsUpdate { assigns: None, .. }) {
            assert_eq!(strict::check(text), Ok(()), "{text}");
        }
        assert_eq!(Envelope::decode(&again).as_ref(), Ok(&envelope), "{text}");
    }
    Err(malformed) => assert!(!malformed.to_string().is_empty()),
});

/// Whether a client of ours could have sent it, so that it harms no other client.
fn passes_as_of_a_client(payload: &str) -> bool {
    client::decode(&format!(
        r#"{{"action":"BROADCAST","event":"e","channelName":"c","requestId":"r","payload":{payload}}}"#
    ))
    .is_ok()
}
