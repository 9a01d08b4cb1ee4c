//! Nodes that end: killed, without a word, or stopped.
//!
//! A published server knows another for dead after its `heartbeat_timeout`, at the latest at the second look, which it
//! takes as often; our nodes give those of other languages the 90 s of the protocol.

use std::sync::Arc;
use std::time::Duration;

use e2e_tests::ContractServer;

use crate::PAIRS;
use crate::client::{Client, are_listed};
use crate::matrix::{Attempt, Case};
use crate::meeting::{Meeting, is_gone};
use crate::node::{Language, Nodes, Place};
use crate::redis::Redis;

/// 90 s, and how long it takes to find out.
const DETECTION: Duration = Duration::from_secs(110);

pub(crate) fn cases(redis: &Arc<Redis>, nodes: &Nodes) -> Vec<Case> {
    let mut cases = Vec::new();
    for (dies, watches) in PAIRS {
        let there = nodes.pair((dies, watches)).1;
        let scene =
            |row: &str| Scene { redis: Arc::clone(redis), dies, there, name: format!("{row}-{dies}-{watches}") };
        let column = format!("{dies}→{watches}");
        cases.push(Case::new("killed: told", &column, killed(scene("killed-told"), true)).that_waits());
        cases.push(Case::new("killed: forgotten", &column, killed(scene("killed-forgotten"), false)).that_waits());
        if dies == Language::Ours {
            let attempt = |number| Box::pin(stopped(scene(&format!("stopped-{number}")))) as Attempt;
            cases.push(Case::with_attempts("stopped", &column, attempt));
        }
    }
    cases
}

/// A node of its own for ann, which will end, and one that stays for bob.
struct Scene {
    redis: Arc<Redis>,
    dies: Language,
    there: Place,
    name: String,
}

impl Scene {
    async fn begin(&self) -> (ContractServer, Client, Client) {
        let node = self.dies.start(&self.redis.url, &self.name).await;
        let meeting =
            Meeting { here: Place::of(self.dies, &node), there: self.there, room: format!("/chat/{}", self.name) };
        let (ann, bob) = meeting.pair().await;
        (node, ann, bob)
    }
}

/// Bob's node forgets ann, and tells bob or not.
async fn killed(scene: Scene, told: bool) {
    let (node, ann, mut bob) = scene.begin().await;
    drop(node);
    bob.knows_within(DETECTION, "that ann has gone", |state| is_gone(state, &ann.who)).await;
    if told {
        let list = bob.sees("LEAVE", &ann.who).await;
        assert!(are_listed(&list, &[&bob.who]), "{list:?}");
    }
}

/// Whoever is asked to stop says goodbye.
async fn stopped(scene: Scene) {
    let (mut node, ann, mut bob) = scene.begin().await;
    node.terminate();
    let list = bob.sees("LEAVE", &ann.who).await;
    assert!(are_listed(&list, &[&bob.who]), "{list:?}");
    bob.knows("that ann has gone", |state| is_gone(state, &ann.who)).await;
    assert!(node.ended().await.success());
}
