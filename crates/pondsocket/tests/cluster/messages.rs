//! Messages between users of different nodes.

use pondsocket::Remote;
use serde_json::json;

use crate::{Node, eventually, pair};

#[tokio::test(start_paused = true)]
async fn broadcasts_reach_users_of_other_nodes_in_order() {
    let (_hub, one, two) = pair().await;
    let (_ada, adas) = one.join("ada", "/chat/1").await;
    let (_bob, mut bobs) = two.join("bob", "/chat/1").await;
    eventually("bob sees ada", || two.shown("/chat/1") == ["ada", "bob"]).await;
    for number in 0..50 {
        assert_eq!(adas.request("say", json!({ "n": number })).await.expect("said")["remote"], "Queued");
    }
    for number in 0..50 {
        assert_eq!(bobs.next("said").await.expect("heard")["n"], number);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_to_others_does_not_reach_the_senders_connection() {
    let (_hub, one, two) = pair().await;
    let (_ada, mut adas) = one.join("ada", "/chat/1").await;
    let (_tab, mut other_tab) = two.join("ada", "/chat/1").await;
    let (_bob, mut bobs) = two.join("bob", "/chat/1").await;
    eventually("all are known", || one.shown("/chat/1") == ["ada", "bob"] && two.shown("/chat/1") == ["ada", "bob"])
        .await;
    adas.request("say-others", json!({ "n": 1 })).await.expect("said");
    assert_eq!(bobs.next("said").await.expect("heard")["n"], 1);
    assert_eq!(
        other_tab.next("said").await.expect("heard")["n"],
        1,
        "only the sending connection is excluded, not its user"
    );
    one.channel("/chat/1").broadcast_from("ada", "said", &json!({ "n": 2 })).expect("sent");
    assert_eq!(bobs.next("said").await.expect("heard")["n"], 2);
    one.channel("/chat/1").broadcast("said", &json!({ "n": 3 })).expect("sent");
    for room in [&mut adas, &mut other_tab] {
        assert_eq!(room.next("said").await.expect("heard")["n"], 3, "the user was left out, wherever it is");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_to_some_users_reaches_only_them_on_any_node() {
    let (_hub, one, two) = pair().await;
    let (_ada, mut adas) = one.join("ada", "/plain/1").await;
    let (_bob, mut bobs) = two.join("bob", "/plain/1").await;
    let (_eve, mut eves) = two.join("eve", "/plain/1").await;
    let members = |node: &Node| node.channel("/plain/1").member_count();
    eventually("all are known", || members(&one) == 3 && members(&two) == 3).await;
    let sent =
        one.channel("/plain/1").broadcast_to(["ada", "bob", "nobody"], "psst", &json!({ "n": 1 })).expect("sent");
    assert_eq!((sent.local, sent.remote), (1, Remote::Queued));
    for room in [&mut adas, &mut bobs] {
        assert_eq!(room.next("psst").await.expect("heard")["n"], 1);
    }
    eves.assert_silence().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_for_users_here_alone_is_not_published() {
    let (_hub, one, two) = pair().await;
    let (_ada, _adas) = one.join("ada", "/plain/1").await;
    let (_bob, _bobs) = two.join("bob", "/plain/1").await;
    eventually("bob is known", || one.channel("/plain/1").member_count() == 2).await;
    let sent = one.channel("/plain/1").broadcast_to(["ada"], "psst", &json!({})).expect("sent");
    assert_eq!((sent.local, sent.remote), (1, Remote::None));
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_without_local_members_reaches_remote_members() {
    let (_hub, one, two) = pair().await;
    let (_bob, mut bobs) = two.join("bob", "/plain/1").await;
    // The topic is subscribed when this message arrives.
    eventually("bob's channel is subscribed", || {
        two.pond.snapshot().cluster.is_some_and(|node| node.topics.0 == node.topics.1)
    })
    .await;
    let sent = one.channel("/plain/1").broadcast("news", &json!({ "n": 1 })).expect("sent");
    assert_eq!((sent.local, sent.remote), (0, Remote::Queued));
    assert_eq!(bobs.next("news").await.expect("heard")["n"], 1);
}

#[tokio::test(start_paused = true)]
async fn messages_chained_to_a_join_reach_other_nodes() {
    let (_hub, one, two) = pair().await;
    two.endpoint
        .create_channel("/hello/:room", async |ctx: pondsocket::JoinContext| Ok::<_, pondsocket::Error>(ctx.accept()));
    one.endpoint.create_channel("/hello/:room", async |ctx: pondsocket::JoinContext| {
        Ok::<_, pondsocket::Error>(ctx.accept().broadcast("hello", &json!({ "n": 1 })))
    });
    let (_bob, mut bobs) = two.join("bob", "/hello/1").await;
    let (_ada, _adas) = one.join("ada", "/hello/1").await;
    assert_eq!(bobs.next("hello").await.expect("heard")["n"], 1);
}
