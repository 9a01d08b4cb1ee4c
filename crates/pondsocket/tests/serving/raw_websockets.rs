//! Raw WebSockets have the deadlines and bounds of other connections, also while their handlers wait.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use pondsocket::{EndpointOptions, Message as Raw, Options, PondSocket, Result, WebSocket};
use testkit::{Message, Recorder, connect_in_memory, eventually, serve, serve_in_memory};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::WebSocketStream;

const SECOND: Duration = Duration::from_secs(1);

/// A server with raw WebSockets, and its metrics.
struct RawServer {
    pond: PondSocket,
    counted: Recorder,
}

/// `/idle` reads and sends nothing and keeps the socket; `/echo` sends everything back; `/sink` reads everything.
fn served(options: Options) -> RawServer {
    let counted = Recorder::default();
    let pond = PondSocket::with_options(options).expect("valid").metrics(counted.clone());
    pond.create_websocket("/idle", async |_socket: WebSocket| std::future::pending().await);
    pond.create_websocket("/echo", async |mut socket: WebSocket| {
        while let Some(message) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    });
    pond.create_websocket("/sink", async |mut socket: WebSocket| while socket.recv().await.is_some() {});
    RawServer { pond, counted }
}

impl RawServer {
    async fn client(&self, path: &str) -> WebSocketStream<DuplexStream> {
        connect_in_memory(&self.pond, path, 4096).await
    }

    fn places(&self) -> usize {
        self.pond.snapshot().endpoints.iter().map(|endpoint| endpoint.admitted).sum()
    }

    /// Waits until no permit is in use, and returns the time in seconds.
    async fn gone_after(&self, start: Instant) -> u64 {
        while self.places() > 0 {
            assert!(start.elapsed() < 600 * SECOND, "it stays");
            sleep(SECOND / 100).await;
        }
        start.elapsed().as_secs()
    }

    /// The ends of connections: endpoint, code and reason.
    fn ends(&self) -> Vec<String> {
        let ends = self.counted.of("connection_closed").into_iter();
        let word = |line: &str, at: usize| line.split(' ').nth(at).unwrap_or_default().to_owned();
        ends.map(|line| format!("{} {} {}", word(&line, 0), word(&line, 3), word(&line, 4))).collect()
    }
}

