//! Sockets, pings, heartbeats, and the deadlines of closes and handlers.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use pondsocket::{Connected, ConnectionContext, EndpointOptions, JoinContext, Joined, Options, PondSocket, Result};
use serde_json::{Value, json};
use socket2::SockRef;
use testkit::{Message, Peer, TestResult};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use super::{SECOND, anybody, closed, gone_after, passive, pond, refusal, text};

/// The server's end of each connection.
async fn accept_with_duplicates(
    pond: PondSocket,
) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<std::net::TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (sender, duplicates) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = stream.into_std().expect("a socket");
            if sender.send(stream.try_clone().expect("a duplicate")).is_err() {
                return;
            }
            let io = TokioIo::new(TcpStream::from_std(stream).expect("a socket"));
            let pond = pond.clone();
            let service =
                hyper::service::service_fn(move |request| tower_service::Service::call(&mut pond.service(), request));
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service).with_upgrades());
        }
    });
    (address, duplicates)
}

#[tokio::test]
async fn the_buffers_of_a_socket_have_the_configured_size() {
    let options = Options::default().read_buffer_size(20_000).write_buffer_size(30_000);
    let own = EndpointOptions { read_buffer_size: Some(40_000), write_buffer_size: Some(50_000), ..Default::default() };
    let (pond, ..) = pond(options, own);
    let unset = EndpointOptions { read_buffer_size: Some(0), write_buffer_size: Some(0), ..Default::default() };
    let _system = pond.create_endpoint("/system", anybody).options(unset);
    let (address, mut duplicates) = accept_with_duplicates(pond).await;
    // Linux doubles the requested size for its own book-keeping.
    let factor = if cfg!(target_os = "linux") { 2 } else { 1 };
    for (path, receive, send) in [("/all", 20_000, 30_000), ("/own", 40_000, 50_000)] {
        let _peer = Peer::connect(address, path).await;
        let socket = duplicates.recv().await.expect("accepted");
        let socket = SockRef::from(&socket);
        let sizes = (socket.recv_buffer_size().expect("known"), socket.send_buffer_size().expect("known"));
        assert_eq!(sizes, (factor * receive, factor * send), "{path}");
        assert!(socket.tcp_nodelay().expect("known"), "{path}: small frames do not wait for others");
    }
    let _peer = Peer::connect(address, "/system").await;
    let socket = duplicates.recv().await.expect("accepted");
    let sizes = [SockRef::from(&socket).recv_buffer_size(), SockRef::from(&socket).send_buffer_size()];
    let ours = [20_000, 30_000, 40_000, 50_000].map(|size| size * factor);
    assert!(sizes.iter().flatten().all(|size| !ours.contains(size)), "left to the system: {sizes:?}");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_has_the_configured_intervals_of_pings() {
    let options = Options::default().ping_interval(20 * SECOND).pong_wait(40 * SECOND);
    let own = EndpointOptions { ping_interval: Some(4 * SECOND), pong_wait: Some(10 * SECOND), ..Default::default() };
    let (pond, endpoints, counted) = pond(options, own);
    for (path, endpoint, every, wait) in [("/all", &endpoints[0], 20, 40), ("/own", &endpoints[1], 4, 10)] {
        let mut answering = passive(&pond, path).await;
        let start = Instant::now();
        for number in 1..=5 {
            assert!(matches!(answering.next().await, Some(Ok(Message::Ping(_)))), "{path}");
            let elapsed = start.elapsed().as_secs_f64();
            assert!((elapsed - f64::from(every * number)).abs() < 0.1, "{path}: ping {number} after {elapsed} s");
            // The pong is sent with the next read.
            answering.flush().await.expect("open");
        }
        let heard = Instant::now();
        gone_after(endpoint, heard, SECOND * wait).await;
        assert_eq!(closed(&mut answering).await, 1006, "it would not read a close frame");
    }
    let reasons: Vec<_> = counted.of("connection_closed").iter().map(|line| line.ends_with("1006 silent")).collect();
    assert_eq!(reasons, [true, true]);
}

#[tokio::test(start_paused = true)]
async fn heartbeats_are_messages_and_sent_only_if_configured() -> TestResult {
    let own = EndpointOptions { heartbeat: Some(Some(2 * SECOND)), ..Default::default() };
    let (pond, ..) = pond(Options::default().heartbeat(Some(7 * SECOND)), own);
    let never = EndpointOptions { heartbeat: Some(None), ..Default::default() };
    let _never = pond.create_endpoint("/never", anybody).options(never);
    let client = pond.test_client().deadline(60 * SECOND);
    for (path, every) in [("/all", 7), ("/own", 2)] {
        let mut ada = client.connect(path).await?;
        let start = Instant::now();
        for number in 1..=3 {
            assert_eq!(ada.next("HEARTBEAT").await?, json!({}));
            let elapsed = start.elapsed().as_secs_f64();
            assert!((elapsed - f64::from(every * number)).abs() < 0.1, "{path}: number {number} after {elapsed} s");
        }
    }
    let mut quiet = client.connect("/never").await?;
    quiet.next("HEARTBEAT").await.expect_err("none comes within a minute");

    let mut socket = passive(&pond, "/own").await;
    let message: Value = serde_json::from_str(&text(&mut socket).await)?;
    assert_eq!((&message["action"], &message["channelName"]), (&json!("SYSTEM"), &json!("GATEWAY")));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_not_answered_ends_after_write_wait() {
    let own = EndpointOptions { write_wait: Some(3 * SECOND), ..Default::default() };
    let (pond, endpoints, counted) = pond(Options::default().write_wait(6 * SECOND), own);
    for (path, endpoint, wait) in [("/all", &endpoints[0], 6), ("/own", &endpoints[1], 3)] {
        let mut socket = passive(&pond, path).await;
        let start = Instant::now();
        endpoint.connections().iter().for_each(pondsocket::Connection::disconnect);
        let closing = || pond.snapshot().endpoints.iter().map(|endpoint| endpoint.closing).sum::<usize>();
        assert_eq!(closing(), 1);
        while closing() == 1 {
            sleep(SECOND / 100).await;
        }
        let elapsed = start.elapsed();
        assert!(elapsed >= SECOND * wait && elapsed < SECOND * wait + SECOND / 10, "{path}: {elapsed:?}");
        assert_eq!(closed(&mut socket).await, 1000, "it was told");
    }
    let closed = counted.of("connection_closed");
    assert!(closed[0].ends_with("6s 1000 server") && closed[1].ends_with("3s 1000 server"), "{closed:?}");
}

#[tokio::test(start_paused = true)]
async fn the_handler_timeout_applies_to_every_handler() -> TestResult {
    let own = EndpointOptions { handler_timeout: Some(2 * SECOND), ..Default::default() };
    let (pond, endpoints, _) = pond(Options::default().internal_queue_timeout(5 * SECOND), own.clone());
    for endpoint in &endpoints {
        endpoint.create_channel("/slow", async |_: JoinContext| std::future::pending::<Result<Joined>>().await);
    }
    let hang = async |_: ConnectionContext| std::future::pending::<Result<Connected>>().await;
    pond.create_endpoint("/hang/all", hang);
    let _own = pond.create_endpoint("/hang/own", hang).options(own);
    let client = pond.test_client().deadline(60 * SECOND);
    for (path, limit) in [("/all", 5), ("/own", 2)] {
        let elapsed = |start: Instant| (start.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let start = Instant::now();
        assert_eq!(refusal(&client, &format!("/hang{path}")).await, (504, None));
        assert_eq!(elapsed(start), f64::from(limit), "{path}: at the door");
        let ada = client.connect(path).await?;
        let start = Instant::now();
        assert_eq!(ada.join("/slow", json!({})).await.expect_err("too slow").code(), Some(504));
        assert_eq!(elapsed(start), f64::from(limit), "{path}: a join");
        let room = ada.join("/room/1", json!({})).await?;
        let start = Instant::now();
        assert_eq!(room.request("wait", json!({})).await.expect_err("too slow").code(), Some(504));
        assert_eq!(elapsed(start), f64::from(limit), "{path}: an event");
    }
    Ok(())
}
