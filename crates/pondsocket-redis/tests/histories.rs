//! The store of histories over a real Redis that loses data, is demoted and promoted, evicts keys, or closes connections: no
//! position is given twice, and no history that may have lost its end is continued.

mod support;

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use pondsocket::cluster::{
    Append, Appended, Bus, BusErrorKind, Epoch, HistoryStore, Position, StoredHistory, StoredRecord,
};
use pondsocket_redis::{RedisBus, RedisOptions, SentinelOptions};
use support::{Node, options};
use testkit::{DEADLINE, RedisServer, soon};
use tokio::time::{Instant, sleep};

const TOPIC: &str = "pondsocket:v1:default:api/socket:/chat/1";

const RECORD: StoredRecord = StoredRecord { version: 1, data: Bytes::from_static(b"record") };
const STREAM: &str = "pondsocket:v1:default:__history__:{api/socket:/chat/1}:s";
const META: &str = "pondsocket:v1:default:__history__:{api/socket:/chat/1}:m";

/// A message whose text is `<id> at <position>`. It proposes an epoch that no other proposes.
fn message(id: &str) -> Append {
    let epoch = id.bytes().fold(7, |hash: u32, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    Append {
        topic: TOPIC.into(),
        head: format!("{id} at ").into(),
        tail: "".into(),
        id: format!("{id} ").into(),
        is_repeated: false,
        epoch: Epoch::new(epoch),
        messages: 10_000,
        bytes: usize::MAX,
        ttl: Duration::from_secs(60),
    }
}

async fn try_append(bus: &RedisBus, append: Append) -> Appended {
    let outcomes = soon("outcome", bus.append(vec![append])).await;
    let [outcome] = outcomes.try_into().expect("one outcome");
    outcome
}

async fn append(node: &Node, id: &str) -> Position {
    match try_append(&node.bus, message(id)).await {
        Appended::At(position) => position,
        other => panic!("`{id}` is not appended: {other:?}"),
    }
}

/// Appends until there is a position, as a node does.
async fn append_at_last(node: &Node, id: &str) -> Position {
    let deadline = Instant::now() + DEADLINE;
    let mut append = message(id);
    loop {
        match try_append(&node.bus, append.clone()).await {
            Appended::At(position) => return position,
            Appended::Unknown(_) => append.is_repeated = true,
            Appended::NotSent(_) => {}
        }
        assert!(Instant::now() < deadline, "`{id}` is never appended");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn read(node: &Node) -> StoredHistory {
    soon("history", node.bus.read(&TOPIC.into(), None, 10_000)).await.expect("a history")
}

/// The texts of a history.
async fn texts(node: &Node) -> Vec<String> {
    let messages = read(node).await.messages;
    messages.into_iter().map(|message| String::from_utf8(message.data.to_vec()).expect("text")).collect()
}

fn text(id: &str, position: Position) -> String {
    format!("{id} at {position}")
}

/// Waits until a replica has all data of its primary.
async fn in_step(replica: &RedisServer, primary: &RedisServer) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let link = replica.info("replication", "master_link_status").await;
        let (ours, theirs) = (replica.info("replication", "slave_repl_offset").await, offset(primary).await);
        if link == "up" && ours == theirs {
            return;
        }
        assert!(Instant::now() < deadline, "the replica is not in step");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn offset(primary: &RedisServer) -> String {
    primary.info("replication", "master_repl_offset").await
}

/// A replica that was detached before the last messages is promoted: their positions are not given again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lagged_behind_begins_histories_anew() {
    let mut primary = RedisServer::start().await;
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &primary.port.to_string()]).await;
    // The first replica changes the generation, too.
    in_step(&replica, &primary).await;
    let node = Node::listening(options(&primary), &[TOPIC]).await;
    let first = append(&node, "1").await;
    in_step(&replica, &primary).await;
    let other = Node::listening(options(&replica), &[]).await;
    let refused = soon("refusal", other.bus.read(&TOPIC.into(), None, 10)).await.expect_err("a replica");
    assert_eq!(refused.kind(), BusErrorKind::ReadOnly, "{refused}");
    let refused = try_append(&other.bus, message("2")).await;
    assert!(matches!(&refused, Appended::NotSent(error) if error.kind() == BusErrorKind::ReadOnly), "{refused:?}");

    let _: () = replica.command(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let lost = append(&node, "lost").await;
    primary.kill().await;
    let _: () = replica.command(&["REPLICAOF", "NO", "ONE"]).await;
    assert_eq!(replica.command::<u64>(&["XLEN", STREAM]).await, 1, "the replica has the first message only");
    assert_eq!(read(&other).await, StoredHistory::default(), "its end may be missing");
    let next = append(&other, "next").await;
    assert!(next.epoch != first.epoch && next.offset == 1, "{next} after {lost}");
    assert_eq!(texts(&other).await, [text("next", next)]);
}

/// A connection outlives the demotion of its Redis and the promotion that follows, and nothing was sent meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_a_replica_meanwhile_begins_histories_anew() {
    let first = RedisServer::start().await;
    let second = RedisServer::start_with(&["--replicaof", "127.0.0.1", &first.port.to_string()]).await;
    in_step(&second, &first).await;
    let node = Node::listening(options(&first), &[]).await;
    let before = append(&node, "1").await;
    in_step(&second, &first).await;
    let _: () = second.command(&["REPLICAOF", "NO", "ONE"]).await;
    let lost = append(&node, "lost").await;
    assert_eq!((lost.epoch, lost.offset), (before.epoch, 2));
    let _: () = first.command(&["REPLICAOF", "127.0.0.1", &second.port.to_string()]).await;
    in_step(&first, &second).await;
    let _: () = first.command(&["REPLICAOF", "NO", "ONE"]).await;
    assert_eq!(node.bus.stats().sessions, 1, "the connections were not lost");
    let next = append(&node, "next").await;
    assert!(next.epoch != before.epoch && next.offset == 1, "{next} after {lost}");
}

