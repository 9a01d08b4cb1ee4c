//! The table of leases.

use std::time::Duration;

use super::{Node, Subject, deadline, soon};
use crate::cluster::{Lease, NodeId};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(150);

fn id(name: &str, incarnation: u64) -> NodeId {
    NodeId { name: name.into(), incarnation }
}

impl Node {
    async fn renew(&self, me: &NodeId, ttl: Duration) -> Lease {
        let leases = self.bus.leases().expect("a bus with leases");
        let mut lease = soon("answer to the beat", leases.renew(me, ttl)).await.expect("a confirmed beat");
        lease.alive.sort();
        lease
    }

    async fn release(&self, me: &NodeId) {
        let leases = self.bus.leases().expect("a bus with leases");
        soon("answer to the bye", leases.release(me)).await.expect("a confirmed bye");
    }

    /// Beats until something is told to have expired.
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
}

impl Node {
    async fn acquire(&self, name: &str) -> NodeId {
        let leases = self.bus.leases().expect("a bus with leases");
        id(name, soon("number of a life", leases.acquire(name, LONG)).await.expect("a number"))
    }
}

/// Each life of a name has a larger number than the one before, however that ended, and a lease from the start.
pub async fn a_later_life_has_a_larger_number(subject: &dyn Subject) {
    let (ada, bob) = (Node::up(subject).await, Node::up(subject).await);
    let first = ada.acquire("a").await;
    assert!(first.incarnation > 1_700_000_000_000, "it is not below the time of the engine");
    let watcher = id("watcher", 1);
    assert_eq!(bob.renew(&watcher, LONG).await.alive, [first.clone(), watcher.clone()]);
    assert!(!ada.renew(&first, LONG).await.was_expired, "it has a lease already");
    let second = bob.acquire("a").await;
    assert!(second > first);
    bob.release(&second).await;
    ada.release(&first).await;
    let third = ada.acquire("a").await;
    assert!(third > second, "a life that has ended is remembered");
    ada.release(&third).await;
    bob.renew(&third, SHORT).await;
    bob.expired(&watcher).await;
    assert!(ada.acquire("a").await > third, "also one whose lease has run out");
    assert!(ada.acquire("a~1").await.incarnation > 1_700_000_000_000, "another name");
}

/// A life that was numbered by a clock that is ahead is followed by larger numbers.
pub async fn a_life_of_the_future_is_followed(subject: &dyn Subject) {
    let (ada, bob) = (Node::up(subject).await, Node::up(subject).await);
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

/// Of many nodes that begin a life of one name at once no two get the same number.
pub async fn lives_are_numbered_one_by_one(subject: &dyn Subject) {
    let (ada, bob) = (Node::up(subject).await, Node::up(subject).await);
    let mut lives = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let (one, two) = tokio::join!(ada.acquire("a"), bob.acquire("a"));
        lives.extend([one, two]);
    }
    assert_eq!(lives.len(), 100);
}

/// A beat makes its node alive, for itself and for others.
pub async fn who_beats_is_alive(subject: &dyn Subject) {
    let (ada, bob) = (Node::up(subject).await, Node::up(subject).await);
    let (a, b) = (id("ada", 1), id("bob", 1));
    let first = ada.renew(&a, LONG).await;
    assert_eq!((first.alive, first.expired, first.was_expired), (vec![a.clone()], vec![], false));
    assert_eq!(bob.renew(&b, LONG).await.alive, [a.clone(), b.clone()]);
    let second = ada.renew(&a, LONG).await;
    assert_eq!((second.alive, second.expired, second.was_expired), (vec![a, b], vec![], false));
}

/// Of all who look, one is told that a lease has run out, once.
pub async fn an_expired_lease_is_told_once(subject: &dyn Subject) {
    let (ada, bob) = (Node::up(subject).await, Node::up(subject).await);
    let (a, b, c) = (id("ada", 1), id("bob", 1), id("carol", 1));
    ada.renew(&a, LONG).await;
    bob.renew(&b, SHORT).await;
    let told = ada.expired(&a).await;
    assert_eq!((told.alive, told.expired), (vec![a.clone()], vec![b]));
    assert_eq!(ada.renew(&a, LONG).await.expired, []);
    assert_eq!(bob.renew(&c, LONG).await.expired, []);
}

