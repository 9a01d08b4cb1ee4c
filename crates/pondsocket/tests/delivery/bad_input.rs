//! Malformed input: each message gets an answer that every client can read, and the connection goes on where possible.

use futures_util::SinkExt;
use pondsocket::{Connected, ConnectionContext, Error, EventContext, JoinContext, Joined, Payload, PondSocket, Result};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use testkit::{EventPeer, Message, Peer, serve};

async fn anybody(ctx: ConnectionContext) -> Result<Connected> {
    Ok(ctx.accept())
}

async fn everybody(ctx: JoinContext) -> Result<Joined> {
    Ok(ctx.accept())
}

/// A pond with one lobby, whose events echo, pass on, fail and panic.
fn pond() -> PondSocket {
    let pond = PondSocket::new();
    let lobby = pond.create_endpoint("/", anybody).create_channel("/c", everybody);
    lobby
        .on_event("echo", async |ctx: EventContext, Payload(payload): Payload<Value>| {
            ctx.reply("echo", &json!({ "payload": payload }))
        })
        .on_event("relay", async |ctx: EventContext, Payload(payload): Payload<Box<RawValue>>| {
            ctx.broadcast("relay", &payload)
        })
        .on_event("fail", async |_: EventContext| -> Result<()> {
            Err(Error::new(422, "no").with_details(&json!({ "why": "because" })))
        })
        .on_event("inside", async |_: EventContext| -> Result<()> { Err(Error::internal("secret")) })
        .on_event("panic", async |_: EventContext| -> () { panic!("secret") })
        .on_event("scalar", async |ctx: EventContext| ctx.broadcast("scalar", &5))
        .on_event("reserved", async |ctx: EventContext| ctx.broadcast("ACKNOWLEDGE", &()));
    pond
}

async fn joined(pond: &PondSocket) -> (pondsocket::Server, Peer) {
    let (server, address) = serve(pond).await;
    let mut peer = Peer::connect(address, "/").await;
    peer.join("/c", json!({})).await;
    (server, peer)
}

