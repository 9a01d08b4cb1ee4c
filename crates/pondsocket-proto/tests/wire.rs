//! Messages: nothing that we send can be such that a client rejects it, and nothing that a client sends can harm us.

use std::str::FromStr;

use pondsocket_proto::id::is_reserved_event;
use pondsocket_proto::wire::client::{self, ClientMessage, Reason};
use pondsocket_proto::wire::server::{self, ErrorPayload};
use pondsocket_proto::wire::{Action, Object, PresenceKind, strict};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Checks a message as the strictest client does, and gives it.
fn checked(write: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut out = Vec::new();
    write(&mut out);
    let text = String::from_utf8(out).expect("UTF-8");
    strict::check(&text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    serde_json::from_str(&text).expect("checked")
}

/// Any JSON value, not too deep.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// Any payload, not too deep.
fn json_object() -> impl Strategy<Value = Value> {
    btree_map(any::<String>(), json_value(), 0..4).prop_map(|map| json!(map))
}

/// A message with this text as its payload.
fn event(payload: &str) -> String {
    format!(r#"{{"action":"BROADCAST","event":"e","channelName":"c","requestId":"r","payload":{payload}}}"#)
}

/// The text of JSON as a client may write it: all that the grammar allows, safe to pass on or not.
fn raw_json() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => "[a-z\u{e9}\u{1f600}{}\\[\\], 0-9]{1,3}",
        3 => Just("\\ud83d\\uDE00".to_owned()),
        2 => select(vec![r"\\", r#"\""#, r"\/", r"\n", r"\u0000", r"\u00e9", r"\\ud800"]).prop_map(str::to_owned),
        1 => select(vec![r"\ud83d", r"\ude00", r"\uDBFF"]).prop_map(str::to_owned),
    ];
    let string = vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()));
    let number = prop_oneof![
        4 => "-?(0|[1-9][0-9]{0,4})(\\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?",
        1 => "-?[1-9](\\.[0-9]{1,2})?[eE][+-]?(29[0-9]|30[0-9]|31[0-9])",
        1 => "-?[1-9][0-9]{300,315}",
    ];
    let leaf = prop_oneof![string.clone(), number, select(vec!["null", "true", "false"]).prop_map(str::to_owned)];
    let inner = leaf.prop_recursive(3, 12, 3, move |inner| {
        let entry = (string.clone(), inner.clone()).prop_map(|(key, value)| format!("{key} :{value}"));
        prop_oneof![
            vec(inner, 0..3).prop_map(|values| format!("[{}]", values.join(" ,"))),
            vec(entry, 0..3).prop_map(|entries| format!("{{\n{}}}", entries.join(","))),
        ]
    });
    let wraps = prop_oneof![8 => Just(0_usize), 1 => 95..105_usize];
    (inner, wraps).prop_map(|(inner, wraps)| format!("{}{inner}{}", "[".repeat(wraps), "]".repeat(wraps)))
}

/// The nesting depth of arrays and objects in a JSON text. It is read from the text, since a parsed value has
/// lost the fields whose name comes again.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

