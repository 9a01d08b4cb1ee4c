//! The standalone server: its limits before an upgrade, the absence of limits after it, its probes, and its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pondsocket::{
    Connected, ConnectionContext, Error, EventContext, JoinContext, Joined, Options, PondSocket, Result, Server,
    ServerOptions, Shutdown,
};
use serde_json::json;
use testkit::{DEADLINE, HttpClient, Message, Peer, eventually, serve, serve_with, upgrade};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
const SHORT: Duration = Duration::from_millis(100);

/// Options without timeouts.
fn patient() -> ServerOptions {
    let never = Duration::MAX;
    ServerOptions::default().read_timeout(never).write_timeout(never).idle_timeout(never)
}

fn pond() -> PondSocket {
    let pond = PondSocket::new();
    let lobby = pond
        .create_endpoint("/ws", async |ctx: ConnectionContext| Ok(ctx.accept()) as Result<Connected>)
        .create_channel("/c", async |ctx: JoinContext| Ok(ctx.accept()) as Result<Joined>);
    lobby.on_event("ask", async |ctx: EventContext| ctx.reply("answer", &json!({})));
    pond
}

async fn connect(address: SocketAddr) -> HttpClient<TcpStream> {
    HttpClient(TcpStream::connect(address).await.expect("it listens"))
}

/// The whole response to one request.
async fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let mut client = connect(address).await;
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await;
    client.rest().await
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("no body", |(_, body)| body)
}

/// Sends a request, and waits until the server closes the idle connection, at least for the idle timeout.
async fn idle_timeout_passes(address: SocketAddr) {
    let mut clock = connect(address).await;
    clock.send(HEALTH).await;
    assert_eq!(body(&clock.rest().await), "ok\n");
}

#[tokio::test]
async fn a_request_head_that_does_not_arrive_times_out() {
    let (_server, address) = serve_with(&pond(), patient().read_timeout(SHORT)).await;
    let mut silent = connect(address).await;
    let mut half = connect(address).await;
    half.send(b"GET /ws HTTP/1.1\r\nHost: x\r\n").await;
    assert_eq!((silent.rest().await, half.rest().await), (String::new(), String::new()));
}

