//! Handlers that run when the server is shut down.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use pondsocket::{Connected, ConnectionContext, Error, EventContext, LeaveContext, Shutdown};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{SECOND, assert_about, begin, closed, connect, counts, events, gate, member, pass, pond, works};

#[tokio::test(start_paused = true)]
async fn the_shutdown_waits_for_leave_handlers() {
    let (pond, _, lobby) = pond();
    let left = Arc::new(Mutex::new(Vec::new()));
    let leaves = Arc::clone(&left);
    lobby.on_leave(move |ctx: LeaveContext| {
        let leaves = Arc::clone(&leaves);
        async move {
            sleep(3 * SECOND).await;
            leaves.lock().expect("no panic").push((ctx.user_id().to_owned(), ctx.reason().to_string()));
        }
    });
    let members = join_all((0..3).map(|_| member(&pond))).await;
    let start = Instant::now();
    assert_eq!(counts(pond.shutdown(10 * SECOND).await), (3, 0, 0));
    assert_about(start.elapsed(), 3 * SECOND);
    let mut expected: Vec<_> =
        members.iter().map(|(client, _)| (client.id().to_owned(), "connection_closed".to_owned())).collect();
    expected.sort_unstable();
    let mut left = left.lock().expect("no panic").clone();
    left.sort_unstable();
    assert_eq!(left, expected);
}

#[tokio::test(start_paused = true)]
async fn the_shutdown_waits_for_the_leave_handler_of_an_evicted_member() {
    let (pond, endpoint, lobby) = pond();
    lobby.on_leave(async |_: LeaveContext| sleep(3 * SECOND).await);
    let (client, _room) = member(&pond).await;
    let start = Instant::now();
    endpoint.channel("/room/1").expect("ours").evict(client.id(), "go").await.expect("a member");
    assert_eq!(counts(pond.shutdown(10 * SECOND).await), (1, 0, 0));
    assert_about(start.elapsed(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn received_messages_are_handled_and_delivered_to_remaining_members() {
    let (pond, _, lobby) = pond();
    works(&lobby, 2 * SECOND);
    let mut rooms = Vec::new();
    let mut ends = Vec::new();
    for _ in 0..2 {
        let (client, room) = member(&pond).await;
        // The second one waits for the first.
        room.send("work", json!({}));
        room.send("work", json!({}));
        rooms.push(room);
        ends.push(closed(client));
    }
    // All messages have been received once the handlers run.
    sleep(SECOND).await;
    let start = Instant::now();
    let shutdown = begin(&pond, Shutdown::within(60 * SECOND).spread(20 * SECOND));
    let mut heard = Vec::new();
    for (end, room) in ends.into_iter().zip(&mut rooms) {
        let (code, at) = end.await.expect("no panic");
        heard.push((at - start, code, events(room).await));
    }
    heard.sort_unstable();
    let [(first_at, _, first), (last_at, _, last)] = &heard[..] else { panic!("two clients") };
    assert_about(*first_at, Duration::ZERO);
    assert_eq!(first, &Vec::<String>::new(), "it has left, and gets no reply any more");
    assert_about(*last_at, 10 * SECOND);
    let worked = last.iter().filter(|event| *event == "worked").count();
    assert_eq!((worked, last.len()), (4, 6), "with its own replies: {last:?}");
    assert_eq!(counts(shutdown.await.expect("no panic")), (2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_shutdown_waits_for_a_running_handler_without_a_client() {
    let (pond, _, lobby) = pond();
    works(&lobby, 3 * SECOND);
    let (client, room) = member(&pond).await;
    room.send("work", json!({}));
    sleep(SECOND).await;
    client.close();
    client.closed().await.expect("it ends");
    assert_eq!(counts(pond.shutdown(10 * SECOND).await), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_ends_does_not_delay_the_shutdown_past_its_deadline() {
    let (pond, _, lobby) = pond();
    lobby.on_event("wait", async |_: EventContext| std::future::pending::<()>().await);
    let (waiting, room) = member(&pond).await;
    let (_other, _) = member(&pond).await;
    room.send("wait", json!({}));
    sleep(SECOND).await;
    let start = Instant::now();
    assert_eq!(counts(pond.shutdown(5 * SECOND).await), (1, 1, 0));
    assert_about(start.elapsed(), 5 * SECOND);
    assert_eq!(waiting.closed().await.expect("it ends").code, Some(1001), "the client was told all the same");
}

#[tokio::test(start_paused = true)]
async fn handlers_without_a_connection_are_cancelled_at_the_deadline() {
    let (pond, endpoint, lobby) = pond();
    let asked = gate();
    let ask = Arc::clone(&asked);
    pond.create_endpoint("/undecided", move |ctx: ConnectionContext| {
        ask.add_permits(1);
        async move {
            std::future::pending::<()>().await;
            Ok::<Connected, Error>(ctx.accept())
        }
    });
    lobby.on_leave(async |_: LeaveContext| std::future::pending::<()>().await);
    let (client, _room) = member(&pond).await;
    endpoint.channel("/room/1").expect("ours").evict(client.id(), "go").await.expect("a member");
    let _connecting = connect(&pond, "/undecided");
    pass(&asked).await;
    let start = Instant::now();
    assert_eq!(counts(pond.shutdown(5 * SECOND).await), (1, 0, 2));
    assert_about(start.elapsed(), 5 * SECOND);
}
