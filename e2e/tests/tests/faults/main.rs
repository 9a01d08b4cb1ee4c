//! Faults of the processes of a cluster and of the network between them, with real nodes, Redis, sentinels and clients. Within ten
//! seconds after a fault has healed, clients of every node see exactly the present users and receive each other's messages.
//!
//! `./test faults` runs it; the long form has longer faults, each with several seeds, and takes 20 minutes. `FAULTS_ONLY`
//! selects the faults whose name contains it, and `FAULTS_SEED` repeats the random actions of an earlier run.

mod case;
mod checker;
mod faults;
mod fixture;
mod member;
mod node;
mod numbers;
mod view;
mod world;

use std::time::Duration;

use e2e_tests::allow_descriptors;
use e2e_tests::network::Cut;

use case::{Fault, Form};
use faults::{mixed, network, node as nodes, redis, sentinel};
use world::World::{Isolated, Monitored, Plain, Proxied};

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// All faults, with their worlds and their actions. Durations are given for the short form and for the long one.
const FAULTS: &[Fault] = &[
    ("node killed", Plain, |fixture, _| Box::pin(nodes::killed(fixture))),
    ("node killed and replaced", Plain, |fixture, _| Box::pin(nodes::replaced(fixture))),
    ("node stopped", Plain, |fixture, _| Box::pin(nodes::stopped(fixture))),
    ("node frozen", Plain, |fixture, form| Box::pin(nodes::frozen(fixture, form.pick(seconds(10), seconds(30))))),
    ("node frozen for a moment", Plain, |fixture, _| Box::pin(nodes::frozen_for_a_moment(fixture))),
    ("node frozen often", Plain, |fixture, form| {
        Box::pin(nodes::frozen_often(fixture, form.pick(seconds(15), seconds(90))))
    }),
    ("Redis killed", Plain, |fixture, _| Box::pin(redis::killed(fixture, seconds(3)))),
    ("Redis killed for long", Plain, |fixture, form| {
        Box::pin(redis::killed(fixture, form.pick(seconds(15), seconds(60))))
    }),
    ("Redis shut down", Plain, |fixture, _| Box::pin(redis::shut_down(fixture, seconds(3)))),
    ("Redis shut down for long", Plain, |fixture, form| {
        Box::pin(redis::shut_down(fixture, form.pick(seconds(15), seconds(60))))
    }),
    ("Redis comes and goes", Plain, |fixture, form| {
        Box::pin(redis::comes_and_goes(fixture, form.pick(seconds(15), seconds(90))))
    }),
    ("Redis away while a node dies", Plain, |fixture, _| Box::pin(redis::away_while_a_node_dies(fixture, seconds(6)))),
    ("Redis frozen", Plain, |fixture, form| Box::pin(redis::frozen(fixture, form.pick(seconds(10), seconds(30))))),
    ("Redis pauses", Plain, |fixture, _| Box::pin(redis::paused(fixture, seconds(5)))),
    ("Redis pauses often", Plain, |fixture, form| {
        Box::pin(redis::pauses_often(fixture, form.pick(seconds(15), seconds(90))))
    }),
    ("Redis cuts subscribers", Plain, |fixture, form| {
        Box::pin(redis::cuts_subscribers(fixture, form.pick(seconds(10), seconds(60))))
    }),
    ("Redis cuts a slow reader", Plain, |fixture, form| {
        Box::pin(redis::cuts_slow_reader(fixture, form.pick(seconds(2), seconds(20))))
    }),
    ("Redis flushed", Plain, |fixture, form| Box::pin(redis::flushed(fixture, form.pick(seconds(8), seconds(60))))),
    ("Redis full", Plain, |fixture, form| Box::pin(redis::full(fixture, form.pick(seconds(8), seconds(30))))),
    ("primary killed", Monitored, |fixture, _| Box::pin(sentinel::primary_killed(fixture))),
    ("failover by command", Monitored, |fixture, _| Box::pin(sentinel::failover_by_command(fixture))),
    ("device down", Isolated, |fixture, form| {
        Box::pin(network::unplugged(fixture, form.pick(seconds(12), seconds(40))))
    }),
    ("network cut", Isolated, |fixture, form| {
        Box::pin(network::cut(fixture, Cut::Both, form.pick(seconds(12), seconds(40))))
    }),
    ("network cut to Redis", Isolated, |fixture, form| {
        Box::pin(network::cut(fixture, Cut::There, form.pick(seconds(12), seconds(40))))
    }),
    ("network cut from Redis", Isolated, |fixture, form| {
        Box::pin(network::cut(fixture, Cut::Back, form.pick(seconds(12), seconds(40))))
    }),
    ("network comes and goes", Isolated, |fixture, form| {
        Box::pin(network::comes_and_goes(fixture, form.pick(seconds(15), seconds(90))))
    }),
    ("connections dead", Proxied, |fixture, _| Box::pin(network::half_open(fixture))),
    ("connections dead for a moment", Proxied, |fixture, _| Box::pin(network::cut(fixture, Cut::Both, seconds(3)))),
    ("connections dead to Redis", Proxied, |fixture, _| Box::pin(network::cut(fixture, Cut::There, seconds(12)))),
    ("connections dead from Redis", Proxied, |fixture, _| Box::pin(network::cut(fixture, Cut::Back, seconds(12)))),
    ("mixed", Plain, |fixture, form| Box::pin(mixed::mixed(fixture, form.pick(seconds(25), seconds(150))))),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs Redis, and the machine for itself: ./test faults"]
async fn nothing_remains_of_a_fault() {
    // The table has the failures with their reasons.
    std::panic::set_hook(Box::new(|_| {}));
    allow_descriptors(8192);
    let form = Form::of_environment();
    let mut cases: Vec<_> = FAULTS.iter().flat_map(|fault| form.cases(fault)).collect();
    cases.extend(numbers::cases(&form));
    let all_well = case::run(cases).await;
    assert!(all_well, "see the table");
}
