//! Messages that are accepted although fields are left out or written in another form.

use pondsocket_proto::cluster::message::{Body, Envelope, PresenceEvent, Target, UserMessage, UserState, strict};

use crate::{body, envelope, message, object};

fn user_message(fields: &str) -> UserMessage {
    match body("USER_MESSAGE", fields) {
        Ok(Body::UserMessage(message)) => message,
        other => panic!("{fields}: {other:?}"),
    }
}

fn users(list: &str) -> Vec<UserState> {
    match body("STATE_RESPONSE", &format!(r#""users":{list}"#)) {
        Ok(Body::StateResponse { users }) => users,
        other => panic!("{list}: {other:?}"),
    }
}

#[test]
fn white_space_order_and_unknown_fields_are_ignored() {
    let text = " {\n \"type\":\"USER_LEFT\" , \"userId\":\"u\",\"channelName\":\"/c\",\"endpointName\":\"a\",
        \"more\":[{}],\"sourceNodeId\":\"n\",\"messageId\":\"m\",\"version\":1,\"timestamp\":5,
        \"protocol\":\"pondsocket.distributed\" }\r\n";
    let read = Envelope::decode(text.as_bytes()).expect("a message");
    assert_eq!((&*read.id, &*read.source, read.timestamp), ("m", "n", 5));
    assert_eq!(read.body, Body::UserLeft { user: "u".into() });
    assert_eq!(read.ext, None);
}

#[test]
fn the_time_may_be_missing_or_of_any_kind() {
    for time in ["null", "1.5", "-1", "\"now\"", "{}", "18446744073709551615"] {
        let text =
            message("USER_LEFT", r#""userId":"u""#).replace(r#""timestamp":1"#, &format!(r#""timestamp":{time}"#));
        assert_eq!(Envelope::decode(text.as_bytes()).map(|read| read.timestamp), Ok(0), "{time}");
    }
    let text = message("USER_LEFT", r#""userId":"u""#).replace(r#""timestamp":1,"#, "");
    assert_eq!(Envelope::decode(text.as_bytes()).map(|read| read.timestamp), Ok(0));
}

#[test]
fn an_endpoint_has_no_slashes_in_front() {
    let endpoint = |name: &str| {
        let text = message("USER_LEFT", r#""userId":"u""#)
            .replace(r#""endpointName":"a""#, &format!(r#""endpointName":"{name}""#));
        Envelope::decode(text.as_bytes()).expect("a message").channel.expect("a channel").endpoint
    };
    assert_eq!(&*endpoint("//api/socket/"), "api/socket/");
    assert_eq!(&*endpoint("/"), "");
    assert_eq!(&*endpoint(""), "");
}

#[test]
fn messages_about_nodes_have_no_channel() {
    for place in ["__heartbeat__", "__cluster__", "__node__"] {
        let text = message("NODE_HEARTBEAT", r#""nodeId":"n""#)
            .replace(r#""endpointName":"a""#, &format!(r#""endpointName":"{place}""#))
            .replace(r#""channelName":"/c""#, &format!(r#""channelName":"{place}""#));
        assert_eq!(Envelope::decode(text.as_bytes()).map(|read| read.channel), Ok(None), "{place}");
    }
}

#[test]
fn a_message_may_lack_all_but_its_event() {
    assert_eq!(
        user_message(r#""event":"e""#),
        UserMessage {
            from: "CHANNEL".into(),
            event: "e".into(),
            payload: object("{}"),
            request_id: "m".into(),
            to: Target::All,
            position: None,
        }
    );
    let nulls = r#""event":"e","payload":null,"fromUserId":null,"requestId":null,"recipientDescriptor":null"#;
    assert_eq!(user_message(nulls), user_message(r#""event":"e""#));
    assert_eq!(user_message(r#""event":"","requestId":"""#).request_id, "m");
}

#[test]
fn a_payload_that_is_no_object_is_put_into_one() {
    for (payload, wrapped) in [
        ("5", r#"{"data":5}"#),
        ("[1, {}]", r#"{"data":[1, {}]}"#),
        ("\"x\"", r#"{"data":"x"}"#),
        ("false", r#"{"data":false}"#),
        ("[\n1]", r#"{"data":[ 1]}"#),
        ("{}", "{}"),
    ] {
        let message = user_message(&format!(r#""event":"e","payload":{payload}"#));
        assert_eq!(message.payload.as_str(), wrapped);
    }
}

#[test]
fn text_for_clients_is_unchanged_but_in_one_line() {
    let message = user_message("\"event\":\"e\",\"payload\":{ \"a\":\r\n1.50e2,\"\\u0061\":\"\\n\\/\" }");
    assert_eq!(message.payload.as_str(), r#"{ "a":  1.50e2,"\u0061":"\n\/" }"#);
}

#[test]
fn an_unknown_descriptor_of_recipients_means_all_users() {
    let to = |descriptor: &str| user_message(&format!(r#""event":"e","recipientDescriptor":{descriptor}"#)).to;
    assert_eq!(to("\"ALL_USERS\""), Target::All);
    assert_eq!(to("\"ALL_EXCEPT_SENDER\""), Target::ExceptUser("CHANNEL".into()));
    assert_eq!(to(r#""\u0041LL_EXCEPT_SENDER""#), Target::ExceptUser("CHANNEL".into()));
    for unknown in ["\"SOME\"", "{}", "5", "true"] {
        assert_eq!(to(unknown), Target::All, "{unknown}");
    }
}

#[test]
fn an_invalid_recipient_is_left_out() {
    let to = |descriptor: &str| user_message(&format!(r#""event":"e","recipientDescriptor":{descriptor}"#)).to;
    assert_eq!(to("[]"), Target::Users(vec![]));
    assert_eq!(to(r#"["a",5,null,"","CHANNEL",["b"],"b"]"#), Target::Users(vec!["a".into(), "b".into()]));
}

#[test]
fn presence_and_assigns_may_be_missing() {
    for fields in [r#""userId":"u""#, r#""userId":"u","presence":null,"assigns":null"#] {
        let joined = Body::UserJoined { user: "u".into(), presence: None, assigns: Default::default() };
        assert_eq!(body("USER_JOINED", fields), Ok(joined));
        let update = Body::PresenceUpdate { user: "u".into(), presence: object("{}"), event: None };
        assert_eq!(body("PRESENCE_UPDATE", fields), Ok(update));
        let changed = Body::AssignsUpdate { user: "u".into(), assigns: None, delta: None };
        assert_eq!(body("ASSIGNS_UPDATE", fields), Ok(changed));
        let fields = format!(r#"{fields},"requestId":"q""#);
        let found = Body::UserGetResponse {
            user: "u".into(),
            request: "q".into(),
            assigns: Default::default(),
            presence: None,
        };
        assert_eq!(body("USER_GET_RESPONSE", &fields), Ok(found));
    }
}

#[test]
fn an_empty_presence_is_none_in_messages_of_foreign_nodes() {
    let empty = r#""userId":"u","requestId":"q","presence":{ }"#;
    assert!(matches!(body("USER_JOINED", empty), Ok(Body::UserJoined { presence: None, .. })));
    assert!(matches!(body("USER_GET_RESPONSE", empty), Ok(Body::UserGetResponse { presence: None, .. })));
    assert_eq!(users(r#"[{"id":"u","presence":{}}]"#)[0].presence, None);
    let shown = r#""userId":"u","requestId":"q","presence":{"a":1}"#;
    assert!(matches!(body("USER_JOINED", shown), Ok(Body::UserJoined { presence: Some(_), .. })));
    assert!(matches!(body("USER_GET_RESPONSE", shown), Ok(Body::UserGetResponse { presence: Some(_), .. })));
    assert_eq!(users(r#"[{"id":"u","presence":{"a":1}}]"#)[0].presence, Some(object(r#"{"a":1}"#)));
}

#[test]
fn a_change_of_assigns_is_complete_or_by_key() {
    let update = |fields: &str| match body("ASSIGNS_UPDATE", &format!(r#""userId":"u",{fields}"#)) {
        Ok(Body::AssignsUpdate { assigns, delta, .. }) => {
            (assigns.map(|assigns| assigns.to_json()), delta.map(|(key, value)| (key, value.as_str().to_owned())))
        }
        other => panic!("{fields}: {other:?}"),
    };
    let delta = |key: &str, value: &str| Some((key.to_owned(), value.to_owned()));
    assert_eq!(update(r#""assigns":{"a":1}"#), (Some(r#"{"a":1}"#.into()), None));
    assert_eq!(update(r#""key":"a","value":[1, 2]"#), (None, delta("a", "[1, 2]")));
    assert_eq!(update(r#""assigns":{},"key":"a","value":1"#), (Some("{}".into()), delta("a", "1")));
    // In JavaScript a value that is not set is not sent.
    assert_eq!(update(r#""key":"a""#), (None, delta("a", "null")));
    assert_eq!(update(r#""value":1"#), (None, None));
}

#[test]
fn informative_fields_may_be_missing() {
    assert_eq!(body("EVICT_USER", r#""userId":"u""#), Ok(Body::EvictUser { user: "u".into(), reason: String::new() }));
    assert_eq!(body("STATE_REQUEST", r#""more":1"#), Ok(Body::StateRequest { from_node: "n".into() }));
    let request = Body::UserGetRequest { user: "u".into(), request: "q".into(), from_node: "n".into() };
    assert_eq!(body("USER_GET_REQUEST", r#""userId":"u","requestId":"q","fromNode":null"#), Ok(request));
    assert_eq!(body("NODE_HEARTBEAT", r#""more":1"#), Ok(Body::NodeHeartbeat { node: "n".into() }));
}

#[test]
fn a_user_that_cannot_be_read_is_left_out_of_a_list() {
    let list = r#"[{"id":"a"},5,[],{},{"id":""},{"id":"b","presence":[]},{"id":"c","assigns":{"x":"\ud800"}},
        {"id":"d","assigns":null,"presence":null,"more":1}]"#;
    let ids: Vec<_> = users(list).into_iter().map(|user| user.id.to_string()).collect();
    assert_eq!(ids, ["a", "d"]);
    assert_eq!(body("STATE_RESPONSE", r#""users":null"#), Ok(Body::StateResponse { users: vec![] }));
}

/// Go nodes send more fields than others, and leave out empty ones.
#[test]
fn fields_that_only_go_nodes_send_are_not_needed() {
    let join = r#""userId":"u","presence":{"s":1},"presenceEvent":"JOIN","presenceList":[{"s":1}]"#;
    let event = Some(PresenceEvent::Join);
    let update = Body::PresenceUpdate { user: "u".into(), presence: object(r#"{"s":1}"#), event };
    assert_eq!(body("PRESENCE_UPDATE", join), Ok(update));
    let odd = Body::PresenceUpdate { user: "u".into(), presence: object("{}"), event: None };
    for event in ["5", "\"LEAVE\"", "\"update\""] {
        assert_eq!(body("PRESENCE_UPDATE", &format!(r#""userId":"u","presenceEvent":{event}"#)).as_ref(), Ok(&odd));
    }
    let leave = r#""userId":"u","presenceEvent":"LEAVE""#;
    assert_eq!(body("PRESENCE_REMOVED", leave), Ok(Body::PresenceRemoved { user: "u".into() }));
}

#[test]
fn fields_of_other_types_may_be_anything() {
    let fields = r#""userId":"u","reason":5,"payload":"\ud800","event":[],"users":{},"assigns":7,"nodeId":{}"#;
    assert_eq!(body("USER_LEFT", fields), Ok(Body::UserLeft { user: "u".into() }));
}

#[test]
fn an_envelope_without_ext_is_of_a_foreign_node() {
    assert_eq!(envelope("USER_LEFT", r#""userId":"u""#).expect("a message").ext, None);
}

/// A publisher appends messages to histories that nodes share, and is no node itself.
#[test]
fn a_message_of_a_publisher_has_its_position() {
    let text = |ext: &str| {
        let fields = r#""fromUserId":"CHANNEL","event":"e","payload":{"n":1e2},"requestId":"homkou1u3w.7","recipientDescriptor":"ALL_USERS","#;
        message("USER_MESSAGE", &format!("{fields}{ext}"))
    };
    let read = |ext: &str| Envelope::decode(text(ext).as_bytes()).expect("a message");
    let position = |envelope: &Envelope| match &envelope.body {
        Body::UserMessage(message) => message.position.map(|position| position.to_string()),
        other => panic!("{other:?}"),
    };
    let published = read(r#""ext":{"v":1,"k":1}"#);
    assert_eq!(position(&published), Some("homkou1u3w.7".into()));
    assert!(published.is_of_publisher());
    assert_eq!(strict::check(&text(r#""ext":{"v":1,"k":1}"#)), Ok(()));
    // Only a whole signature is one of a node, and everything else is that of a foreign node.
    for other in
        [r#"{"v":2,"k":1}"#, r#"{"v":1}"#, r#"{"k":1}"#, r#"{"v":1,"k":1,"n":"web"}"#, r#"{"v":1,"k":1,"i":5}"#, "1"]
    {
        let foreign = read(&format!(r#""ext":{other}"#));
        assert_eq!((position(&foreign), foreign.is_of_publisher()), (None, false), "{other}");
    }
    let no_position = text(r#""ext":{"v":1,"k":1}"#).replace("homkou1u3w.7", "7");
    assert!(!Envelope::decode(no_position.as_bytes()).expect("a message").is_of_publisher());
}
