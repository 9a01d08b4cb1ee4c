//! What nodes of other languages have said, word for word.

use pondsocket_proto::cluster::Topics;
use pondsocket_proto::cluster::message::Envelope;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Captured<'a> {
    from: String,
    topic: String,
    #[serde(borrow)]
    message: &'a RawValue,
}

fn captured() -> Vec<Captured<'static>> {
    include_str!("captured.jsonl").lines().map(|line| serde_json::from_str(line).expect("a captured message")).collect()
}

fn decode(text: &str) -> Envelope {
    Envelope::decode(text.as_bytes()).unwrap_or_else(|malformed| panic!("{text}: {malformed}"))
}

#[test]
fn every_message_fits_its_topic_and_is_said_again_by_us_in_the_same_way() {
    let topics = Topics::new("pondsocket", "default");
    for Captured { from, topic, message } in captured() {
        let decoded = decode(message.get());
        assert!(topics.fits(&topic, &decoded), "{from}: {topic}");
        let mut out = Vec::new();
        decoded.encode(&mut out);
        let (said, again): (Value, Value) =
            (serde_json::from_str(message.get()).expect("JSON"), serde_json::from_slice(&out).expect("JSON"));
        assert_eq!(said, again, "{from}");
    }
}
