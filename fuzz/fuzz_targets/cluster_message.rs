//! Any bytes as a message of another node: decoding must not panic. An accepted message must be complete and safe to pass on; when
//! it is encoded again, the strictest node must accept it, and decoding it must give the same message.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pondsocket_proto::cluster::message::{Body, Envelope, MAX_ID, Malformed, ReceivedMessage, strict};
use pondsocket_proto::cluster::{Topic, Topics};
use pondsocket_proto::wire::client;

fuzz_target!(|bytes: &[u8]| {
    let topics = Topics::new("p", "n");
    let topic = Topic::from("p:v1:n:api:/c");
    let decoded = Envelope::decode(bytes);
    // Both decoders agree about a message that both read.
    if let Some(received) = ReceivedMessage::read(&topics, &topic, bytes) {
        assert!(is_valid_client_payload(received.message().payload));
        match &decoded {
            Ok(Envelope { body: Body::UserMessage(message), .. }) => assert_eq!(received.message(), message.as_ref()),
            Ok(other) => panic!("{other:?}"),
            Err(_) => assert!(bytes.starts_with(b"{\"s\":"), "only the short form is read by one of the two"),
        }
    }
    check(decoded);
});

fn check(decoded: Result<Envelope, Malformed>) {
    match decoded {
        Ok(envelope) => {
            assert!((1..=MAX_ID).contains(&envelope.id.len()));
            assert!((1..=MAX_ID).contains(&envelope.source.len()));
            if let Body::UserMessage(message) = &envelope.body {
                assert!(!message.request_id.is_empty());
                assert!(is_valid_client_payload(message.payload.as_str()));
            }
            let mut again = Vec::new();
            envelope.encode(&mut again);
            let text = std::str::from_utf8(&again).expect("UTF-8");
            // Servers in other languages may send a change without all assigns; this one never does.
            if !matches!(envelope.body, Body::AssignsUpdate { assigns: None, .. }) {
                assert_eq!(strict::check(text), Ok(()), "{text}");
            }
            assert_eq!(Envelope::decode(&again).as_ref(), Ok(&envelope), "{text}");
        }
        Err(malformed) => assert!(!malformed.to_string().is_empty()),
    }
}

/// Returns `true` if a client could have sent the payload, so that it is safe to pass on to clients.
fn is_valid_client_payload(payload: &str) -> bool {
    client::decode(&format!(
        r#"{{"action":"BROADCAST","event":"e","channelName":"c","requestId":"r","payload":{payload}}}"#
    ))
    .is_ok()
}
