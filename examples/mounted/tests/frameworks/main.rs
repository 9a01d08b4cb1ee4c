//! The same tests for the program of each framework, over the network.

mod host;

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{DEADLINE, EventPeer, Peer};
use tokio::time::{interval, timeout};

use host::Host;

const ANN: &str = "/ws/socket?token=token-of-ann";
const BOB: &str = "/ws/socket?token=token-of-bob";

/// The time between two messages of a client.
const INTERVAL: Duration = Duration::from_millis(20);

/// The moment at which a host notices that the client of an event stream has gone.
#[derive(Clone, Copy)]
enum NoticesEnd {
    AtOnce,
    WhenWriting,
}

async fn refuses_clients_without_a_token_before_the_upgrade(program: &str) {
    let host = Host::start(program).await;
    let (status, body) = Peer::refused(host.address, "/ws/socket").await;
    assert_eq!(status, 401, "{body}");
    assert_eq!(Peer::refused(host.address, "/ws/nowhere?token=token-of-ann").await.0, 404);
    // A request for neither a WebSocket nor an event stream is answered with 426.
    assert_eq!(host.get(ANN).await.0, 426);
}

async fn websockets_and_event_streams_share_channels(program: &str, notices: NoticesEnd) {
    let host = Host::start(program).await;
    assert_eq!(host.messages().await, json!([]));

    let mut ann = Peer::connect(host.address, ANN).await;
    ann.join("/room", json!({})).await;
    assert_eq!(ann.until("welcome").await["payload"], json!({ "address": "127.0.0.1" }));
    let mut bob = EventPeer::connect(host.address, BOB).await;
    bob.join("/room", json!({})).await;
    assert_eq!(bob.until("welcome").await["payload"], json!({ "address": "127.0.0.1" }));
    let mut present = names(&ann.until("JOIN").await);
    if present.len() == 1 {
        present = names(&ann.until("JOIN").await);
    }
    assert_eq!(present, ["ann", "bob"]);

    ann.event("/room", "say", json!({ "text": "from a WebSocket" })).await;
    let large = "y".repeat(200_000);
    bob.event("/room", "say", json!({ "text": large })).await;
    for said in [json!({ "from": "ann", "text": "from a WebSocket" }), json!({ "from": "bob", "text": large })] {
        assert_eq!(ann.until("said").await["payload"], said);
        assert_eq!(bob.until("said").await["payload"], said);
    }
    let said = host.messages().await;
    assert_eq!((&said[0]["text"], said.as_array().map(Vec::len)), (&json!("from a WebSocket"), Some(2)));

    drop(bob);
    let left = match notices {
        NoticesEnd::AtOnce => ann.until("LEAVE").await,
        NoticesEnd::WhenWriting => timeout(DEADLINE, leave_while_sending(&mut ann)).await.expect("the host notices it"),
    };
    assert_eq!(names(&left), ["ann"]);
}

/// Sends messages at intervals until a member leaves. Returns the message about the leave.
async fn leave_while_sending(ann: &mut Peer) -> Value {
    let mut pace = interval(INTERVAL);
    loop {
        pace.tick().await;
        ann.event("/room", "say", json!({ "text": "still there?" })).await;
        let mut message = ann.next().await;
        while message["event"] != "said" {
            if message["event"] == "LEAVE" {
                return message;
            }
            message = ann.next().await;
        }
    }
}

async fn drains_at_sigterm(program: &str) {
    let mut host = Host::start(program).await;
    let mut ann = Peer::connect(host.address, ANN).await;
    ann.join("/room", json!({})).await;
    let mut bob = EventPeer::connect(host.address, BOB).await;
    bob.join("/room", json!({})).await;
    ann.event("/room", "say", json!({ "text": "the last word" })).await;
    ann.until("said").await;
    // Hosts wait for requests under way; the program does not wait for them without limit.
    let _stalled = host.send_half_a_request().await;
    host.terminate();
    assert_eq!(ann.closed().await.map(|frame| u16::from(frame.code)), Some(1001));
    assert_eq!(ann.frame().await, None);
    let received = bob.ended().await;
    assert!(received.iter().any(|message| message["payload"]["text"] == "the last word"), "{received:?}");
    assert_eq!(host.ended().await, Some(0));
}

/// The members in a presence message, in alphabetical order.
fn names(message: &Value) -> Vec<String> {
    let present = message["payload"]["presence"].as_array().expect("a list of presences");
    let mut names: Vec<_> = present.iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect();
    names.sort();
    names
}

/// Generates a module of tests for each framework.
macro_rules! frameworks {
    ($($framework:ident $feature:literal $notices:ident),* $(,)?) => { $(
        #[cfg(feature = $feature)]
        mod $framework {
            const PROGRAM: &str = env!(concat!("CARGO_BIN_EXE_", $feature));

            #[tokio::test]
            async fn refuses_clients_without_a_token_before_the_upgrade() {
                super::refuses_clients_without_a_token_before_the_upgrade(PROGRAM).await;
            }

            #[tokio::test]
            async fn websockets_and_event_streams_share_channels() {
                super::websockets_and_event_streams_share_channels(PROGRAM, super::NoticesEnd::$notices).await;
            }

            #[tokio::test]
            async fn drains_at_sigterm() {
                super::drains_at_sigterm(PROGRAM).await;
            }
        }
    )* };
}

frameworks! {
    actix "actix" AtOnce,
    axum "axum" AtOnce,
    hyper "hyper" AtOnce,
    poem "poem" WhenWriting,
    rocket "rocket" WhenWriting,
    salvo "salvo" AtOnce,
    tower "tower" AtOnce,
    warp "warp" AtOnce,
}
