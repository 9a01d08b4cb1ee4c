//! Whatever can happen to the processes of a cluster, and to what is between them: nodes, Redis, sentinels and clients are
//! real. When a fault has healed, clients of every node see exactly who is there, and hear each other, within ten seconds.
//!
//! `./test faults` runs it; the long form has longer faults, each with several seeds, and takes 20 minutes. `FAULTS_ONLY`
//! picks those faults whose name contains it, and `FAULTS_SEED` the people that an earlier run had.

mod case;
mod faults;
mod judge;
mod member;
mod node;
mod numbers;
mod stage;
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
    ("node killed", Plain, |stage, _| Box::pin(nodes::killed(stage))),
    ("node killed and replaced", Plain, |stage, _| Box::pin(nodes::replaced(stage))),
    ("node stopped", Plain, |stage, _| Box::pin(nodes::stopped(stage))),
    ("node frozen", Plain, |stage, form| Box::pin(nodes::frozen(stage, form.pick(seconds(10), seconds(30))))),
    ("node frozen for a moment", Plain, |stage, _| Box::pin(nodes::frozen_for_a_moment(stage))),
    ("node frozen often", Plain, |stage, form| {
        Box::pin(nodes::frozen_often(stage, form.pick(seconds(15), seconds(90))))
    }),
    ("Redis killed", Plain, |stage, _| Box::pin(redis::killed(stage, seconds(3)))),
    ("Redis killed for long", Plain, |stage, form| Box::pin(redis::killed(stage, form.pick(seconds(15), seconds(60))))),
    ("Redis shut down", Plain, |stage, _| Box::pin(redis::shut_down(stage, seconds(3)))),
    ("Redis shut down for long", Plain, |stage, form| {
        Box::pin(redis::shut_down(stage, form.pick(seconds(15), seconds(60))))
    }),
    ("Redis comes and goes", Plain, |stage, form| {
        Box::pin(redis::comes_and_goes(stage, form.pick(seconds(15), seconds(90))))
    }),
    ("Redis away while a node dies", Plain, |stage, _| Box::pin(redis::away_while_a_node_dies(stage, seconds(6)))),
    ("Redis frozen", Plain, |stage, form| Box::pin(redis::frozen(stage, form.pick(seconds(10), seconds(30))))),
    ("Redis pauses", Plain, |stage, _| Box::pin(redis::paused(stage, seconds(5)))),
    ("Redis pauses often", Plain, |stage, form| {
        Box::pin(redis::pauses_often(stage, form.pick(seconds(15), seconds(90))))
    }),
    ("Redis cuts subscribers", Plain, |stage, form| {
        Box::pin(redis::cuts_subscribers(stage, form.pick(seconds(10), seconds(60))))
    }),
    ("Redis cuts a slow reader", Plain, |stage, form| {
        Box::pin(redis::cuts_slow_reader(stage, form.pick(seconds(2), seconds(20))))
    }),
    ("Redis flushed", Plain, |stage, form| Box::pin(redis::flushed(stage, form.pick(seconds(8), seconds(60))))),
    ("Redis full", Plain, |stage, form| Box::pin(redis::full(stage, form.pick(seconds(8), seconds(30))))),
    ("primary killed", Guarded, |stage, _| Box::pin(sentinel::primary_killed(stage))),
    ("failover by command", Guarded, |stage, _| Box::pin(sentinel::told_to_fail_over(stage))),
    ("plug pulled", Walled, |stage, form| Box::pin(way::unplugged(stage, form.pick(seconds(12), seconds(40))))),
    ("network cut", Walled, |stage, form| Box::pin(way::cut(stage, Cut::Both, form.pick(seconds(12), seconds(40))))),
    ("network cut to Redis", Walled, |stage, form| {
        Box::pin(way::cut(stage, Cut::There, form.pick(seconds(12), seconds(40))))
    }),
    ("network cut from Redis", Walled, |stage, form| {
        Box::pin(way::cut(stage, Cut::Back, form.pick(seconds(12), seconds(40))))
    }),
    ("network comes and goes", Walled, |stage, form| {
        Box::pin(way::comes_and_goes(stage, form.pick(seconds(15), seconds(90))))
    }),
    ("connections dead", Proxied, |stage, _| Box::pin(way::half_open(stage))),
    ("connections dead for a moment", Proxied, |stage, _| Box::pin(way::cut(stage, Cut::Both, seconds(3)))),
    ("connections dead to Redis", Proxied, |stage, _| Box::pin(way::cut(stage, Cut::There, seconds(12)))),
    ("connections dead from Redis", Proxied, |stage, _| Box::pin(way::cut(stage, Cut::Back, seconds(12)))),
    ("all of that", Plain, |stage, form| Box::pin(mixed::mixed(stage, form.pick(seconds(25), seconds(150))))),
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