/// A frame of a client, masked with zeros, and so not changed by it (RFC 6455 section 5.2).
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(long).expect("not so long").to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_dropped_whatever_its_handler_waits_for() {
    let options = Options::default().ping_interval(20 * SECOND).pong_wait(30 * SECOND);
    let served = served(options);
    for path in ["/idle", "/echo", "/sink"] {
        let start = Instant::now();
        // The handler neither reads nor sends. One message of the peer stays unread.
        let mut client = served.client(path).await;
        client.get_mut().write_all(&frame(1, b"hello")).await.expect("open");
        assert_eq!(served.gone_after(start).await, 30, "{path}");
        drop(client);
    }
    assert_eq!(served.ends(), ["/idle 1006 silent", "/echo 1006 silent", "/sink 1006 silent"]);
    assert_eq!(served.counted.of("connection_opened").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_pings_stays() {
    let served = served(Options::default().ping_interval(20 * SECOND).pong_wait(30 * SECOND));
    for path in ["/idle", "/echo", "/sink"] {
        let mut client = served.client(path).await;
        let start = Instant::now();
        let mut pings = 0;
        while start.elapsed() < 301 * SECOND {
            // Reading answers pings.
            match timeout(SECOND, client.next()).await {
                Ok(Some(Ok(Message::Ping(_)))) => pings += 1,
                Ok(other) => panic!("{other:?}"),
                Err(_) => {}
            }
        }
        assert_eq!((pings, served.places()), (15, 1), "{path}");
        client.close(None).await.expect("open");
        assert_eq!(served.gone_after(Instant::now()).await, 0, "{path}: its place is free at once");
    }
}

#[tokio::test(start_paused = true)]
async fn the_latest_ping_is_answered_to_a_peer_that_does_not_read() {
    let served = served(Options::default());
    let mut client = served.client("/idle").await;
    // Far more pongs than the buffers of the stream hold.
    for number in 0..10_000_u32 {
        client.get_mut().write_all(&frame(9, &[&number.to_be_bytes()[..], &[0; 100]].concat())).await.expect("open");
    }
    sleep(SECOND).await;
    let mut answers = Vec::new();
    while let Ok(read) = timeout(SECOND, client.next()).await {
        match read {
            Some(Ok(Message::Pong(payload))) => {
                answers.push(u32::from_be_bytes(payload[..4].try_into().expect("a number")))
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(answers.is_sorted() && answers.last() == Some(&9_999), "{answers:?}");
    // 4096 bytes in the stream, and one message that waits.
    assert!(answers.len() < 4096 / 106 + 100, "{} answers", answers.len());
}

#[tokio::test(start_paused = true)]
async fn a_stalled_peer_is_dropped_and_the_handler_gets_an_error() {
    let (pond, counted) = (PondSocket::new(), Recorder::default());
    let pond = pond.metrics(counted.clone());
    let (tell, mut told) = mpsc::unbounded_channel();
    pond.create_websocket("/feed", move |mut socket: WebSocket| {
        let tell = tell.clone();
        async move {
            let start = Instant::now();
            let mut sent = 0;
            let error = loop {
                match socket.send(Raw::Binary(vec![0; 1024].into())).await {
                    Ok(()) => sent += 1,
                    Err(error) => break error,
                }
            };
            let _ = tell.send((sent, error.code(), start.elapsed().as_secs()));
        }
    });
    let served = RawServer { pond, counted };
    let _client = served.client("/feed").await;
    let (sent, code, after) = told.recv().await.expect("the handler ends");
    assert_eq!((code, after), (503, 10), "by default write_wait is 10 s");
    // Twice the 4096 bytes of the stream, so `send` waits for room.
    assert!(sent <= 10, "{sent} messages were taken for sent");
    assert_eq!((served.gone_after(Instant::now()).await, served.ends()), (0, vec!["/feed 1006 stalled".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_slowly_is_not_stalled() {
    let pond = PondSocket::new();
    pond.create_websocket("/large", async |mut socket: WebSocket| {
        socket.send(Raw::Binary(vec![7; 100_000].into())).await.expect("it is taken");
        socket.close(4000, "enough").await;
    });
    let mut client = connect_in_memory(&pond, "/large", 1024).await;
    let (start, stream, mut read) = (Instant::now(), client.get_mut(), 0);
    let mut bytes = [0; 1024];
    // 8 s for each KiB, minutes for the whole message. Reading answers pings.
    while read < 90_000 {
        read += stream.read(&mut bytes).await.expect("open");
        stream.write_all(&frame(10, b"")).await.expect("open");
        sleep(8 * SECOND).await;
    }
    assert!(start.elapsed() > 700 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn cancelled_sends_do_not_accumulate() {
    let pond = PondSocket::with_options(Options::default().outbox_bytes(10_000)).expect("valid");
    let (tell, mut told) = mpsc::unbounded_channel();
    pond.create_websocket("/impatient", move |mut socket: WebSocket| {
        let tell = tell.clone();
        async move {
            for _ in 0..500 {
                let message = Raw::Binary(vec![0; 1000].into());
                if let Ok(outcome) = timeout(SECOND / 1000, socket.send(message)).await {
                    let _ = tell.send(outcome.is_ok());
                }
            }
            let _ = tell.send(true);
            std::future::pending::<()>().await;
        }
    });
    let mut client = connect_in_memory(&pond, "/impatient", 64).await;
    assert_eq!(told.recv().await, Some(true), "none but the last was told anything");
    let mut received = 0;
    while let Ok(Some(Ok(Message::Binary(payload)))) = timeout(SECOND, client.next()).await {
        received += payload.len();
    }
    assert!((10_000..12_000).contains(&received), "{received} bytes were queued");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_has_closed_releases_its_permit_while_its_socket_is_open() {
    let served = served(Options::default());
    for path in ["/idle", "/echo", "/sink"] {
        let mut client = served.client(path).await;
        let start = Instant::now();
        client.get_mut().write_all(&frame(8, &4001_u16.to_be_bytes())).await.expect("open");
        assert_eq!(served.gone_after(start).await, 0, "{path}");
        // The answer to the close arrives, and then the end.
        let mut answer = Vec::new();
        client.get_mut().read_to_end(&mut answer).await.expect("readable");
        assert_eq!(answer, [0x88, 2, 0x0f, 0xa1], "{path}");
    }
    assert_eq!(served.ends(), ["/idle 4001 client", "/echo 4001 client", "/sink 4001 client"]);
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_close_ends_after_write_wait() {
    let pond = PondSocket::new();
    let ended = Arc::new(Notify::new());
    let end = Arc::clone(&ended);
    pond.create_websocket("/bye", move |socket: WebSocket| {
        let end = Arc::clone(&end);
        async move {
            socket.close(4002, "bye").await;
            end.notify_one();
        }
    });
    pond.create_websocket("/drop", async |_socket: WebSocket| {});
    let served = RawServer { pond, counted: Recorder::default() };
    for (path, code) in [("/bye", 4002), ("/drop", 1000)] {
        let mut client = served.client(path).await;
        let start = Instant::now();
        // The peer sends messages all the time, but no close frame.
        while served.places() > 0 {
            assert!(start.elapsed() < 60 * SECOND, "{path} stays");
            // A send fails once the connection is closed.
            let _ = client.get_mut().write_all(&frame(2, b"more")).await;
            sleep(SECOND / 10).await;
        }
        assert_eq!(start.elapsed().as_secs(), 10, "{path}");
        let Some(Ok(Message::Close(Some(close)))) = client.next().await else { panic!("no close frame") };
        assert_eq!(u16::from(close.code), code, "{path}");
    }
    timeout(SECOND, ended.notified()).await.expect("the handler has gone on");
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_peers_that_have_closed_or_do_not_answer() {
    let served = served(Options::default());
    let mut closed = served.client("/sink").await;
    closed.get_mut().write_all(&frame(8, b"")).await.expect("open");
    let start = Instant::now();
    assert_eq!(served.gone_after(start).await, 0);
    let report = served.pond.shutdown(60 * SECOND).await;
    assert_eq!((report.cut, start.elapsed().as_secs()), (0, 0), "{report:?}");

    let served = self::served(Options::default());
    let _mute = served.client("/sink").await;
    let start = Instant::now();
    let report = served.pond.shutdown(60 * SECOND).await;
    assert_eq!((report.closed, report.cut, start.elapsed().as_secs()), (1, 0, 10), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_not_read_while_its_messages_wait() {
    let own = Options::default().receive_channel_buffer(4).max_message_size(10_000);
    let (pond, take) = (PondSocket::with_options(own).expect("valid"), Arc::new(Notify::new()));
    let (tell, mut told) = mpsc::unbounded_channel();
    let taken = Arc::clone(&take);
    pond.create_websocket("/slow", move |mut socket: WebSocket| {
        let (taken, tell) = (Arc::clone(&taken), tell.clone());
        async move {
            loop {
                taken.notified().await;
                let Some(message) = socket.recv().await else { break };
                let _ = tell.send(message);
            }
        }
    });
    let mut stream =
        tokio_tungstenite::client_async("ws://localhost/slow", serve_in_memory(&pond, 64)).await.expect("in").0;
    // One read takes at most 64 bytes: four messages, and those in the stream.
    let mut written = 0;
    while timeout(SECOND, stream.get_mut().write_all(&frame(1, format!("{written:040}").as_bytes()))).await.is_ok() {
        written += 1;
    }
    assert!((4..10).contains(&written), "{written} messages were read or on their way");
    for number in 0..written {
        take.notify_one();
        let message = told.recv().await.expect("in order");
        assert_eq!(message, Raw::Text(format!("{number:040}")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_whose_messages_are_not_taken_is_closed_after_pong_wait() {
    let served = served(Options::default().receive_channel_buffer(4));
    let mut client = served.client("/idle").await;
    let start = Instant::now();
    for _ in 0..10 {
        client.get_mut().write_all(&frame(1, b"still there")).await.expect("room");
    }
    loop {
        match client.next().await.expect("open").expect("a frame") {
            Message::Close(Some(close)) => break assert_eq!(u16::from(close.code), 1013),
            other => assert!(other.is_ping(), "{other:?}"),
        }
    }
    assert_eq!(start.elapsed().as_secs(), 60, "pong_wait");
    assert!(client.next().await.is_none(), "its answer is out");
    assert_eq!(served.gone_after(start).await, 60);
    assert_eq!(served.ends(), ["/idle 1013 too_many_messages"]);
}

#[tokio::test(start_paused = true)]
async fn messages_before_a_close_are_still_received() {
    let (pond, received) = (PondSocket::new(), Arc::new(Mutex::new(Vec::new())));
    let log = Arc::clone(&received);
    pond.create_websocket("/late", move |mut socket: WebSocket| {
        let log = Arc::clone(&log);
        async move {
            sleep(5 * SECOND).await;
            while let Some(message) = socket.recv().await {
                log.lock().expect("whole").push(message);
            }
            log.lock().expect("whole").push(Raw::Text("the end".into()));
        }
    });
    let mut client = connect_in_memory(&pond, "/late", 4096).await;
    for text in ["one", "two"] {
        client.send(Message::text(text)).await.expect("open");
    }
    client.close(None).await.expect("open");
    sleep(6 * SECOND).await;
    let expected = ["one", "two", "the end"].map(|text| Raw::Text(text.into()));
    assert_eq!(*received.lock().expect("whole"), expected);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_closes_with_1011_and_is_counted() {
    let counted = Recorder::default();
    let pond = PondSocket::new().metrics(counted.clone());
    pond.create_websocket("/oops", async |mut socket: WebSocket| {
        let message = socket.recv().await;
        panic!("cannot work with {message:?}");
    });
    let mut client = connect_in_memory(&pond, "/oops", 4096).await;
    client.send(Message::text("x")).await.expect("open");
    let Some(Ok(Message::Close(Some(close)))) = client.next().await else { panic!("no close frame") };
    assert_eq!(u16::from(close.code), 1011);
    assert_eq!(counted.of("error").len(), 1, "{:?}", counted.of("error"));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_large_is_refused_and_counted() {
    let served = served(Options::default().max_message_size(100));
    let mut client = served.client("/idle").await;
    client.send(Message::text("x".repeat(101))).await.expect("open");
    let Some(Ok(Message::Close(Some(close)))) = client.next().await else { panic!("no close frame") };
    assert_eq!(u16::from(close.code), 1009);
    drop(client);
    assert_eq!(served.gone_after(Instant::now()).await, 0);
    assert_eq!(served.counted.of("limit_reached"), ["/idle message_size"]);
    assert_eq!(served.ends(), ["/idle 1009 protocol"]);
}

#[tokio::test(start_paused = true)]
async fn permits_are_released_when_the_socket_is_closed() {
    let served = served(Options::default());
    let own = EndpointOptions { max_connections: Some(1), ..EndpointOptions::default() };
    let _one =
        served.pond.create_websocket("/one", async |_socket: WebSocket| std::future::pending().await).options(own);
    let first = served.client("/one").await;
    let refused = served.pond.test_client().connect("/one").await.expect_err("no place");
    assert_eq!(refused.code(), Some(503));
    // The handler keeps its half.
    drop(first);
    assert_eq!(served.gone_after(Instant::now()).await, 0);
    drop(served.client("/one").await);
}

/// The same over sockets, with their buffers and their resets.
#[tokio::test]
async fn over_tcp_a_reset_peer_releases_its_permit_while_the_handler_sleeps() -> Result<()> {
    let pond = PondSocket::new();
    let endpoint = pond.create_websocket("/idle", async |_socket: WebSocket| std::future::pending().await);
    let (_server, address) = serve(&pond).await;
    let places = || pond.snapshot().endpoints[0].admitted;
    let client = tokio_tungstenite::connect_async(format!("ws://{address}/idle")).await.expect("in").0;
    assert_eq!((places(), endpoint.path()), (1, "/idle"));
    drop(client);
    eventually("its place is free", || places() == 0).await;
    Ok(())
}

/// Received and unsent messages of a raw WebSocket are counted, and released at any end.
#[tokio::test(start_paused = true)]
async fn queued_messages_of_both_directions_count_in_the_memory_limit() {
    let served = served(Options::default());
    let used = || served.pond.snapshot().memory.used;
    let mut unread = served.client("/idle").await;
    for _ in 0..3 {
        unread.send(Message::binary(vec![7; 50 << 10])).await.expect("it reads");
    }
    // The buffer of the incomplete message, which may be twice as large, is released then.
    eventually("messages for the handler count", || (146 << 10..=154 << 10).contains(&used())).await;
    drop(unread);

    let mut stalled = served.client("/echo").await;
    stalled.send(Message::binary(vec![7; 300 << 10])).await.expect("it reads");
    eventually("what the peer does not take counts", || (280 << 10..=304 << 10).contains(&(used() - (146 << 10))))
        .await;
    while let Some(Ok(frame)) = stalled.next().await {
        if frame.is_binary() {
            break;
        }
    }
    eventually("what it has taken does not", || used() <= 154 << 10).await;
    assert!(used() >= 146 << 10, "the handler that takes nothing holds its messages on: {}", used());
}

#[tokio::test(start_paused = true)]
async fn without_memory_a_raw_peer_is_not_read_and_a_large_holder_is_closed() {
    let served = served(Options::default().memory_limit(400 << 10).write_wait(3 * SECOND));
    let used = || served.pond.snapshot().memory.used;
    let mut peers = Vec::new();
    while used() < 300 << 10 {
        let mut peer = served.client("/sink").await;
        let before = used();
        // The header of a frame of 500 KiB, and 80 KiB of its payload.
        let mut part = vec![0x82, 0xff];
        part.extend_from_slice(&(500_u64 << 10).to_be_bytes());
        part.extend_from_slice(&[0; 4 + (80 << 10)]);
        peer.get_mut().write_all(&part).await.expect("it reads");
        eventually("a part of a message counts", || used() >= before + (64 << 10)).await;
        peers.push(peer);
    }
    eventually("they are not read", || served.pond.snapshot().memory.paused > 0).await;
    assert!(served.counted.of("limit_reached").contains(&"/sink memory".to_owned()));
    eventually("there is memory again", || used() < 300 << 10).await;
    let ends = |served: &RawServer| served.ends().iter().filter(|end| end.starts_with("/sink 1013 memory")).count();
    drop(peers);
    eventually("all have gone", || used() == 0 && served.places() == 0).await;
    assert!(ends(&served) >= 1, "{:?}", served.ends());
}
