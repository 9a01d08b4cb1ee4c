//! Whatever can happen to the processes of a cluster, and to what is between them: nodes, Redis, sentinels and clients are
//! real. When a fault has healed, clients of every node see exactly who is there, and hear each other, within ten seconds.
//!
//! `./test faults` runs it; the long form has longer faults, each with several seeds, and takes 20 minutes. `FAULTS_ONLY`
//! picks those faults whose name contains it, and `FAULTS_SEED` the people that an earlier run had.

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
use faults::{mixed, node as nodes, redis, sentinel, way};
use world::World::{Guarded, Plain, Proxied, Walled};

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
    ("primary killed", Guarded, |fixture, _| Box::pin(sentinel::primary_killed(fixture))),
    ("failover by command", Guarded, |fixture, _| Box::pin(sentinel::told_to_fail_over(fixture))),
    ("plug pulled", Walled, |fixture, form| Box::pin(way::unplugged(fixture, form.pick(seconds(12), seconds(40))))),
    ("network cut", Walled, |fixture, form| {
        Box::pin(way::cut(fixture, Cut::Both, form.pick(seconds(12), seconds(40))))
    }),
    ("network cut to Redis", Walled, |fixture, form| {
        Box::pin(way::cut(fixture, Cut::There, form.pick(seconds(12), seconds(40))))
    }),
    ("network cut from Redis", Walled, |fixture, form| {
        Box::pin(way::cut(fixture, Cut::Back, form.pick(seconds(12), seconds(40))))
    }),
    ("network comes and goes", Walled, |fixture, form| {
        Box::pin(way::comes_and_goes(fixture, form.pick(seconds(15), seconds(90))))
    }),
    ("connections dead", Proxied, |fixture, _| Box::pin(way::half_open(fixture))),
    ("connections dead for a moment", Proxied, |fixture, _| Box::pin(way::cut(fixture, Cut::Both, seconds(3)))),
    ("connections dead to Redis", Proxied, |fixture, _| Box::pin(way::cut(fixture, Cut::There, seconds(12)))),
    ("connections dead from Redis", Proxied, |fixture, _| Box::pin(way::cut(fixture, Cut::Back, seconds(12)))),
    ("all of that", Plain, |fixture, form| Box::pin(mixed::mixed(fixture, form.pick(seconds(25), seconds(150))))),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it needs Redis, and the machine for itself: ./test faults"]
async fn nothing_remains_of_a_fault() {
    // The table says what has failed, and how.
    std::panic::set_hook(Box::new(|_| {}));
    allow_descriptors(8192);
    let form = Form::of_environment();
    let mut cases: Vec<_> = FAULTS.iter().flat_map(|fault| form.cases(fault)).collect();
    cases.extend(numbers::cases(&form));
    let all_well = case::run(cases).await;
    assert!(all_well, "see the table");
}
