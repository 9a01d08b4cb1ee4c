//! Cases about members: joining, assigns, presence and leaving.

use serde_json::{Value, json};

use crate::client::{Client, are_listed};
use crate::node_pair::{NodePair, is_gone, is_there};

pub(crate) async fn join(node_pair: NodePair) {
    let mut bob = node_pair.there("bob").await;
    let ann = node_pair.here("ann").await;
    let list = bob.sees("JOIN", &ann.identity).await;
    assert!(are_listed(&list, &[&ann.identity, &bob.identity]), "{list:?}");
}

/// Bob joins after all others, on a node that was not in the channel before.
pub(crate) async fn late_join(node_pair: NodePair) {
    let (mut ann, cat) = (node_pair.here("ann").await, node_pair.here("cat").await);
    ann.send("assign", json!({ "key": "role", "value": "admin" })).await;
    ann.send("status", json!({ "status": "away" })).await;
    let anns = ann.identity.id.clone();
    ann.knows("her own", |state| state["presence"][&anns]["status"] == "away").await;
    let mut bob = node_pair.there("bob").await;
    bob.knows("those user were there", |state| {
        is_there(state, &ann.identity)
            && is_there(state, &cat.identity)
            && state["assigns"][&anns]["role"] == "admin"
            && state["presence"][&anns]["status"] == "away"
    })
    .await;
}

pub(crate) async fn update(node_pair: NodePair) {
    let (mut ann, mut bob) = node_pair.pair().await;
    ann.send("status", json!({ "status": "away" })).await;
    let anns = ann.identity.id.clone();
    bob.knows("the update", |state| state["presence"][&anns]["status"] == "away").await;
    // The published Rust server sends an update for a join, too.
    let (anns, bobs) = (ann.identity.clone(), bob.identity.clone());
    let is_away = |list: &[Value]| are_listed(list, &[&anns, &bobs]) && list.iter().any(|one| one["status"] == "away");
    bob.is_shown("UPDATE", &ann.identity, is_away).await;
}

/// A user that is not tracked any more stays a member.
pub(crate) async fn untrack(node_pair: NodePair) {
    let (mut ann, mut bob) = node_pair.pair().await;
    ann.send("untrack", json!({})).await;
    let list = bob.sees("LEAVE", &ann.identity).await;
    assert!(are_listed(&list, &[&bob.identity]), "{list:?}");
    let state = bob.state().await;
    assert_eq!(state["assigns"][&ann.identity.id]["username"], "ann");
    assert!(state["presence"][&ann.identity.id].is_null());
}

pub(crate) async fn leave(node_pair: NodePair) {
    let (mut ann, bob) = node_pair.pair().await;
    ann.leave().await;
    sees_leave(bob, &ann).await;
}

pub(crate) async fn cut(node_pair: NodePair) {
    let (ann, mut bob) = node_pair.pair().await;
    let user = ann.identity.clone();
    ann.reset();
    let list = bob.sees("LEAVE", &user).await;
    assert!(are_listed(&list, &[&bob.identity]), "{list:?}");
    bob.knows("that ann is removed", |state| is_gone(state, &user)).await;
}

pub(crate) async fn assigns(node_pair: NodePair) {
    let (mut ann, mut bob) = node_pair.pair().await;
    ann.send("assign", json!({ "key": "role", "value": ["admin", 1] })).await;
    let all = json!({ "username": "ann", "role": ["admin", 1] });
    bob.knows("all assigns", |state| is_part(&all, &state["assigns"][&ann.identity.id])).await;
}

/// Ann changes the assigns of bob, who is on the other node.
pub(crate) async fn assigns_of_others(node_pair: NodePair) {
    let (mut ann, mut bob) = node_pair.pair().await;
    ann.send("assign", json!({ "userId": bob.identity.id, "key": "role", "value": "guest" })).await;
    let bobs = bob.identity.id.clone();
    let all = json!({ "username": "bob", "role": "guest" });
    bob.knows("his new role", |state| is_part(&all, &state["assigns"][&bobs])).await;
    ann.knows("bob's new role", |state| is_part(&all, &state["assigns"][&bobs])).await;
}

/// Evicts a user of the same node.
pub(crate) async fn evict(node_pair: NodePair) {
    let (mut ann, mut bob) = node_pair.pair().await;
    let cat = node_pair.here("cat").await;
    bob.knows("cat", |state| is_there(state, &cat.identity)).await;
    ann.send("evict", json!({ "userId": cat.identity.id, "reason": "spam" })).await;
    let list = bob.sees("LEAVE", &cat.identity).await;
    assert!(are_listed(&list, &[&ann.identity, &bob.identity]), "{list:?}");
    bob.knows("that cat is removed", |state| is_gone(state, &cat.identity)).await;
}

/// Evicts a user of the other node, who receives the reason.
pub(crate) async fn evict_others(node_pair: NodePair) {
    let (mut ann, mut bob) = node_pair.pair().await;
    ann.send("evict", json!({ "userId": bob.identity.id, "reason": "spam" })).await;
    bob.is_evicted("spam").await;
    sees_leave(ann, &bob).await;
}

/// Removes a user of the other node, who receives no message.
pub(crate) async fn remove_others(node_pair: NodePair) {
    let (mut ann, bob) = node_pair.pair().await;
    ann.send("remove", json!({ "userId": bob.identity.id, "reason": "moved" })).await;
    sees_leave(ann, &bob).await;
}

async fn sees_leave(mut user: Client, gone: &Client) {
    let list = user.sees("LEAVE", &gone.identity).await;
    assert!(are_listed(&list, &[&user.identity]), "{list:?}");
    user.knows("that the user is removed", |state| is_gone(state, &gone.identity)).await;
}

/// Returns `true` if one object has all entries of another: contract servers have further assigns.
fn is_part(part: &Value, of: &Value) -> bool {
    part.as_object().expect("an object").iter().all(|(key, value)| of[key] == *value)
}
