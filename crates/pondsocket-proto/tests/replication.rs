//! A channel of a node in a cluster: the members of other nodes that it shows, and the changes that it logs for other
//! nodes.

use std::rc::Rc;

use pondsocket_proto::channel::{
    Assigns, Channel, ChannelLimits, Class, DeliveryPolicy, Encoded, Join, LocalTarget, Lost, MemberChange, Outbound,
    Plan, Recipients, RemoteChange, RemoteMember, Slot, Step,
};
use pondsocket_proto::id::{ChannelName, ConnectionId, UserId};
use pondsocket_proto::model::{self, UserMessage};
use pondsocket_proto::wire::{Json, Object};
use serde_json::{Value, json};

fn user(name: &str) -> UserId {
    UserId::new(name).expect("valid")
}

fn object(value: Value) -> Object {
    Object::encode(&value).expect("an object")
}

/// A channel with one observing connection, of the user `me`, which is tracked.
struct Room {
    channel: Channel<&'static str>,
    recipients: Recipients<&'static str>,
    connections: u128,
}

impl Room {
    fn new() -> Room {
        let name = ChannelName::new("/c", 8).expect("valid");
        let channel = Channel::new(name, ChannelLimits::default(), || 7).replicated();
        let mut room = Room { channel, recipients: Recipients::default(), connections: 0 };
        room.join("me", vec![Step::Track(object(json!({ "of": "me" })))]);
        room.received();
        room.channel.take_outbound();
        room
    }

    fn join(&mut self, name: &'static str, chain: Vec<Step>) -> (Slot, ConnectionId) {
        self.connections += 1;
        let connection = ConnectionId::from_u128(self.connections);
        let policy = |_: &str| DeliveryPolicy::BROADCAST;
        let user = user(name);
        let accepted = self.channel.join(Join { chain, ..Join::new(name, connection, &user, "q") }, &policy);
        (accepted.slot, connection)
    }

    fn show(&mut self, name: &str, presence: Option<Value>, over_local: bool) {
        let shown = RemoteMember { assigns: Assigns::default(), presence: presence.map(object), over_local, joined: 0 };
        self.channel.apply_remote(vec![RemoteChange::Shown(user(name), shown)]);
    }

    fn gone(&mut self, name: &str) {
        self.channel.apply_remote(vec![RemoteChange::Gone(user(name))]);
    }

    /// The messages that `me` receives: `EVENT changed`, and for presence the length of the list.
    fn received(&mut self) -> Vec<String> {
        let batch = self.channel.take();
        let plan = Plan::new(&batch, &mut self.recipients);
        let frame = |text: &[u8], out: &mut Vec<u8>| out.extend_from_slice(text);
        let mut encoded = Encoded::new(&batch, frame, Rc::<[u8]>::from, |_| true);
        encoded.add_presence(&batch, frame, Rc::<[u8]>::from);
        let mut messages = Vec::new();
        let mut read = |bytes: &[u8]| {
            for message in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>() {
                let message = message.expect("JSON");
                let (event, payload) = (message["event"].as_str().expect("an event"), &message["payload"]);
                messages.push(match payload["presence"].as_array() {
                    Some(list) => format!("{event} {} {} of {}", payload["userId"], payload["changed"], list.len()),
                    None => format!("{event} {payload}"),
                });
            }
        };
        for private in plan.private.iter().filter(|private| private.to == "me") {
            private.pieces.iter().flat_map(|piece| encoded.piece(piece)).for_each(|run| read(run.bytes()));
        }
        let mine = |(slot, reception): &(Slot, &pondsocket_proto::channel::Reception<&str>)| {
            reception.to == "me" && !plan.is_marked(*slot)
        };
        for (_, reception) in self.recipients.iter().filter(mine) {
            let class = if reception.tracked { Class::Tracked } else { Class::All };
            encoded.whole(class).iter().filter(|_| plan.visits(class)).for_each(|run| read(run.bytes()));
        }
        messages
    }

