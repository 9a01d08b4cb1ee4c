//! Requests of one node that concern users of another, and the answers.

use pondsocket_proto::cluster::message::{Body, Envelope};
use pondsocket_proto::cluster::{Answer, ChannelKey, ClusterRequest, Topic};

use crate::world::{TestCluster, assigns, json, key, listed, object, room, user};

fn evict(channel: &ChannelKey, name: &str) -> ClusterRequest {
    ClusterRequest::Evict { channel: channel.clone(), user: user(name), reason: "spam".into() }
}

fn get(channel: &ChannelKey, name: &str) -> ClusterRequest {
    ClusterRequest::Get { channel: channel.clone(), user: user(name) }
}

fn assign(channel: &ChannelKey, name: &str) -> ClusterRequest {
    ClusterRequest::Assign { channel: channel.clone(), user: user(name), key: "k".into(), value: json("1") }
}

/// `ada` is at the first node; `bob` and `eve`, in the same room, at the second; the third has no user.
fn world() -> TestCluster {
    let mut world = TestCluster::new(3);
    world.join(0, &room(), "ada");
    world.join_with(1, &room(), "bob", assigns(&[("a", "0")]));
    world.join(1, &room(), "eve");
    world.pass(2100);
    world
}

fn answer(world: &mut TestCluster, n: usize, ask: ClusterRequest) -> Option<Answer> {
    world.nodes[n].answers.clear();
    world.ask(n, 7, ask);
    world.pass(40);
    world.nodes[n].answers.remove(&7)
}

fn names(answer: Option<Answer>) -> (String, bool) {
    let Some(Answer::Users { users, complete }) = answer else { panic!("{answer:?} is no list") };
    (users.iter().map(|(user, _)| user.as_str()).collect::<Vec<_>>().join(" "), complete)
}

fn is_ack(message: &Envelope) -> bool {
    matches!(message.body, Body::Ack { .. })
}

