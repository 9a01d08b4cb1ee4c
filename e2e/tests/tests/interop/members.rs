//! Cases about members: joining, assigns, presence and leaving.

use serde_json::{Value, json};

use crate::client::{Client, are_listed};
use crate::meeting::{Meeting, is_gone, is_there};

pub(crate) async fn join(meeting: Meeting) {
    let mut bob = meeting.there("bob").await;
    let ann = meeting.here("ann").await;
    let list = bob.sees("JOIN", &ann.who).await;
    assert!(are_listed(&list, &[&ann.who, &bob.who]), "{list:?}");
}

/// Bob comes when all others have been there for a while, and so does his node.
pub(crate) async fn late_join(meeting: Meeting) {
    let (mut ann, cat) = (meeting.here("ann").await, meeting.here("cat").await);
    ann.say("assign", json!({ "key": "role", "value": "admin" })).await;
    ann.say("status", json!({ "status": "away" })).await;
    let anns = ann.who.id.clone();
    ann.knows("her own", |state| state["presence"][&anns]["status"] == "away").await;
    let mut bob = meeting.there("bob").await;
    bob.knows("those who were there", |state| {
        is_there(state, &ann.who)
            && is_there(state, &cat.who)
            && state["assigns"][&anns]["role"] == "admin"
            && state["presence"][&anns]["status"] == "away"
    })
    .await;
}

pub(crate) async fn update(meeting: Meeting) {
    let (mut ann, mut bob) = meeting.pair().await;
    ann.say("status", json!({ "status": "away" })).await;
    let anns = ann.who.id.clone();
    bob.knows("the update", |state| state["presence"][&anns]["status"] == "away").await;
    // The published Rust server calls a join an update, too.
    let (anns, bobs) = (ann.who.clone(), bob.who.clone());
    let is_away = |list: &[Value]| are_listed(list, &[&anns, &bobs]) && list.iter().any(|one| one["status"] == "away");
    bob.is_shown("UPDATE", &ann.who, is_away).await;
}

/// Whoever hides is a member all the same.
pub(crate) async fn untrack(meeting: Meeting) {
    let (mut ann, mut bob) = meeting.pair().await;
    ann.say("untrack", json!({})).await;
    let list = bob.sees("LEAVE", &ann.who).await;
    assert!(are_listed(&list, &[&bob.who]), "{list:?}");
    let state = bob.state().await;
    assert_eq!(state["assigns"][&ann.who.id]["username"], "ann");
    assert!(state["presence"][&ann.who.id].is_null());
}

pub(crate) async fn leave(meeting: Meeting) {
    let (mut ann, bob) = meeting.pair().await;
    ann.leave().await;
    sees_leave(bob, &ann).await;
}

pub(crate) async fn cut(meeting: Meeting) {
    let (ann, mut bob) = meeting.pair().await;
    let who = ann.who.clone();
    ann.cut();
    let list = bob.sees("LEAVE", &who).await;
    assert!(are_listed(&list, &[&bob.who]), "{list:?}");
    bob.knows("that ann has gone", |state| is_gone(state, &who)).await;
}

pub(crate) async fn assigns(meeting: Meeting) {
    let (mut ann, mut bob) = meeting.pair().await;
    ann.say("assign", json!({ "key": "role", "value": ["admin", 1] })).await;
    let all = json!({ "username": "ann", "role": ["admin", 1] });
    bob.knows("all assigns", |state| is_part(&all, &state["assigns"][&ann.who.id])).await;
}

/// Ann changes what the other node has of bob.
pub(crate) async fn assigns_of_others(meeting: Meeting) {
    let (mut ann, mut bob) = meeting.pair().await;
    ann.say("assign", json!({ "userId": bob.who.id, "key": "role", "value": "guest" })).await;
    let bobs = bob.who.id.clone();
    let all = json!({ "username": "bob", "role": "guest" });
    bob.knows("his new role", |state| is_part(&all, &state["assigns"][&bobs])).await;
    ann.knows("bob's new role", |state| is_part(&all, &state["assigns"][&bobs])).await;
}

/// Somebody of one's own node.
pub(crate) async fn evict(meeting: Meeting) {
    let (mut ann, mut bob) = meeting.pair().await;
    let cat = meeting.here("cat").await;
    bob.knows("cat", |state| is_there(state, &cat.who)).await;
    ann.say("evict", json!({ "userId": cat.who.id, "reason": "spam" })).await;
    let list = bob.sees("LEAVE", &cat.who).await;
    assert!(are_listed(&list, &[&ann.who, &bob.who]), "{list:?}");
    bob.knows("that cat has gone", |state| is_gone(state, &cat.who)).await;
}

/// Somebody of the other node, who is told why.
pub(crate) async fn evict_others(meeting: Meeting) {
    let (mut ann, mut bob) = meeting.pair().await;
    ann.say("evict", json!({ "userId": bob.who.id, "reason": "spam" })).await;
    bob.is_told("spam").await;
    sees_leave(ann, &bob).await;
}

/// The same without a word.
pub(crate) async fn remove_others(meeting: Meeting) {
    let (mut ann, bob) = meeting.pair().await;
    ann.say("remove", json!({ "userId": bob.who.id, "reason": "moved" })).await;
    sees_leave(ann, &bob).await;
}

async fn sees_leave(mut who: Client, gone: &Client) {
    let list = who.sees("LEAVE", &gone.who).await;
    assert!(are_listed(&list, &[&who.who]), "{list:?}");
    who.knows("that somebody has gone", |state| is_gone(state, &gone.who)).await;
}

/// Contract servers keep more than that among assigns.
fn is_part(part: &Value, of: &Value) -> bool {
    part.as_object().expect("an object").iter().all(|(key, value)| of[key] == *value)
}
