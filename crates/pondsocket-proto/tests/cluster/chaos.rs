//! After any sequence of faults every node shows all users of every other one.

use std::collections::BTreeSet;

use pondsocket_proto::cluster::message::Envelope;
use pondsocket_proto::cluster::{Bus, Input};
use pondsocket_proto::id::UserId;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::world::{TestCluster, key};

const CHANNELS: [&str; 2] = ["/one", "/two"];
const USERS: [&str; 3] = ["ada", "bob", "eve"];

#[derive(Clone, Debug)]
enum Action {
    /// The user joins if it is not in the channel, and leaves otherwise.
    Toggle(usize, usize, usize),
    Track(usize, usize, usize),
    Cut(usize),
    Link(usize),
    Gap(usize),
    Restart(usize),
    Lose(bool),
    Pass(u64),
}

fn action() -> impl Strategy<Value = Action> {
    let (node, channel, user) = (0..3_usize, 0..CHANNELS.len(), 0..USERS.len());
    prop_oneof![
        8 => (node.clone(), channel.clone(), user.clone()).prop_map(|(n, c, u)| Action::Toggle(n, c, u)),
        3 => (node.clone(), channel, user).prop_map(|(n, c, u)| Action::Track(n, c, u)),
        1 => node.clone().prop_map(Action::Cut),
        2 => node.clone().prop_map(Action::Link),
        1 => node.clone().prop_map(Action::Gap),
        1 => node.prop_map(Action::Restart),
        1 => any::<bool>().prop_map(Action::Lose),
        3 => prop_oneof![0..100_u64, 100..20_000_u64, 50_000..100_000_u64].prop_map(Action::Pass),
    ]
}

fn is_here(world: &TestCluster, n: usize, channel: usize, user: usize) -> bool {
    let members = world.nodes[n].users.get(&key(CHANNELS[channel]));
    members.is_some_and(|members| members.keys().any(|name| name.as_str() == USERS[user]))
}

/// Selects about a quarter of all messages, to be lost without a report.
fn some(message: &Envelope) -> bool {
    message.id.ends_with(['0', '1', '2', '3'])
}

fn carry_out(world: &mut TestCluster, action: Action, incarnations: &mut u64) {
    match action {
        Action::Toggle(n, c, u) if is_here(world, n, c, u) => world.leave(n, &key(CHANNELS[c]), USERS[u]),
        Action::Toggle(n, c, u) => world.join(n, &key(CHANNELS[c]), USERS[u]),
        Action::Track(n, c, u) if is_here(world, n, c, u) => world.track(n, &key(CHANNELS[c]), USERS[u], "{}"),
        Action::Track(..) => {}
        Action::Cut(n) => world.cut(n),
        Action::Link(n) if !world.nodes[n].linked => world.link(n),
        Action::Link(_) => {}
        Action::Gap(n) => world.input(n, Input::Bus(Bus::GapAll)),
        Action::Restart(n) => {
            let name = world.nodes[n].id.name.clone();
            world.crash(n);
            *incarnations += 1;
            let last = world.start(&name, *incarnations);
            let node = world.nodes.remove(last);
            world.nodes.insert(n, node);
        }
        Action::Lose(on) => world.lose = if on { some } else { |_| false },
        Action::Pass(time) => world.pass(time),
    }
}

fn check(world: &TestCluster) -> Result<(), TestCaseError> {
    for n in 0..3 {
        for channel in CHANNELS {
            let key = key(channel);
            let members = |m: usize| world.nodes[m].users.get(&key).into_iter().flatten();
            if members(n).next().is_none() {
                continue;
            }
            let others = (0..3).filter(|m| *m != n).flat_map(members);
            let tracked: BTreeSet<&UserId> =
                others.clone().filter(|(_, member)| member.presence.is_some()).map(|(user, _)| user).collect();
            let all: BTreeSet<_> = others.map(|(user, _)| user).collect();
            let name = |user: &&UserId| format!("{user}{}", if tracked.contains(user) { "*" } else { "" });
            let expected = all.iter().map(name).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(world.shown(n, &key), expected, "at {} in {}", n, channel);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn after_any_faults_all_nodes_show_the_same_users(leases in any::<bool>(), actions in vec(action(), 1..60)) {
        let mut world = TestCluster::with_sweeps_of(3, 60_000);
        if leases {
            world.leases = Some(world.nodes.iter().map(|node| node.id.clone()).collect());
        }
        let mut incarnations = 1;
        for action in actions {
            carry_out(&mut world, action, &mut incarnations);
        }
        world.lose = |_| false;
        (0..3).filter(|n| !world.nodes[*n].linked).collect::<Vec<_>>().into_iter().for_each(|n| world.link(n));
        // Losses that were not detected so far are detected in one sweep, or in the next if the owner has no users any
        // more.
        world.pass(200_000);
        check(&world)?;
        for n in 0..3 {
            prop_assert!(world.log(n).iter().all(|line| !line.starts_with("diverged")));
        }
    }
}