proptest! {
    #[test]
    fn every_message_is_valid_and_has_exactly_the_expected_fields(
        (event, channel, id, reason) in (any::<String>(), any::<String>(), any::<String>(), any::<String>()),
        payload in json_object(), code in 400_u16..600,
    ) {
        let system = |event: &str, payload: Value| json!({
            "action": "SYSTEM", "event": event, "channelName": channel, "requestId": id, "payload": payload,
        });
        let accepted = checked(|out| server::acknowledge(out, &channel, &id));
        prop_assert_eq!(accepted, system("ACKNOWLEDGE", json!({})));
        let left = checked(|out| server::exit_acknowledge(out, &channel, &id));
        prop_assert_eq!(left, system("EXIT_ACKNOWLEDGE", json!({})));
        let evicted = checked(|out| server::evicted(out, &event, &channel, &id, "u1", &reason));
        prop_assert_eq!(evicted, system(&event, json!({ "reason": reason, "userId": "u1" })));
        prop_assert_eq!(checked(|out| server::connection(out, &reason, &id)), json!({
            "action": "CONNECT", "event": "CONNECTION", "channelName": "GATEWAY", "requestId": id,
            "payload": { "connectionId": reason, "id": reason },
        }));

        let object = Object::encode(&payload).expect("an object");
        let is_message = |action, name: &str| {
            let message = checked(|out| server::message(out, action, &event, &channel, &id, object.as_str()));
            message == json!({
                "action": name, "event": event, "channelName": channel, "requestId": id, "payload": payload,
            })
        };
        for (action, name) in [(Action::System, "SYSTEM"), (Action::Broadcast, "BROADCAST"), (Action::Error, "ERROR")] {
            prop_assert!(is_message(action, name), "{}", name);
        }

        let mut expected = json!({
            "code": code, "status": code, "message": reason, "channelName": channel,
            "temporary": code == 503 || code == 504,
        });
        let error = ErrorPayload { code, message: &reason, details: None, channel: channel.as_str() };
        let failed = checked(|out| server::not_found(out, &id, &error));
        prop_assert_eq!(failed, system("NOT_FOUND", expected.clone()));
        let error = ErrorPayload { details: Some(object.as_str()), ..error };
        expected["details"] = payload.clone();
        let failed = checked(|out| server::internal_error(out, &id, &error));
        prop_assert_eq!(failed, system("INTERNAL_ERROR", expected.clone()));
        // A `statusCode` of the application would stand beside ours.
        if payload.get("statusCode").is_none() {
            expected["statusCode"] = json!(code);
            expected["details"]["statusCode"] = json!(code);
            let declined = checked(|out| server::join_declined(out, &id, &error));
            prop_assert_eq!(declined, system("UNAUTHORIZED", expected));
        }
    }

    #[test]
    fn a_presence_message_has_all_that_clients_check(
        channel in any::<String>(), id in any::<String>(), user in any::<String>(),
        changed in json_object(), list in vec(json_object(), 0..4),
    ) {
        let (changed_text, list_text) = (changed.to_string(), json!(list).to_string());
        for (kind, name) in
            [(PresenceKind::Join, "JOIN"), (PresenceKind::Update, "UPDATE"), (PresenceKind::Leave, "LEAVE")]
        {
            let message = checked(|out| server::presence(out, kind, &channel, &id, &user, &changed_text, &list_text));
            let payload = json!({ "event": name, "userId": user, "changed": changed, "presence": list });
            prop_assert_eq!(message, json!({
                "action": "PRESENCE", "event": name, "channelName": channel, "requestId": id, "payload": payload,
            }));
        }
    }

    #[test]
    fn nothing_that_a_client_sends_panics(text in any::<String>(), payload in raw_json(), at in any::<Index>()) {
        let _ = client::decode(&text);
        let message: Vec<char> = event(&payload).chars().collect();
        let (before, behind) = message.split_at(at.index(message.len()));
        for pieces in [vec![before], vec![before, &text.chars().collect::<Vec<_>>(), behind]] {
            let _ = client::decode(&pieces.concat().iter().collect::<String>());
        }
    }

    #[test]
    fn an_accepted_message_has_the_sent_fields(event in ".+", channel in ".+", id in ".+", payload in json_value()) {
        let text = json!({
            "action": "BROADCAST", "event": event, "channelName": channel, "requestId": id, "payload": payload,
        }).to_string();
        let Ok(ClientMessage::Event(message)) = client::decode(&text) else { panic!("{text} is refused") };
        prop_assert_eq!((&*message.event, &*message.channel, &*message.request_id), (&*event, &*channel, &*id));
        let received: Value = serde_json::from_str(message.payload).expect("JSON");
        prop_assert_eq!(received, if payload.is_null() { json!({}) } else { payload });
    }

    /// serde_json reads no unpaired surrogates and no numbers beyond a double either: an accepted payload is one that
    /// it reads and that is not too deep, and can be sent on.
    #[test]
    fn a_payload_is_accepted_if_it_is_safe(payload in raw_json()) {
        let text = event(&payload);
        let safe = Value::from_str(&payload).is_ok() && depth(&payload) <= 100;
        match client::decode(&text) {
            Ok(ClientMessage::Event(message)) => {
                prop_assert!(safe, "{} is accepted", payload);
                let raw: &RawValue = serde_json::from_str(message.payload).expect("JSON");
                let object = Object::encode(&json!({ "relayed": raw })).expect("an object");
                checked(|out| server::message(out, Action::Broadcast, "e", "c", "r", object.as_str()));
            }
            Ok(other) => panic!("{other:?}"),
            Err(malformed) => {
                prop_assert!(!safe, "{} is refused: {}", payload, malformed.reason);
                prop_assert_eq!((malformed.code, malformed.request_id), (400, Some("r".into())));
                prop_assert!(matches!(malformed.reason, Reason::Payload(_)));
            }
        }
    }
}

