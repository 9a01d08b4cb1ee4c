//! The extension (`ext`) that our own nodes add to a message, and the treatment of one that is malformed.

use pondsocket_proto::cluster::message::{
    Body, ChannelState, Envelope, Ext, Fault, Malformed, NodeEvent, Part, PresenceEvent, UserState, strict,
};
use pondsocket_proto::cluster::{ChannelKey, NodeId, Verdict};
use pondsocket_proto::id::ChannelName;
use serde_json::{Value, json};

use crate::{message, object};

fn node(name: &str) -> NodeId {
    NodeId { name: name.into(), incarnation: 7 }
}

fn ext() -> Ext {
    Ext { node: node("web-1"), change: None, joined: None, request: None, have: vec![], own: None }
}

/// A message that `web-1` signs.
fn envelope(kind: &str, fields: &str) -> Result<Envelope, Malformed> {
    signed_by("web-1~7", kind, fields)
}

fn signed_by(source: &str, kind: &str, fields: &str) -> Result<Envelope, Malformed> {
    let text = message(kind, fields).replace(r#""sourceNodeId":"n""#, &format!(r#""sourceNodeId":"{source}""#));
    Envelope::decode(text.as_bytes())
}

fn key() -> ChannelKey {
    ChannelKey { endpoint: "a".into(), channel: ChannelName::new("/c", 10).expect("a name") }
}

fn state() -> ChannelState {
    let user = |id: &str, presence: Option<&str>, joined| UserState {
        id: id.into(),
        assigns: Default::default(),
        presence: presence.map(object),
        joined,
    };
    let users = vec![user("u1", Some("{}"), 9), user("u2", None, 0)];
    ChannelState { channel: key(), version: 5, users, part: None }
}

fn encoded(body: Body, ext: Ext) -> Value {
    let channel = matches!(body, Body::Digest { .. } | Body::UserLeft { .. } | Body::PresenceUpdate { .. }).then(key);
    let source = ext.node.source().into();
    let envelope = Envelope { id: "m".into(), source, channel, timestamp: 1, body, ext: Some(ext) };
    let mut out = Vec::new();
    envelope.encode(&mut out);
    let text = String::from_utf8(out).expect("UTF-8");
    assert_eq!(strict::check(&text), Ok(()), "{text}");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn additions_to_a_message() {
    let left = || Body::UserLeft { user: "u".into() };
    assert_eq!(
        encoded(left(), ext()),
        json!({
            "protocol": "pondsocket.distributed", "version": 1, "type": "USER_LEFT", "messageId": "m",
            "sourceNodeId": "web-1~7", "endpointName": "a", "channelName": "/c", "timestamp": 1, "userId": "u",
            "ext": { "v": 1, "n": "web-1", "i": 7 },
        })
    );
    let full = Ext {
        change: Some((0, 3)),
        joined: Some(9),
        request: Some("q".into()),
        have: vec![(node("\"web\"-2"), 4)],
        own: Some(state()),
        ..ext()
    };
    assert_eq!(
        encoded(left(), full)["ext"],
        json!({
            "v": 1, "n": "web-1", "i": 7, "p": [0, 3], "j": 9, "w": "q", "have": { "\"web\"-2": [7, 4] },
            "st": {
                "e": "a", "c": "/c", "ver": 5,
                "u": [{ "id": "u1", "assigns": {}, "presence": {}, "j": 9 }, { "id": "u2", "assigns": {} }],
            },
        })
    );
}

#[test]
fn presence_has_the_kind_of_its_change() {
    for (event, word) in [(PresenceEvent::Join, "JOIN"), (PresenceEvent::Update, "UPDATE")] {
        let body = Body::PresenceUpdate { user: "u".into(), presence: object(r#"{"s":1}"#), event: Some(event) };
        assert_eq!(encoded(body, ext())["presenceEvent"], word);
    }
    let body = Body::PresenceUpdate { user: "u".into(), presence: object("{}"), event: None };
    assert_eq!(encoded(body, ext()).get("presenceEvent"), None);
}

#[test]
fn types_of_our_own_nodes() {
    let encoded = |body, kind: &str, place: &str| {
        let mut encoded = encoded(body, ext());
        assert_eq!(encoded["type"], kind);
        assert_eq!((&encoded["endpointName"], &encoded["channelName"]), (&json!(place), &json!(place)), "{kind}");
        let ext = encoded["ext"].as_object_mut().expect("an object");
        ext.retain(|key, _| !["v", "n", "i"].contains(&&**key));
        Value::from(ext.clone())
    };
    let users = json!([{ "id": "u1", "assigns": {}, "presence": {}, "j": 9 }, { "id": "u2", "assigns": {} }]);
    assert_eq!(
        encoded(Body::State(vec![state()]), "X_STATE", "__node__"),
        json!({ "states": [{ "e": "a", "c": "/c", "ver": 5, "u": users }] })
    );
    let part = ChannelState { users: vec![], part: Some(Part { index: 1, of: 3 }), ..state() };
    assert_eq!(
        encoded(Body::State(vec![part]), "X_STATE", "__node__"),
        json!({ "states": [{ "e": "a", "c": "/c", "ver": 5, "part": [1, 3], "u": [] }] })
    );
    assert_eq!(encoded(Body::Repair(vec![key()]), "X_REPAIR", "__node__"), json!({ "of": [["a", "/c"]] }));
    let ack = |verdict| encoded(Body::Ack { request: "q".into(), verdict }, "X_ACK", "__node__");
    assert_eq!(ack(Verdict::Done), json!({ "re": "q", "is": "done" }));
    assert_eq!(ack(Verdict::NotFound), json!({ "re": "q", "is": "notFound" }));
    assert_eq!(ack(Verdict::Refused), json!({ "re": "q", "is": "refused" }));
    let event = |event| encoded(Body::Node(event), "X_NODE", "__cluster__");
    assert_eq!(event(NodeEvent::Hello), json!({ "ev": "hello" }));
    assert_eq!(event(NodeEvent::Bye), json!({ "ev": "bye" }));
    assert_eq!(event(NodeEvent::HistoryRestarted), json!({ "ev": "history" }));
    assert_eq!(event(NodeEvent::SessionClaimed("s".into())), json!({ "ev": "session", "key": "s" }));
    assert_eq!(event(NodeEvent::Down(node("web-2"))), json!({ "ev": "down", "who": ["web-2", 7] }));
}

#[test]
fn a_digest_names_a_channel_and_its_hash_is_a_text() {
    let encoded = encoded(Body::Digest { version: 5, count: 2, hash: 0xab }, ext());
    assert_eq!(
        (&encoded["type"], &encoded["endpointName"], &encoded["channelName"]),
        (&json!("X_DIGEST"), &json!("a"), &json!("/c"))
    );
    let body = json!({ "v": 1, "n": "web-1", "i": 7, "ver": 5, "count": 2, "hash": "00000000000000ab" });
    assert_eq!(encoded["ext"], body);
}

#[test]
fn an_unknown_ext_makes_its_sender_a_foreign_node() {
    for ext in [
        "5",
        "null",
        "[]",
        "{}",
        r#"[1,"web-1",7]"#,
        r#"{"v":1,"n":"web-1"}"#,
        r#"{"v":1,"i":7}"#,
        r#"{"n":"web-1","i":7}"#,
        r#"{"v":2,"n":"web-1","i":7,"p":"of another kind"}"#,
        r#"{"v":"1","n":"web-1","i":7}"#,
        r#"{"v":1,"n":"","i":7}"#,
        r#"{"v":1,"n":"web-1","i":9007199254740992}"#,
        r#"{"v":1,"n":"web-1","n":"web-1","i":7}"#,
    ] {
        let left = envelope("USER_LEFT", &format!(r#""userId":"u","ext":{ext}"#)).expect("a message");
        assert_eq!((left.body, left.ext), (Body::UserLeft { user: "u".into() }, None), "{ext}");
        for kind in ["X_STATE", "X_REPAIR", "X_DIGEST", "X_ACK", "X_NODE"] {
            assert_eq!(envelope(kind, &format!(r#""ext":{ext}"#)), Err(Malformed::UnknownType), "{kind}: {ext}");
        }
    }
    assert_eq!(envelope("X_STATE", r#""users":[]"#), Err(Malformed::UnknownType));
}

#[test]
fn a_broken_ext_of_ours_makes_the_message_invalid() {
    for (name, value) in [
        ("ext.p", r#""p":5"#),
        ("ext.p", r#""p":[1]"#),
        ("ext.p", r#""p":[1,2,3]"#),
        ("ext.p", r#""p":[1,"2"]"#),
        ("ext.p", r#""p":[1,9007199254740992]"#),
        ("ext.j", r#""j":"9""#),
        ("ext.w", r#""w":5"#),
        ("ext.have", r#""have":[]"#),
        ("ext.have", r#""have":{"web-2":4}"#),
        ("ext.have", r#""have":{"web-2":[7,-4]}"#),
        ("ext.st", r#""st":[]"#),
        ("ext.st", r#""st":{"e":"a","c":"/c","u":[]}"#),
        ("ext.st", r#""st":{"e":"a","ver":1,"u":[]}"#),
    ] {
        let broken = envelope("USER_LEFT", &format!(r#""userId":"u","ext":{{"v":1,"n":"web-1","i":7,{value}}}"#));
        assert_eq!(broken, Err(Malformed::Field(name, Fault::Kind)), "{value}");
    }
    let nulls = r#""userId":"u","ext":{"v":1,"n":"web-1","i":7,"p":null,"j":null,"w":null,"have":null,"st":null}"#;
    assert_eq!(envelope("USER_LEFT", nulls).expect("a message").ext, Some(ext()));
    let unknown = r#""userId":"u","ext":{"v":1,"n":"web-1","i":7,"unknown":[]}"#;
    assert_eq!(envelope("USER_LEFT", unknown).expect("a message").ext, Some(ext()));
}

#[test]
fn an_ext_of_another_node_than_the_signer_is_invalid() {
    let ext = r#""userId":"u","ext":{"v":1,"n":"web-1","i":7,"p":[1,2]}"#;
    for source in ["web-2~7", "web-1~8", "web-1", "web-1~07", "n"] {
        let forged = Malformed::Field("ext.n", Fault::Signature);
        assert_eq!(signed_by(source, "USER_LEFT", ext), Err(forged), "{source}");
    }
    assert_eq!(signed_by("web-1~7", "USER_LEFT", ext).expect("a message").ext.expect("ours").change, Some((1, 2)));
}

#[test]
fn required_keys_of_our_types() {
    for (kind, name, value) in [
        ("X_STATE", "ext.states", r#""states":{}"#),
        ("X_STATE", "ext.states", r#""states":[5]"#),
        ("X_STATE", "ext.states", r#""states":[{"e":"a","c":"/c","ver":5,"u":[],"part":[3,3]}]"#),
        ("X_REPAIR", "ext.of", r#""of":[["a"]]"#),
        ("X_REPAIR", "ext.of", r#""of":[["a",5]]"#),
        ("X_DIGEST", "ext.ver", r#""count":1,"hash":"0""#),
        ("X_DIGEST", "ext.count", r#""ver":1,"hash":"0""#),
        ("X_DIGEST", "ext.hash", r#""ver":1,"count":1"#),
        ("X_DIGEST", "ext.hash", r#""ver":1,"count":1,"hash":"x""#),
        ("X_DIGEST", "ext.hash", r#""ver":1,"count":1,"hash":"10000000000000000""#),
        ("X_ACK", "ext.re", r#""is":"done""#),
        ("X_ACK", "ext.is", r#""re":"q""#),
        ("X_ACK", "ext.is", r#""re":"q","is":"perhaps""#),
        ("X_NODE", "ext.ev", r#""who":["a",1]"#),
        ("X_NODE", "ext.who", r#""ev":"down""#),
        ("X_NODE", "ext.who", r#""ev":"down","who":["a"]"#),
    ] {
        let broken = envelope(kind, &format!(r#""ext":{{"v":1,"n":"web-1","i":7,{value}}}"#));
        assert_eq!(broken, Err(Malformed::Field(name, Fault::Kind)), "{kind}: {value}");
    }
    for (kind, name) in [("X_STATE", "ext.states"), ("X_REPAIR", "ext.of")] {
        let empty = envelope(kind, r#""ext":{"v":1,"n":"web-1","i":7}"#);
        assert_eq!(empty, Err(Malformed::Field(name, Fault::Kind)), "{kind}");
    }
    // Events may be added: nodes that do not know them go on.
    let unknown = envelope("X_NODE", r#""ext":{"v":1,"n":"web-1","i":7,"ev":"sings"}"#);
    assert_eq!(unknown, Err(Malformed::UnknownType));
}
