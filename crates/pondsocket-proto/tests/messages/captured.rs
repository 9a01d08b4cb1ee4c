//! Messages captured word for word from nodes of other languages. None of these nodes knows `ext`.

use pondsocket_proto::channel::Assigns;
use pondsocket_proto::cluster::message::{Body, Envelope, Target, UserMessage, UserState, strict};
use pondsocket_proto::cluster::{Topic, Topics};
use pondsocket_proto::wire::{Json, Object};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, from_str};

use crate::object;

#[derive(Deserialize)]
struct Captured {
    from: String,
    topic: String,
    #[serde(borrow)]
    message: &'static RawValue,
}

fn captured() -> Vec<Captured> {
    include_str!("captured.jsonl").lines().map(|line| from_str(line).expect("a captured message")).collect()
}

fn decode(text: &str) -> Envelope {
    Envelope::decode(text.as_bytes()).unwrap_or_else(|malformed| panic!("{text}: {malformed}"))
}

/// All messages of this type from a language's nodes.
fn sent(language: &str, kind: &str) -> Vec<Envelope> {
    let of_type = |captured: &Captured| from_str::<Value>(captured.message.get()).expect("JSON")["type"] == kind;
    let of_language = captured().into_iter().filter(|captured| captured.from == language);
    of_language.filter(of_type).map(|captured| decode(captured.message.get())).collect()
}

/// Each language's one message of this type must have this body.
fn each_sends(kind: &str, [javascript, python, rust]: [Body; 3]) {
    for (language, body) in [("javascript", javascript), ("python", python), ("rust", rust)] {
        let bodies: Vec<_> = sent(language, kind).into_iter().map(|envelope| envelope.body).collect();
        assert_eq!(bodies, [body], "{language}");
    }
}

fn assigns(entries: [(&str, &str); 2]) -> Assigns {
    let mut assigns = Assigns::default();
    for (key, value) in entries {
        assigns.set(key, &Json::encode(value).expect("a text"));
    }
    assigns
}

const BOB: [&str; 3] = [
    "e60bd9bf-8c6d-4c2c-9b42-e3dec735815f",
    "034717ce-0f3b-4432-9405-b03043dbf60b",
    "f79846a7-4555-4487-a11a-3dfcbd466ae6",
];