#[tokio::test]
async fn a_slowly_sent_head_has_one_timeout() {
    let (_server, address) = serve_with(&pond(), patient().read_timeout(SHORT)).await;
    // Also for a later request.
    for before in [&b""[..], HEALTH] {
        let (mut read, mut write) = TcpStream::connect(address).await.expect("it listens").into_split();
        write.write_all(before).await.expect("it reads");
        let dripping = tokio::spawn(async move {
            // Writing fails once the server has closed.
            while write.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        timeout(DEADLINE, dripping).await.expect("it is cut").expect("no panic");
        let mut answer = [0; 15];
        let got = read.read(&mut answer).await.unwrap_or(0);
        assert_eq!(&answer[..got], if before.is_empty() { &b""[..] } else { b"HTTP/1.1 200 OK" });
    }
}

#[tokio::test]
async fn an_unread_response_times_out() {
    let (_server, address) = serve_with(&pond(), patient().write_timeout(SHORT)).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(1000).expect("any size is possible");
    let mut greedy = socket.connect(address).await.expect("it listens");
    let flood = async {
        // Requests are sent and responses not read, until the buffers are full and then the write timeout ends.
        while greedy.write_all(&HEALTH.repeat(100)).await.is_ok() {}
    };
    timeout(DEADLINE, flood).await.expect("it is cut");
}

#[tokio::test]
async fn a_connection_is_kept_open_for_further_requests_for_a_limited_time() {
    let (_server, address) = serve_with(&pond(), patient().idle_timeout(SHORT)).await;
    let mut client = connect(address).await;
    for _ in 0..3 {
        client.send(HEALTH).await;
        client.until("ok\n").await;
    }
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn no_timeout_of_the_server_cuts_a_websocket() {
    let options = ServerOptions::default().read_timeout(SHORT).write_timeout(SHORT).idle_timeout(SHORT);
    let pond = pond();
    pond.create_websocket("/echo", async |mut socket: pondsocket::WebSocket| {
        while let Some(message) = socket.recv().await {
            if socket.send(message).await.is_err() {
                return;
            }
        }
    });
    let (_server, address) = serve_with(&pond, options).await;
    let mut peer = Peer::connect(address, "/ws").await;
    peer.join("/c", json!({})).await;
    let mut echo = Peer::connect_silently(address, "/echo").await;
    for _ in 0..3 {
        idle_timeout_passes(address).await;
    }
    let id = peer.event("/c", "ask", json!({})).await;
    assert_eq!(peer.next().await["requestId"], json!(id));
    echo.text("still there?").await;
    assert_eq!(echo.frame().await, Some(Message::text("still there?")));
}

#[tokio::test]
async fn no_timeout_of_the_server_cuts_a_handler() {
    let options = ServerOptions::default().read_timeout(SHORT).write_timeout(SHORT).idle_timeout(SHORT);
    let (pond, go) = (pond(), Arc::new(Notify::new()));
    let wait = Arc::clone(&go);
    pond.create_endpoint("/slow", move |ctx: ConnectionContext| {
        let wait = Arc::clone(&wait);
        async move {
            wait.notified().await;
            Ok(ctx.accept()) as Result<Connected>
        }
    });
    let (_server, address) = serve_with(&pond, options).await;
    let peer = tokio::spawn(async move { Peer::connect(address, "/slow").await });
    for _ in 0..3 {
        idle_timeout_passes(address).await;
    }
    go.notify_one();
    peer.await.expect("it is let in");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_with_431() {
    let (_server, address) = serve_with(&pond(), patient().max_header_size(1000)).await;
    let sized = |size: usize| {
        let frame = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: \r\n\r\n";
        frame.replace("X: ", &format!("X: {}", "x".repeat(size - frame.len())))
    };
    for (what, head, expected) in [
        ("as long as may be", sized(1000), "404"),
        ("a byte more", sized(1001), "431"),
        ("more than all buffers hold", sized(10_000_000), "431"),
        ("many headers", format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a:\r\n".repeat(100)), "431"),
    ] {
        let mut client = connect(address).await;
        client.send(head.as_bytes()).await;
        // The connection ends without a reset, which could overtake the response.
        let answer = client.rest().await;
        assert_eq!(status(&answer), expected, "{what}");
    }
}

#[tokio::test]
async fn probes_are_answered_before_endpoints() {
    let pond = pond();
    let (_server, address) = serve(&pond).await;
    for (method, path, code, text) in [
        ("GET", "/health", "200", "ok\n"),
        ("GET", "/health?verbose", "200", "ok\n"),
        ("GET", "/ready", "200", "ready\n"),
        ("HEAD", "/health", "200", ""),
        ("HEAD", "/ready", "200", ""),
        ("POST", "/health", "404", "not found\n"),
        ("GET", "/health/", "404", "not found\n"),
        ("GET", "/", "404", "not found\n"),
    ] {
        let answer = ask(address, method, path).await;
        assert_eq!((status(&answer), body(&answer)), (code, text), "{method} {path}");
        assert!(answer.contains("content-type: text/plain; charset=utf-8\r\n"), "{answer}");
    }
    pond.create_endpoint("/health", async |ctx: ConnectionContext| Ok(ctx.accept()) as Result<Connected>);
    assert_eq!(status(&ask(address, "GET", "/health").await), "426");
    assert_eq!(status(&ask(address, "HEAD", "/health").await), "405");
    Peer::connect(address, "/health").await;
}

#[tokio::test]
async fn a_request_must_name_its_host_once() {
    let (_server, address) = serve(&pond()).await;
    for (request, expected) in [
        ("GET /health HTTP/1.1\r\nHost: x", "200"),
        ("GET /health HTTP/1.1\r\nHost: chat.example:8080", "200"),
        ("GET /health HTTP/1.1\r\nHost: [::1]:8080", "200"),
        ("GET /health HTTP/1.1\r\nHost: x:", "200"),
        ("GET /health HTTP/1.1\r\nhost:", "200"),
        ("GET http://x/health HTTP/1.1\r\nHost: x", "200"),
        ("GET /health HTTP/1.0", "200"),
        ("GET /health HTTP/1.0\r\nHost: x", "200"),
        ("GET /health HTTP/1.1", "400"),
        ("GET /ws HTTP/1.1", "400"),
        ("POST /ws HTTP/1.1", "400"),
        ("GET /health HTTP/1.1\r\nHost: x\r\nHost: x", "400"),
        ("GET /health HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nhOST: y", "400"),
        ("GET /health HTTP/1.0\r\nHost: x\r\nHost: y", "400"),
        ("GET /health HTTP/1.1\r\nHost: x, y", "400"),
        ("GET /health HTTP/1.1\r\nHost: x y", "400"),
        ("GET /health HTTP/1.1\r\nHost: x/y", "400"),
        ("GET /health HTTP/1.1\r\nHost: ann@x", "400"),
        ("GET /health HTTP/1.1\r\nHost: x:port", "400"),
        ("GET /health HTTP/1.1\r\nHost: x:99999", "400"),
        ("GET /health HTTP/1.1\r\nHost: \u{e4}", "400"),
    ] {
        let mut client = connect(address).await;
        client.send(format!("{request}\r\nConnection: close\r\n\r\n").as_bytes()).await;
        let answer = client.rest().await;
        assert_eq!(status(&answer), expected, "{request}");
    }
    let twice = upgrade("/ws").replace("Host: x", "Host: x\r\nHost: y");
    let mut client = connect(address).await;
    client.send(twice.as_bytes()).await;
    client.until("400 Bad Request").await;
}

#[tokio::test]
async fn probes_may_have_other_paths_or_none() {
    let options = ServerOptions::default().health_path(Some("/livez")).ready_path(None);
    let (_server, address) = serve_with(&pond(), options).await;
    assert_eq!(body(&ask(address, "GET", "/livez").await), "ok\n");
    assert_eq!(status(&ask(address, "GET", "/health").await), "404");
    assert_eq!(status(&ask(address, "GET", "/ready").await), "404");
}

#[tokio::test]
async fn only_connections_that_are_not_upgraded_are_counted_as_pending() {
    let options = patient().max_pending(2).pending_reserve(0).pressure_timeout(Duration::MAX).read_timeout(SHORT);
    let (_server, address) = serve_with(&pond(), options).await;
    let mut peers = Vec::new();
    for _ in 0..5 {
        peers.push(Peer::connect(address, "/ws").await);
    }
    let mut slow = [connect(address).await, connect(address).await];
    // The third client waits in the queue of the operating system until one of the others is closed.
    assert_eq!(body(&ask(address, "GET", "/health").await), "ok\n");
    let ended = slow.iter().filter(|client| matches!(client.0.try_read(&mut [0]), Ok(0))).count();
    assert_ne!(ended, 0, "it came in without one of them leaving");
    for client in &mut slow {
        assert_eq!(client.rest().await, "");
    }
}

#[tokio::test]
async fn during_a_drain_probes_are_answered_and_clients_are_refused() {
    let pond = PondSocket::with_options(Options::default().write_wait(2 * DEADLINE)).expect("valid");
    let endpoint = pond.create_endpoint("/ws", async |ctx: ConnectionContext| Ok(ctx.accept()) as Result<Connected>);
    let (mut server, address) = serve(&pond).await;
    // This client does not answer the close frame, so the drain waits for it.
    let mut stubborn = connect(address).await;
    stubborn.send(&upgrade("/ws")).await;
    stubborn.until("connectionId").await;
    eventually("it is let in", || endpoint.connections().len() == 1).await;
    let stopping = tokio::spawn(async move {
        server.stop(Duration::MAX).await;
        server
    });
    stubborn.until("the server is shutting down").await;

    let ready = ask(address, "GET", "/ready").await;
    assert_eq!((status(&ready), body(&ready)), ("503", "draining\n"));
    assert!(ready.contains("retry-after: 5\r\n"), "{ready}");
    assert_eq!(body(&ask(address, "GET", "/health").await), "ok\n");
    assert_eq!(Peer::refused(address, "/ws").await, (503, "the server is stopping\n".into()));

    drop(stubborn);
    let server = timeout(DEADLINE, stopping).await.expect("it stops").expect("no panic");
    assert!(!server.is_running());
    assert!(TcpStream::connect(address).await.is_err(), "the server does not listen any more");
}

#[tokio::test]
async fn before_a_delayed_drain_the_server_is_unready_and_accepts_clients() {
    let pond = pond();
    let (mut server, address) = serve(&pond).await;
    let mut early = Peer::connect(address, "/ws").await;
    let stopping = tokio::spawn(async move { server.stop(Shutdown::within(DEADLINE).delay(Duration::MAX)).await });
    eventually("it is not ready", || !pond.is_ready()).await;
    let ready = ask(address, "GET", "/ready").await;
    assert_eq!((status(&ready), body(&ready)), ("503", "draining\n"));
    assert_eq!(body(&ask(address, "GET", "/health").await), "ok\n");
    let mut late = Peer::connect(address, "/ws").await;
    for peer in [&mut early, &mut late] {
        peer.join("/c", json!({})).await;
        let id = peer.event("/c", "ask", json!({})).await;
        assert_eq!(peer.next().await["requestId"], json!(id));
    }
    assert!(!stopping.is_finished() && !pond.is_draining());
    // A second call with a shorter timeout.
    let at_once = pond.clone();
    let at_once = tokio::spawn(async move { at_once.shutdown(DEADLINE).await });
    for peer in [&mut early, &mut late] {
        assert_eq!(peer.closed().await.map(|frame| u16::from(frame.code)), Some(1001));
    }
    drop((early, late));
    timeout(DEADLINE, at_once).await.expect("it stops").expect("no panic");
    timeout(DEADLINE, stopping).await.expect("it stops").expect("no panic");
    assert!(TcpStream::connect(address).await.is_err(), "the server does not listen any more");
}

#[tokio::test]
async fn a_stopping_server_answers_running_requests_and_closes_other_connections() {
    let (pond, begun, go) = (PondSocket::new(), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, wait) = (Arc::clone(&begun), Arc::clone(&go));
    pond.create_endpoint("/ws", move |_: ConnectionContext| {
        let (begins, wait) = (Arc::clone(&begins), Arc::clone(&wait));
        async move {
            begins.notify_one();
            wait.notified().await;
            Err(Error::forbidden("members only")) as Result<Connected>
        }
    });
    let (mut server, address) = serve_with(&pond, patient()).await;
    let mut idle = connect(address).await;
    idle.send(HEALTH).await;
    idle.until("ok\n").await;
    let mut half = connect(address).await;
    half.send(b"GET / HTTP").await;
    let mut asking = connect(address).await;
    asking.send(&upgrade("/ws")).await;
    timeout(DEADLINE, begun.notified()).await.expect("the handler is called");

    let stopping = tokio::spawn(async move { server.stop(DEADLINE).await });
    eventually("it shuts down", || pond.is_draining()).await;
    assert!(!stopping.is_finished());
    go.notify_one();
    let answer = asking.rest().await;
    assert_eq!((status(&answer), body(&answer)), ("403", "members only\n"));
    assert_eq!((idle.rest().await, half.rest().await), (String::new(), String::new()));
    timeout(DEADLINE, stopping).await.expect("it stops").expect("no panic");
}

#[tokio::test]
async fn a_running_request_delays_the_stop_for_at_most_its_timeout() {
    let (pond, begun) = (PondSocket::new(), Arc::new(Notify::new()));
    let begins = Arc::clone(&begun);
    pond.create_endpoint("/ws", move |ctx: ConnectionContext| {
        let begins = Arc::clone(&begins);
        async move {
            begins.notify_one();
            std::future::pending::<()>().await;
            Ok(ctx.accept()) as Result<Connected>
        }
    });
    let (mut server, address) = serve_with(&pond, patient()).await;
    let mut asking = connect(address).await;
    asking.send(&upgrade("/ws")).await;
    timeout(DEADLINE, begun.notified()).await.expect("the handler is called");
    timeout(DEADLINE, server.stop(SHORT)).await.expect("it stops");
    assert_eq!(asking.rest().await, "");
}

#[tokio::test]
async fn a_server_runs_only_once() {
    let (mut server, address) = serve(&pond()).await;
    assert_eq!(server.start("127.0.0.1:0").await.expect_err("it runs").code(), 409);
    assert!(server.stop(DEADLINE).await.is_some());
    assert!(server.stop(DEADLINE).await.is_none(), "it does not run");
    assert!(TcpStream::connect(address).await.is_err(), "the server does not listen any more");
    let error = server.start("127.0.0.1:0").await.expect_err("its pond was shut down");
    assert_eq!(error.code(), 409);
}

#[tokio::test]
async fn dropping_the_server_does_not_close_websockets() {
    let (server, address) = serve(&pond()).await;
    let mut peer = Peer::connect(address, "/ws").await;
    let mut idle = connect(address).await;
    idle.send(HEALTH).await;
    idle.until("ok\n").await;
    drop(server);
    assert_eq!(idle.rest().await, "");
    peer.join("/c", json!({})).await;
}

#[tokio::test]
async fn invalid_options_of_a_server_are_refused() {
    let options = ServerOptions::default().max_pending(0);
    let error = Server::with_options(PondSocket::new(), options).expect_err("no connections");
    assert_eq!((error.code(), error.message()), (400, "max_pending must not be zero"));
    let (server, address) = serve(&PondSocket::new()).await;
    let mut second = Server::new(PondSocket::new());
    let error = second.start(&address.to_string()).await.expect_err("taken");
    assert_eq!(error.code(), 503);
    assert!(error.message().starts_with(&format!("cannot listen on {address}: ")), "{error}");
    assert!(server.is_running() && !second.is_running() && second.local_addr().is_none());
}
