//! Messages between users of different nodes.

use pondsocket::{Error, History, JoinContext, Remote};
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
async fn a_node_keeps_the_messages_of_all_nodes_at_positions_of_its_own() {
    let (_hub, one, two) = pair().await;
    for node in [&one, &two] {
        let lobby = node.endpoint.create_channel("/kept/:room", async |ctx: JoinContext| Ok::<_, Error>(ctx.accept()));
        lobby.history(History::new());
    }
    let (ada, mut adas) = one.join("ada", "/kept/1").await;
    let (_bob, mut bobs) = two.join("bob", "/kept/1").await;
    let members = |node: &Node| node.channel("/kept/1").member_count();
    eventually("both are known", || members(&one) == 2 && members(&two) == 2).await;
    let start = one.channel("/kept/1").position().expect("a position");
    for (number, node) in (1..).zip([&one, &two, &one]) {
        node.channel("/kept/1").broadcast("said", &json!({ "n": number })).expect("sent");
        for room in [&mut adas, &mut bobs] {
            assert_eq!(room.next("said").await.expect("received")["n"], number);
        }
    }
    drop((adas, ada));
    let resume = json!({ "$resume": start });
    let ada = one.connect("ada").await;
    let mut adas = ada.join("/kept/1", resume.clone()).await.expect("let in");
    for number in 1..4 {
        assert_eq!(adas.next("said").await.expect("replayed")["n"], number);
    }
    // Another node has an epoch of its own: it cannot know what the client has received, and says so.
    let ada = two.connect("ada").await;
    let mut adas = ada.join("/kept/1", resume).await.expect("let in");
    adas.assert_silence().await;
    let epochs = [&one, &two].map(|node| node.channel("/kept/1").position().expect("a position"));
    assert_ne!(epochs[0].epoch, epochs[1].epoch);
    assert_eq!(epochs.map(|position| position.offset), [3, 3]);
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
