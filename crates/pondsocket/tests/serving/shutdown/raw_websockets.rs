//! Raw WebSockets.

use futures_util::{SinkExt, StreamExt};
use pondsocket::{PondSocket, WebSocket};
use testkit::{Message, connect_in_memory};
use tokio::time::{Instant, sleep};

use super::{Raw, SECOND, assert_about, counts, pond};

async fn raw_client(pond: &PondSocket, path: &str) -> Raw {
    connect_in_memory(pond, path, 64 * 1024).await
}

#[tokio::test(start_paused = true)]
async fn raw_websockets_are_closed_while_they_read_or_write() {
    let (pond, ..) = pond();
    pond.create_websocket("/echo", async |mut socket: WebSocket| {
        while let Some(message) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    });
    pond.create_websocket("/ticks", async |mut socket: WebSocket| {
        while socket.send(pondsocket::Message::Text("tick".into())).await.is_ok() {
            sleep(SECOND / 10).await;
        }
    });
    let (mut echo, mut ticks) = (raw_client(&pond, "/echo").await, raw_client(&pond, "/ticks").await);
    echo.send(Message::text("hello")).await.expect("open");
    assert_eq!(echo.next().await.expect("open").expect("a frame"), Message::text("hello"));
    assert_eq!(ticks.next().await.expect("open").expect("a frame"), Message::text("tick"));
    let clients = [echo, ticks].map(|mut client| {
        tokio::spawn(async move {
            loop {
                match client.next().await {
                    Some(Ok(Message::Close(frame))) => break frame.map(|frame| u16::from(frame.code)),
                    Some(Ok(_)) => {}
                    other => panic!("no close frame but {other:?}"),
                }
            }
        })
    });
    let start = Instant::now();
    assert_eq!(counts(pond.shutdown(10 * SECOND).await), (2, 0, 0));
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
    for client in clients {
        assert_eq!(client.await.expect("a close frame"), Some(1001));
    }
}

#[tokio::test(start_paused = true)]
async fn a_raw_websocket_whose_handler_never_ends_is_cut_off_at_the_deadline() {
    let (pond, ..) = pond();
    pond.create_websocket("/deaf", async |_socket: WebSocket| std::future::pending().await);
    let mut client = raw_client(&pond, "/deaf").await;
    let start = Instant::now();
    assert_eq!(counts(pond.shutdown(5 * SECOND).await), (0, 1, 0));
    assert_about(start.elapsed(), 5 * SECOND);
    let Some(Ok(Message::Close(Some(close)))) = client.next().await else { panic!("no close frame") };
    assert_eq!(u16::from(close.code), 1001, "the peer gets a close frame although the handler goes on");
    assert!(!matches!(client.next().await, Some(Ok(_))), "the connection has gone");
    assert_eq!(pond.snapshot().endpoints[1].admitted, 0);
}
