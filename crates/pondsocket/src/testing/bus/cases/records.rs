//! The records of the store of histories (H7).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::{BusUnderTest, TestNode, soon};
use crate::cluster::StoredRecord;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(150);

fn record(version: u64, data: impl Into<Bytes>) -> StoredRecord {
    StoredRecord { version, data: data.into() }
}

impl TestNode {
    /// Keeps a record of version 1, which must be the first one of its key or replace one of the same version.
    async fn put(&self, key: &str, data: impl Into<Bytes>, ttl: Duration) {
        assert!(self.replace(key, &record(1, data), 1, ttl).await, "{key} is kept");
    }

    async fn replace(&self, key: &str, record: &StoredRecord, replaces: u64, ttl: Duration) -> bool {
        soon("put", self.store().put(key, record, replaces, ttl)).await.expect("an answer")
    }

    pub(super) async fn get(&self, key: &str) -> Option<StoredRecord> {
        soon("record", self.store().get(key)).await.expect("an answer")
    }
}

/// Of several nodes and tasks that replace a record at the same time, one does it, and knows it.
pub async fn of_several_nodes_one_replaces_a_record(subject: &dyn BusUnderTest) {
    let nodes = [TestNode::up(subject).await, TestNode::up(subject).await];
    for (round, is_first) in (0..20).zip([true, false].into_iter().cycle()) {
        let key: Arc<str> = format!("key {round}").into();
        let replaces = if is_first { 0 } else { 7 };
        if !is_first {
            assert!(nodes[0].replace(&key, &record(7, "before"), 0, LONG).await);
        }
        let tasks = (0..20).map(|task| {
            let (bus, key) = (nodes[task % 2].bus.clone(), key.clone());
            tokio::spawn(async move {
                let store = bus.history().expect("a bus with histories");
                let mine = record(8, task.to_string());
                let is_kept = soon("put", store.put(&key, &mine, replaces, LONG)).await.expect("an answer");
                is_kept.then_some(mine)
            })
        });
        let tasks: Vec<_> = tasks.collect();
        let mut kept = Vec::new();
        for task in tasks {
            kept.extend(task.await.expect("no panic"));
        }
        assert_eq!(kept.len(), 1, "one of them replaces it: {kept:?}");
        assert_eq!(nodes[1].get(&key).await, kept.pop());
    }
}

/// A record of a later version than the replaced one stays; the same record may be put again.
pub async fn a_record_of_a_later_version_stays(subject: &dyn BusUnderTest) {
    let (ada, bob) = (TestNode::up(subject).await, TestNode::up(subject).await);
    let largest = (1 << 53) - 1;
    let [first, second, last] = [record(3, "first"), record(1 << 52, "second"), record(largest, "last")];
    assert!(ada.replace("key", &first, 0, LONG).await);
    assert!(bob.replace("key", &second, 3, LONG).await);
    for (late, replaces) in [(&first, 0), (&first, 3), (&record(1 << 52, "other"), 3), (&last, (1 << 52) - 1)] {
        assert!(!ada.replace("key", late, replaces, LONG).await, "{late:?} in place of {replaces}");
        assert_eq!(bob.get("key").await, Some(second.clone()));
    }
    assert!(bob.replace("key", &second, 3, LONG).await, "again");
    assert!(ada.replace("key", &last, 1 << 52, LONG).await);
    assert!(!bob.replace("key", &second, largest - 1, LONG).await);
    assert_eq!(bob.get("key").await, Some(last));
}

/// A record is any bytes, under a key of any printable characters; a later one replaces it.
pub async fn records_are_kept_unchanged(subject: &dyn BusUnderTest) {
    let (ada, bob) = (TestNode::up(subject).await, TestNode::up(subject).await);
    let all: Vec<u8> = (0..=255).collect();
    let longest = "x".repeat(256);
    let printable: String = (' '..='~').collect();
    let keys = ["a", "A", "a:b", "{a}", " ", "*", "%s", "\"'", &longest, &printable];
    for key in keys {
        ada.put(key, "replaced", SHORT).await;
        ada.put(key, [key.as_bytes(), &all].concat(), LONG).await;
    }
    ada.put("empty", "", LONG).await;
    // The time of the records that were replaced.
    sleep(SHORT * 2).await;
    for key in keys {
        assert_eq!(bob.get(key).await, Some(record(1, [key.as_bytes(), &all].concat())), "{key}");
    }
    assert_eq!(bob.get("empty").await, Some(record(1, "")));
    assert_eq!(bob.get("never").await, None);
}

/// A record expires.
pub async fn a_record_expires(subject: &dyn BusUnderTest) {
    let node = TestNode::up(subject).await;
    node.put("long", "kept", LONG).await;
    node.put("longest", "kept", Duration::MAX).await;
    for key in ["1", "2", "3"] {
        node.put(key, "gone", SHORT).await;
    }
    sleep(SHORT * 2).await;
    for key in ["1", "2", "3"] {
        assert_eq!(node.get(key).await, None);
        assert!(node.replace(key, &record(0, "an earlier version"), 0, LONG).await);
    }
    for key in ["long", "longest"] {
        assert_eq!(node.get(key).await, Some(record(1, "kept")));
    }
}
