//! The table of leases.

use std::time::Duration;

use super::{BusUnderTest, TestNode, deadline, soon};
use crate::cluster::{Lease, NodeId};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(150);

fn id(name: &str, incarnation: u64) -> NodeId {
    NodeId { name: name.into(), incarnation }
}

impl TestNode {
    async fn renew(&self, me: &NodeId, ttl: Duration) -> Lease {
        let leases = self.bus.leases().expect("a bus with leases");
        let mut lease = soon("answer to the renewal", leases.renew(me, ttl)).await.expect("a confirmed renewal");
        lease.alive.sort();
        lease
    }

    async fn release(&self, me: &NodeId) {
        let leases = self.bus.leases().expect("a bus with leases");
        soon("answer to the release", leases.release(me)).await.expect("a confirmed release");
    }

    /// Renews a lease until an expired one is reported.
    async fn expired(&self, me: &NodeId) -> Lease {
        let deadline = deadline();
        loop {
            let lease = self.renew(me, LONG).await;
            if !lease.expired.is_empty() {
                return lease;
            }
            assert!(tokio::time::Instant::now() < deadline, "nothing expires");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn acquire(&self, name: &str) -> NodeId {
        let leases = self.bus.leases().expect("a bus with leases");
        id(name, soon("incarnation", leases.acquire(name, LONG)).await.expect("an incarnation"))
    }
}

/// Each incarnation of a name is larger than the one before, however that ended, and has a lease from the start.
pub async fn a_later_incarnation_is_larger(subject: &dyn BusUnderTest) {
    let (ada, bob) = (TestNode::up(subject).await, TestNode::up(subject).await);
    let first = ada.acquire("a").await;
    assert!(first.incarnation > 1_700_000_000_000, "at least the time of the engine in milliseconds");
    let watcher = id("watcher", 1);
    assert_eq!(bob.renew(&watcher, LONG).await.alive, [first.clone(), watcher.clone()]);
    assert!(!ada.renew(&first, LONG).await.was_expired, "it has a lease already");
    let second = bob.acquire("a").await;
    assert!(second > first);
    bob.release(&second).await;
    ada.release(&first).await;
    let third = ada.acquire("a").await;
    assert!(third > second, "larger than one that was released");
    ada.release(&third).await;
    bob.renew(&third, SHORT).await;
    bob.expired(&watcher).await;
    assert!(ada.acquire("a").await > third, "larger than one whose lease has expired");
    assert!(ada.acquire("a~1").await.incarnation > 1_700_000_000_000, "another name");
}

/// An incarnation from a clock that is ahead is followed by larger ones.
pub async fn an_incarnation_from_the_future_is_exceeded(subject: &dyn BusUnderTest) {
    let (ada, bob) = (TestNode::up(subject).await, TestNode::up(subject).await);
    // By a minute or more, so that no clock gets there within this test.
    for ahead in [60_000, 400 * 24 * 3600 * 1000] {
        let now = ada.acquire("a").await.incarnation;
        let future = id("a", now + ahead);
        bob.renew(&future, LONG).await;
        assert_eq!(ada.acquire("a").await, id("a", future.incarnation + 1));
        bob.release(&future).await;
        assert_eq!(ada.acquire("a").await, id("a", future.incarnation + 2));
    }
}

/// Nodes that acquire one name at the same time have different incarnations.
pub async fn concurrent_incarnations_are_unique(subject: &dyn BusUnderTest) {
    let (ada, bob) = (TestNode::up(subject).await, TestNode::up(subject).await);
    let mut incarnations = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let (one, two) = tokio::join!(ada.acquire("a"), bob.acquire("a"));
        incarnations.extend([one, two]);
    }
    assert_eq!(incarnations.len(), 100);
}

/// A renewed lease makes its node alive, for itself and for others.
pub async fn a_renewed_lease_makes_its_node_alive(subject: &dyn BusUnderTest) {
    let (ada, bob) = (TestNode::up(subject).await, TestNode::up(subject).await);
    let (a, b) = (id("ada", 1), id("bob", 1));
    let first = ada.renew(&a, LONG).await;
    assert_eq!((first.alive, first.expired, first.was_expired), (vec![a.clone()], vec![], false));
    assert_eq!(bob.renew(&b, LONG).await.alive, [a.clone(), b.clone()]);
    let second = ada.renew(&a, LONG).await;
    assert_eq!((second.alive, second.expired, second.was_expired), (vec![a, b], vec![], false));
}

/// Of all nodes, one receives an expired lease, once.
pub async fn an_expired_lease_is_reported_once(subject: &dyn BusUnderTest) {
    let (ada, bob) = (TestNode::up(subject).await, TestNode::up(subject).await);
    let (a, b, c) = (id("ada", 1), id("bob", 1), id("carol", 1));
    ada.renew(&a, LONG).await;
    bob.renew(&b, SHORT).await;
    let lease = ada.expired(&a).await;
    assert_eq!((lease.alive, lease.expired), (vec![a.clone()], vec![b]));
    assert_eq!(ada.renew(&a, LONG).await.expired, []);
    assert_eq!(bob.renew(&c, LONG).await.expired, []);
}

/// A node that renews a lease after it has expired is informed of that, once.
pub async fn an_expired_node_learns_that_it_had_expired(subject: &dyn BusUnderTest) {
    let (ada, bob) = (TestNode::up(subject).await, TestNode::up(subject).await);
    let (a, b) = (id("ada", 1), id("bob", 1));
    bob.renew(&b, SHORT).await;
    ada.expired(&a).await;
    let back = bob.renew(&b, LONG).await;
    assert_eq!((back.alive, back.was_expired), (vec![a, b.clone()], true));
    assert!(!bob.renew(&b, LONG).await.was_expired);
}

/// A lease that is renewed in time does not expire.
pub async fn renewals_prolong_a_lease(subject: &dyn BusUnderTest) {
    let (ada, bob) = (TestNode::up(subject).await, TestNode::up(subject).await);
    let (a, b) = (id("ada", 1), id("bob", 1));
    bob.renew(&b, SHORT).await;
    let prolonged = bob.renew(&b, LONG).await;
    if prolonged.was_expired {
        // The machine was so slow that the lease had expired: nothing can be tested.
        return;
    }
    tokio::time::sleep(SHORT * 2).await;
    let lease = ada.renew(&a, LONG).await;
    assert_eq!((lease.alive, lease.expired), (vec![a, b], vec![]));
}

/// A node that has released its lease is not alive, and is not reported as expired.
pub async fn a_released_lease_does_not_expire(subject: &dyn BusUnderTest) {
    let (ada, bob) = (TestNode::up(subject).await, TestNode::up(subject).await);
    let (a, b, c) = (id("ada", 1), id("bob", 1), id("carol", 1));
    bob.renew(&b, SHORT).await;
    bob.release(&b).await;
    bob.release(&b).await;
    assert_eq!(ada.renew(&a, LONG).await.alive, std::slice::from_ref(&a));
    // When a later lease has expired, the released one would have, too.
    bob.renew(&c, SHORT * 2).await;
    assert_eq!(ada.expired(&a).await.expired, [c]);
}

/// The release of a lease is not an expiry.
pub async fn a_lease_renewed_after_its_release_had_not_expired(subject: &dyn BusUnderTest) {
    let ada = TestNode::up(subject).await;
    let a = id("ada", 1);
    ada.renew(&a, LONG).await;
    ada.release(&a).await;
    let again = ada.renew(&a, LONG).await;
    assert_eq!((again.alive, again.was_expired), (vec![a], false));
}

/// Two incarnations of one name have two leases, until the first is released or expires.
pub async fn two_incarnations_of_a_name_have_two_leases(subject: &dyn BusUnderTest) {
    let ada = TestNode::up(subject).await;
    let (first, second) = (id("ada", 1_763_850_000_123), id("ada", 1_763_850_000_124));
    ada.renew(&first, LONG).await;
    let lease = ada.renew(&second, LONG).await;
    assert_eq!((lease.alive, lease.was_expired), (vec![first.clone(), second.clone()], false));
    ada.release(&first).await;
    assert_eq!(ada.renew(&second, LONG).await.alive, [second]);
}

/// Node names are plain text, without separators or escapes.
pub async fn node_names_are_exact(subject: &dyn BusUnderTest) {
    let ada = TestNode::up(subject).await;
    let names = ["", " ", "a:b", "a~b", "a~1", "~", "web-3.example.org", "\u{1f986}", "line\nbreak", "*"];
    let mut ids: Vec<_> = names.iter().map(|name| id(name, (1 << 53) - 1)).collect();
    for me in &ids {
        ada.renew(me, LONG).await;
    }
    ids.sort();
    assert_eq!(ada.renew(&ids[0], LONG).await.alive, ids);
}

/// Three hundred nodes are all alive.
pub async fn three_hundred_nodes_are_alive(subject: &dyn BusUnderTest) {
    let ada = TestNode::up(subject).await;
    let mut ids: Vec<_> = (0..300).map(|number| id(&format!("node-{number}"), number + 1)).collect();
    for me in &ids {
        ada.renew(me, LONG).await;
    }
    ids.sort();
    assert_eq!(ada.renew(&ids[7], LONG).await.alive, ids);
}
