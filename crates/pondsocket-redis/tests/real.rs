//! A real Redis that is killed, restarted, paused, filled or emptied, or closes connections.

mod support;

use std::time::Duration;

use pondsocket::cluster::{
    Append, Appended, Bus, BusErrorKind, BusEvent, Epoch, HistoryStore, NodeId, Outcome, Position, StoredRecord,
};
use support::{Node, options};
use testkit::{RedisServer, eventually, soon};
use tokio::time::{Instant, sleep};

const TTL: Duration = Duration::from_secs(60);

fn id(name: &str) -> NodeId {
    NodeId { name: name.into(), incarnation: 1_763_850_000_123 }
}

/// Ten thousand topics, and how long it takes from the moment at which Redis answers again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_topics_are_back_within_two_seconds() {
    let mut redis = RedisServer::start().await;
    let names: Vec<_> = (0..10_000).map(|number| format!("pondsocket:v1:default:api/socket:/chat/{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut node = Node::listening(options(&redis), &names).await;
    for round in 0..3 {
        redis.kill().await;
        node.next_down().await;
        // Until the pauses between attempts have their full length.
        let tried = node.bus.stats().failed_connects;
        eventually("trying", || node.bus.stats().failed_connects > tried + 6).await;
        redis.restart().await;
        let back = Instant::now();
        node.next_up().await;
        let up = back.elapsed();
        node.subscribed(&names).await;
        let took = back.elapsed();
        println!("round {round}: connected after {up:?}, all 10,000 topics subscribed after {took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert_eq!(node.bus.stats().active_topics, 10_000);
    }
    node.publish_at_last(names[9_999], "here").await;
    assert_eq!(node.message().await.1, "here");
}

/// Only the connection that receives is closed: messages are sent meanwhile, and the loss is reported to the receiver.
#[tokio::test]
async fn killed_receivers_come_back() {
    let redis = RedisServer::start().await;
    let (mut node, publisher) =
        (Node::listening(options(&redis), &["t"]).await, Node::listening(options(&redis), &[]).await);
    for round in 0..5 {
        let killed: u64 = redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        assert!(killed >= 1);
        node.next_down().await;
        assert!(matches!(publisher.publish("nobody", "1").await, Outcome::Sent { .. }));
        node.next_up().await;
        node.subscribed(&["t"]).await;
        let text = format!("round {round}");
        publisher.publish_at_last("t", &text).await;
        assert_eq!(node.message().await.1, text);
    }
}

/// Connections are closed every 50 ms: every message either arrives, or was sent in a time that was reported as lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_loss_is_reported_while_receivers_are_killed() {
    let redis = RedisServer::start().await;
    let mut node = Node::listening(options(&redis), &["t"]).await;
    let publisher = Node::listening(options(&redis), &[]).await;
    let (mut next, mut losses) = (0, 0);
    let mut lossy = false;
    let mut take = |event: BusEvent| match event {
        BusEvent::Message { data, .. } => {
            let number: u64 = std::str::from_utf8(&data).expect("text").parse().expect("a number");
            assert!(number == next || (lossy && number > next), "{number} after {next} without a word");
            losses += number - next;
            (next, lossy) = (number + 1, false);
        }
        BusEvent::Down { .. } | BusEvent::Gap { .. } => lossy = true,
        _ => {}
    };
    for number in 0..3000 {
        if number % 100 == 50 {
            let _: u64 = redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        }
        publisher.publish_at_last("t", &number.to_string()).await;
        while let Some(event) = node.events.try_next() {
            take(event);
        }
    }
    // The last one arrives for certain once the receiver is up for good.
    eventually("a session", || node.bus.stats().active_topics == 1).await;
    publisher.publish_at_last("t", "3000").await;
    loop {
        let event = node.event().await;
        let last = matches!(&event, BusEvent::Message { data, .. } if data == "3000");
        take(event);
        if last {
            break;
        }
    }
    let sessions = node.bus.stats().sessions;
    println!("{losses} of 3,000 messages fell into {} reported losses of the connection", sessions - 1);
    assert!(sessions > 5);
}

/// While Redis pauses there are no answers; but no connection is closed, and no lease is lost.
#[tokio::test]
async fn a_pause_costs_no_session_and_no_lease() {
    let redis = RedisServer::start().await;
    let mut node = Node::listening(options(&redis), &["t"]).await;
    let (bus, me) = (node.bus.clone(), id("ada"));
    let leases = bus.leases().expect("leases");
    leases.renew(&me, Duration::from_secs(4)).await.expect("a lease");
    let _: String = redis.command(&["CLIENT", "PAUSE", "3000", "ALL"]).await;
    let paused = Instant::now();
    // Both answers are late: the outcomes are unknown, although the commands will be executed.
    let late = leases.renew(&me, Duration::from_secs(4)).await.expect_err("a pause");
    assert_eq!(late.kind(), BusErrorKind::Timeout);
    let outcome = node.publish("t", "late").await;
    assert!(matches!(outcome, Outcome::Unknown(_) | Outcome::Sent { .. }), "{outcome:?}");
    assert_eq!(node.message().await.1, "late");
    assert!(paused.elapsed() > Duration::from_secs(2));
    let lease = soon("lease", leases.renew(&me, Duration::from_secs(4))).await.expect("a lease");
    assert!(!lease.was_expired, "the beat that was late has counted");
    assert_eq!(node.bus.stats().sessions, 1);
}

/// A Redis that has lost its data has lost the leases, which each renewal reports.
#[tokio::test]
async fn a_redis_without_its_data_has_lost_the_leases() {
    let redis = RedisServer::start().await;
    let mut node = Node::listening(options(&redis), &["t"]).await;
    let (leases, me) = (node.bus.leases().expect("leases"), id("ada"));
    leases.renew(&me, TTL).await.expect("a lease");
    let _: String = redis.command(&["FLUSHALL"]).await;
    let lease = leases.renew(&me, TTL).await.expect("a lease");
    assert_eq!((lease.was_expired, lease.alive), (true, vec![me]));
    node.publish("t", "subscriptions are no data").await;
    assert_eq!(node.message().await.1, "subscriptions are no data");
}

/// A script that Redis does not know any more is sent again.
#[tokio::test]
async fn unknown_scripts_are_sent_again() {
    let redis = RedisServer::start().await;
    let node = Node::listening(options(&redis), &[]).await;
    let leases = node.bus.leases().expect("leases");
    leases.renew(&id("ada"), TTL).await.expect("a lease");
    let _: String = redis.command(&["SCRIPT", "FLUSH"]).await;
    assert!(!leases.renew(&id("ada"), TTL).await.expect("a lease").was_expired);
}

/// Without free memory renewals fail with their own kind of error; messages need no memory.
#[tokio::test]
async fn messages_are_sent_without_free_memory() {
    let redis = RedisServer::start_with(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"]).await;
    let mut node = Node::listening(options(&redis), &["t"]).await;
    let error = node.bus.leases().expect("leases").renew(&id("ada"), TTL).await.expect_err("no memory");
    assert_eq!(error.kind(), BusErrorKind::OutOfMemory, "{error}");
    node.publish("t", "1").await;
    assert_eq!(node.message().await.1, "1");
}

/// A wrong password is reported with its own kind of error and retried, and needs no restart when it is corrected.
#[tokio::test]
async fn a_wrong_password_is_retried_until_it_is_right() {
    let redis = RedisServer::start_with(&["--requirepass", "right"]).await;
    let mut node = Node::start(options(&redis).password("wrong"), &["t"]);
    assert_eq!(node.next_down().await.kind(), BusErrorKind::Auth);
    let mut other = Node::start(options(&redis), &["t"]);
    assert_eq!(other.next_down().await.kind(), BusErrorKind::Auth, "no password at all");
    let client = redis::Client::open(format!("redis://:right@127.0.0.1:{}", redis.port)).expect("an address");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
    let mut change = redis::cmd("CONFIG");
    change.arg(&["SET", "requirepass", "wrong"]).exec_async(&mut connection).await.expect("it is changed");
    node.next_up().await;
    node.subscribed(&["t"]).await;
}

/// The recipe in docs/cluster-bus.md suffices, and topics that it does not allow are refused one by one.
#[tokio::test]
async fn the_acl_recipe_suffices() {
    let redis = RedisServer::start().await;
    let docs = include_str!("../../../docs/cluster-bus.md");
    let recipe = docs.lines().find_map(|line| line.strip_prefix("ACL SETUSER ")).expect("a recipe");
    let words: Vec<_> = ["ACL", "SETUSER"].into_iter().chain(recipe.split(' ')).collect();
    let _: String = redis.command(&words).await;
    let (user, password) = (words[2], words.iter().find_map(|word| word.strip_prefix('>')).expect("a password"));
    let options = options(&redis).username(user).password(password).namespace("shop");
    let (allowed, also) = ("pondsocket:v1:shop:api/socket:/chat/1", "pondsocket:v1:shop:__cluster__");
    let mut node = Node::start(options.clone(), &[allowed, "pondsocket:v1:bank:api/socket:/chat/1", also]);
    node.next_up().await;
    node.subscribed(&[allowed, also]).await;
    let refused = node.publish("pondsocket:v1:bank:t", "1").await;
    assert!(matches!(&refused, Outcome::NotSent(error) if error.kind() == BusErrorKind::NoPerm), "{refused:?}");
    node.publish(allowed, "2").await;
    assert_eq!(node.message().await.1, "2");
    let leases = node.bus.leases().expect("leases");
    leases.renew(&id("ada"), TTL).await.expect("a lease");
    leases.release(&id("ada")).await.expect("a bye");
    let topic = allowed.into();
    let append = Append {
        topic: allowed.into(),
        head: "3 at ".into(),
        tail: "".into(),
        id: "3 ".into(),
        is_repeated: false,
        epoch: Epoch::new(1),
        messages: 10,
        bytes: usize::MAX,
        ttl: TTL,
    };
    for (is_repeated, epoch) in [(false, 1), (true, 2)] {
        let outcomes = node.bus.append(vec![Append { is_repeated, ..append.clone() }]).await;
        assert_eq!(outcomes, [Appended::At(Position { epoch: Epoch::new(1), offset: 1 })]);
        node.bus.restart(&"pondsocket:v1:shop:u".into(), Epoch::new(epoch), TTL).await.expect("a restart");
    }
    assert_eq!(node.message().await.1, "3 at 000001.1");
    assert_eq!(node.bus.read(&topic, None, 10).await.expect("a history").messages.len(), 1);
    // Keys that exist are deleted.
    node.bus.restart(&topic, Epoch::new(3), TTL).await.expect("a restart");
    let record = StoredRecord { version: 1, data: "record".into() };
    assert_eq!(node.bus.put("key", &record, 0, TTL).await, Ok(true));
    assert_eq!(node.bus.get("key").await, Ok(Some(record)));
    assert_eq!(node.bus.stats().sessions, 1);
}

/// A Redis that is frozen (SIGSTOP) keeps its connections open: only the probe detects it. Bar B8.
#[tokio::test]
async fn a_frozen_redis_is_detected() {
    let redis = RedisServer::start().await;
    let mut node = Node::listening(options(&redis), &["t"]).await;
    redis.freeze();
    let frozen = Instant::now();
    let down = node.next_down().await;
    let took = frozen.elapsed();
    println!("found after {took:?}: {down}");
    assert!(took < Duration::from_secs(14), "{took:?}");
    redis.thaw();
    node.next_up().await;
    node.subscribed(&["t"]).await;
    node.publish_at_last("t", "1").await;
}

/// The number and the age of waiting messages are bounded, also for a Redis that does not answer.
#[tokio::test]
async fn waiting_messages_are_bounded() {
    let redis = RedisServer::start().await;
    let options = options(&redis).queue_messages(2000).command_timeout(Duration::from_millis(300));
    let node = Node::listening(options, &[]).await;
    redis.freeze();
    let batch = |count: usize| vec![pondsocket::cluster::Publish::new("t", "x"); count];
    let first = node.bus.publish(batch(2000));
    let refused = soon("refusal", node.bus.publish(batch(1))).await;
    assert!(matches!(&refused[0], Outcome::NotSent(error) if error.kind() == BusErrorKind::Full), "{refused:?}");
    let outcomes = soon("outcomes", first).await;
    let late = |outcome: &Outcome| match outcome {
        Outcome::Unknown(error) | Outcome::NotSent(error) => error.kind() == BusErrorKind::Timeout,
        Outcome::Sent { .. } => false,
    };
    assert!(outcomes.iter().all(late), "{:?}", outcomes.iter().find(|outcome| !late(outcome)));
    let stats = node.bus.stats();
    assert_eq!((stats.queued_messages, stats.queued_bytes), (0, 0));
    redis.thaw();
    node.publish_at_last("t", "again").await;
}

/// Stopping closes the connections.
#[tokio::test]
async fn stopping_closes_all_connections() {
    let redis = RedisServer::start().await;
    let mut node = Node::listening(options(&redis), &["t"]).await;
    node.stopper.stop();
    soon("end", &mut node.running).await.expect("no panic").expect("no error");
    for _ in 0..1000 {
        let clients: String = redis.command(&["CLIENT", "LIST"]).await;
        // The one that asks.
        if clients.lines().count() == 1 {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("connections are left");
}
