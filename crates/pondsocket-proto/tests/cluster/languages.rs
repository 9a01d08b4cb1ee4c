//! Nodes of ours and nodes of other languages.

use pondsocket_proto::channel::Assigns;
use pondsocket_proto::cluster::message::{Body, NodeEvent, Target, UserMessage};

use crate::world::{TestCluster, assigns, json, listed, object, room};

fn joined(name: &str) -> Body {
    Body::UserJoined { user: name.into(), presence: Some(object("{}")), assigns: Assigns::default() }
}

/// The user has the presence `{"x":1}`.
fn presence_update(name: &str) -> Body {
    Body::PresenceUpdate { user: name.into(), presence: object(r#"{"x":1}"#), event: None }
}

fn left(name: &str) -> Body {
    Body::UserLeft { user: name.into() }
}

fn list(names: &[&str]) -> Body {
    Body::StateResponse { users: names.iter().map(|name| listed(name)).collect() }
}

fn beat() -> Body {
    Body::NodeHeartbeat { node: "js".into() }
}

fn request() -> Body {
    Body::StateRequest { from_node: "js".into() }
}

/// A room with `ada` here and `bob` at another node of ours.
fn world() -> TestCluster {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    world.join(1, &room(), "bob");
    world.pass(60);
    world
}

/// The bodies of one kind that were published since the last call.
fn published(world: &mut TestCluster, is_it: fn(&Body) -> bool) -> Vec<Body> {
    world.published.drain(..).map(|(_, message)| message.body).filter(is_it).collect()
}

#[test]
fn foreign_users_join_change_and_leave() {
    let mut world = world();
    world.foreign("js", joined("eve"));
    world.foreign("js", presence_update("eve"));
    let all = Some(assigns(&[("a", "1")]));
    world.foreign("js", Body::AssignsUpdate { user: "eve".into(), assigns: all, delta: None });
    world.pass(30);
    assert_eq!(world.shown(0, &room()), "bob eve*");
    let eve = world.shown_user(0, &room(), "eve").expect("shown");
    assert_eq!(eve.assigns.to_json(), r#"{"a":1}"#);
    world.foreign("js", left("eve"));
    world.pass(30);
    assert_eq!(world.shown(0, &room()), "bob");
}

#[test]
fn a_node_that_is_silent_for_90_seconds_is_dead_with_its_users() {
    let mut world = world();
    world.foreign("js", joined("eve"));
    world.pass(60_000);
    world.foreign("js", beat());
    world.pass(89_000);
    assert_eq!(world.shown(0, &room()), "bob eve");
    world.pass(6_100);
    assert_eq!(world.shown(0, &room()), "bob");
}

#[test]
fn a_list_restores_neither_users_of_our_nodes_nor_users_that_have_just_left() {
    let mut world = world();
    world.foreign("js", joined("eve"));
    world.foreign("js", left("eve"));
    world.foreign("js", list(&["ada", "bob", "eve", "zoe"]));
    world.pass(30);
    assert_eq!(world.shown(0, &room()), "bob zoe");
    world.leave(1, &room(), "bob");
    world.foreign("js", list(&["bob", "zoe"]));
    world.pass(30);
    assert_eq!(world.shown(0, &room()), "zoe");
    world.foreign("js", list(&["bob"]));
    world.pass(30);
    assert_eq!(world.shown(0, &room()), "", "a later list is the last word of the node that makes it");
    world.pass(121_000);
    world.foreign("js", list(&["eve"]));
    world.pass(30);
    assert_eq!(world.shown(0, &room()), "eve");
}

#[test]
fn a_list_does_not_restore_users_of_a_dead_node_of_our_kind() {
    let mut world = world();
    world.foreign("js", joined("eve"));
    world.crash(1);
    for _ in 0..17 {
        world.pass(10_000);
        world.foreign("js", list(&["bob"]));
        world.pass(30);
        assert_eq!(world.shown(0, &room()), "eve");
    }
}

#[test]
fn a_list_restores_neither_users_of_an_earlier_incarnation_nor_users_that_left_here() {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    world.join(0, &room(), "zoe");
    world.join(1, &room(), "bob");
    world.pass(60);
    world.crash(1);
    world.start("b", 2);
    world.leave(0, &room(), "zoe");
    world.foreign("js", list(&["bob", "zoe"]));
    world.pass(30);
    assert_eq!(world.shown(0, &room()), "", "also though this is its first message here");
}

#[test]
fn a_foreign_node_gets_the_users_on_request_and_each_minute() {
    let mut world = world();
    world.published.clear();
    world.foreign("js", request());
    let responses = published(&mut world, |body| matches!(body, Body::StateResponse { .. }));
    let names = |body: &Body| match body {
        Body::StateResponse { users } => users.iter().map(|user| user.id.to_string()).collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    assert_eq!(responses.iter().map(names).collect::<Vec<_>>(), [["ada"], ["bob"]]);
    world.pass(100);
    assert_eq!(published(&mut world, |body| matches!(body, Body::StateResponse { .. })).len(), 2);
    for _ in 0..2 {
        world.foreign("js", beat());
        world.pass(60_000);
        assert_eq!(published(&mut world, |body| matches!(body, Body::StateResponse { .. })).len(), 2);
    }
    world.pass(120_000);
    published(&mut world, |_| true);
    world.pass(120_000);
    assert_eq!(published(&mut world, |body| matches!(body, Body::StateResponse { .. })).len(), 0, "it is dead");
}

/// The foreign node has sent its request before any node here was subscribed.
#[test]
fn a_foreign_node_gets_the_users_after_its_first_message() {
    let mut world = world();
    world.published.clear();
    let is_list = |body: &Body| matches!(body, Body::StateResponse { .. });
    world.foreign("js", joined("eve"));
    assert_eq!(published(&mut world, is_list).len(), 2);
    world.foreign("js", joined("zoe"));
    assert_eq!(published(&mut world, is_list).len(), 0);
}

#[test]
fn foreign_nodes_get_the_users_again_when_the_bus_is_back() {
    let mut world = world();
    world.foreign("js", joined("eve"));
    world.cut(0);
    world.pass(100);
    world.published.clear();
    world.link(0);
    world.pass(10);
    assert_eq!(published(&mut world, |body| matches!(body, Body::StateResponse { .. })).len(), 1);
    assert!(world.shown(0, &room()).contains("eve"));
}

#[test]
fn a_foreign_change_of_a_user_here_is_executed_and_published_as_our_own() {
    let mut world = world();
    world.foreign("js", request());
    world.published.clear();
    let delta = Some(("role".to_owned(), json("\"admin\"")));
    let update = Body::AssignsUpdate { user: "ada".into(), assigns: None, delta };
    world.foreign("js", update.clone());
    world.foreign("js", update);
    let all = Some(assigns(&[("level", "2")]));
    world.foreign("js", Body::AssignsUpdate { user: "ada".into(), assigns: all, delta: None });
    world.foreign("js", presence_update("ada"));
    world.foreign("js", Body::PresenceRemoved { user: "ada".into() });
    world.foreign("js", Body::PresenceRemoved { user: "ada".into() });
    let log = world.log(0).into_iter().filter(|line| line.starts_with("ada")).collect::<Vec<_>>();
    assert_eq!(
        log,
        [
            r#"ada: Assign { key: "role", value: "admin" }"#,
            r#"ada: MergeAssigns({"level":2})"#,
            r#"ada: Presence({"x":1})"#,
            "ada: Untrack",
        ]
    );
    world.pass(30);
    let ada = world.shown_user(1, &room(), "ada").expect("shown");
    assert_eq!(ada.assigns.to_json(), r#"{"role":"admin","level":2}"#);
    assert!(world.published.iter().all(|(_, message)| message.ext.as_ref().is_some_and(|ext| ext.change.is_some())));
    assert_eq!(world.published.len(), 4);
    assert_eq!(world.log(1).iter().filter(|line| line.starts_with("ada")).count(), 0);
}

#[test]
fn foreign_nodes_can_remove_and_query_users_of_our_nodes() {
    let mut world = world();
    world.foreign("go", request());
    world.published.clear();
    let ask = |user: &str| Body::UserGetRequest { user: user.into(), request: "q".into(), from_node: "go".into() };
    world.foreign("go", ask("ada"));
    world.foreign("go", ask("nobody"));
    // On the wire no presence is `{}`.
    let (request, presence) = ("q".into(), None);
    let response = Body::UserGetResponse { user: "ada".into(), request, assigns: Assigns::default(), presence };
    assert_eq!(published(&mut world, |_| true), [response]);
    world.foreign("go", Body::EvictUser { user: "ada".into(), reason: "spam".into() });
    world.foreign("go", Body::UserRemove { user: "bob".into() });
    assert_eq!(world.log(0).last().map(String::as_str), Some(r#"ada: Evict { reason: "spam" }"#));
    assert_eq!(world.log(1).last().map(String::as_str), Some("bob: Remove"));
    world.pass(30);
    assert_eq!((world.shown(0, &room()), world.shown(1, &room())), (String::new(), String::new()));
}

#[test]
fn a_request_sent_before_the_subscription_is_answered_once_more() {
    let mut world = world();
    world.pass(1000);
    let lists = |world: &mut TestCluster| published(world, |body| matches!(body, Body::StateResponse { .. })).len();
    world.foreign("rust", request());
    world.foreign("rust", request());
    assert_eq!(lists(&mut world), 4, "both nodes answer both questions at once");
    world.pass(99);
    assert_eq!(lists(&mut world), 0);
    world.pass(1);
    assert_eq!(lists(&mut world), 2, "each again, but not for each question");
    world.foreign("rust", request());
    world.foreign("other", request());
    assert_eq!(lists(&mut world), 4);
    world.pass(100);
    assert_eq!(lists(&mut world), 4, "for each of the two");
    world.pass(1000);
    assert_eq!(lists(&mut world), 0);
}

#[test]
fn messages_with_reserved_events_are_not_delivered() {
    let mut world = world();
    world.log(0);
    let reserved =
        ["ACKNOWLEDGE", "EXIT_ACKNOWLEDGE", "UNAUTHORIZED", "NOT_FOUND", "INTERNAL_ERROR", "CONNECTION", "EVICTED"];
    for event in reserved.into_iter().chain(["evicted"]) {
        let (from, event, request_id) = ("CHANNEL".into(), event.to_owned(), "r".into());
        let (to, position) = (Target::Users(vec!["ada".into()]), None);
        let payload = object("{}");
        world.foreign("js", Body::UserMessage(UserMessage { from, event, payload, request_id, to, position }));
    }
    assert_eq!(world.log(0), ["deliver evicted"]);
}

#[test]
fn a_long_list_is_sent_in_parts() {
    let mut world = TestCluster::new(1);
    let large = format!("\"{}\"", "x".repeat(100_000));
    (0..5).for_each(|n| world.join_with(0, &room(), &format!("ada{n}"), assigns(&[("large", &large)])));
    world.pass(100);
    world.published.clear();
    world.foreign("js", request());
    let listed = |body: Body| if let Body::StateResponse { users } = body { users.len() } else { 0 };
    let parts: Vec<_> = published(&mut world, |_| true).into_iter().map(listed).collect();
    assert_eq!(parts, [2, 2, 1]);
}

#[test]
fn a_message_is_delivered_once_and_only_where_the_channel_is_open() {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    let message = UserMessage {
        from: "eve".into(),
        event: "hi".into(),
        payload: object("{}"),
        request_id: "r".into(),
        to: Target::All,
        position: None,
    };
    world.log(0);
    world.foreign("js", Body::UserMessage(message.clone()));
    assert_eq!(world.log(0), ["deliver hi"]);
    world.foreign_messages = 0;
    world.foreign("js", Body::UserMessage(message));
    assert_eq!(world.log(0), [""; 0]);
    assert_eq!(world.log(1).iter().filter(|line| line.starts_with("deliver")).count(), 0);
}

/// Foreign nodes do not read the short form, so one message of theirs ends its use. A publisher reads nothing.
#[test]
fn a_publisher_is_no_foreign_node() {
    let mut world = TestCluster::new(1);
    world.join(0, &room(), "ada");
    world.pass(100_000);
    let message = |position: Option<&str>| {
        let (from, event, payload) = ("CHANNEL".into(), "hi".into(), object("{}"));
        let (request_id, to) = (position.unwrap_or("r").to_owned(), Target::All);
        let position = position.map(|position| position.parse().expect("a position"));
        Body::UserMessage(UserMessage { from, event, payload, request_id, to, position })
    };
    world.log(0);
    world.foreign("__publisher__", message(Some("homkou1u3w.1")));
    assert_eq!((world.log(0), world.nodes[0].core.may_shorten()), (vec!["deliver hi".into()], true));
    world.foreign("js", message(None));
    assert_eq!((world.log(0), world.nodes[0].core.may_shorten()), (vec!["deliver hi".into()], false));
}

#[test]
fn a_user_on_two_nodes_is_shown_with_the_entry_that_joined_last() {
    let mut world = TestCluster::new(3);
    world.join(2, &room(), "zoe");
    world.join_with(0, &room(), "ada", assigns(&[("at", "0")]));
    world.pass(10);
    world.join_with(1, &room(), "ada", assigns(&[("at", "1")]));
    world.track(0, &room(), "ada", r#"{"at":0}"#);
    world.pass(60);
    let ada = world.shown_user(2, &room(), "ada").expect("shown");
    assert_eq!(ada.assigns.to_json(), r#"{"at":1}"#);
    assert_eq!(ada.presence.as_ref().map(|presence| presence.as_str()), Some(r#"{"at":0}"#));
    let over = |world: &TestCluster, n| world.shown_user(n, &room(), "ada").map(|shown| shown.over_local);
    world.track(1, &room(), "ada", r#"{"at":1}"#);
    world.pass(60);
    assert_eq!((over(&world, 0), over(&world, 1)), (Some(true), Some(false)));
    world.leave(1, &room(), "ada");
    world.pass(60);
    assert_eq!(over(&world, 0), None);
    let ada = world.shown_user(2, &room(), "ada").expect("shown");
    assert_eq!(ada.assigns.to_json(), r#"{"at":0}"#);
}

#[test]
fn the_first_message_of_a_node_is_a_heartbeat() {
    let mut world = TestCluster::new(0);
    world.start("a", 7);
    let bodies = published(&mut world, |_| true);
    assert_eq!(bodies, [Body::NodeHeartbeat { node: "a~7".into() }, Body::Node(NodeEvent::Hello)]);
    world.pass(60_000);
    assert_eq!(published(&mut world, |body| matches!(body, Body::NodeHeartbeat { .. })).len(), 2);
}
