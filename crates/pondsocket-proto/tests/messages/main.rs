//! Messages between nodes: all messages of other languages are read, and all messages that we write are valid for them.

mod accepted;
mod any;
mod captured;
mod extended;
mod properties;
mod refused;

use pondsocket_proto::cluster::message::{Body, Envelope, Malformed};
use pondsocket_proto::wire::Object;
use serde_json::value::RawValue;

/// A message with these fields behind its envelope.
fn message(kind: &str, fields: &str) -> String {
    format!(
        r#"{{"protocol":"pondsocket.distributed","version":1,"type":"{kind}","messageId":"m","sourceNodeId":"n","endpointName":"a","channelName":"/c","timestamp":1,{fields}}}"#
    )
}

fn envelope(kind: &str, fields: &str) -> Result<Envelope, Malformed> {
    Envelope::decode(message(kind, fields).as_bytes())
}

fn body(kind: &str, fields: &str) -> Result<Body, Malformed> {
    envelope(kind, fields).map(|envelope| envelope.body)
}

fn object(text: &str) -> Object {
    let raw: &RawValue = serde_json::from_str(text).expect("JSON");
    Object::encode(raw).expect("an object")
}
