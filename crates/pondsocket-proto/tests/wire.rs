//! Messages: nothing that we send can be such that a client rejects it, and nothing that a client sends can harm us.

use pondsocket_proto::id::is_reserved_event;
use pondsocket_proto::wire::client::{self, ClientMessage};
use pondsocket_proto::wire::server::{self, ErrorPayload};
use pondsocket_proto::wire::{Action, Object, PresenceKind, strict};
use proptest::prelude::*;
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
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn every_message_passes_and_says_what_it_should(
        event in any::<String>(), channel in any::<String>(), id in any::<String>(), word in any::<String>(),
        payload in json_value(), code in 400_u16..600,
    ) {
        if let Ok(object) = Object::encode(&payload) {
            let message = checked(|out| server::message(out, Action::Broadcast, &event, &channel, &id, object.as_str()));
            let expected = if payload.is_null() { json!({}) } else { payload.clone() };
            prop_assert_eq!(message, json!({ "action": "BROADCAST", "event": event, "channelName": channel, "requestId": id, "payload": expected }));

            let details = (!payload.is_null()).then(|| object.as_str());
            let error = ErrorPayload { code, message: &word, details, channel: &channel };
            let failure = checked(|out| server::internal_error(out, &id, &error));
            prop_assert_eq!(&failure["payload"]["details"], &payload);
            let declined = checked(|out| server::join_declined(out, &id, &error));
            prop_assert_eq!(&declined["payload"]["message"], &json!(word));
            prop_assert_eq!(&declined["payload"]["statusCode"], &json!(code));

            let list = format!("[{0},{0}]", object.as_str());
            let presence = checked(|out| server::presence(out, PresenceKind::Update, &channel, &id, &word, object.as_str(), &list));
            prop_assert_eq!(&presence["payload"], &json!({ "event": "UPDATE", "userId": word, "changed": expected, "presence": [expected, expected] }));
        } else {
            prop_assert!(!payload.is_object() && !payload.is_null());
        }
        let error = ErrorPayload { code, message: &word, details: None, channel: &channel };
        for message in [
            checked(|out| server::acknowledge(out, &channel, &id)),
            checked(|out| server::exit_acknowledge(out, &channel, &id)),
            checked(|out| server::evicted(out, "EVICTED", &channel, &id, &event, &word)),
            checked(|out| server::not_found(out, &id, &error)),
            checked(|out| server::join_declined(out, &id, &error)),
        ] {
            prop_assert_eq!((&message["action"], &message["channelName"], &message["requestId"]), (&json!("SYSTEM"), &json!(channel), &json!(id)));
        }
        checked(|out| server::connection(out, &word, &id));
    }

    #[test]
    fn nothing_that_a_client_sends_panics(text in any::<String>()) {
        let _ = client::decode(&text);
    }

    #[test]
    fn what_is_accepted_can_be_passed_on(event in ".+", channel in ".+", id in ".+", payload in json_value()) {
        let text = json!({ "action": "BROADCAST", "event": event, "channelName": channel, "requestId": id, "payload": payload }).to_string();
        let Ok(ClientMessage::Event(message)) = client::decode(&text) else { panic!("{text} is refused") };
        prop_assert_eq!((&*message.event, &*message.channel, &*message.request_id), (&*event, &*channel, &*id));
        let received: Value = serde_json::from_str(message.payload).expect("JSON");
        prop_assert_eq!(received, if payload.is_null() { json!({}) } else { payload });
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
        "{".to_owned(),
        "[]".to_owned(),
        serde_json::to_string_pretty(&good).expect("JSON"),
        format!("{good}\n{good}"),
        with("action", json!("ASSIGNS")),
        with("event", json!(5)),
        with("payload", Value::Null),
        with("payload", json!([])),
        with("payload", json!("text")),
        with("recipients", json!([])),
        without("action"),
        without("event"),
        without("channelName"),
        without("requestId"),
        without("payload"),
        presence("presence:join", json!({ "presence": [], "changed": {} })),
        presence("JOIN", json!({ "changed": {} })),
        presence("JOIN", json!({ "presence": [] })),
        presence("JOIN", json!({ "presence": [5], "changed": {} })),
    ];
    for text in rejected {
        assert!(strict::check(&text).is_err(), "{text}");
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