/// A restart loses the data, or the last part of it; what is persistent is not continued.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_begins_histories_anew() {
    for arguments in [&[][..], &["--appendonly", "yes", "--appendfsync", "always"]] {
        let mut redis = RedisServer::start_with(arguments).await;
        let mut node = Node::listening(options(&redis), &[]).await;
        let before = append(&node, "before").await;
        let kept = soon("record", node.bus.put("key", &RECORD, 0, Duration::from_secs(60))).await;
        assert_eq!(kept, Ok(true));
        redis.kill().await;
        node.next_down().await;
        redis.restart().await;
        node.next_up().await;
        let after = append_at_last(&node, "after").await;
        assert!(after.epoch != before.epoch && after.offset == 1, "{after} after {before}");
        assert_eq!(texts(&node).await, [text("after", after)]);
        let record = soon("record", node.bus.get("key")).await;
        assert_eq!(record, Ok((!arguments.is_empty()).then_some(RECORD)), "records are as persistent as Redis");
    }
}

/// Each of the keys is evicted, or all are removed: the history begins anew.
#[tokio::test]
async fn a_history_that_has_lost_a_key_begins_anew() {
    let redis = RedisServer::start().await;
    let node = Node::listening(options(&redis), &[]).await;
    let mut epochs = HashSet::new();
    for (round, loss) in
        [&["DEL", STREAM][..], &["DEL", META], &["FLUSHALL"], &["PEXPIRE", STREAM, "0"], &["PEXPIRE", META, "0"]]
            .iter()
            .enumerate()
    {
        let first = append(&node, &format!("first {round}")).await;
        let second = append(&node, &format!("second {round}")).await;
        assert_eq!((first.offset, second), (1, Position { offset: 2, ..first }));
        assert!(epochs.insert(first.epoch.to_string()));
        let _: redis::Value = redis.command(loss).await;
        let left = read(&node).await;
        assert!(left.messages.is_empty() && left.position.is_none_or(|left| left == second), "{loss:?}: {left:?}");
        // Also if the message was in what was lost.
        let again = Append { is_repeated: true, ..message(&format!("second {round}")) };
        let Appended::At(again) = try_append(&node.bus, again).await else { panic!("not appended") };
        assert!(again.offset == 1 && epochs.insert(again.epoch.to_string()), "{loss:?}: {again}");
        assert_eq!(texts(&node).await, [text(&format!("second {round}"), again)]);
        let _: () = redis.command(&["FLUSHALL"]).await;
    }
}