#[test]
fn a_user_on_another_node_is_evicted_and_the_requester_gets_the_outcome() {
    let mut world = world();
    assert_eq!(answer(&mut world, 0, evict(&room(), "bob")), Some(Answer::Confirmed));
    assert_eq!(world.log(1).pop().as_deref(), Some(r#"bob: Evict { reason: "spam" }"#));
    assert_eq!(world.shown(0, &room()), "eve");
    let remove = ClusterRequest::Remove { channel: room(), user: user("eve") };
    assert_eq!(answer(&mut world, 2, remove), Some(Answer::Confirmed), "also by a node without the room");
    assert_eq!(answer(&mut world, 0, evict(&room(), "bob")), Some(Answer::NotFound));
}

#[test]
fn assigns_and_presence_of_a_user_on_another_node_are_changed_by_that_node() {
    let mut world = world();
    for n in [0, 2] {
        let value = json(&n.to_string());
        let ask = ClusterRequest::Assign { channel: room(), user: user("bob"), key: "k".into(), value };
        assert_eq!(answer(&mut world, n, ask), Some(Answer::Confirmed));
        let bob = world.shown_user(0, &room(), "bob").expect("shown");
        assert_eq!(bob.assigns.to_json(), format!(r#"{{"a":0,"k":{n}}}"#));
        let presence = object(&format!(r#"{{"k":{n}}}"#));
        let ask = ClusterRequest::Presence { channel: room(), user: user("bob"), presence: presence.clone() };
        assert_eq!(answer(&mut world, n, ask), Some(Answer::Confirmed));
        assert_eq!(world.shown_user(0, &room(), "bob").expect("shown").presence, Some(presence));
    }
    assert_eq!(answer(&mut world, 2, assign(&room(), "nobody")), Some(Answer::NotFound));
}

#[test]
fn a_user_is_found_on_any_node() {
    let mut world = world();
    for n in [0, 2] {
        let Some(Answer::Found(bob)) = answer(&mut world, n, get(&room(), "bob")) else { panic!("not found") };
        assert_eq!((bob.assigns.to_json(), bob.presence), (r#"{"a":0}"#.to_owned(), None));
        assert_eq!(answer(&mut world, n, get(&room(), "nobody")), Some(Answer::NotFound));
    }
    assert_eq!(answer(&mut world, 0, get(&key("/empty"), "bob")), Some(Answer::NotFound));
}

#[test]
fn all_users_are_found() {
    let mut world = world();
    let users = || ClusterRequest::Users { channel: room() };
    assert_eq!(names(answer(&mut world, 2, users())), ("ada bob eve".into(), true));
    assert_eq!(names(answer(&mut world, 0, users())), ("bob eve".into(), true));
    world.crash(1);
    world.nodes[1].answers.clear();
    world.pass(11_000);
    assert_eq!(names(answer(&mut world, 1, users())), ("ada".into(), true));
}

#[test]
fn a_node_that_does_not_answer_makes_the_result_unconfirmed_after_the_timeout() {
    let mut world = world();
    world.lose = is_ack;
    // The node might be dead, which is noticed within 6 s.
    for (request, time) in [(evict(&room(), "bob"), 6000), (assign(&room(), "eve"), 2000)] {
        assert_eq!(answer(&mut world, 0, request), None);
        world.pass(time - 50);
        assert_eq!(world.nodes[0].answers.remove(&7), None);
        world.pass(10);
        assert_eq!(world.nodes[0].answers.remove(&7), Some(Answer::Unconfirmed));
    }
    world.lose = |_| true;
    assert_eq!(answer(&mut world, 2, get(&room(), "eve")), None);
    world.pass(460);
    assert_eq!(world.nodes[2].answers.remove(&7), Some(Answer::Unconfirmed));
    assert_eq!(answer(&mut world, 2, ClusterRequest::Users { channel: room() }), None);
    world.pass(460);
    assert_eq!(names(world.nodes[2].answers.remove(&7)), (String::new(), false));
}

#[test]
fn without_the_bus_only_known_users_are_found() {
    let mut world = world();
    world.cut(0);
    assert_eq!(answer(&mut world, 0, evict(&room(), "bob")), Some(Answer::Unavailable));
    assert_eq!(answer(&mut world, 0, get(&room(), "nobody")), Some(Answer::Unavailable));
    assert!(matches!(answer(&mut world, 0, get(&room(), "bob")), Some(Answer::Found(_))));
}

#[test]
fn a_node_alone_answers_not_found() {
    let mut world = TestCluster::new(1);
    assert_eq!(answer(&mut world, 0, evict(&room(), "bob")), None, "not before it must have heard of others");
    world.pass(2000);
    assert_eq!(answer(&mut world, 0, evict(&room(), "bob")), Some(Answer::NotFound));
    assert_eq!(answer(&mut world, 0, get(&room(), "bob")), Some(Answer::NotFound));
    assert_eq!(names(answer(&mut world, 0, ClusterRequest::Users { channel: room() })), (String::new(), true));
}

fn joined(name: &str) -> Body {
    Body::UserJoined { user: name.into(), presence: None, assigns: assigns(&[("a", "0")]) }
}

#[test]
fn foreign_nodes_get_all_assigns_and_cannot_confirm() {
    let mut world = world();
    world.foreign("js", joined("zoe"));
    world.published.clear();
    assert_eq!(answer(&mut world, 0, assign(&room(), "zoe")), None);
    let all = Some(assigns(&[("a", "0"), ("k", "1")]));
    let body = Body::AssignsUpdate { user: "zoe".into(), assigns: all, delta: Some(("k".into(), json("1"))) };
    assert_eq!(world.published[0].1.body, body);
    for n in [0, 1] {
        let zoe = world.shown_user(n, &room(), "zoe").expect("shown");
        assert_eq!(zoe.assigns.to_json(), r#"{"a":0,"k":1}"#);
    }
    world.pass(2000);
    assert_eq!(world.nodes[0].answers.remove(&7), Some(Answer::Unconfirmed));
    assert_eq!(answer(&mut world, 0, evict(&room(), "zoe")), None);
    assert_eq!(world.shown(0, &room()), "bob eve", "some never say that they have obeyed");
    world.foreign("js", Body::UserLeft { user: "zoe".into() });
    assert_eq!(world.nodes[0].answers.remove(&7), Some(Answer::Confirmed));
}

#[test]
fn foreign_nodes_are_queried_once_the_topic_is_subscribed() {
    let mut world = world();
    world.foreign("js", Body::NodeHeartbeat { node: "js".into() });
    world.foreign("js", joined("zoe"));
    world.published.clear();
    assert_eq!(answer(&mut world, 2, assign(&room(), "zoe")), None);
    let question = |message: &Envelope| match &message.body {
        Body::UserGetRequest { request, .. } => Some(request.clone()),
        _ => None,
    };
    let on_topic = |(topic, message): &(Topic, Envelope)| {
        question(message).filter(|_| *topic == crate::world::topics().channel(&room()))
    };
    let request = world.published.iter().find_map(on_topic).expect("asked on the channel's topic");
    let (user, assigns_of_zoe) = ("zoe".into(), assigns(&[("a", "0")]));
    let response = Body::UserGetResponse { user, request, assigns: assigns_of_zoe, presence: None };
    world.foreign("js", response);
    let all = Some(assigns(&[("a", "0"), ("k", "1")]));
    let body = Body::AssignsUpdate { user: "zoe".into(), assigns: all, delta: Some(("k".into(), json("1"))) };
    assert!(world.published.iter().any(|(_, message)| message.body == body));
    let users = Body::StateResponse { users: vec![listed("zoe")] };
    world.ask(2, 8, ClusterRequest::Users { channel: room() });
    world.foreign("js", users);
    world.pass(500);
    assert_eq!(names(world.nodes[2].answers.remove(&8)), ("ada bob eve zoe".into(), false));
}

/// A foreign node that receives the change of an unknown user creates that user.
#[test]
fn a_change_is_published_on_the_topic_only_if_a_foreign_node_has_the_user() {
    let mut world = world();
    world.foreign("js", joined("zoe"));
    let presence =
        |name: &str| ClusterRequest::Presence { channel: room(), user: user(name), presence: object(r#"{"k":1}"#) };
    let is_wish = |(topic, message): &(Topic, Envelope)| {
        let ext = message.ext.as_ref().is_some_and(|ext| ext.change.is_none());
        let is_change = matches!(message.body, Body::PresenceUpdate { .. } | Body::AssignsUpdate { .. });
        (ext && is_change).then(|| *topic == crate::world::topics().channel(&room()))
    };
    for (n, name, published) in [
        (0, "bob", vec![false]),
        (2, "bob", vec![false]),
        (0, "zoe", vec![true]),
        (0, "nobody", vec![]),
        (2, "nobody", vec![]),
    ] {
        for ask in [presence(name), assign(&room(), name)] {
            world.published.clear();
            answer(&mut world, n, ask);
            world.pass(600);
            assert_eq!(world.published.iter().filter_map(is_wish).collect::<Vec<_>>(), published, "{name} by {n}");
        }
    }
}

#[test]
fn a_repeated_command_is_executed_once_and_answered_twice() {
    let mut world = world();
    world.lose = is_ack;
    answer(&mut world, 0, evict(&room(), "bob"));
    world.join(1, &room(), "bob");
    world.pass(60);
    let is_eviction = |(_, message): &&(Topic, Envelope)| matches!(message.body, Body::EvictUser { .. });
    let (topic, mut again) = world.published.iter().rev().find(is_eviction).cloned().expect("published");
    again.id = "again".into();
    world.lose = |_| false;
    let message = Box::new(again);
    world.input(1, pondsocket_proto::cluster::Input::Received { topic, message });
    assert_eq!(world.nodes[0].answers.remove(&7), Some(Answer::Confirmed));
    world.pass(60);
    assert_eq!(world.shown(0, &room()), "bob eve");
    assert_eq!(world.log(1).iter().filter(|line| line.contains("Evict")).count(), 1);
}

#[test]
fn pending_and_later_requests_are_answered_when_the_node_stops() {
    let mut world = world();
    world.lose = is_ack;
    assert_eq!(answer(&mut world, 0, evict(&room(), "bob")), None);
    world.input(0, pondsocket_proto::cluster::Input::Stop);
    assert_eq!(world.nodes[0].answers.remove(&7), Some(Answer::Unconfirmed));
    assert_eq!(answer(&mut world, 0, evict(&room(), "eve")), Some(Answer::Unavailable));
}

#[test]
fn pending_requests_are_limited() {
    let mut world = world();
    world.lose = |_| true;
    for id in 0..1024 {
        world.ask(2, id, get(&room(), "bob"));
    }
    assert_eq!(world.nodes[2].answers.len(), 0);
    world.ask(2, 5000, get(&room(), "bob"));
    assert_eq!(world.nodes[2].answers.remove(&5000), Some(Answer::Unavailable));
    world.pass(600);
    assert_eq!(world.nodes[2].answers.len(), 1024);
}
