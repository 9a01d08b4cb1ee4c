//! Presence of the users of all nodes.

use pondsocket::testing::Change;
use serde_json::{Value, json};

use crate::{Node, eventually, pair};

#[tokio::test(start_paused = true)]
async fn joins_updates_and_leaves_reach_other_nodes_with_the_whole_list() {
    let (_hub, one, two) = pair().await;
    let (_ada, mut adas) = one.join("ada", "/chat/1").await;
    assert_eq!(adas.next_presence().await.expect("her own").list.len(), 1);
    let (bob, bobs) = two.join("bob", "/chat/1").await;

    let joined = adas.next_presence().await.expect("bob");
    assert_eq!((joined.change, &*joined.user_id, joined.list.len()), (Change::Join, "bob", 2));
    bobs.request("mood", json!({ "mood": "fine" })).await.expect("done");
    let updated = adas.next_presence().await.expect("bob");
    assert_eq!((updated.change, &updated.changed["mood"]), (Change::Update, &json!("fine")));
    bobs.request("hide", json!({})).await.expect("done");
    let hidden = adas.next_presence().await.expect("bob");
    assert_eq!((hidden.change, &hidden.changed["mood"], hidden.list.len()), (Change::Leave, &json!("fine"), 1));
    assert_eq!(one.channel("/chat/1").member_count(), 2, "who is hidden is still a member");
    bob.close();
    eventually("bob has gone", || one.channel("/chat/1").member_count() == 1).await;
    adas.assert_silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_joiner_sees_the_members_of_all_nodes() {
    let (_hub, one, two) = pair().await;
    let mut there = Vec::new();
    for name in ["a", "b", "c"] {
        there.push(one.join(name, "/chat/1").await);
    }
    let (_late, mut room) = two.join("late", "/chat/1").await;
    eventually("all are seen", || two.shown("/chat/1") == ["a", "b", "c", "late"]).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(room.next_presence().await.expect("a change").user_id);
    }
    assert_eq!(seen.remove(0), "late");
    seen.sort_unstable();
    assert_eq!(seen, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_user_on_two_nodes_is_one_member_until_its_last_connection_ends() {
    let (_hub, one, two) = pair().await;
    let (_bob, mut bobs) = one.join("bob", "/chat/1").await;
    bobs.next_presence().await.expect("his own");
    let (phone, _room) = one.join("ada", "/chat/1").await;
    assert_eq!(bobs.next_presence().await.expect("ada").change, Change::Join);
    let (laptop, _other) = two.join("ada", "/chat/1").await;
    eventually("both nodes see both", || two.shown("/chat/1") == ["ada", "bob"]).await;
    bobs.assert_silence().await;
    assert_eq!(one.channel("/chat/1").member_count(), 2);

    phone.close();
    bobs.assert_silence().await;
    assert_eq!(one.shown("/chat/1"), ["ada", "bob"]);
    laptop.close();
    let left = bobs.next_presence().await.expect("ada");
    assert_eq!((left.change, &*left.user_id), (Change::Leave, "ada"));
}

#[tokio::test(start_paused = true)]
async fn assigns_reach_other_nodes_unchanged() {
    let (_hub, one, two) = pair().await;
    let (_ada, _adas) = one.join("ada", "/plain/1").await;
    let (_bob, _bobs) = two.join("bob", "/plain/1").await;
    let assigns = |node: &Node| node.channel("/plain/1").assigns::<Value>().expect("objects");
    eventually("ada is known", || assigns(&two).contains_key("ada")).await;
    assert_eq!(assigns(&two)["ada"], json!({ "name": "ada" }));
    one.channel("/plain/1").update_assigns("ada", "role", &"host").await.expect("a member");
    eventually("it is changed", || assigns(&two)["ada"] == json!({ "name": "ada", "role": "host" })).await;
}
