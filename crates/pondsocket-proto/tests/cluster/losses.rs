//! Losses that the bus reports are repaired, and their repair causes no others.

use pondsocket_proto::cluster::message::{Body, Envelope};
use pondsocket_proto::cluster::{Answer, Bus, ClusterRequest, Input, Topic};

use crate::world::{TestCluster, key, room, topics, user};

/// Two nodes with a user each in the room, which know each other.
fn ada_and_bob() -> TestCluster {
    let mut world = TestCluster::new(2);
    world.join(0, &room(), "ada");
    world.join(1, &room(), "bob");
    world.pass(60);
    world
}

#[test]
fn a_gap_is_repaired_in_both_directions() {
    let mut world = ada_and_bob();
    world.lose = |message| matches!(message.body, Body::UserJoined { .. });
    world.join(0, &room(), "ann");
    world.join(1, &room(), "eve");
    world.pass(60);
    for gap in [Bus::GapAll, Bus::Gap(vec![topics().channel(&room())])] {
        world.input(0, Input::Bus(gap));
        world.pass(60);
        assert_eq!(world.shown(0, &room()), "bob eve");
        assert_eq!(world.shown(1, &room()), "ada ann");
    }
}

/// The node of a user that left, and whose leave was lost, is asked for it. The request is lost as well, and that is
/// reported to the node: it has no users in the channel any more, and asks for nothing itself.
#[test]
fn a_node_whose_last_user_has_left_makes_up_for_a_lost_request() {
    let all: fn(&TestCluster) -> Bus = |_| Bus::GapAll;
    let inbox: fn(&TestCluster) -> Bus = |world| Bus::Gap(vec![topics().inbox(&world.nodes[1].id)]);
    let both: fn(&TestCluster) -> Bus =
        |world| Bus::Gap(vec![topics().inbox(&world.nodes[1].id), topics().channel(&room())]);
    let channel: fn(&TestCluster) -> Bus = |_| Bus::Gap(vec![topics().channel(&room())]);
    // After 10 s the node is no longer subscribed to the channel.
    for (wait, gap) in [(100, all), (100, inbox), (100, both), (100, channel), (15_000, all), (15_000, inbox)] {
        let mut world = ada_and_bob();
        world.lose = |message| message.channel.is_some();
        world.leave(1, &room(), "bob");
        world.pass(wait);
        world.input(0, Input::Bus(Bus::GapAll));
        world.pass(60);
        world.lose = |_| false;
        assert_eq!(world.shown(0, &room()), "bob");
        let gap = gap(&world);
        world.input(1, Input::Bus(gap.clone()));
        world.pass(60);
        assert_eq!(world.shown(0, &room()), "", "{gap:?} after {wait} ms");
    }
}

fn is_request((_, message): &(Topic, Envelope)) -> bool {
    matches!(message.body, Body::StateRequest { .. })
}

/// A request goes to as many topics as nodes are concerned. If each copy that is lost led to further requests, a bus that
/// loses some of them would soon carry nothing else.
#[test]
fn lost_requests_do_not_multiply() {
    let mut world = TestCluster::new(3);
    let keys = [room(), key("/other")];
    for n in 0..3 {
        keys.iter().for_each(|key| world.join(n, key, ["ada", "bob", "eve"][n]));
    }
    world.pass(100);
    world.published.clear();
    world.lose = |message| matches!(message.body, Body::StateRequest { .. });
    world.input(0, Input::Bus(Bus::GapAll));
    let mut known = 0;
    for _ in 0..4500 {
        world.pass(1);
        let requests = world.published.iter().filter(|sent| is_request(sent)).count();
        if requests > known {
            known = requests;
            (0..3).for_each(|n| world.input(n, Input::Bus(Bus::GapAll)));
        }
    }
    // In each second each node requests each channel once, on its topic and from two owners.
    let (rounds, a_round) = (5, 3 * keys.len() * 3);
    assert!(known <= rounds * a_round, "{known} requests in 4.5 s");
}

#[test]
fn a_further_loss_within_a_second_is_repaired_at_its_end() {
    let mut world = ada_and_bob();
    world.pass(940);
    world.input(0, Input::Bus(Bus::GapAll));
    world.pass(600);
    world.lose = |message| matches!(message.body, Body::UserJoined { .. });
    world.join(1, &room(), "eve");
    world.lose = |_| false;
    world.input(0, Input::Bus(Bus::GapAll));
    world.pass(60);
    assert_eq!(world.shown(0, &room()), "bob");
    // What is shown here may be incomplete meanwhile, so other nodes are asked.
    world.ask(0, 7, ClusterRequest::Get { channel: room(), user: user("eve") });
    assert!(matches!(world.nodes[0].answers[&7], Answer::Found(_)));
    world.pass(400);
    assert_eq!(world.shown(0, &room()), "bob eve");
}

#[test]
fn gaps_of_an_ended_session_are_forgotten() {
    let mut world = ada_and_bob();
    world.pass(940);
    (0..2).for_each(|_| world.input(0, Input::Bus(Bus::GapAll)));
    world.cut(0);
    world.published.clear();
    world.pass(2000);
    assert_eq!(world.published.iter().filter(|sent| is_request(sent)).count(), 0);
    world.link(0);
    world.pass(60);
    assert_eq!(world.published.iter().filter(|sent| is_request(sent)).count(), 2, "its topic, and the one owner");
}