/// Nothing is left behind in Redis when messages and records have expired, but for a day the numbers of histories.
#[tokio::test]
async fn all_keys_expire() {
    let redis = RedisServer::start().await;
    let node = Node::listening(options(&redis), &[]).await;
    let ttl = Duration::from_millis(200);
    let a_day = Duration::from_secs(24 * 3600);
    for round in 0..3 {
        append(&node, &format!("long {round}")).await;
        let short = Append { ttl, ..message(&format!("short {round}")) };
        assert!(matches!(try_append(&node.bus, short).await, Appended::At(_)));
        soon("restart", node.bus.restart(&"t".into(), Epoch::new(7), ttl)).await.expect("a restart");
        assert_eq!(soon("record", node.bus.put("key", &RECORD, 0, ttl)).await, Ok(true));
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left: Vec<String> = redis.command(&["KEYS", "*"]).await;
            if left.iter().all(|key| key.ends_with(":m")) {
                break;
            }
            assert!(Instant::now() < deadline, "{left:?}");
            sleep(Duration::from_millis(20)).await;
        }
        for key in redis.command::<Vec<String>>(&["KEYS", "*"]).await {
            let left = Duration::from_millis(redis.command(&["PTTL", &key]).await);
            assert!(left > a_day - DEADLINE && left <= a_day + ttl, "{key}: {left:?}");
        }
        let _: () = redis.command(&["FLUSHALL"]).await;
    }
}

/// A history that a node of an earlier version has written, without a count of its bytes, is read as a whole, and is bounded once
/// messages are appended.
#[tokio::test]
async fn a_history_of_an_earlier_version_goes_on_and_gets_a_bound() {
    const SIZE: usize = 1000;
    let redis = RedisServer::start().await;
    let node = Node::listening(options(&redis), &[]).await;
    let sized =
        |number: usize, bytes: usize| Append { tail: ".".repeat(SIZE).into(), bytes, ..message(&number.to_string()) };
    let batch = (1..=200).map(|number| sized(number, usize::MAX)).collect();
    let outcomes = soon("outcomes", node.bus.append(batch)).await;
    let Some(Appended::At(last)) = outcomes.last() else { panic!("{outcomes:?}") };
    assert_eq!(redis.command::<u64>(&["HDEL", META, "bytes", "bound", "blocks"]).await, 3);
    assert_eq!((read(&node).await.messages.len(), last.offset), (200, 200));
    for number in 201..=230 {
        let position = try_append(&node.bus, sized(number, 20 * SIZE)).await;
        assert_eq!(position, Appended::At(Position { offset: number as u64, ..*last }));
    }
    let kept = read(&node).await.messages;
    let bytes: usize = kept.iter().map(|message| message.data.len()).sum();
    assert!(bytes <= 25 * SIZE && kept.len() >= 19, "{bytes} bytes of {} messages", kept.len());
    assert_eq!(kept.last().map(|message| message.offset), Some(230));
}

/// Redis executes what it has received when it resumes: the outcome is late, and the repeated message is found.
#[tokio::test]
async fn a_message_whose_outcome_was_late_is_found() {
    let redis = RedisServer::start().await;
    let mut node = Node::listening(options(&redis), &[TOPIC]).await;
    let first = append(&node, "1").await;
    let _: String = redis.command(&["CLIENT", "PAUSE", "3000", "ALL"]).await;
    let late = try_append(&node.bus, message("late")).await;
    assert!(matches!(&late, Appended::Unknown(error) if error.kind() == BusErrorKind::Timeout), "{late:?}");
    assert_eq!(
        (node.message().await.1, node.message().await.1),
        (text("1", first), text("late", Position { offset: 2, ..first }))
    );
    let repeated = try_append(&node.bus, Append { is_repeated: true, ..message("late") }).await;
    assert_eq!(repeated, Appended::At(Position { offset: 2, ..first }));
    assert_eq!(append(&node, "3").await.offset, 3);
    assert_eq!(node.message().await.1, text("3", Position { offset: 3, ..first }));
}

/// A script that Redis does not know any more is sent again. Messages on their way then are not appended, which is known of each.
#[tokio::test]
async fn a_script_that_is_forgotten_is_sent_again() {
    let redis = RedisServer::start().await;
    let node = Node::listening(options(&redis), &[]).await;
    let mut appended = vec![text("0", append(&node, "0").await)];
    read(&node).await;
    for round in 1..4 {
        let _: String = redis.command(&["SCRIPT", "FLUSH"]).await;
        for number in 0..50 {
            let id = format!("{round}/{number}");
            match try_append(&node.bus, message(&id)).await {
                Appended::At(position) => appended.push(text(&id, position)),
                Appended::NotSent(_) => assert_eq!(number, 0, "the next message brings the script"),
                Appended::Unknown(why) => panic!("{why}"),
            }
        }
        let _: String = redis.command(&["SCRIPT", "FLUSH"]).await;
        assert_eq!(texts(&node).await, appended);
    }
    assert!(appended.len() > 147);
}

