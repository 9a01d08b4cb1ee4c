//! Any message that a node of ours may send.

use std::sync::Arc;

use pondsocket_proto::channel::Assigns;
use pondsocket_proto::cluster::message::{
    Body, ChannelState, Envelope, Ext, NodeEvent, Part, PresenceEvent, Target, UserMessage, UserState,
};
use pondsocket_proto::cluster::{ChannelKey, NodeId, Verdict};
use pondsocket_proto::id::ChannelName;
use pondsocket_proto::position::{Epoch, Position};
use pondsocket_proto::wire::{Json, Object};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

pub(crate) fn envelope() -> impl Strategy<Value = Envelope> {
    let anything = (common(), option::of(ext()));
    let ours = (ours(), ext().prop_map(Some));
    let about_channels = prop_oneof![3 => anything, 1 => (digest(), ext().prop_map(Some))];
    let said = prop_oneof![
        3 => about_channels.prop_flat_map(|said| (Just(said), key().prop_map(Some))),
        1 => ours.prop_flat_map(|said| (Just(said), option::of(key()))),
        1 => (beat(), option::of(ext())).prop_map(|said| (said, None)),
    ];
    (id(), id(), number(), said).prop_map(|(id, stranger, timestamp, ((body, ext), channel))| {
        let source = ext.as_ref().map_or(stranger, |ext| ext.node.source().into());
        Envelope { id, source, channel, timestamp, body, ext }
    })
}

/// Messages about channels that nodes of all languages know.
fn common() -> BoxedStrategy<Body> {
    let commands = prop_oneof![
        (user(), any::<String>()).prop_map(|(user, reason)| Body::EvictUser { user, reason }),
        user().prop_map(|user| Body::UserRemove { user }),
        (user(), text(), any::<String>()).prop_map(|(user, request, from_node)| Body::UserGetRequest {
            user,
            request,
            from_node
        }),
        any::<String>().prop_map(|from_node| Body::StateRequest { from_node }),
    ];
    let changes = prop_oneof![
        (user(), object(0), option::of(select(vec![PresenceEvent::Join, PresenceEvent::Update])))
            .prop_map(|(user, presence, event)| Body::PresenceUpdate { user, presence, event }),
        user().prop_map(|user| Body::PresenceRemoved { user }),
        (user(), assigns(), option::of((any::<String>(), json_text())))
            .prop_map(|(user, assigns, delta)| Body::AssignsUpdate { user, assigns: Some(assigns), delta }),
        (user(), option::of(object(1)), assigns()).prop_map(|(user, presence, assigns)| Body::UserJoined {
            user,
            presence,
            assigns
        }),
        user().prop_map(|user| Body::UserLeft { user }),
    ];
    let answers = prop_oneof![
        (user(), text(), assigns(), option::of(object(1))).prop_map(|(user, request, assigns, presence)| {
            Body::UserGetResponse { user, request, assigns, presence }
        }),
        vec(user_state(1), 0..4).prop_map(|users| Body::StateResponse { users }),
    ];
    prop_oneof![user_message().prop_map(Body::UserMessage), commands, changes, answers].boxed()
}

fn user_message() -> BoxedStrategy<UserMessage> {
    let from = prop_oneof![Just("CHANNEL".into()), user()];
    let target = |from: &Arc<str>| {
        let users = vec(user().prop_map(|user| user.to_string()), 0..4).prop_map(Target::Users);
        prop_oneof![Just(Target::All), Just(Target::ExceptUser(from.to_string())), users]
    };
    let position = option::of((any::<u32>(), any::<u64>()));
    (from, any::<String>(), object(0), text(), position)
        .prop_flat_map(move |(from, event, payload, request_id, position)| {
            target(&from).prop_map(move |to| {
                let (from, event, payload) = (Arc::clone(&from), event.clone(), payload.clone());
                // Messages to some users are not kept.
                let position = position.filter(|_| !matches!(to, Target::Users(_)));
                let position = position.map(|(epoch, offset)| Position { epoch: Epoch::new(epoch), offset });
                let request_id = position.map_or_else(|| request_id.clone(), |position| position.to_string());
                UserMessage { from, event, payload, request_id, to, position }
            })
        })
        .boxed()
}

fn beat() -> impl Strategy<Value = Body> {
    id().prop_map(|node| Body::NodeHeartbeat { node })
}

