//! One order of filtered and unfiltered messages.

use std::sync::{Arc, Mutex};

use pondsocket::{Error, EventContext, JoinContext, Outgoing, OutgoingContext, Payload, PondSocket, State};
use serde_json::{Value, json};
use testkit::{DEADLINE, Peer, eventually, serve};
use tokio::time::timeout;

use super::connect;

/// The numbers in a range that a member receives.
fn visible(user: &str, numbers: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    numbers.filter(|n| !(n % 6 == 0 && user.starts_with("odd"))).collect()
}

/// Reads numbers until the acknowledgement of a leave, or until the last number of all.
async fn numbers(peer: &mut Peer, user: &str, last: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        let message = peer.next().await;
        if message["event"] == "EXIT_ACKNOWLEDGE" {
            break;
        }
        let number = message["payload"]["n"].as_u64().expect("a number");
        if number.is_multiple_of(3) {
            assert_eq!((&message["event"], &message["payload"]["for"]), (&json!("filtered"), &json!(user)));
        } else {
            assert_eq!((&message["event"], &message["payload"]["for"]), (&json!("plain"), &Value::Null));
        }
        numbers.push(number);
    }
    numbers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filtered_and_unfiltered_messages_have_one_order_while_members_come_and_go() {
    const EACH: u64 = 300;
    const LAST: u64 = 3 * EACH + 1;
    let count = Arc::new(Mutex::new(0_u64));
    let pond = PondSocket::new().state(Arc::clone(&count));
    let endpoint = pond.create_endpoint("/", connect);
    let lobby = endpoint.create_channel("/c", async |ctx: JoinContext| Ok::<_, Error>(ctx.accept()));
    lobby
        .on_event("go", async |ctx: EventContext, State(count): State<Arc<Mutex<u64>>>| {
            let mut count = count.lock().expect("no panic");
            *count += 1;
            let event = if count.is_multiple_of(3) { "filtered" } else { "plain" };
            ctx.broadcast(event, &json!({ "n": *count }))
        })
        .on_outgoing("filtered", |ctx: &OutgoingContext, Payload(mut payload): Payload<Value>| {
            let (n, user) = (payload["n"].as_u64().expect("a number"), ctx.recipient().id());
            if n.is_multiple_of(6) && user.starts_with("odd") {
                return Ok(Outgoing::Block);
            }
            payload["for"] = json!(user);
            Outgoing::replace(&payload)
        });
    let (_server, address) = serve(&pond).await;

    let mut visitor = Peer::connect(address, "/?user=odd-3").await;
    visitor.join("/c", json!({})).await;
    let mut residents = Vec::new();
    for user in ["odd-1", "even-1", "odd-2"] {
        let mut peer = Peer::connect(address, &format!("/?user={user}")).await;
        peer.join("/c", json!({})).await;
        residents.push((user, peer));
    }
    let residents = residents.into_iter().map(|(user, mut peer)| {
        tokio::spawn(async move {
            for _ in 0..EACH {
                peer.event("/c", "go", json!({})).await;
            }
            (user, numbers(&mut peer, user, LAST).await)
        })
    });
    let residents: Vec<_> = residents.collect();
    // Each resident has one handler at a time: at the fourth message one has been sent, to the visitor too.
    eventually("the publishers have begun", || *count.lock().expect("no panic") > 3).await;
    let mut parts = 0;
    loop {
        visitor.send("LEAVE_CHANNEL", "LEAVE_CHANNEL", "/c", json!({})).await;
        let part = numbers(&mut visitor, "odd-3", LAST).await;
        if let (Some(first), Some(last)) = (part.first(), part.last()) {
            assert_eq!(part, visible("odd-3", *first..=*last), "a contiguous part");
            parts += 1;
        }
        visitor.join("/c", json!({})).await;
        if *count.lock().expect("no panic") == LAST - 1 {
            break;
        }
    }
    assert!(parts > 0, "it never heard anything");
    visitor.event("/c", "go", json!({})).await;
    for resident in residents {
        let (user, heard) = timeout(DEADLINE, resident).await.expect("in time").expect("no panic");
        assert_eq!(heard, visible(user, 1..=LAST), "{user}");
    }
}
