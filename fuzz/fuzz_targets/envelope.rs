//! Any text as a client's message: decoding must not panic. An accepted message must be complete and safe to pass on, and a
//! rejected one must have an error that can be sent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pondsocket_proto::wire::client::{ClientMessage, decode};

fuzz_target!(|text: &str| match decode(text) {
    Ok(ClientMessage::Ping) => {}
    Ok(ClientMessage::Join(envelope) | ClientMessage::Leave(envelope) | ClientMessage::Event(envelope)) => {
        assert!(!envelope.event.is_empty());
        assert!(!envelope.channel.is_empty());
        assert!(!envelope.request_id.is_empty());
        let payload: Result<serde_json::Value, _> = serde_json::from_str(envelope.payload);
        assert!(payload.is_ok(), "{payload:?}");
    }
    Err(malformed) => {
        assert!([400, 404].contains(&malformed.code));
        assert!(!malformed.reason.to_string().is_empty());
        if let Some(details) = malformed.details() {
            assert!(details.starts_with('{'));
        }
    }
});
