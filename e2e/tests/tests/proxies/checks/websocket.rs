use futures_util::SinkExt;
use serde_json::json;
use testkit::{Message, Peer};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::proxy::{RunningProxy, Settings};
use crate::site::Site;

pub(crate) async fn declined_before_the_upgrade(start: impl AsyncFn(Settings) -> RunningProxy) {
    let site = Site::open(start).await;
    assert_eq!(Peer::refused(site.address(), "/api/socket").await, (401, "token required\n".into()));
}

pub(crate) async fn messages_pass_in_both_directions(start: impl AsyncFn(Settings) -> RunningProxy) {
    let site = Site::open(start).await;
    let (mut ann, mut bob) = (site.member("/chat/1", "ann").await, site.member("/chat/1", "bob").await);
    assert_eq!(ann.until("JOIN").await["payload"]["changed"]["username"], "bob");
    for n in 0..100 {
        let (from, to) = if n % 2 == 0 { (&mut ann, &mut bob) } else { (&mut bob, &mut ann) };
        from.event("/chat/1", "message", json!({ "n": n })).await;
        for peer in [to, from] {
            assert_eq!(peer.next().await["payload"], json!({ "n": n }));
        }
    }
    let large = json!({ "text": "é€".repeat(180_000) });
    ann.event("/chat/1", "message", large.clone()).await;
    assert!(bob.next().await["payload"] == large, "900 kB arrive whole");
}

pub(crate) async fn the_close_of_a_client_is_answered_with_its_code(start: impl AsyncFn(Settings) -> RunningProxy) {
    let site = Site::open(start).await;
    let (mut ann, mut bob) = (site.member("/chat/1", "ann").await, site.member("/chat/1", "bob").await);
    let close = CloseFrame { code: 4001.into(), reason: "bye".into() };
    bob.socket.send(Message::Close(Some(close))).await.expect("it is there");
    assert_eq!(bob.closed().await.map(|answer| answer.code.into()), Some(4001));
    assert_eq!(ann.until("LEAVE").await["payload"]["changed"]["username"], "bob");
}