    /// The log for other nodes, in short.
    fn outbound(&mut self) -> Vec<String> {
        let short = |outbound: Outbound| match outbound {
            Outbound::Change(MemberChange::Joined { user, assigns }) => format!("joined {user} {}", assigns.to_json()),
            Outbound::Change(MemberChange::Left { user }) => format!("left {user}"),
            Outbound::Change(MemberChange::Presence { user, presence: Some(shown) }) => {
                format!("shows {user} {shown:?}")
            }
            Outbound::Change(MemberChange::Presence { user, presence: None }) => format!("hides {user}"),
            Outbound::Change(MemberChange::Assigns { user, assigns, key }) => {
                format!("assigns {user} {} {}", assigns.to_json(), key.unwrap_or_default())
            }
            Outbound::Moved(user) => format!("moved {user}"),
            Outbound::Message(UserMessage { from, event, to, payload, .. }) => {
                format!("{event} {payload:?} from {from} to {to:?}")
            }
            Outbound::Append(_) => panic!("the history is not shared"),
        };
        self.channel.take_outbound().into_iter().map(short).collect()
    }
}

#[test]
fn users_of_other_nodes_join_change_and_leave() {
    let mut room = Room::new();
    room.show("ada", Some(json!({ "n": 1 })), false);
    room.show("ada", Some(json!({ "n": 1 })), true);
    room.show("ada", Some(json!({ "n": 2 })), false);
    room.show("ada", None, false);
    room.show("ada", Some(json!({ "n": 3 })), false);
    room.gone("ada");
    room.gone("ada");
    let expected = [
        r#"JOIN "ada" {"n":1} of 1"#,
        r#"UPDATE "ada" {"n":2} of 1"#,
        r#"LEAVE "ada" {"n":2} of 1"#,
        r#"JOIN "ada" {"n":3} of 1"#,
        r#"LEAVE "ada" {"n":3} of 1"#,
    ];
    assert_eq!(room.received(), expected, "the list is that of the delivery");
    assert!(room.outbound().is_empty(), "changes of other nodes are not logged again");
    room.show("ada", Some(json!({})), false);
    assert_eq!(room.received(), [r#"JOIN "ada" {} of 2"#]);
    assert_eq!(room.channel.member_count(), 2);
}

#[test]
fn a_user_of_several_nodes_has_one_presence() {
    let mut room = Room::new();
    room.show("ada", Some(json!({ "at": "elsewhere" })), false);
    let (slot, connection) = room.join("ada", Vec::new());
    assert_eq!(room.channel.member_count(), 2);
    assert_eq!(room.received(), [r#"JOIN "ada" {"at":"elsewhere"} of 2"#]);
    room.channel.set_presence("ada", object(json!({ "at": "here" }))).expect("a member");
    assert_eq!(room.received(), [r#"UPDATE "ada" {"at":"here"} of 2"#]);
    room.show("ada", Some(json!({ "at": "elsewhere" })), true);
    assert_eq!(room.received(), [r#"UPDATE "ada" {"at":"elsewhere"} of 2"#]);
    room.channel.set_presence("ada", object(json!({ "at": "here again" }))).expect("a member");
    assert!(room.received().is_empty(), "the presence of the other node is shown");
    room.gone("ada");
    assert_eq!(room.received(), [r#"UPDATE "ada" {"at":"here again"} of 2"#]);
    room.show("ada", Some(json!({ "at": "elsewhere" })), false);
    room.channel.leave(slot, connection, None).expect("seated");
    assert_eq!(room.received(), [r#"UPDATE "ada" {"at":"elsewhere"} of 2"#]);
    room.gone("ada");
    assert_eq!(room.received(), [r#"LEAVE "ada" {"at":"elsewhere"} of 1"#]);
}

#[test]
fn a_further_connection_is_not_logged_for_other_nodes() {
    let mut room = Room::new();
    let assign = |key: &str| Step::Assign(key.into(), Json::encode(&1).expect("JSON"));
    room.join("ada", vec![assign("a"), Step::Track(object(json!({}))), assign("b")]);
    let expected = [r#"joined ada {"a":1}"#, "shows ada {}", r#"assigns ada {"a":1,"b":1} b"#];
    assert_eq!(room.outbound(), expected, "the join has the leading assigns");
    let (slot, connection) = room.join("ada", Vec::new());
    assert!(room.outbound().is_empty());
    room.channel.leave(slot, connection, None).expect("seated");
    assert!(room.outbound().is_empty());
}

#[test]
fn changes_of_local_users_are_logged_for_other_nodes_in_order() {
    let mut room = Room::new();
    let chain = vec![
        Step::Track(object(json!({ "n": 1 }))),
        Step::Broadcast(LocalTarget::All, "hello".into(), object(json!({ "to": "all" }))),
        Step::BroadcastFrom("hello".into(), object(json!({ "to": "others" }))),
        Step::Reply("welcome".into(), object(json!({}))),
    ];
    room.join("ada", chain);
    room.channel.set_presence("ada", object(json!({ "n": 1 }))).expect("a member");
    room.channel.set_presence("ada", object(json!({ "n": 2 }))).expect("a member");
    room.channel.untrack("ada").expect("a member");
    room.channel.untrack("ada").expect("a member");
    let mut merged = Assigns::default();
    merged.set("b", &Json::encode(&2).expect("JSON"));
    room.channel.merge_assigns("ada", merged).expect("a member");
    room.channel.evict(&user("ada"), "spam").expect("a member");
    let expected = [
        "joined ada {}",
        r#"shows ada {"n":1}"#,
        r#"hello {"to":"all"} from ada to All"#,
        r#"hello {"to":"others"} from ada to ExceptConnection(())"#,
        r#"shows ada {"n":2}"#,
        "hides ada",
        r#"assigns ada {"b":2} "#,
        r#"user_evicted {"reason":"spam","userId":"ada"} from CHANNEL to All"#,
        "left ada",
    ];
    assert_eq!(room.outbound(), expected);
}

#[test]
fn a_message_is_forwarded_if_users_of_other_nodes_may_be_recipients() {
    let mut room = Room::new();
    let (slot, connection) = room.join("bob", Vec::new());
    room.show("ada", None, false);
    room.channel.take_outbound();
    let mut forward = |from: Option<&str>, to: LocalTarget| room.channel.forward(from, &to, "e", "q", r#"{"n":1}"#);
    let users = |names: &[&str]| LocalTarget::Users(names.iter().map(|name| (*name).to_owned()).collect());
    assert!(forward(None, LocalTarget::All));
    assert!(forward(Some("bob"), LocalTarget::ExceptConnection((slot, connection))));
    assert!(forward(Some("bob"), LocalTarget::ExceptConnection((slot, ConnectionId::from_u128(99)))));
    assert!(forward(None, LocalTarget::ExceptUser("bob".into())));
    assert!(forward(None, users(&["ada", "bob", "eve"])));
    assert!(!forward(None, users(&["bob", "me"])), "they are here");
    let expected = [
        r#"e {"n":1} from CHANNEL to All"#,
        r#"e {"n":1} from bob to ExceptConnection(())"#,
        r#"e {"n":1} from bob to All"#,
        r#"e {"n":1} from bob to ExceptUser("bob")"#,
        r#"e {"n":1} from CHANNEL to Users(["ada", "eve"])"#,
    ];
    assert_eq!(room.outbound(), expected);
}

#[test]
fn a_message_of_another_node_reaches_its_recipients() {
    let mut room = Room::new();
    let mut deliver = |from: &str, to: model::Target| {
        let message = UserMessage {
            from: from.into(),
            event: "e".into(),
            payload: object(json!({ "n": 1 })),
            request_id: "q".into(),
            to,
            position: None,
        };
        let members = room.channel.deliver(message.as_ref(), DeliveryPolicy::BROADCAST).expect("room");
        (members, room.received().len())
    };
    assert_eq!(deliver("ada", model::Target::All), (1, 1));
    assert_eq!(deliver("ada", model::Target::ExceptUser("ada".into())), (1, 1));
    assert_eq!(deliver("me", model::Target::ExceptUser("me".into())), (0, 0));
    assert_eq!(deliver("me", model::Target::ExceptConnection(())), (1, 1), "the connection is elsewhere");
    assert_eq!(deliver("CHANNEL", model::Target::Users(vec!["me".into(), "eve".into()])), (1, 1));
    assert_eq!(deliver("CHANNEL", model::Target::Users(vec!["eve".into()])), (0, 0));
    assert!(room.outbound().is_empty(), "changes of other nodes are not logged again");
}

#[test]
fn a_single_node_logs_nothing() {
    let name = ChannelName::new("/c", 8).expect("valid");
    let mut channel: Channel<&str> = Channel::new(name, ChannelLimits::default(), || 7);
    let id = ConnectionId::from_u128(1);
    channel.join(Join::new("a", id, &user("a"), "q"), &|_| DeliveryPolicy::BROADCAST);
    assert!(!channel.forward(None, &LocalTarget::All, "e", "q", "{}"));
    assert!(channel.take_outbound().is_empty());
}

#[test]
fn a_user_that_joins_as_another_node_shows_it_gets_the_list_and_nobody_else_anything() {
    let mut room = Room::new();
    room.show("ada", Some(json!({ "n": 1 })), false);
    room.received();
    room.join("ada", vec![Step::Track(object(json!({ "n": 1 })))]);
    assert!(room.received().is_empty());
    // The other node shows the observer, too: it is told what it missed by its own join.
    room.show("me", Some(json!({ "of": "me" })), false);
    assert!(room.received().is_empty());
    assert_eq!(room.channel.untrack("me"), Ok(true));
    room.received();
    assert_eq!(room.channel.set_presence("me", object(json!({ "of": "me" }))), Ok(()));
    assert_eq!(room.received(), [r#"JOIN "me" {"of":"me"} of 2"#]);
}

#[test]
fn a_ghost_that_joins_another_node_is_dropped_without_a_word() {
    let mut room = Room::new();
    let (slot, connection) = room.join("ada", vec![Step::Track(object(json!({ "n": 1 })))]);
    room.received();
    room.outbound();
    assert!(matches!(room.channel.lose(slot, connection, Some(5)), Ok(Lost::Ghost(_))));
    assert!(room.outbound().is_empty(), "other nodes still show it");
    let shown = |joined| RemoteMember {
        assigns: Assigns::default(),
        presence: Some(object(json!({ "n": 1 }))),
        over_local: true,
        joined,
    };
    let moved = room.channel.apply_remote(vec![RemoteChange::Shown(user("ada"), shown(7))]);
    assert_eq!(moved.iter().map(|gone| gone.user.as_str()).collect::<Vec<_>>(), ["ada"]);
    assert!(room.received().is_empty());
    assert_eq!(room.outbound(), ["moved ada"]);
    assert_eq!((room.channel.local_members().ghost_count(), room.channel.member_count()), (0, 2));
    assert!(room.channel.expire_ghosts(u64::MAX, 9).is_empty());
}

#[test]
fn a_ghost_that_another_node_had_all_the_time_stays_until_it_joins_there_again() {
    let mut room = Room::new();
    let shown = |joined, n: u8| {
        let presence = Some(object(json!({ "n": n })));
        RemoteChange::Shown(
            user("ada"),
            RemoteMember { assigns: Assigns::default(), presence, over_local: false, joined },
        )
    };
    room.channel.apply_remote(vec![shown(7, 1)]);
    let (slot, connection) = room.join("ada", Vec::new());
    room.channel.lose(slot, connection, Some(5)).expect("seated");
    assert!(room.channel.apply_remote(vec![shown(7, 2)]).is_empty(), "a change of what it shows is no join");
    assert_eq!(room.channel.apply_remote(vec![shown(8, 2)]).len(), 1);
}

#[test]
fn other_nodes_are_not_told_of_the_ghosts_of_a_server_that_shuts_down() {
    let mut room = Room::new();
    let (slot, connection) = room.join("ada", vec![Step::Track(object(json!({ "n": 1 })))]);
    room.channel.lose(slot, connection, Some(5)).expect("seated");
    room.received();
    room.outbound();
    assert_eq!(room.channel.abandon_ghosts(9).len(), 1);
    assert_eq!(room.received(), [r#"LEAVE "ada" {"n":1} of 1"#]);
    assert!(room.outbound().is_empty());
}