fn digest() -> impl Strategy<Value = Body> {
    (number(), number(), any::<u64>()).prop_map(|(version, count, hash)| Body::Digest { version, count, hash })
}

/// Messages of the types of our own nodes, which need not be about a channel.
fn ours() -> BoxedStrategy<Body> {
    let verdict = select(vec![Verdict::Done, Verdict::NotFound, Verdict::Refused]);
    let event = prop_oneof![
        Just(NodeEvent::Hello),
        Just(NodeEvent::Bye),
        Just(NodeEvent::HistoryRestarted),
        id().prop_map(NodeEvent::SessionClaimed),
        node().prop_map(NodeEvent::Down),
    ];
    prop_oneof![
        vec(channel_state(), 0..3).prop_map(Body::State),
        vec(key(), 0..4).prop_map(Body::Repair),
        (any::<String>(), verdict).prop_map(|(request, verdict)| Body::Ack { request, verdict }),
        event.prop_map(Body::Node),
    ]
    .boxed()
}

fn ext() -> BoxedStrategy<Ext> {
    let have = vec((node(), number()), 0..3);
    let change = option::of((number(), number()));
    (node(), change, option::of(number()), option::of(any::<String>()), have, option::of(channel_state()))
        .prop_map(|(node, change, joined, request, have, own)| Ext { node, change, joined, request, have, own })
        .boxed()
}

fn channel_state() -> BoxedStrategy<ChannelState> {
    let part = (0..9_u64, 1..9_u64).prop_map(|(index, more)| Part { index, of: index + more });
    (key(), number(), vec(user_state(0), 0..4), option::of(part))
        .prop_map(|(channel, version, users, part)| ChannelState { channel, version, users, part })
        .boxed()
}

/// A user with at least `least` fields in its presence, if it has one.
fn user_state(least: usize) -> BoxedStrategy<UserState> {
    (user(), assigns(), option::of(object(least)), number())
        .prop_map(|(id, assigns, presence, joined)| UserState { id, assigns, presence, joined })
        .boxed()
}

fn key() -> BoxedStrategy<ChannelKey> {
    let endpoint = prop_oneof!["[a-z:]{0,8}(/[a-z:\\PC]{0,8})?", Just("api/socket".to_owned())];
    (endpoint, text())
        .prop_map(|(endpoint, channel)| ChannelKey {
            endpoint: endpoint.trim_start_matches('/').into(),
            channel: ChannelName::new(&channel, usize::MAX).expect("a name"),
        })
        .boxed()
}

fn node() -> impl Strategy<Value = NodeId> {
    (id(), number()).prop_map(|(name, incarnation)| NodeId { name, incarnation })
}

/// An integer that numbers of every language hold exactly.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just((1 << 53) - 1), 0..1_u64 << 53]
}

fn id() -> impl Strategy<Value = Arc<str>> {
    text().prop_map(Arc::from)
}

fn user() -> impl Strategy<Value = Arc<str>> {
    "[^\\p{Cc}]{1,30}".prop_map(Arc::from)
}

/// Any text that is not empty.
fn text() -> impl Strategy<Value = String> {
    (any::<char>(), any::<String>()).prop_map(|(first, rest)| format!("{first}{rest}"))
}

fn assigns() -> BoxedStrategy<Assigns> {
    btree_map(any::<String>(), json_text(), 0..4)
        .prop_map(|entries| {
            let mut assigns = Assigns::default();
            for (key, value) in entries {
                assigns.set(&key, &value);
            }
            assigns
        })
        .boxed()
}

/// Any object with at least this number of fields.
fn object(least: usize) -> BoxedStrategy<Object> {
    btree_map(any::<String>(), value(), least..4).prop_map(|fields| Object::encode(&fields).expect("an object")).boxed()
}

/// Any value, as its sender wrote it.
fn json_text() -> BoxedStrategy<Json> {
    let written = select(vec!["1.50e2", "{ \"a\" : 1 }", "\"\\u0041\\/\"", "-0", "[ ]"])
        .prop_map(|text| Json::from_raw(text).expect("JSON"));
    prop_oneof![value().prop_map(|value| Json::encode(&value).expect("JSON")), written].boxed()
}

fn value() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            btree_map(any::<String>(), inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
    .boxed()
}
