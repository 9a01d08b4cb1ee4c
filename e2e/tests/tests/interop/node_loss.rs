//! Nodes that are killed or stopped.
//!
//! A published server considers another node dead after its `heartbeat_timeout`, at the latest at its second check, in the same
//! interval. Nodes of this server use the 90 s of the protocol for servers in other languages.

use std::sync::Arc;
use std::time::Duration;

use e2e_tests::ContractServer;

use crate::PAIRS;
use crate::client::{Client, are_listed};
use crate::matrix::{Attempt, Case};
use crate::node::{Language, NodeAddress, Nodes};
use crate::node_pair::{NodePair, is_gone};
use crate::redis::Redis;

/// The 90 s of the protocol, and the time of a check.
const DETECTION: Duration = Duration::from_secs(110);

pub(crate) fn cases(redis: &Arc<Redis>, nodes: &Nodes) -> Vec<Case> {
    let mut cases = Vec::new();
    for (dies, watches) in PAIRS {
        let there = nodes.pair((dies, watches)).1;
        let fixture =
            |row: &str| LossFixture { redis: Arc::clone(redis), dies, there, name: format!("{row}-{dies}-{watches}") };
        let column = format!("{dies}→{watches}");
        cases.push(Case::new("killed: leave received", &column, killed(fixture("killed-leave"), true)).that_waits());
        cases.push(Case::new("killed: removed", &column, killed(fixture("killed-removed"), false)).that_waits());
        if dies == Language::Ours {
            let attempt = |number| Box::pin(stopped(fixture(&format!("stopped-{number}")))) as Attempt;
            cases.push(Case::with_attempts("stopped", &column, attempt));
        }
    }
    cases
}

/// A node of its own with ann, which will end, and a node with bob, which stays.
struct LossFixture {
    redis: Arc<Redis>,
    dies: Language,
    there: NodeAddress,
    name: String,
}

impl LossFixture {
    async fn begin(&self) -> (ContractServer, Client, Client) {
        let node = self.dies.start(&self.redis.url, &self.name).await;
        let node_pair = NodePair {
            here: NodeAddress::of(self.dies, &node),
            there: self.there,
            room: format!("/chat/{}", self.name),
        };
        let (ann, bob) = node_pair.pair().await;
        (node, ann, bob)
    }
}

/// Bob's node removes ann, and sends bob a leave or not.
async fn killed(fixture: LossFixture, has_leave: bool) {
    let (node, ann, mut bob) = fixture.begin().await;
    drop(node);
    bob.knows_within(DETECTION, "that ann is removed", |state| is_gone(state, &ann.identity)).await;
    if has_leave {
        let list = bob.sees("LEAVE", &ann.identity).await;
        assert!(are_listed(&list, &[&bob.identity]), "{list:?}");
    }
}

/// A node that is stopped reports the end of its users.
async fn stopped(fixture: LossFixture) {
    let (mut node, ann, mut bob) = fixture.begin().await;
    node.terminate();
    let list = bob.sees("LEAVE", &ann.identity).await;
    assert!(are_listed(&list, &[&bob.identity]), "{list:?}");
    bob.knows("that ann is removed", |state| is_gone(state, &ann.identity)).await;
    assert!(node.ended().await.success());
}