#[tokio::test]
async fn malformed_messages_are_answered_with_the_fault_and_the_connection_goes_on() {
    let (_server, mut peer) = joined(&pond()).await;
    let field = |name: &str| format!("`{name}` must be a string that is not empty");
    let object = "not a JSON object".to_owned();
    for (text, code, request_id, channel, message) in [
        (r#"{"action":"#, 400, None, "GATEWAY", object.clone()),
        ("", 400, None, "GATEWAY", object.clone()),
        ("42", 400, None, "GATEWAY", object.clone()),
        ("[]", 400, None, "GATEWAY", object.clone()),
        (r#"{"action":"BROADCAST"}"#, 400, None, "GATEWAY", field("event")),
        (r#"{"action":5,"event":"e","channelName":"/c","requestId":"r"}"#, 400, Some("r"), "/c", field("action")),
        (
            r#"{"action":"BROADCAST","event":"e","channelName":[],"requestId":"r"}"#,
            400,
            Some("r"),
            "GATEWAY",
            field("channelName"),
        ),
        (
            r#"{"action":"BROADCAST","event":"e","channelName":"/c","requestId":""}"#,
            400,
            None,
            "/c",
            field("requestId"),
        ),
        (
            r#"{"action":"BROADCAST","event":"e","event":"f","channelName":"/c","requestId":"r"}"#,
            400,
            Some("r"),
            "/c",
            "a field is repeated".into(),
        ),
        (
            r#"{"action":"BROADCAST","event":"\ud800","channelName":"/c","requestId":"r"}"#,
            400,
            Some("r"),
            "/c",
            "`event` contains an unpaired surrogate".into(),
        ),
        (
            r#"{"action":"BROADCAST","event":"e","payload":NaN,"channelName":"/c","requestId":"r"}"#,
            400,
            Some("r"),
            "/c",
            object.clone(),
        ),
        (r#"["BROADCAST","e","/c","r",{}]"#, 400, None, "GATEWAY", object.clone()),
        (
            r#"{"action":"DANCE","event":"e","channelName":"/c","requestId":"r","payload":{}}"#,
            404,
            Some("r"),
            "/c",
            "unknown action".into(),
        ),
    ] {
        peer.text(text).await;
        let answer = peer.next().await;
        let event = if code == 404 { "NOT_FOUND" } else { "INTERNAL_ERROR" };
        assert_eq!((&answer["action"], &answer["event"]), (&json!("SYSTEM"), &json!(event)), "{text}");
        assert_eq!((&answer["payload"]["code"], &answer["channelName"]), (&json!(code), &json!(channel)), "{text}");
        assert_eq!(answer["payload"]["message"], message, "{text}");
        match request_id {
            Some(id) => assert_eq!(answer["requestId"], id, "{text}"),
            None => assert_eq!(answer["requestId"].as_str().map(str::len), Some(36), "{text}"),
        }
    }
    peer.nothing_before_reply("/c", "echo").await;
    peer.leave("/c").await;
    peer.join("/c", json!({})).await;
}

#[tokio::test]
async fn every_field_is_required_and_known_fields_are_echoed() {
    let (_server, mut peer) = joined(&pond()).await;
    let odd = [None, Some(Value::Null), Some(json!(5)), Some(json!("")), Some(json!([])), Some(json!({}))];
    let with = |good: &str| odd.iter().cloned().chain([Some(json!(good))]).collect::<Vec<_>>();
    let [actions, events, channels, ids] = [with("BROADCAST"), with("echo"), with("/c"), with("r")];
    let text = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).filter(|text| !text.is_empty()).is_some();
    let mut refused = 0;
    for (action, event) in actions.iter().flat_map(|action| events.iter().map(move |event| (action, event))) {
        for (channel, id) in channels.iter().flat_map(|channel| ids.iter().map(move |id| (channel, id))) {
            let fields = [("action", action), ("event", event), ("channelName", channel), ("requestId", id)];
            if action.as_ref().is_some_and(|action| action == "") {
                // A message with no other fault is refused for its unknown action.
                continue;
            }
            let Some((missing, _)) = fields.iter().find(|(_, value)| !text(value)) else { continue };
            let present = fields.iter().filter_map(|(name, value)| Some(((*name).to_owned(), Option::clone(value)?)));
            let message = Value::Object(present.collect());
            peer.text(&message.to_string()).await;
            let answer = peer.next().await;
            assert_eq!((&answer["action"], &answer["event"]), (&json!("SYSTEM"), &json!("INTERNAL_ERROR")));
            assert_eq!(answer["payload"]["code"], 400, "{message}");
            assert_eq!(answer["payload"]["message"], format!("`{missing}` must be a string that is not empty"));
            assert_eq!(answer["channelName"], if text(channel) { "/c" } else { "GATEWAY" }, "{message}");
            assert_eq!(answer["requestId"] == "r", text(id), "{message}");
            refused += 1;
        }
    }
    assert_eq!(refused, 6 * 7_usize.pow(3) - 1);
    peer.nothing_before_reply("/c", "echo").await;
}

#[tokio::test]
async fn a_ping_of_a_client_is_tolerated_and_not_answered() {
    let (_server, mut peer) = joined(&pond()).await;
    peer.text(r#"{"action":"ping"}"#).await;
    peer.text(r#"{"action":"PING","requestId":7}"#).await;
    peer.nothing_before_reply("/c", "echo").await;
}

#[tokio::test]
async fn a_payload_may_be_any_value_and_none_is_an_empty_object() {
    let (_server, mut peer) = joined(&pond()).await;
    for payload in [json!(5), json!("x"), json!([1, { "a": null }]), json!(true), json!({ "a": 1 })] {
        peer.event("/c", "echo", payload.clone()).await;
        assert_eq!(peer.next().await["payload"]["payload"], payload);
    }
    peer.event("/c", "echo", Value::Null).await;
    assert_eq!(peer.next().await["payload"]["payload"], json!({}));
    peer.text(r#"{"action":"BROADCAST","event":"echo","channelName":"/c","requestId":"r"}"#).await;
    assert_eq!(peer.next().await["payload"]["payload"], json!({}));
}

#[tokio::test]
async fn the_payload_of_a_join_may_be_any_value_too() {
    let pond = PondSocket::new();
    pond.create_endpoint("/", anybody).create_channel(
        "/:n",
        async |ctx: JoinContext, Payload(payload): Payload<Value>| -> Result<Joined> {
            Ok(ctx.accept().reply("seen", &json!({ "payload": payload })))
        },
    );
    let (_server, address) = serve(&pond).await;
    let mut peer = Peer::connect(address, "/").await;
    for (n, (sent, seen)) in [
        (json!(5), json!(5)),
        (json!("x"), json!("x")),
        (json!([]), json!([])),
        (Value::Null, json!({})),
        (json!({ "a": null }), json!({ "a": null })),
    ]
    .into_iter()
    .enumerate()
    {
        peer.join(&format!("/{n}"), sent).await;
        assert_eq!(peer.next().await["payload"]["payload"], seen);
    }
}

#[tokio::test]
async fn binary_messages_are_text_if_they_can_be() {
    let (_server, mut peer) = joined(&pond()).await;
    let text = br#"{"action":"BROADCAST","event":"echo","channelName":"/c","requestId":"b","payload":{}}"#;
    peer.socket.send(Message::binary(text.to_vec())).await.expect("open");
    assert_eq!(peer.next().await["requestId"], "b");
    peer.socket.send(Message::binary(vec![0xff, 0xfe])).await.expect("open");
    let answer = peer.next().await;
    assert_eq!((&answer["event"], &answer["payload"]["code"]), (&json!("INTERNAL_ERROR"), &json!(400)));
    peer.nothing_before_reply("/c", "echo").await;
}

#[tokio::test]
async fn payloads_that_would_break_another_client_are_refused() {
    let (_server, mut peer) = joined(&pond()).await;
    let deep = format!("{}{}", "[".repeat(101), "]".repeat(101));
    for payload in [r#"{"a":"\ud800"}"#, r#"{"\udc00":1}"#, r#"{"a":1e999}"#, r#"{"a":-1e999}"#, deep.as_str()] {
        let text = format!(
            r#"{{"action":"BROADCAST","event":"relay","channelName":"/c","requestId":"r","payload":{payload}}}"#
        );
        peer.text(&text).await;
        let answer = peer.next().await;
        assert_eq!((&answer["requestId"], &answer["payload"]["code"]), (&json!("r"), &json!(400)), "{payload}");
    }
    // Line breaks are white space, and become other white space: the peer checks that there are none.
    let pretty = "{\"action\":\"BROADCAST\",\"event\":\"relay\",\"channelName\":\"/c\",\"requestId\":\"r\",\"payload\":{\n  \"a\": \"x\\n\"\r\n}}";
    peer.text(pretty).await;
    assert_eq!(peer.next().await["payload"], json!({ "a": "x\n" }));
    // Unusual values that break no client are passed on unchanged.
    for payload in [r#"{"n":123456789012345678901234567890}"#, r#"{"n":-0.10e-7,"s":"\ud83d\ude00\u0000"}"#] {
        let text = format!(
            r#"{{"action":"BROADCAST","event":"relay","channelName":"/c","requestId":"r","payload":{payload},"more":[]}}"#
        );
        peer.text(&text).await;
        let Some(Message::Text(received)) = peer.frame().await else { panic!("a text") };
        assert!(received.contains(payload), "{received}");
    }
    // A payload that is no object cannot be a message to others.
    peer.event("/c", "relay", json!([1])).await;
    assert_eq!(peer.next().await["payload"]["code"], 400);
}

/// The payload and the other fields of a join.
fn malformed_joins() -> Vec<String> {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let mut payloads = [r#"{"a":"\ud800"}"#, r#"{"\udc00":1}"#, r#""\udbff""#, "1e999", r#"{"a":[-1e999]}"#, "NaN"]
        .map(str::to_owned)
        .to_vec();
    payloads.extend([
        nested(101),
        nested(129),
        nested(5000),
        "{'a':1}".into(),
        r#"{},"payload":{}"#.into(),
        "{\"a".into(),
    ]);
    let mut rest: Vec<_> = payloads.iter().map(|payload| format!(r#""event":"e","payload":{payload}"#)).collect();
    rest.extend(
        [r#""event":5"#, r#""event":"""#, r#""event":"\ud800""#, r#""event":1e999"#, "\"event\":[[[\"\\"]
            .map(str::to_owned),
    );
    rest.push(r#""event":"e","event":"e""#.to_owned());
    rest
}

fn join_with(channel: &str, id: &str, rest: &str) -> String {
    format!(r#"{{"action":"JOIN_CHANNEL","channelName":{channel},"requestId":{id},{rest}}}"#)
}

#[tokio::test]
async fn a_join_that_cannot_be_read_ends_in_a_decline() {
    let (_server, mut peer) = joined(&pond()).await;
    for (n, rest) in malformed_joins().into_iter().enumerate() {
        let (channel, id) = (format!("/not/{n}"), format!("id {n}"));
        peer.text(&join_with(&format!("\"{channel}\""), &format!("\"{id}\""), &rest)).await;
        let answer = peer.next().await;
        assert_eq!((&answer["action"], &answer["event"]), (&json!("SYSTEM"), &json!("UNAUTHORIZED")), "{rest}");
        assert_eq!((&answer["channelName"], &answer["requestId"]), (&json!(channel), &json!(id)), "{rest}");
        let payload = &answer["payload"];
        assert_eq!((&payload["code"], &payload["details"]["statusCode"]), (&json!(400), &json!(400)), "{rest}");
    }
    for (channel, id, told_channel, told_id) in [
        (r#""""#, r#""r""#, "", Some("r")),
        ("5", r#""r""#, "GATEWAY", Some("r")),
        ("null", r#""r""#, "GATEWAY", Some("r")),
        (r#""/x""#, "7", "/x", None),
        (r#""/x""#, r#""""#, "/x", None),
    ] {
        peer.text(&join_with(channel, id, r#""event":"JOIN_CHANNEL""#)).await;
        let answer = peer.next().await;
        assert_eq!((&answer["event"], &answer["channelName"]), (&json!("UNAUTHORIZED"), &json!(told_channel)), "{id}");
        match told_id {
            Some(id) => assert_eq!(answer["requestId"], id),
            None => assert_eq!(answer["requestId"].as_str().map(str::len), Some(36), "{id}"),
        }
    }
    peer.socket
        .send(Message::binary(
            join_with("\"/l\"", "\"r\"", "\"event\":\"?\"")
                .replace('?', "é")
                .into_bytes()
                .into_iter()
                .filter(|byte| *byte != 0xc3)
                .collect::<Vec<_>>(),
        ))
        .await
        .expect("open");
    let answer = peer.next().await;
    assert_eq!((&answer["event"], &answer["channelName"]), (&json!("UNAUTHORIZED"), &json!("/l")));
    peer.nothing_before_reply("/c", "echo").await;
}

/// The text of the next frame, which a strict client may reject.
async fn frame(peer: &mut Peer) -> String {
    match peer.frame().await {
        Some(Message::Text(text)) => text.to_string(),
        other => panic!("no text but {other:?}"),
    }
}

/// A client in JavaScript matches answers by exact names, which may have halves of surrogate pairs.
#[tokio::test]
async fn names_with_half_a_surrogate_pair_are_echoed_as_sent() {
    let pond = PondSocket::new();
    pond.create_endpoint("/", anybody).create_channel("/:n", everybody);
    let (_server, address) = serve(&pond).await;
    let (mut peer, mut events) = (Peer::connect(address, "/").await, EventPeer::connect(address, "/").await);
    // This name equals those below if a half is replaced.
    for channel in ["/c", "/\u{fffd}"] {
        peer.join(channel, json!({})).await;
        events.join(channel, json!({})).await;
    }
    for (action, channel, id, event) in [
        ("JOIN_CHANNEL", r#""/c\ud800""#, r#""r""#, "UNAUTHORIZED"),
        ("JOIN_CHANNEL", r#""/\udc00""#, r#""r""#, "UNAUTHORIZED"),
        ("JOIN_CHANNEL", r#""\ud83d \ude00\"é""#, r#""\udbff""#, "UNAUTHORIZED"),
        ("JOIN_CHANNEL", r#""/x""#, r#""\udfffr""#, "UNAUTHORIZED"),
        ("JOIN_CHANNEL", r#""/c""#, r#""r\ud800""#, "ACKNOWLEDGE"),
        ("BROADCAST", r#""/c\udc00""#, r#""\ud800r""#, "INTERNAL_ERROR"),
        ("BROADCAST", r#""/c""#, r#""\ud800""#, "INTERNAL_ERROR"),
        ("LEAVE_CHANNEL", r#""/\ud800""#, r#""r""#, "INTERNAL_ERROR"),
        ("DANCE", r#""/c""#, r#""\ud800""#, "INTERNAL_ERROR"),
    ] {
        let text = format!(r#"{{"action":"{action}","event":"e","channelName":{channel},"requestId":{id}}}"#);
        let mut answers = Vec::new();
        for message in [Message::text(text.clone()), Message::binary(text.clone())] {
            peer.socket.send(message).await.expect("open");
            answers.push(frame(&mut peer).await);
        }
        events.text(&text).await;
        answers.push(events.frame().await.expect("an event"));
        for answer in answers {
            let begin = format!(
                r#"{{"action":"SYSTEM","event":"{event}","channelName":{channel},"requestId":{id},"payload":{{"#
            );
            assert!(answer.starts_with(&begin), "{text}: {answer}");
            if event != "ACKNOWLEDGE" {
                assert!(answer[begin.len()..].contains(&format!(r#""channelName":{channel}"#)), "{text}: {answer}");
                assert!(answer.contains("contains an unpaired surrogate"), "{text}: {answer}");
            }
        }
    }
    peer.leave("/c").await;
}

#[tokio::test]
async fn a_malformed_second_join_is_answered_and_the_member_stays() {
    let (_server, mut peer) = joined(&pond()).await;
    for rest in malformed_joins() {
        peer.text(&join_with("\"/c\"", "\"again\"", &rest)).await;
        let answer = peer.next().await;
        assert_eq!((&answer["event"], &answer["requestId"]), (&json!("ACKNOWLEDGE"), &json!("again")), "{rest}");
    }
    peer.nothing_before_reply("/c", "echo").await;
    let leave = r#"{"action":"LEAVE_CHANNEL","event":"e","channelName":"/c","requestId":"gone","payload":"\ud800"}"#;
    peer.text(leave).await;
    peer.text(&join_with("\"/c\"", "\"out\"", r#""event":5"#)).await;
    let (left, declined) = (peer.next().await, peer.next().await);
    assert_eq!((&left["event"], &left["requestId"]), (&json!("EXIT_ACKNOWLEDGE"), &json!("gone")));
    assert_eq!((&declined["event"], &declined["requestId"]), (&json!("UNAUTHORIZED"), &json!("out")));
}

#[tokio::test]
async fn a_handler_that_fails_answers_its_caller() {
    let (_server, mut peer) = joined(&pond()).await;
    for (event, code, message) in [
        ("fail", 422, "no"),
        ("inside", 500, "internal error"),
        ("panic", 500, "internal error"),
        ("scalar", 500, "internal error"),
        ("reserved", 500, "internal error"),
    ] {
        let id = peer.event("/c", event, json!({})).await;
        let answer = peer.next().await;
        assert_eq!((&answer["event"], &answer["requestId"]), (&json!("INTERNAL_ERROR"), &json!(id)), "{event}");
        assert_eq!(
            (&answer["payload"]["code"], &answer["payload"]["message"]),
            (&json!(code), &json!(message)),
            "{event}"
        );
        assert!(!answer.to_string().contains("secret"));
    }
    peer.event("/c", "fail", json!({})).await;
    assert_eq!(peer.next().await["payload"]["details"], json!({ "why": "because" }));
    peer.nothing_before_reply("/c", "echo").await;
}

#[tokio::test]
async fn violations_of_the_websocket_protocol_close_with_their_code() {
    let (_server, address) = serve(&pond()).await;
    let long_ping = [&[0x89, 0xfe, 0, 126, 0, 0, 0, 0], [0; 126].as_slice()].concat();
    let two_beginnings = [[0x01, 0x80, 0, 0, 0, 0], [0x81, 0x80, 0, 0, 0, 0]].concat();
    let cases: [(&str, &[u8], u16); 12] = [
        ("unmasked", &[0x81, 2, b'{', b'}'], 1002),
        ("reserved bits", &[0xf1, 0x80, 0, 0, 0, 0], 1002),
        ("compressed, which was not agreed on", &[0xc1, 0x80, 0, 0, 0, 0], 1002),
        ("a reserved opcode", &[0x83, 0x80, 0, 0, 0, 0], 1002),
        ("a reserved control opcode", &[0x8b, 0x80, 0, 0, 0, 0], 1002),
        ("a ping in fragments", &[0x09, 0x80, 0, 0, 0, 0], 1002),
        ("a ping that is too long", &long_ping, 1002),
        ("a continuation of nothing", &[0x80, 0x80, 0, 0, 0, 0], 1002),
        ("a message within a message", &two_beginnings, 1002),
        ("half a close code", &[0x88, 0x81, 0, 0, 0, 0, 3], 1002),
        ("not UTF-8", &[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0x28], 1007),
        ("too large", &[0x81, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0], 1009),
    ];
    for (what, bytes, code) in cases {
        let mut peer = Peer::connect(address, "/").await;
        peer.join("/c", json!({})).await;
        peer.bytes(bytes).await;
        assert_eq!(peer.closed().await.map(|frame| u16::from(frame.code)), Some(code), "{what}");
    }
    // Each violation has ended only its own connection.
    Peer::connect(address, "/").await.join("/c", json!({})).await;
}

#[tokio::test]
async fn a_fragmented_message_is_reassembled() {
    let (_server, mut peer) = joined(&pond()).await;
    let text = json!({
        "action": "BROADCAST", "event": "echo", "channelName": "/c", "requestId": "big",
        "payload": { "x": "é".repeat(32 * 1024) },
    })
    .to_string();
    let parts: Vec<&[u8]> = text.as_bytes().chunks(16 * 1024).collect();
    for (index, part) in parts.iter().enumerate() {
        peer.fragment(part, index == 0, index + 1 == parts.len()).await;
        // A ping is allowed between fragments.
        peer.bytes(&[0x89, 0x80, 0, 0, 0, 0]).await;
    }
    let answer = peer.next().await;
    assert_eq!(answer["requestId"], "big");
    assert_eq!(answer["payload"]["payload"]["x"].as_str().map(|x| x.chars().count()), Some(32 * 1024));
}
