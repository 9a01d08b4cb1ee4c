//! Every node shows the users of every other live node.

use pondsocket_proto::cluster::message::{Body, Envelope, NodeEvent, Target, UserMessage};
use pondsocket_proto::cluster::{ChannelKey, Input, NodeOutput, Output, Topic};

use crate::world::{TestCluster, assigns, key, object, room, topics};

#[test]
fn a_user_is_shown_on_the_other_node_until_it_leaves() {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    world.join_with(1, &room(), "bob", assigns(&[("role", "\"admin\"")]));
    world.track(1, &room(), "bob", r#"{"status":"here"}"#);
    world.pass(60);
    assert_eq!(world.shown(0, &room()), "bob*");
    assert_eq!(world.shown(1, &room()), "ada");
    let bob = world.shown_user(0, &room(), "bob").expect("shown");
    assert_eq!(bob.assigns.to_json(), r#"{"role":"admin"}"#);
    assert_eq!(bob.presence.as_ref().map(|presence| presence.as_str()), Some(r#"{"status":"here"}"#));
    world.set(1, &room(), "bob", "role", "\"guest\"");
    world.pass(30);
    assert_eq!(world.shown_user(0, &room(), "bob").expect("shown").assigns.to_json(), r#"{"role":"guest"}"#);
    world.leave(1, &room(), "bob");
    world.pass(30);
    assert_eq!(world.shown(0, &room()), "");
}

#[test]
fn present_users_are_shown_on_a_node_that_joins_later() {
    let mut world = TestCluster::new(2);
    let many: Vec<_> = (0..40).map(|n| format!("user{n:02}")).collect();
    many.iter().for_each(|name| world.join(0, &room(), name));
    world.pass(100);
    world.join(1, &room(), "bob");
    world.pass(60);
    assert_eq!(world.shown(1, &room()), many.join(" "));
    assert_eq!(world.shown(0, &room()), "bob");
}

#[test]
fn a_channel_that_empties_and_opens_again_shows_no_earlier_user() {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    world.join(1, &room(), "bob");
    world.pass(60);
    world.leave(1, &room(), "bob");
    world.join(1, &room(), "eve");
    world.pass(60);
    assert_eq!(world.shown(0, &room()), "eve");
    assert_eq!(world.shown(1, &room()), "ada", "shown again to another instance of the channel");
    world.leave(1, &room(), "eve");
    world.pass(20_000);
    world.join(1, &room(), "zoe");
    world.pass(60);
    assert_eq!(world.shown(0, &room()), "zoe");
    assert_eq!(world.shown(1, &room()), "ada");
}

#[test]
fn a_lost_change_is_requested_when_the_next_change_shows_the_gap() {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    world.join(1, &room(), "bob");
    world.pass(60);
    world.lose = |message| matches!(&message.body, Body::UserJoined { user, .. } if &**user == "eve");
    world.join(1, &room(), "eve");
    world.join(1, &room(), "zoe");
    world.pass(100);
    assert_eq!(world.shown(0, &room()), "bob eve zoe");
}

#[test]
fn a_lost_last_change_is_detected_by_the_digest() {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    world.join(1, &room(), "bob");
    world.pass(100_000);
    world.lose = |message| matches!(message.body, Body::UserLeft { .. });
    world.leave(1, &room(), "bob");
    world.pass(4900);
    assert_eq!(world.shown(0, &room()), "bob");
    world.pass(200);
    assert_eq!(world.shown(0, &room()), "");
    assert!(world.log(0).iter().all(|line| !line.contains("diverged")));
}

#[test]
fn a_lost_request_for_the_state_is_repaired_by_the_digest() {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    world.pass(100_000);
    world.lose = |message| matches!(message.body, Body::StateRequest { .. });
    world.join(1, &room(), "bob");
    world.pass(4900);
    assert_eq!(world.shown(1, &room()), "");
    world.pass(200);
    assert_eq!(world.shown(1, &room()), "ada");
}

#[test]
fn users_of_a_silent_owner_are_requested_when_even_the_digests_are_lost() {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    world.join(1, &room(), "bob");
    world.pass(60);
    world.lose = |message| matches!(message.body, Body::UserLeft { .. } | Body::Digest { .. });
    world.leave(1, &room(), "bob");
    world.pass(61_000);
    world.lose = |_| false;
    world.pass(500_000);
    assert_eq!(world.shown(0, &room()), "bob");
    world.pass(1_300_000);
    assert_eq!(world.shown(0, &room()), "");
}

#[test]
fn a_user_that_left_a_channel_that_has_closed_is_gone_when_the_bus_is_back() {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    world.join(1, &room(), "bob");
    world.pass(60);
    world.cut(0);
    world.leave(1, &room(), "bob");
    world.pass(100_000);
    assert_eq!(world.shown(0, &room()), "bob");
    world.link(0);
    world.pass(60);
    assert_eq!(world.shown(0, &room()), "");
}

#[test]
fn a_user_that_left_shortly_before_an_outage_is_gone_when_the_bus_is_back() {
    for wait in [100, 5_000, 15_000] {
        let mut world = TestCluster::new(2);
        world.join(0, &room(), "ada");
        world.join(1, &room(), "bob");
        world.pass(60);
        world.lose = |message| message.channel.is_some();
        world.leave(1, &room(), "bob");
        world.pass(wait);
        world.cut(1);
        world.lose = |_| false;
        world.pass(3_000);
        assert_eq!(world.shown(0, &room()), "bob");
        world.link(1);
        world.pass(60);
        assert_eq!(world.shown(0, &room()), "", "{wait}");
    }
}

#[test]
fn a_user_that_left_a_hidden_node_is_not_shown_again_with_it() {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    world.join(1, &room(), "bob");
    world.pass(60);
    world.cut(1);
    world.pass(6_000);
    assert_eq!(world.shown(0, &room()), "");
    world.leave(1, &room(), "bob");
    world.cut(0);
    world.link(1);
    world.pass(15_000);
    world.link(0);
    world.pass(3_000);
    assert!(world.log(0).contains(&"up b".to_owned()));
    assert_eq!(world.shown(0, &room()), "");
}

#[test]
fn a_lost_repair_is_requested_again() {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    world.join(1, &room(), "bob");
    world.pass(60);
    world.lose = |message| {
        matches!(&message.body, Body::UserJoined { user, .. } if &**user == "eve")
            || matches!(message.body, Body::Repair(_))
    };
    world.join(1, &room(), "eve");
    world.join(1, &room(), "zoe");
    world.pass(400);
    assert_eq!(world.shown(0, &room()), "bob");
    world.lose = |_| false;
    world.pass(1000);
    assert_eq!(world.shown(0, &room()), "bob eve zoe");
}

#[test]
fn a_disconnected_node_shows_the_last_known_users_and_then_the_present_ones() {
    let mut world = TestCluster::new(3);
    world.join(0, &room(), "ada");
    world.join(1, &room(), "bob");
    world.join(2, &room(), "eve");
    world.pass(60);
    world.cut(0);
    world.leave(1, &room(), "bob");
    world.join(1, &room(), "zoe");
    world.join(0, &room(), "ann");
    world.pass(3000);
    assert_eq!(world.shown(0, &room()), "bob eve");
    assert_eq!(world.shown(1, &room()), "ada eve");
    world.link(0);
    world.pass(60);
    assert_eq!(world.shown(0, &room()), "eve zoe");
    assert_eq!(world.shown(1, &room()), "ada ann eve");
    assert_eq!(world.shown(2, &room()), "ada ann zoe");
}

/// The number of channels whose states a message has.
fn states((_, message): &(Topic, Envelope)) -> Option<usize> {
    match &message.body {
        Body::State(states) => Some(states.len()),
        _ => None,
    }
}

#[test]
fn states_of_many_channels_are_requested_one_by_one_and_answered_together() {
    let mut world = TestCluster::new(2);
    let keys: Vec<_> = (0..600).map(|n| key(&format!("/{n}"))).collect();
    world.cut(0);
    keys.iter().for_each(|key| world.join(0, key, "ada"));
    keys.iter().for_each(|key| world.join(1, key, "bob"));
    world.pass(60_000);
    world.kinds();
    world.link(0);
    world.pass(100);
    let sizes: Vec<_> = world.published.iter().filter_map(states).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 600);
    assert!(sizes.len() <= 4, "{sizes:?}");
    assert_eq!(world.kinds()["StateRequest"], 600);
    for key in &keys {
        assert_eq!((world.shown(0, key), world.shown(1, key)), ("bob".into(), "ada".into()));
    }
}

#[test]
fn a_message_with_states_hardly_exceeds_the_size_limit() {
    let mut world = TestCluster::new(2);
    let keys: Vec<_> = (0..5).map(|n| key(&format!("/{n}"))).collect();
    let large = format!("\"{}\"", "x".repeat(100_000));
    keys.iter().for_each(|key| world.join_with(1, key, "bob", assigns(&[("large", &large)])));
    world.pass(100);
    world.published.clear();
    keys.iter().for_each(|key| world.join(0, key, "ada"));
    world.pass(100);
    assert_eq!(world.published.iter().filter_map(states).collect::<Vec<_>>(), [2, 2, 1]);
}

/// The size of a message in bytes.
fn bytes(message: &Envelope) -> usize {
    let mut out = Vec::new();
    message.encode(&mut out);
    out.len()
}

#[test]
fn a_long_list_of_users_is_sent_in_parts_and_shown_when_all_have_arrived() {
    let mut world = TestCluster::new(2);
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(1000));
    for n in 0..5000 {
        world.join(1, &room(), &format!("bob{n}"));
        world.track(1, &room(), &format!("bob{n}"), &large);
    }
    world.pass(100);
    world.published.clear();
    // The first part is lost, without a report.
    world.lose =
        |message| matches!(&message.body, Body::State(states) if states[0].part.is_some_and(|part| part.index == 0));
    world.join(0, &room(), "ada");
    world.pass(100);
    let parts: Vec<_> =
        world.published.iter().filter(|(_, message)| states(&(Topic::from(""), message.clone())).is_some()).collect();
    assert!(parts.len() >= 20, "{}", parts.len());
    assert!(parts.iter().all(|(_, message)| bytes(message) <= 257 << 10), "none is larger than it may be");
    assert_eq!(world.shown(0, &room()), "", "a list without its first part is none");
    world.lose = |_| false;
    world.track(1, &room(), "bob7", &large);
    world.pass(1000);
    assert_eq!(world.shown(0, &room()).split(' ').filter(|user| user.ends_with('*')).count(), 5000);
}

#[test]
fn large_users_are_not_included_in_a_request_for_the_state() {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    let large = format!("\"{}\"", "x".repeat(100_000));
    (0..5).for_each(|n| world.join_with(1, &room(), &format!("bob{n}"), assigns(&[("large", &large)])));
    world.pass(100);
    world.published.clear();
    world.cut(1);
    world.link(1);
    world.pass(2000);
    assert!(world.published.iter().all(|(_, message)| bytes(message) <= 257 << 10), "none is larger than it may be");
    assert_eq!(world.shown(0, &room()), "bob0 bob1 bob2 bob3 bob4");
}

#[test]
fn a_name_conflict_is_reported_once_by_both_nodes() {
    for leases in [false, true] {
        let mut world = TestCluster::new(1);
        world.leases = leases.then(|| [world.nodes[0].id.clone()].into());
        world.pass(20_000);
        world.log(0);
        let copy = world.start("a", world.now);
        world.pass(7000);
        assert_eq!(
            (world.log(0), world.log(copy)),
            (vec![format!("twin {}", world.nodes[copy].id.incarnation)], vec![])
        );
        world.pass(60_000);
        assert_eq!((world.log(0), world.log(copy)), (vec![], vec!["twin 1".to_owned()]), "with leases: {leases}");
    }
}

#[test]
fn a_restart_is_not_reported_as_a_name_conflict() {
    let mut world = TestCluster::new(2);
    world.leases = Some(world.nodes.iter().map(|node| node.id.clone()).collect());
    world.pass(20_000);
    let before = world.nodes[0].id.clone();
    world.crash(0);
    let again = world.start("a", 2);
    // Its lease runs on for a while.
    world.leases.as_mut().expect("leases").insert(before.clone());
    world.pass(4000);
    world.leases.as_mut().expect("leases").remove(&before);
    world.pass(60_000);
    assert!(world.log(again).iter().all(|line| !line.starts_with("twin")));
}

#[test]
fn in_a_channel_that_keeps_the_order_changes_come_ahead_of_the_messages_behind_them() {
    for in_order in [true, false] {
        let mut world = TestCluster::new(2);
        world.in_order = in_order;
        (0..2).for_each(|n| world.join(n, &room(), ["ada", "bob"][n]));
        world.pass(1000);
        let mut outputs = |change: &str, body: Body| {
            world.track(1, &room(), "bob", change);
            let (id, source) = (change.into(), "__publisher__".into());
            let message = Envelope { id, source, channel: Some(room()), timestamp: world.now, body, ext: None };
            let (topic, mut out) = (topics().channel(&room()), Vec::new());
            let input = Input::Received { topic, message: Box::new(message) };
            world.nodes[0].core.handle(input, world.now, &mut out);
            let kind = |output: &Output| match output {
                Output::Node(NodeOutput::RemoteMembers { changes, .. }) => format!("{} changes", changes.len()),
                Output::Node(NodeOutput::Deliver { message, .. }) => message.event.clone(),
                other => format!("{other:?}"),
            };
            out.iter().map(kind).collect::<Vec<_>>()
        };
        let message = || {
            let (from, event, payload) = ("CHANNEL".into(), "hi".into(), object("{}"));
            let (request_id, to, position) = ("r".to_owned(), Target::All, None);
            Body::UserMessage(UserMessage { from, event, payload, request_id, to, position })
        };
        let expected = if in_order { vec!["1 changes", "hi"] } else { vec!["hi"] };
        assert_eq!(outputs(r#"{"n":1}"#, message()), expected);
        assert_eq!(outputs(r#"{"n":2}"#, message()), expected, "also the next one");
    }
}

#[test]
fn channels_are_independent() {
    let mut world = TestCluster::new(2);
    world.join(0, &key("/one"), "ada");
    world.join(1, &key("/two"), "bob");
    world.pass(60);
    assert_eq!(world.shown(0, &key("/one")), "");
    assert_eq!(world.shown(1, &key("/two")), "");
}

#[test]
fn a_crash_is_detected_in_time_with_leases_and_without() {
    for leases in [false, true] {
        let mut world = TestCluster::new(2);
        world.leases = leases.then(|| world.nodes.iter().map(|node| node.id.clone()).collect());
        world.join(0, &room(), "ada");
        world.join(1, &room(), "bob");
        world.pass(10_000);
        assert_eq!(world.shown(0, &room()), "bob");
        world.log(0);
        world.crash(1);
        world.pass(5500);
        assert_eq!(world.shown(0, &room()), "");
        assert_eq!(world.log(0), ["down b"]);
    }
}

/// The users of other nodes that all these channels show.
fn count(world: &TestCluster, channels: &[ChannelKey]) -> usize {
    channels.iter().map(|channel| world.shown(0, channel).split_whitespace().count()).sum()
}

#[test]
fn the_users_of_a_node_that_has_died_are_hidden_in_portions_with_pauses() {
    let mut world = TestCluster::new(2);
    world.leases = Some(world.nodes.iter().map(|node| node.id.clone()).collect());
    let channels: Vec<_> = (0..50).map(|number| key(&format!("/room/{number}"))).collect();
    for channel in &channels {
        world.join(0, channel, "ada");
        (0..100).for_each(|number| world.join(1, channel, &format!("user-{number}")));
    }
    world.pass(10_000);
    assert_eq!(count(&world, &channels), 5000);
    world.crash(1);
    while !world.log(0).contains(&"down b".to_owned()) {
        world.pass(1);
    }
    let mut portions = Vec::new();
    let (mut last, mut before) = (None, 5000);
    for time in 0..200 {
        world.pass(1);
        let now = count(&world, &channels);
        if now < before {
            assert!(last.is_none_or(|last| time - last >= 4), "no pause: {last:?}, {time}");
            last = Some(time);
            portions.push(before - now);
        }
        before = now;
    }
    assert_eq!((portions.len(), portions.iter().max(), before), (17, Some(&300), 0));
}

#[test]
fn a_node_that_was_suspended_until_its_users_expired_is_shown_again() {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    world.join(1, &room(), "bob");
    world.pass(60);
    world.asleep = Some(1);
    world.pass(70_000);
    assert_eq!(world.shown(0, &room()), "");
    world.asleep = None;
    world.pass(100);
    assert_eq!(world.shown(0, &room()), "bob");
    assert_eq!(world.shown(1, &room()), "ada");
}

#[test]
fn a_node_that_stops_is_gone_at_once_and_announces_it_to_foreign_nodes_too() {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    world.join(1, &room(), "bob");
    world.track(1, &room(), "bob", "{}");
    world.pass(60);
    world.published.clear();
    world.input(1, Input::Stop);
    world.pass(30);
    assert_eq!(world.shown(0, &room()), "");
    let bodies: Vec<_> = world.published.iter().map(|(_, message)| message.body.clone()).collect();
    let expected = [
        Body::PresenceRemoved { user: "bob".into() },
        Body::UserLeft { user: "bob".into() },
        Body::Node(NodeEvent::Bye),
    ];
    assert_eq!(bodies[..3], expected);
    assert_eq!(world.nodes[1].core.deadline(), None);
}

#[test]
fn the_first_message_of_a_restarted_node_ends_its_earlier_incarnation() {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    world.join(1, &room(), "bob");
    world.pass(60);
    world.crash(1);
    let b = world.start("b", 2);
    world.pass(30);
    assert_eq!(world.shown(0, &room()), "");
    world.join(b, &room(), "eve");
    world.pass(60);
    assert_eq!(world.shown(0, &room()), "eve");
    assert_eq!(world.log(0), ["up b", "down b", "up b"]);
}

#[test]
fn without_changes_only_beats_and_scheduled_digests_are_published() {
    let mut world = TestCluster::new(2);
    world.leases = Some(world.nodes.iter().map(|node| node.id.clone()).collect());
    world.join(0, &room(), "ada");
    world.join(1, &room(), "bob");
    world.pass(100_000);
    world.kinds();
    world.pass(600_000);
    let kinds: Vec<_> = world.kinds().into_iter().collect();
    assert_eq!(kinds, [("Digest".into(), 2), ("NodeHeartbeat".into(), 40)]);
}