/// A node that comes back after its lease has run out is told, once.
pub async fn who_was_expired_is_told(subject: &dyn Subject) {
    let (ada, bob) = (Node::up(subject).await, Node::up(subject).await);
    let (a, b) = (id("ada", 1), id("bob", 1));
    bob.renew(&b, SHORT).await;
    ada.expired(&a).await;
    let back = bob.renew(&b, LONG).await;
    assert_eq!((back.alive, back.was_expired), (vec![a, b.clone()], true));
    assert!(!bob.renew(&b, LONG).await.was_expired);
}

/// A lease that is prolonged in time does not run out.
pub async fn beats_prolong_a_lease(subject: &dyn Subject) {
    let (ada, bob) = (Node::up(subject).await, Node::up(subject).await);
    let (a, b) = (id("ada", 1), id("bob", 1));
    bob.renew(&b, SHORT).await;
    let prolonged = bob.renew(&b, LONG).await;
    if prolonged.was_expired {
        // The machine was so slow that it had run out.
        return;
    }
    tokio::time::sleep(SHORT * 2).await;
    let lease = ada.renew(&a, LONG).await;
    assert_eq!((lease.alive, lease.expired), (vec![a, b], vec![]));
}

/// A node that says bye is not alive, and nobody is told that it has expired.
pub async fn who_says_bye_never_expires(subject: &dyn Subject) {
    let (ada, bob) = (Node::up(subject).await, Node::up(subject).await);
    let (a, b, c) = (id("ada", 1), id("bob", 1), id("carol", 1));
    bob.renew(&b, SHORT).await;
    bob.release(&b).await;
    bob.release(&b).await;
    assert_eq!(ada.renew(&a, LONG).await.alive, std::slice::from_ref(&a));
    // A third one shows that what was to expire has expired.
    bob.renew(&c, SHORT * 2).await;
    assert_eq!(ada.expired(&a).await.expired, [c]);
}

/// Bye is no expiry.
pub async fn after_bye_the_first_beat_is_a_first_one(subject: &dyn Subject) {
    let ada = Node::up(subject).await;
    let a = id("ada", 1);
    ada.renew(&a, LONG).await;
    ada.release(&a).await;
    let again = ada.renew(&a, LONG).await;
    assert_eq!((again.alive, again.was_expired), (vec![a], false));
}

/// A name that was started again has two leases until the first runs out.
pub async fn two_lives_of_a_name_are_two_leases(subject: &dyn Subject) {
    let ada = Node::up(subject).await;
    let (first, second) = (id("ada", 1_763_850_000_123), id("ada", 1_763_850_000_124));
    ada.renew(&first, LONG).await;
    let lease = ada.renew(&second, LONG).await;
    assert_eq!((lease.alive, lease.was_expired), (vec![first.clone(), second.clone()], false));
    ada.release(&first).await;
    assert_eq!(ada.renew(&second, LONG).await.alive, [second]);
}

/// Names of nodes are plain text.
pub async fn names_of_nodes_are_exact(subject: &dyn Subject) {
    let ada = Node::up(subject).await;
    let names = ["", " ", "a:b", "a~b", "a~1", "~", "web-3.example.org", "\u{1f986}", "line\nbreak", "*"];
    let mut ids: Vec<_> = names.iter().map(|name| id(name, (1 << 53) - 1)).collect();
    for me in &ids {
        ada.renew(me, LONG).await;
    }
    ids.sort();
    assert_eq!(ada.renew(&ids[0], LONG).await.alive, ids);
}

/// Three hundred nodes are all seen.
pub async fn three_hundred_nodes_live(subject: &dyn Subject) {
    let ada = Node::up(subject).await;
    let mut ids: Vec<_> = (0..300).map(|number| id(&format!("node-{number}"), number + 1)).collect();
    for me in &ids {
        ada.renew(me, LONG).await;
    }
    ids.sort();
    assert_eq!(ada.renew(&ids[7], LONG).await.alive, ids);
}