/// Without free memory nothing is appended or published; the history goes on when there is.
#[tokio::test]
async fn without_free_memory_nothing_is_appended() {
    let redis = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]).await;
    let mut node = Node::listening(options(&redis), &[TOPIC]).await;
    let first = append(&node, "1").await;
    let limit = async |bytes: &str| redis.command::<()>(&["CONFIG", "SET", "maxmemory", bytes]).await;
    limit("1").await;
    for topic in [TOPIC, "pondsocket:v1:default:api/socket:/chat/2"] {
        let refused = try_append(&node.bus, Append { topic: topic.into(), ..message("2") }).await;
        assert!(
            matches!(&refused, Appended::NotSent(error) if error.kind() == BusErrorKind::OutOfMemory),
            "{refused:?}"
        );
    }
    assert_eq!(read(&node).await.position, Some(first));
    assert!(soon("answer", node.bus.put("key", &RECORD, 0, Duration::from_secs(9))).await.is_err());
    limit("0").await;
    let third = append(&node, "3").await;
    assert_eq!(third, Position { offset: 2, ..first });
    assert_eq!((node.message().await.1, node.message().await.1), (text("1", first), text("3", third)));
}

/// Neither a topic that is forbidden nor missing rights end in a message that is kept and not published, or the reverse.
#[tokio::test]
async fn what_is_forbidden_is_neither_appended_nor_published() {
    let redis = RedisServer::start().await;
    let mut witness = Node::listening(options(&redis), &[TOPIC]).await;
    for denied in [&["resetchannels"][..], &["-info"], &["-xadd"], &["-publish"], &["resetkeys"]] {
        let words = ["ACL", "SETUSER", "ada", "reset", "on", ">secret", "allkeys", "allchannels", "+@all"];
        let words: Vec<_> = words.iter().chain(denied).copied().collect();
        let _: () = redis.command(&words).await;
        let node = Node::start(options(&redis).username("ada").password("secret"), &[]);
        let deadline = Instant::now() + DEADLINE;
        let why = loop {
            match try_append(&node.bus, message("forbidden")).await {
                Appended::NotSent(why) if why.kind() == BusErrorKind::Closed => {
                    assert!(Instant::now() < deadline, "no connection");
                    sleep(Duration::from_millis(5)).await;
                }
                Appended::NotSent(why) => break why,
                other => panic!("{denied:?}: {other:?}"),
            }
        };
        assert_eq!(why.kind(), BusErrorKind::NoPerm, "{denied:?}: {why}");
        assert_eq!(texts(&witness).await, Vec::<String>::new(), "{denied:?}");
    }
    let position = append(&witness, "allowed").await;
    assert_eq!(witness.message().await.1, text("allowed", position));
}

/// Sentinels promote the replica: histories begin anew there, and nodes follow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_begins_histories_anew() {
    let mut primary = RedisServer::start().await;
    let replica = RedisServer::start_with(&["--replicaof", "127.0.0.1", &primary.port.to_string()]).await;
    let sentinel = RedisServer::start_sentinel(&primary).await;
    let deadline = Instant::now() + DEADLINE;
    while !sentinel.command::<String>(&["INFO", "sentinel"]).await.contains("slaves=1") {
        assert!(Instant::now() < deadline, "the sentinel does not see the replica");
        sleep(Duration::from_millis(50)).await;
    }
    let options = || RedisOptions::default().sentinel(SentinelOptions::new("main", [("127.0.0.1", sentinel.port)]));
    in_step(&replica, &primary).await;
    let (mut ada, mut bob) = (Node::listening(options(), &[TOPIC]).await, Node::listening(options(), &[]).await);
    let before = [append(&ada, "1").await, append(&bob, "2").await];
    in_step(&replica, &primary).await;
    primary.kill().await;
    for node in [&mut ada, &mut bob] {
        node.next_down().await;
        node.next_up().await;
    }
    ada.subscribed(&[TOPIC]).await;
    // The one whose outcome was unknown would be repeated; it is in the history that is not continued.
    let again = Append { is_repeated: true, ..message("2") };
    let Appended::At(again) = try_append(&bob.bus, again).await else { panic!("not appended") };
    assert!(again.epoch != before[0].epoch && again.offset == 1, "{again} after {before:?}");
    let next = append(&ada, "3").await;
    assert_eq!(next, Position { offset: 2, ..again });
    assert_eq!((ada.message().await.1, ada.message().await.1), (text("2", again), text("3", next)));
}