#[test]
fn the_strictest_client_rejects_what_clients_reject() {
    let good = json!({ "action": "SYSTEM", "event": "e", "channelName": "c", "requestId": "r", "payload": {} });
    assert_eq!(strict::check(&good.to_string()), Ok(()));
    let with = |field: &str, value: Value| {
        let mut message = good.clone();
        message[field] = value;
        message.to_string()
    };
    let without = |field: &str| {
        let mut message = good.clone();
        message.as_object_mut().expect("an object").remove(field);
        message.to_string()
    };
    let presence = |event: &str, payload: Value| {
        json!({ "action": "PRESENCE", "event": event, "channelName": "c", "requestId": "r", "payload": payload })
            .to_string()
    };
    let rejected = [
        ("no JSON", "{".to_owned()),
        ("no object", "[]".to_owned()),
        ("several lines", serde_json::to_string_pretty(&good).expect("JSON")),
        ("two messages", format!("{good}\n{good}")),
        ("an empty line", format!("{good}\n")),
        ("nothing", String::new()),
        ("an action that clients do not know", with("action", json!("ASSIGNS"))),
        ("an action in small letters", with("action", json!("system"))),
        ("an event that is no string", with("event", json!(5))),
        ("a channel name that is no string", with("channelName", Value::Null)),
        ("a request id that is no string", with("requestId", json!(1))),
        ("a payload that is null", with("payload", Value::Null)),
        ("a payload that is an array", with("payload", json!([]))),
        ("a payload that is a text", with("payload", json!("text"))),
        ("a payload that is a number", with("payload", json!(1))),
        ("a payload that is a boolean", with("payload", json!(true))),
        ("a sixth field", with("recipients", json!([]))),
        ("no action", without("action")),
        ("no event", without("event")),
        ("no channel name", without("channelName")),
        ("no request id", without("requestId")),
        ("no payload", without("payload")),
        ("another presence event", presence("presence:join", json!({ "presence": [], "changed": {} }))),
        ("presence without a list", presence("JOIN", json!({ "changed": {} }))),
        ("presence without a change", presence("JOIN", json!({ "presence": [] }))),
        ("a list that is no array", presence("UPDATE", json!({ "presence": {}, "changed": {} }))),
        ("a listed entry that is no object", presence("LEAVE", json!({ "presence": [{}, 5], "changed": {} }))),
        ("a change that is no object", presence("LEAVE", json!({ "presence": [], "changed": null }))),
    ];
    for (what, text) in rejected {
        assert!(strict::check(&text).is_err(), "{what}: {text}");
    }
    for field in ["event", "channelName", "requestId"] {
        assert_eq!(strict::check(&with(field, json!(""))), Ok(()), "an empty {field} is accepted");
    }
    assert_eq!(strict::check(&presence("LEAVE", json!({ "presence": [{}], "changed": {} }))), Ok(()));
}

#[test]
fn a_decline_carries_the_details_of_the_application_beside_the_code() {
    let declined = |details: Option<&str>| {
        let error = ErrorPayload { code: 403, message: "no", details, channel: "/c" };
        checked(|out| server::join_declined(out, "r", &error))["payload"]["details"].clone()
    };
    assert_eq!(declined(None), json!({ "statusCode": 403 }));
    assert_eq!(declined(Some("{ }")), json!({ "statusCode": 403 }));
    assert_eq!(declined(Some(r#"{"by":"ada"}"#)), json!({ "statusCode": 403, "by": "ada" }));
}

#[test]
fn only_the_names_that_clients_act_on_are_reserved() {
    let reserved =
        ["ACKNOWLEDGE", "EXIT_ACKNOWLEDGE", "UNAUTHORIZED", "NOT_FOUND", "INTERNAL_ERROR", "CONNECTION", "EVICTED"];
    assert!(reserved.iter().all(|event| is_reserved_event(event)));
    assert!(["message", "evicted", "acknowledge", "JOIN", ""].iter().all(|event| !is_reserved_event(event)));
}