/// The presence of the user "bob" in the captured messages of each language.
fn presence_of_bob() -> [Object; 2] {
    [BOB[0], BOB[1]].map(|id| object(&format!(r#"{{"id": "{id}", "username": "bob", "status": "online"}}"#)))
}

#[test]
fn all_fields_of_an_envelope_are_read() {
    let [envelope] = sent("rust", "EVICT_USER").try_into().expect("one message");
    assert_eq!(&*envelope.id, "aad1f4c6-5cf2-4d2e-be0c-7ce98a910b0e");
    assert_eq!(&*envelope.source, "fbe5ee91-c2d9-43d3-99d4-dc4e8850c17b");
    let channel = envelope.channel.expect("a channel");
    assert_eq!((&*channel.endpoint, channel.channel.as_str()), ("api/socket", "/chat/c32758_14"));
    assert_eq!(envelope.timestamp, 1_795_395_008_382);
    let [envelope] = sent("javascript", "NODE_HEARTBEAT").try_into().expect("one message");
    assert_eq!((&*envelope.id, &*envelope.source), ("mwsjs4rr-vmrwuofpuhd", "lmlr919gcc8"));
    assert_eq!((envelope.channel, envelope.timestamp), (None, 1_795_394_923_047));
}

#[test]
fn every_message_fits_its_topic_and_is_encoded_with_the_same_fields() {
    let topics = Topics::new("pondsocket", "default");
    for Captured { from, topic, message } in captured() {
        let envelope = decode(message.get());
        assert_eq!(envelope.ext, None, "{from}");
        assert!(topics.fits(&topic.as_str().into(), &envelope, "web-1~z"), "{from}: {topic}");
        assert_eq!(Topic::from(topic), envelope.channel.as_ref().map_or(topics.heartbeat(), |key| topics.channel(key)));
        let mut out = Vec::new();
        envelope.encode(&mut out);
        let again = std::str::from_utf8(&out).expect("UTF-8");
        assert_eq!(strict::check(again), Ok(()), "{again}");
        let mut again: Value = from_str(again).expect("JSON");
        // Only Go nodes and our own send this field.
        again.as_object_mut().expect("an object").remove("presenceEvent");
        assert_eq!(again, from_str::<Value>(message.get()).expect("JSON"), "{from}");
    }
}

#[test]
fn heartbeats() {
    let ids = ["lmlr919gcc8", "2d15e1ce-7116-495e-8201-b8a4255b3594", "ec521f16-035d-47fa-88b5-6e5dffedd82a"];
    each_sends("NODE_HEARTBEAT", ids.map(|id| Body::NodeHeartbeat { node: id.into() }));
}

#[test]
fn joins() {
    let body = |(user, room): (&str, &str), reversed: bool| {
        let mut entries = [("username", "bob"), ("room", room)];
        if reversed {
            entries.reverse();
        }
        Body::UserJoined { user: user.into(), presence: None, assigns: assigns(entries) }
    };
    let [javascript, python, rust] = BOB;
    let bodies =
        [body((javascript, "c32359_1"), false), body((python, "c32570_1"), false), body((rust, "c32758_1"), true)];
    each_sends("USER_JOINED", bodies);
}

#[test]
fn leaves() {
    let users = [BOB[0], "fa633ced-e5f0-4c6f-9710-30c487dd7b88", "a99a4c52-7991-42e0-8106-895ee12b4fb1"];
    each_sends("USER_LEFT", users.map(|user| Body::UserLeft { user: user.into() }));
}

#[test]
fn presence() {
    let [javascript, python] = presence_of_bob();
    // These nodes put the user's id into the presence itself.
    let rust =
        object(&format!(r#"{{"id": "{id}", "status": "online", "userId": "{id}", "username": "bob"}}"#, id = BOB[2]));
    let mut presence = [javascript, python, rust].into_iter();
    let body =
        |user: &str| Body::PresenceUpdate { user: user.into(), presence: presence.next().expect("three"), event: None };
    each_sends("PRESENCE_UPDATE", BOB.map(body));

    let hidden = ["b5a3e28b-39fd-4eaf-afc6-2f5219012e6b", BOB[1], BOB[2]];
    each_sends("PRESENCE_REMOVED", hidden.map(|user| Body::PresenceRemoved { user: user.into() }));
}

#[test]
fn changes_of_assigns() {
    for (language, user, json) in [
        (
            "javascript",
            "e588ee07-0331-41f6-9457-af1b9093f47e",
            r#"{"username":"ann","room":"c32359_11","role":["x", 1]}"#,
        ),
        ("python", "b689e68d-1933-4f13-8914-a79389f192e3", r#"{"username":"ann","room":"c32570_11","role":["x", 1]}"#),
        ("rust", "73a21051-eac9-4e81-9e1c-6afddd493fea", r#"{"role":["x", 1],"room":"c32758_11","username":"ann"}"#),
    ] {
        let [envelope] = sent(language, "ASSIGNS_UPDATE").try_into().expect("one message");
        let Body::AssignsUpdate { user: changed, assigns: Some(assigns), delta: None } = envelope.body else {
            panic!("a snapshot: {:?}", envelope.body)
        };
        assert_eq!((&*changed, &*assigns.to_json()), (user, json), "{language}");
    }
}

#[test]
fn evictions() {
    let users = [
        "7a8f8eca-5223-441f-97d9-8363cd7f615b",
        "f5fb4873-b99f-445e-837c-ff91e8b68ae8",
        "177294a7-8f6c-44c4-8345-ab74af18ea42",
    ];
    each_sends("EVICT_USER", users.map(|user| Body::EvictUser { user: user.into(), reason: "spam".into() }));
}

#[test]
fn requests_for_the_state() {
    let nodes = [
        "3081ef8f-e977-42ac-843f-72a6a3a4d418",
        "2d15e1ce-7116-495e-8201-b8a4255b3594",
        "ec521f16-035d-47fa-88b5-6e5dffedd82a",
    ];
    each_sends("STATE_REQUEST", nodes.map(|node| Body::StateRequest { from_node: node.into() }));
}

#[test]
fn lists_of_users() {
    let user = |id: &str, assigns, presence| UserState { id: id.into(), assigns, presence: Some(presence), joined: 0 };
    let [javascript, python] = presence_of_bob();
    let ann = "4cb9a229-b361-423d-959d-dbf26247f5ed";
    let presence_of_ann = object(&format!(r#"{{"id": "{ann}", "username": "ann", "status": "online"}}"#));
    let rust = object(&format!(r#"{{"id": "{}", "status": "online", "username": "bob"}}"#, BOB[2]));
    each_sends(
        "STATE_RESPONSE",
        [
            vec![
                user(BOB[0], assigns([("username", "bob"), ("room", "c32359_1")]), javascript),
                user(ann, assigns([("username", "ann"), ("room", "c32359_1")]), presence_of_ann),
            ],
            vec![user(BOB[1], assigns([("username", "bob"), ("room", "c32570_1")]), python)],
            vec![user(BOB[2], assigns([("room", "c32758_1"), ("username", "bob")]), rust)],
        ]
        .map(|users| Body::StateResponse { users }),
    );
}

#[test]
fn messages_to_all_of_a_channel_to_all_but_one_and_to_some() {
    /// From, event, payload, request id.
    type Message = (&'static str, &'static str, &'static str, &'static str);
    const WAVE: &str = r#"{"n": 1, "t": "é👋\u0000"}"#;
    let ann = "f91309de-41c5-4634-9fa8-3af4ba02783b";
    let expected: [(&str, Target, Message); 8] = [
        ("javascript", Target::All, ("c876d20b-4832-45d8-a4bf-732f5eb59e83", "message", WAVE, "q32359_ann_2")),
        (
            "javascript",
            Target::ExceptUser("07db1716-949b-4d14-8463-f8e93c9d526a".into()),
            ("07db1716-949b-4d14-8463-f8e93c9d526a", "typing", r#"{"on": 1}"#, "q32359_ann_2"),
        ),
        (
            "javascript",
            Target::Users(vec!["2782cab8-58e1-4886-a417-929f8fb6d6cd".into()]),
            (ann, "private", r#"{"from": "f91309de-41c5-4634-9fa8-3af4ba02783b", "text": "psst"}"#, "q32359_ann_2"),
        ),
        ("python", Target::All, ("CHANNEL", "message", WAVE, "2016e668-6189-4284-85bc-034067c61a75")),
        (
            "python",
            Target::ExceptUser("1c90d602-3978-4a8f-a716-50f300aee357".into()),
            ("1c90d602-3978-4a8f-a716-50f300aee357", "typing", r#"{"on": 1}"#, "fbf36fe8-b546-4bff-aad7-7aa726e95b2c"),
        ),
        (
            "python",
            Target::Users(vec!["d8af15f7-3d71-4aff-9e91-21489ad9ff86".into()]),
            (
                "CHANNEL",
                "private",
                r#"{"from": "9abb653c-ba1a-4f4d-bf4e-a5961d4e94dc", "text": "psst"}"#,
                "9153cc94-232f-459c-9196-5ee4a97c8165",
            ),
        ),
        ("rust", Target::All, ("CHANNEL", "message", WAVE, "4d6acb45-0b68-411f-836c-6f011011732c")),
        (
            "rust",
            Target::Users(vec!["91f99a65-11d3-4866-8b23-4f7a02051e4e".into()]),
            (
                "CHANNEL",
                "private",
                r#"{"from": "cf09853b-a4f1-4fdf-9c2e-b9379ab10979", "text": "psst"}"#,
                "b23d027b-e602-4d24-935e-8bac28bc92cc",
            ),
        ),
    ];
    for (language, to, (from, event, payload, request_id)) in expected {
        let message = UserMessage {
            from: from.into(),
            event: event.into(),
            payload: object(payload),
            request_id: request_id.into(),
            to,
            position: None,
        };
        let bodies: Vec<_> = sent(language, "USER_MESSAGE").into_iter().map(|envelope| envelope.body).collect();
        assert!(bodies.contains(&Body::UserMessage(message.clone())), "{language}: {message:?}");
    }
}

#[test]
fn a_reply_to_one_user() {
    let state = sent("javascript", "USER_MESSAGE").into_iter().find_map(|envelope| match envelope.body {
        Body::UserMessage(message) if message.event == "state" => Some(message),
        _ => None,
    });
    let state = state.expect("the reply");
    assert_eq!((&*state.from, &*state.request_id), ("CHANNEL", "q32359_bob_2"));
    let bob = "2782cab8-58e1-4886-a417-929f8fb6d6cd";
    assert_eq!(state.to, Target::Users(vec![bob.into()]));
    let payload: Value = from_str(state.payload.as_str()).expect("JSON");
    assert_eq!(payload["self"], bob);
    assert_eq!(payload["presence"][bob]["username"], "bob");
    assert_eq!(payload["assigns"].as_object().map(|users| users.len()), Some(3));
}
