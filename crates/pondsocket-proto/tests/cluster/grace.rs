//! The presence grace among nodes: users of a node that has gone are shown for a while, because they may join another one.

use std::collections::BTreeSet;

use pondsocket_proto::cluster::message::{Body, NodeEvent};
use pondsocket_proto::cluster::{Answer, ClusterRequest, Input, Lease};

use crate::world::{TestCluster, assigns, object, room, user};

const GRACE: u64 = 10_000;

/// Nodes that hold leases, each with a user of its own name in the channel, for long enough to know each other.
fn cluster(nodes: usize) -> TestCluster {
    let mut world = TestCluster::new(nodes);
    world.leases = Some(world.nodes.iter().map(|node| node.id.clone()).collect::<BTreeSet<_>>());
    world.grace = GRACE;
    for n in 0..nodes {
        let name = format!("of-{}", world.nodes[n].id.name);
        world.join_with(n, &room(), &name, assigns(&[("seat", "7")]));
        world.track(n, &room(), &name, r#"{"status":"here"}"#);
    }
    world.pass(10_000);
    (0..nodes).for_each(|n| drop(world.log(n)));
    world
}

fn orphans(world: &mut TestCluster) -> Vec<String> {
    let logs = (0..world.nodes.len()).flat_map(|n| world.log(n)).collect::<Vec<_>>();
    logs.into_iter().filter(|line| line.starts_with("orphan")).collect()
}

#[test]
fn users_of_a_node_that_died_are_shown_for_their_grace_and_one_survivor_runs_the_leave_handler() {
    for nodes in [2, 3, 5] {
        let mut world = cluster(nodes);
        world.crash(0);
        world.pass(GRACE);
        assert!(world.shown(0, &room()).contains("of-a*"), "{}", world.shown(0, &room()));
        assert_eq!(orphans(&mut world), Vec::<String>::new());
        // The death is noticed within a lifetime and a renewal.
        world.pass(5500);
        for n in 0..nodes - 1 {
            assert!(!world.shown(n, &room()).contains("of-a"));
        }
        assert_eq!(orphans(&mut world), [r#"orphan of-a {"seat":7}"#], "{nodes} nodes");
        world.pass(70_000);
        assert!(orphans(&mut world).is_empty());
    }
}

/// A node that has just been disconnected cannot tell a dead node from one that had the same trouble.
#[test]
fn the_grace_begins_when_a_node_notices_the_death_however_long_its_own_faults_kept_it_from_that() {
    let mut world = cluster(2);
    world.crash(0);
    for _ in 0..10 {
        world.cut(0);
        world.pass(1000);
        world.link(0);
        world.pass(5000);
    }
    // Two lifetimes of a lease after the connection was back the node judges again, with the next answer of the table.
    world.pass(2900);
    assert!(!world.log(0).contains(&"down a".to_owned()), "a minute after the death");
    world.pass(1200);
    assert!(world.log(0).contains(&"down a".to_owned()));
    world.pass(GRACE - 1200);
    assert_eq!(world.shown(0, &room()), "of-a*");
    world.pass(1300);
    assert_eq!(world.shown(0, &room()), "");
    assert_eq!(orphans(&mut world), [r#"orphan of-a {"seat":7}"#]);
}

#[test]
fn survivors_share_the_leave_handlers() {
    let mut world = cluster(3);
    for n in 0..40 {
        world.join(0, &room(), &format!("guest-{n}"));
    }
    world.pass(1000);
    world.crash(0);
    world.pass(GRACE + 5500);
    let counts = [0, 1].map(|n| world.log(n).iter().filter(|line| line.starts_with("orphan")).count());
    assert_eq!(counts[0] + counts[1], 41);
    assert!(counts.iter().all(|count| *count > 8), "{counts:?}");
}

#[test]
fn a_user_that_joins_another_node_within_the_grace_is_shown_all_the_time() {
    let mut world = cluster(3);
    world.crash(0);
    for _ in 0..70 {
        world.pass(100);
        assert!((0..2).all(|n| world.shown(n, &room()).contains("of-a*")));
    }
    // After the death was noticed: node `c` has it from now on.
    world.join_with(1, &room(), "of-a", assigns(&[("seat", "8")]));
    world.track(1, &room(), "of-a", r#"{"status":"here"}"#);
    world.pass(100);
    assert_eq!((world.shown(0, &room()), world.shown(1, &room())), ("of-a* of-c*".into(), "of-b*".into()));
    assert_eq!(world.shown_user(0, &room(), "of-a").expect("shown").assigns.to_json(), r#"{"seat":8}"#);
    world.pass(70_000);
    assert_eq!(world.shown(0, &room()), "of-a* of-c*");
    assert!(orphans(&mut world).is_empty());
    // It leaves when it leaves, and not at the end of the grace of before.
    world.leave(1, &room(), "of-a");
    world.pass(100);
    assert_eq!(world.shown(0, &room()), "of-c*");
}

#[test]
fn a_user_that_leaves_again_within_the_grace_is_gone_at_once() {
    let mut world = cluster(3);
    world.crash(0);
    world.pass(6000);
    world.join(1, &room(), "of-a");
    world.pass(100);
    world.leave(1, &room(), "of-a");
    world.pass(100);
    assert_eq!((world.shown(0, &room()), world.shown(1, &room())), ("of-c*".into(), "of-b*".into()));
    world.pass(GRACE);
    assert!(orphans(&mut world).is_empty());
}

#[test]
fn a_node_that_stops_runs_the_leave_handlers_itself_and_its_users_are_shown_for_their_grace() {
    let mut world = cluster(3);
    world.input(0, Input::Stopping);
    // Its channel closes, because its last member has left it.
    world.input(0, Input::Closed { channel: room(), instance: 1 });
    world.pass(200);
    assert_eq!(world.shown(1, &room()), "of-a* of-c*");
    world.published.clear();
    world.input(0, Input::Stop);
    let bodies: Vec<_> = world.published.iter().map(|(_, message)| (&message.body, &message.ext)).collect();
    let left =
        bodies.iter().find(|(body, _)| matches!(body, Body::UserLeft { .. })).expect("for servers in other languages");
    assert_eq!(left.1.as_ref().and_then(|ext| ext.change), None, "our nodes ignore it");
    assert!(matches!(bodies.last(), Some((Body::Node(NodeEvent::Bye), _))));
    world.crash(0);
    world.pass(GRACE - 100);
    assert_eq!(world.shown(0, &room()), "of-a* of-c*");
    world.pass(200);
    assert_eq!(world.shown(0, &room()), "of-c*");
    assert!(orphans(&mut world).is_empty(), "its own node has run them");
}

#[test]
fn without_a_grace_users_of_a_node_that_stops_leave_at_once() {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    world.join(1, &room(), "bob");
    world.pass(100);
    world.input(0, Input::Stopping);
    world.input(0, Input::Stop);
    world.pass(100);
    assert_eq!(world.shown(1, &room()), "");
}

#[test]
fn a_node_that_is_restarted_under_its_name_is_not_seen_to_lose_its_users() {
    let mut world = cluster(2);
    world.crash(0);
    // Before its lease has expired: the other node learns of the death by the next incarnation.
    world.pass(500);
    let young = world.start("a", 2);
    world.pass(2000);
    assert_eq!(world.shown(0, &room()), "of-a*");
    world.join(young, &room(), "of-a");
    world.track(young, &room(), "of-a", r#"{"status":"here"}"#);
    world.pass(100);
    assert_eq!(world.shown(0, &room()), "of-a*");
    world.pass(70_000);
    assert_eq!(world.shown(0, &room()), "of-a*");
    assert!(orphans(&mut world).is_empty());
}

#[test]
fn a_node_that_only_seemed_dead_has_its_users_back() {
    let mut world = cluster(2);
    let lease = world.nodes[0].id.clone();
    world.leases.as_mut().expect("leases").remove(&lease);
    world.pass(8000);
    assert_eq!(world.shown(1, &room()), "of-a*");
    assert!(world.log(1).contains(&"down a".to_owned()));
    world.leases.as_mut().expect("leases").insert(lease);
    world.pass(1500);
    assert!(world.log(1).contains(&"up a".to_owned()));
    world.pass(2 * GRACE);
    assert_eq!(world.shown(1, &room()), "of-a*");
    assert!(orphans(&mut world).is_empty());
}

#[test]
fn a_user_of_two_nodes_is_no_orphan() {
    let mut world = cluster(3);
    world.join(1, &room(), "of-a");
    world.pass(100);
    world.crash(0);
    world.pass(6000);
    world.leave(0, &room(), "of-a");
    world.pass(100);
    assert_eq!(world.shown(1, &room()), "of-b*");
    world.pass(GRACE);
    assert!(orphans(&mut world).is_empty());
}

#[test]
fn a_user_of_a_node_that_has_gone_is_found_and_cannot_be_changed() {
    let mut world = cluster(3);
    world.crash(0);
    world.pass(6000);
    world.ask(0, 1, ClusterRequest::Get { channel: room(), user: user("of-a") });
    world.ask(0, 2, ClusterRequest::Presence { channel: room(), user: user("of-a"), presence: object("{}") });
    world.pass(3000);
    assert!(matches!(world.nodes[0].answers[&1], Answer::Found(_)));
    assert_eq!(world.nodes[0].answers[&2], Answer::NotFound);
}

fn evict(name: &str) -> ClusterRequest {
    ClusterRequest::Evict { channel: room(), user: user(name), reason: "spam".into() }
}

/// The lines about the end of orphans at each node: the notices to its members, and the leave handlers that it runs.
fn ends(world: &mut TestCluster) -> Vec<Vec<String>> {
    let is_end = |line: &String| line.starts_with("orphan") || line.starts_with("deliver");
    (0..world.nodes.len()).map(|n| world.log(n).into_iter().filter(is_end).collect()).collect()
}

/// The number of leave handlers that have run.
fn handlers(ends: &[Vec<String>]) -> usize {
    ends.iter().flatten().filter(|line| line.starts_with("orphan of-a")).count()
}

#[test]
fn a_user_of_a_node_that_died_is_evicted_everywhere_at_once() {
    for nodes in [2, 3, 5] {
        let mut world = cluster(nodes);
        world.crash(0);
        world.pass(6000);
        world.ask(0, 1, evict("of-a"));
        // At once, also on this node, and once.
        assert_eq!(world.nodes[0].answers.get(&1), Some(&Answer::Confirmed), "{nodes} nodes");
        assert!((0..nodes - 1).all(|n| !world.shown(n, &room()).contains("of-a")));
        let ends = ends(&mut world);
        assert!(ends.iter().all(|lines| lines[0] == "deliver user_evicted"), "{ends:?}");
        assert_eq!(handlers(&ends), 1, "{ends:?}");
        world.pass(70_000);
        assert_eq!(ends_of_all(&mut world), 0);
    }
}

fn ends_of_all(world: &mut TestCluster) -> usize {
    ends(world).iter().flatten().count()
}

#[test]
fn a_user_of_a_node_that_died_is_removed_without_a_notice() {
    let mut world = cluster(3);
    world.crash(0);
    world.pass(6000);
    world.ask(1, 1, ClusterRequest::Remove { channel: room(), user: user("of-a") });
    assert_eq!(world.nodes[1].answers.get(&1), Some(&Answer::Confirmed));
    assert_eq!((world.shown(0, &room()), world.shown(1, &room())), ("of-c*".into(), "of-b*".into()));
    let ends = ends(&mut world);
    assert_eq!((handlers(&ends), ends.concat().len()), (1, 1), "{ends:?}");
}

#[test]
fn a_node_without_the_channel_evicts_a_user_of_a_node_that_died() {
    let mut world = cluster(3);
    let operator = world.start("z", 1);
    world.pass(6000);
    world.crash(0);
    world.pass(6000);
    world.ask(operator - 1, 1, evict("of-a"));
    assert_eq!(world.nodes[operator - 1].answers.get(&1), Some(&Answer::Confirmed));
    assert_eq!((world.shown(0, &room()), world.shown(1, &room())), ("of-c*".into(), "of-b*".into()));
    world.ask(operator - 1, 2, evict("of-a"));
    assert_eq!(world.nodes[operator - 1].answers.get(&2), Some(&Answer::NotFound));
    assert_eq!(handlers(&ends(&mut world)), 1);
}

#[test]
fn two_nodes_that_evict_a_user_at_once_both_succeed_and_it_leaves_once() {
    let mut world = cluster(3);
    world.crash(0);
    world.pass(6000);
    // Neither hears the other before it has acted itself.
    world.lose = |_| true;
    world.published.clear();
    world.ask(0, 1, evict("of-a"));
    world.ask(1, 1, evict("of-a"));
    world.lose = |_| false;
    for (topic, message) in std::mem::take(&mut world.published) {
        for n in 0..2 {
            world.input(n, Input::Received { topic: topic.clone(), message: Box::new(message.clone()) });
        }
    }
    world.pass(100);
    assert!((0..2).all(|n| world.nodes[n].answers.get(&1) == Some(&Answer::Confirmed)));
    let ends = ends(&mut world);
    assert_eq!((handlers(&ends), ends.concat().len()), (1, 3), "a notice on each, and one handler: {ends:?}");
    assert_eq!((world.shown(0, &room()), world.shown(1, &room())), ("of-c*".into(), "of-b*".into()));
}

/// Nodes notice a death up to a second apart.
#[test]
fn a_node_that_notices_the_death_later_does_not_show_an_evicted_user_for_its_grace() {
    let mut world = cluster(3);
    world.crash(0);
    let lease = world.nodes[0].id.clone();
    // Only this node reads the leases for now.
    let alive = world.leases.clone().expect("leases").into_iter().collect::<Vec<_>>();
    world.input(0, Input::Lease(Lease { alive, ..Lease::default() }));
    assert!(world.log(0).contains(&"down a".to_owned()) && !world.log(1).contains(&"down a".to_owned()), "{lease:?}");
    world.ask(0, 1, evict("of-a"));
    assert_eq!(world.nodes[0].answers.get(&1), Some(&Answer::Confirmed));
    assert_eq!((world.shown(0, &room()), world.shown(1, &room())), ("of-c*".into(), "of-a* of-b*".into()));
    world.pass(1100);
    assert_eq!(world.shown(1, &room()), "of-b*");
    let ends = ends(&mut world);
    assert_eq!((handlers(&ends), ends.concat().len()), (1, 3), "a notice on each, and one handler: {ends:?}");
}

#[test]
fn an_eviction_that_a_dead_node_cannot_answer_takes_effect_when_the_death_is_noticed() {
    let mut world = cluster(3);
    world.crash(0);
    world.ask(0, 1, evict("of-a"));
    assert_eq!((world.shown(0, &room()), world.shown(1, &room())), ("of-a* of-c*".into(), "of-a* of-b*".into()));
    // In this world a lease ends with its node, and is read once a second.
    world.pass(1100);
    assert_eq!((world.shown(0, &room()), world.shown(1, &room())), ("of-c*".into(), "of-b*".into()));
    assert_eq!(handlers(&ends(&mut world)), 1);
    assert_eq!(world.nodes[0].answers.get(&1), Some(&Answer::Confirmed));
}

#[test]
fn an_eviction_waits_until_the_death_of_the_users_node_is_noticed() {
    for grace in [0, GRACE] {
        // Without leases 4 s of silence are noticed as the death of a node.
        let mut world = TestCluster::new(3);
        world.grace = grace;
        world.join(0, &room(), "ada");
        world.join(1, &room(), "bob");
        world.pass(2100);
        world.crash(0);
        world.ask(0, 1, evict("ada"));
        // By a node that has not opened the channel.
        world.ask(1, 2, ClusterRequest::Remove { channel: room(), user: user("ada") });
        world.pass(3000);
        let answers =
            |world: &TestCluster| [world.nodes[0].answers.get(&1).cloned(), world.nodes[1].answers.get(&2).cloned()];
        assert_eq!(answers(&world), [None, None], "nothing is known yet");
        world.pass(2500);
        assert_eq!(answers(&world), [Some(Answer::Confirmed), Some(Answer::NotFound)]);
        assert_eq!(world.shown(0, &room()), "");
    }
}

#[test]
fn an_eviction_is_unconfirmed_where_no_death_can_be_noticed() {
    let mut world = cluster(3);
    world.crash(0);
    world.ask(0, 1, evict("of-a"));
    world.cut(0);
    world.pass(2100);
    assert_eq!(world.nodes[0].answers.get(&1), Some(&Answer::Unconfirmed));
}

#[test]
fn an_evicted_user_of_a_node_that_only_seemed_dead_is_evicted_there_when_it_is_back() {
    for away in [8000, 90_000] {
        let mut world = cluster(3);
        let lease = world.nodes[0].id.clone();
        world.leases.as_mut().expect("leases").remove(&lease);
        world.cut(0);
        world.pass(7000);
        world.ask(1, 1, evict("of-a"));
        assert_eq!(world.nodes[1].answers.get(&1), Some(&Answer::Confirmed));
        world.pass(away);
        (0..3).for_each(|n| drop(world.log(n)));
        world.leases.as_mut().expect("leases").insert(lease);
        world.link(0);
        world.pass(2500);
        assert!(world.log(1).contains(&"up a".to_owned()));
        let commands = world.log(0).into_iter().filter(|line| line.contains("Evict")).collect::<Vec<_>>();
        assert_eq!(commands, [r#"of-a: Evict { reason: "spam" }"#], "after {away} ms");
        assert_eq!((world.shown(1, &room()), world.shown(2, &room())), ("of-c*".into(), "of-b*".into()));
        world.pass(70_000);
        assert_eq!(ends_of_all(&mut world), 0, "after {away} ms");
    }
}

#[test]
fn a_user_that_joined_its_node_again_before_that_was_back_stays() {
    let mut world = cluster(3);
    let lease = world.nodes[0].id.clone();
    world.leases.as_mut().expect("leases").remove(&lease);
    world.cut(0);
    world.pass(7000);
    world.ask(1, 1, evict("of-a"));
    world.join(0, &room(), "keeps the channel open");
    world.leave(0, &room(), "of-a");
    world.pass(100);
    world.join(0, &room(), "of-a");
    world.pass(100);
    world.leases.as_mut().expect("leases").insert(lease);
    world.link(0);
    world.pass(2500);
    assert!(!world.log(0).iter().any(|line| line.contains("Evict")));
    assert_eq!(world.shown(1, &room()), "keeps the channel open of-a of-c*");
}

#[test]
fn an_evicted_user_comes_back_as_a_new_member_and_later_nodes_do_not_know_the_old_one() {
    let mut world = cluster(3);
    world.crash(0);
    world.pass(6000);
    world.ask(0, 1, evict("of-a"));
    let late = world.start("z", 1);
    world.join(late, &room(), "zoe");
    world.pass(1000);
    assert_eq!(world.shown(late, &room()), "of-b* of-c*");
    world.join_with(1, &room(), "of-a", assigns(&[("seat", "8")]));
    world.pass(100);
    assert_eq!(world.shown_user(0, &room(), "of-a").expect("shown").assigns.to_json(), r#"{"seat":8}"#);
    assert_eq!(world.shown(late, &room()), "of-a of-b* of-c*");
    // Not evicted again, nor shown for a grace, when this node dies as well.
    world.pass(10_000);
    ends(&mut world);
    world.leave(1, &room(), "of-a");
    world.pass(100);
    assert_eq!((world.shown(0, &room()), world.shown(late, &room())), ("of-c* zoe".into(), "of-b* of-c*".into()));
    world.pass(70_000);
    assert_eq!(ends_of_all(&mut world), 0);
}

#[test]
fn the_leave_handler_of_an_evicted_user_is_left_to_its_node_if_that_has_stopped_in_order() {
    let mut world = cluster(3);
    world.input(0, Input::Stopping);
    world.input(0, Input::Closed { channel: room(), instance: 1 });
    world.input(0, Input::Stop);
    world.crash(0);
    world.pass(1000);
    world.ask(0, 1, evict("of-a"));
    assert_eq!(world.nodes[0].answers.get(&1), Some(&Answer::Confirmed));
    let ends = ends(&mut world);
    assert_eq!((handlers(&ends), ends.concat().len()), (0, 2), "{ends:?}");
    assert_eq!((world.shown(0, &room()), world.shown(1, &room())), ("of-c*".into(), "of-b*".into()));
}

#[test]
fn a_server_in_another_language_evicts_a_user_of_a_node_that_died() {
    let mut world = cluster(3);
    world.crash(0);
    world.pass(6000);
    world.foreign("js", Body::EvictUser { user: "of-a".into(), reason: "spam".into() });
    assert_eq!((world.shown(0, &room()), world.shown(1, &room())), ("of-c*".into(), "of-b*".into()));
    assert_eq!(handlers(&ends(&mut world)), 1);
}

#[test]
fn a_server_in_another_language_takes_an_orphan_over() {
    let mut world = cluster(2);
    world.crash(0);
    world.pass(6000);
    let joined = Body::UserJoined { user: "of-a".into(), presence: None, assigns: assigns(&[]) };
    world.foreign("js", joined);
    world.pass(100);
    let left = Body::UserLeft { user: "of-a".into() };
    world.foreign("js", left);
    world.pass(100);
    assert_eq!(world.shown(0, &room()), "");
    world.pass(GRACE);
    assert!(orphans(&mut world).is_empty());
}

/// Messages of two nodes can overtake each other: a third one must not see the leave ahead of the join.
#[test]
fn the_leave_of_a_user_that_has_moved_is_published_behind_its_join_with_a_distance() {
    let mut world = cluster(2);
    let left = |world: &mut TestCluster| world.kinds().get("UserLeft").copied().unwrap_or(0);
    world.join(0, &room(), "ada");
    world.join(0, &room(), "bob");
    world.join(1, &room(), "ada");
    world.join(1, &room(), "bob");
    world.pass(100);
    left(&mut world);
    for name in ["ada", "bob"] {
        world.input(0, Input::Moved { channel: room(), user: user(name) });
    }
    world.pass(500);
    assert_eq!(left(&mut world), 0);
    // One is back, as another member of this node.
    world.join(0, &room(), "bob");
    world.pass(600);
    assert_eq!(left(&mut world), 1);
    assert_eq!(world.shown(1, &room()), "bob of-a*");
    world.pass(10_000);
    assert_eq!(left(&mut world), 0);
}

#[test]
fn a_channel_that_closes_as_its_last_user_moves_publishes_the_leave_later_nevertheless() {
    let mut world = cluster(2);
    world.join(1, &room(), "of-a");
    world.pass(100);
    world.kinds();
    world.input(0, Input::Moved { channel: room(), user: user("of-a") });
    world.input(0, Input::Closed { channel: room(), instance: 1 });
    world.pass(500);
    assert_eq!(world.kinds().get("UserLeft"), None);
    world.pass(600);
    assert_eq!(world.kinds().get("UserLeft"), Some(&1));
}
