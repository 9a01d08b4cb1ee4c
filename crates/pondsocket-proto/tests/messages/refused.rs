//! Malformed messages, which are refused and can do no harm to the receiver.

use pondsocket_proto::cluster::message::{Envelope, Fault, MAX_ID, MAX_NAME, Malformed};
use pondsocket_proto::id::InvalidId;
use pondsocket_proto::wire::Unsafe;

use crate::{body, message};

fn refused(text: &str) -> Malformed {
    Envelope::decode(text.as_bytes()).expect_err(text)
}

fn refused_body(kind: &str, fields: &str) -> Malformed {
    refused(&message(kind, fields))
}

fn field(name: &'static str) -> Malformed {
    Malformed::Field(name, Fault::Kind)
}

/// A message with another value in one field of its envelope; without the field if there is none.
fn with(name: &str, value: Option<&str>) -> String {
    let text = message("USER_LEFT", r#""userId":"u""#);
    let begin = text.find(&format!("\"{name}\"")).expect("a field");
    let end = begin + text[begin..].find(',').expect("another field") + 1;
    let put = value.map_or(String::new(), |value| format!("\"{name}\":{value},"));
    format!("{}{put}{}", &text[..begin], &text[end..])
}

#[test]
fn a_message_that_is_no_json_object() {
    let half = message("USER_LEFT", r#""userId":"u""#);
    for text in ["", "{", "5", "null", "[]", "\"USER_LEFT\"", "[\"pondsocket.distributed\",1]", "{}x", "{'a':1}"] {
        assert_eq!(refused(text), Malformed::NotAnObject, "{text}");
    }
    assert_eq!(refused(&half[..half.len() - 1]), Malformed::NotAnObject);
    assert_eq!(Envelope::decode(b"{\"a\":\"\xff\"}"), Err(Malformed::NotAnObject));
}

#[test]
fn messages_of_newer_nodes_can_be_ignored() {
    assert_eq!(refused("{}"), Malformed::Foreign);
    for (name, value) in [
        ("protocol", Some("\"pondsocket\"")),
        ("protocol", None),
        ("version", Some("2")),
        ("version", Some("1.0")),
        ("version", Some("\"1\"")),
        ("version", None),
    ] {
        assert_eq!(refused(&with(name, value)), Malformed::Foreign, "{name}: {value:?}");
    }
    assert_eq!(refused(&with("type", Some("\"USER_STAYS\""))), Malformed::UnknownType);
    assert!(Malformed::Foreign.is_ignorable() && Malformed::UnknownType.is_ignorable());
    for mistake in [Malformed::NotAnObject, Malformed::Repeated, field("userId")] {
        assert!(!mistake.is_ignorable());
    }
}

#[test]
fn an_incomplete_envelope() {
    for name in ["type", "messageId", "sourceNodeId", "endpointName", "channelName"] {
        for value in [None, Some("null"), Some("5"), Some("[]")] {
            assert!(matches!(refused(&with(name, value)), Malformed::Field(field, Fault::Kind) if field == name));
        }
    }
    let named = |name, fault: InvalidId| Malformed::Field(name, fault.into());
    assert_eq!(refused(&with("messageId", Some("\"\""))), named("messageId", InvalidId::Empty));
    assert_eq!(refused(&with("sourceNodeId", Some("\"\""))), named("sourceNodeId", InvalidId::Empty));
    assert_eq!(refused(&with("channelName", Some("\"\""))), named("channelName", InvalidId::Empty));
    assert_eq!(refused(&with("channelName", Some("\"GATEWAY\""))), named("channelName", InvalidId::Reserved));
    let long = format!("\"{}\"", "x".repeat(MAX_ID + 1));
    assert_eq!(refused(&with("messageId", Some(&long))), named("messageId", InvalidId::TooLong(MAX_ID)));
    let long = format!("\"{}\"", "x".repeat(MAX_NAME + 1));
    assert_eq!(refused(&with("endpointName", Some(&long))), named("endpointName", InvalidId::TooLong(MAX_NAME)));
}

#[test]
fn a_message_about_a_channel_without_its_name() {
    for (kind, fields) in
        [("USER_LEFT", r#""userId":"u""#), ("STATE_REQUEST", r#""fromNode":"n""#), ("USER_MESSAGE", r#""event":"e""#)]
    {
        let text = message(kind, fields).replace("\"a\"", "\"__node__\"").replace("\"/c\"", "\"__node__\"");
        assert_eq!(refused(&text), field("channelName"), "{kind}");
    }
    let two_places = with("channelName", Some("\"__node__\""));
    assert!(Envelope::decode(two_places.as_bytes()).expect("a message").channel.is_some());
}

#[test]
fn a_repeated_field() {
    assert_eq!(refused_body("USER_LEFT", r#""userId":"u","userId":"u""#), Malformed::Repeated);
    assert_eq!(refused_body("USER_JOINED", r#""userId":"u","assigns":{"a":1,"a":1}"#), Malformed::Repeated);
}

#[test]
fn required_fields_of_a_type() {
    let types = ["PRESENCE_UPDATE", "PRESENCE_REMOVED", "ASSIGNS_UPDATE", "EVICT_USER", "USER_REMOVE", "USER_JOINED"];
    for kind in types.into_iter().chain(["USER_LEFT"]) {
        for fields in [r#""more":1"#, r#""userId":null"#, r#""userId":5"#] {
            assert_eq!(refused_body(kind, fields), field("userId"), "{kind}");
        }
    }
    for kind in ["USER_GET_REQUEST", "USER_GET_RESPONSE"] {
        assert_eq!(refused_body(kind, r#""requestId":"q""#), field("userId"), "{kind}");
        assert_eq!(refused_body(kind, r#""userId":"u""#), field("requestId"), "{kind}");
        // Some nodes accept no answer without the id of its request.
        let empty = Malformed::Field("requestId", InvalidId::Empty.into());
        assert_eq!(refused_body(kind, r#""userId":"u","requestId":"""#), empty, "{kind}");
    }
    assert_eq!(refused_body("USER_MESSAGE", r#""payload":{}"#), field("event"));
    assert_eq!(refused_body("EVICT_USER", r#""userId":"u","reason":5"#), field("reason"));
    assert_eq!(refused_body("STATE_REQUEST", r#""fromNode":5"#), field("fromNode"));
    assert_eq!(refused_body("STATE_RESPONSE", r#""users":{}"#), field("users"));
    assert_eq!(refused_body("NODE_HEARTBEAT", r#""nodeId":5"#), field("nodeId"));
    assert_eq!(refused_body("PRESENCE_UPDATE", r#""userId":"u","presence":[]"#), field("presence"));
    assert_eq!(refused_body("USER_JOINED", r#""userId":"u","assigns":"x""#), field("assigns"));
    assert_eq!(refused_body("ASSIGNS_UPDATE", r#""userId":"u","key":5"#), field("key"));
    assert_eq!(refused_body("USER_MESSAGE", r#""event":"e","requestId":5"#), field("requestId"));
    assert_eq!(refused_body("USER_MESSAGE", r#""event":"e","fromUserId":5"#), field("fromUserId"));
}

#[test]
fn invalid_user_ids() {
    let long = "x".repeat(129);
    for (user, fault) in [
        ("", InvalidId::Empty),
        ("CHANNEL", InvalidId::Reserved),
        ("a\\nb", InvalidId::ControlCharacter),
        (&long, InvalidId::TooLong(128)),
    ] {
        let malformed = refused_body("USER_LEFT", &format!(r#""userId":"{user}""#));
        assert_eq!(malformed, Malformed::Field("userId", fault.into()));
    }
    let malformed = refused_body("USER_MESSAGE", r#""event":"e","fromUserId":"GATEWAY""#);
    assert_eq!(malformed, Malformed::Field("fromUserId", InvalidId::Reserved.into()));
}

#[test]
fn text_that_would_break_clients() {
    let (deep, deepest) = (format!("{}{}", "[".repeat(100), "]".repeat(100)), "[".repeat(99) + &"]".repeat(99));
    for (value, fault) in [
        (r#""\ud800""#, Unsafe::Surrogate),
        (r#"{"\udc00":1}"#, Unsafe::Surrogate),
        ("1e400", Unsafe::Number),
        (&deep, Unsafe::TooDeep),
    ] {
        for (kind, name) in [("USER_MESSAGE", "payload"), ("PRESENCE_UPDATE", "presence"), ("USER_JOINED", "presence")]
        {
            let malformed = refused_body(kind, &format!(r#""userId":"u","event":"e","{name}":{{"a":{value}}}"#));
            assert_eq!(malformed, Malformed::Field(name, fault.into()), "{kind}: {value}");
        }
        // A payload at the limit of depth that is no object exceeds the limit once it is put into one.
        let malformed = refused_body("USER_MESSAGE", &format!(r#""event":"e","payload":{value}"#));
        assert_eq!(malformed, Malformed::Field("payload", fault.into()), "{value}");
    }
    for value in [r#""\ud800""#, "1e400"] {
        let fields = format!(r#""userId":"u","assigns":{{"a":{value}}}"#);
        assert!(matches!(refused_body("USER_JOINED", &fields), Malformed::Field("assigns", Fault::Unsafe(_))));
        let fields = format!(r#""userId":"u","key":"a","value":{value}"#);
        assert!(matches!(refused_body("ASSIGNS_UPDATE", &fields), Malformed::Field("value", Fault::Unsafe(_))));
    }
    body("USER_MESSAGE", &format!(r#""event":"e","payload":{{"a":{deepest}}}"#)).expect("as deep as it may be");
}

#[test]
fn a_fault_names_its_field() {
    let told = |malformed: Malformed| malformed.to_string();
    assert_eq!(told(field("userId")), "`userId` is missing or of a wrong kind");
    let empty = Malformed::Field("userId", InvalidId::Empty.into());
    assert_eq!(told(empty), "`userId` is no name: the name is empty");
    let surrogate = Malformed::Field("payload", Unsafe::Surrogate.into());
    assert_eq!(told(surrogate), "`payload` cannot be passed on: the payload contains an unpaired surrogate");
    assert_eq!(told(Malformed::UnknownType), "of an unknown type");
}

/// The test would take seconds, or overflow the stack, if the cost were out of proportion.
#[test]
fn large_and_deep_messages_cost_time_in_proportion() {
    let (many, deep) = (100_000, 200_000);
    let keys: Vec<_> = (0..many).map(|number| format!(r#""{number}":1"#)).collect();
    body("USER_JOINED", &format!(r#""userId":"u","assigns":{{{}}}"#, keys.join(","))).expect("many keys");
    let users: Vec<_> = (0..many).map(|number| format!(r#"{{"id":"{number}"}}"#)).collect();
    body("STATE_RESPONSE", &format!(r#""users":[{}]"#, users.join(","))).expect("many users");
    let nested = format!("{}{}", "[".repeat(deep), "]".repeat(deep));
    for name in ["userId", "payload", "users", "assigns", "ext", "recipientDescriptor", "unknown"] {
        for kind in ["USER_MESSAGE", "USER_JOINED", "STATE_RESPONSE"] {
            // Some types ignore some of these fields: only that decoding returns matters.
            let _ = body(kind, &format!(r#""{name}":{nested}"#));
            let _ = body(kind, &format!(r#""{name}":{}"#, &nested[..deep]));
        }
    }
}
