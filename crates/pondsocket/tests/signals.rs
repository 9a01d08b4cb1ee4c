//! The effect of signals on [`Server::listen`]. They reach the whole process, so this test is a program of its own.
#![cfg(target_os = "linux")]

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use pondsocket::{Connected, ConnectionContext, Options, PondSocket, Result, Server, ServerOptions};
use testkit::{DEADLINE, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A free port of an address that no other test uses, so that it stays free.
fn free() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.9:0").expect("a free port");
    listener.local_addr().expect("bound")
}

fn terminate() {
    let status = Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status();
    assert!(status.expect("kill starts").success());
}

async fn until(stream: &mut TcpStream, text: &str) {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(text) {
        let more = timeout(DEADLINE, stream.read_buf(&mut read)).await.expect("in time").expect("open");
        assert_ne!(more, 0, "the stream has ended");
    }
}

/// A listening server, and a client that does not answer a close frame.
async fn listen(options: ServerOptions) -> (JoinHandle<Result<()>>, TcpStream) {
    let (listening, [stubborn]) = listen_to(options).await;
    (listening, stubborn)
}

/// The same with several clients.
async fn listen_to<const N: usize>(options: ServerOptions) -> (JoinHandle<Result<()>>, [TcpStream; N]) {
    let pond = PondSocket::with_options(Options::default().write_wait(2 * DEADLINE)).expect("valid");
    let endpoint = pond.create_endpoint("/ws", async |ctx: ConnectionContext| Ok(ctx.accept()) as Result<Connected>);
    let address = free();
    let server = Server::with_options(pond, options).expect("valid");
    let listening = tokio::spawn(async move { server.listen(&address.to_string()).await });
    eventually("it listens", || std::net::TcpStream::connect(address).is_ok()).await;
    let mut clients = Vec::new();
    for number in 1..=N {
        let mut stubborn = TcpStream::connect(address).await.expect("it listens");
        let upgrade = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stubborn.write_all(upgrade).await.expect("it reads");
        until(&mut stubborn, "connectionId").await;
        eventually("it is let in", || endpoint.connections().len() == number).await;
        clients.push(stubborn);
    }
    (listening, clients.try_into().expect("as many as were let in"))
}

#[tokio::test]
async fn one_signal_begins_the_drain_and_a_timeout_or_a_second_signal_ends_it() {
    let (listening, mut stubborn) = listen(ServerOptions::default().shutdown_timeout(Duration::from_millis(100))).await;
    terminate();
    until(&mut stubborn, "the server is shutting down").await;
    timeout(DEADLINE, listening).await.expect("it waits no longer").expect("no panic").expect("a good end");

    let (listening, mut stubborn) = listen(ServerOptions::default().shutdown_timeout(Duration::MAX)).await;
    terminate();
    until(&mut stubborn, "the server is shutting down").await;
    assert!(!listening.is_finished());
    terminate();
    timeout(DEADLINE, listening).await.expect("it waits no longer").expect("no panic").expect("a good end");

    // During the delay before the drain, only load balancers notice the signal.
    let options = ServerOptions::default().drain_delay(Duration::MAX);
    let (listening, mut client) = listen(options).await;
    terminate();
    let address = client.peer_addr().expect("connected");
    loop {
        let mut probe = TcpStream::connect(address).await.expect("it listens");
        probe.write_all(b"GET /ready HTTP/1.0\r\n\r\n").await.expect("it reads");
        let mut answer = String::new();
        timeout(DEADLINE, probe.read_to_string(&mut answer)).await.expect("in time").expect("an answer");
        if answer.starts_with("HTTP/1.0 503 ") {
            break;
        }
    }
    // A ping is answered.
    client.write_all(&[0x89, 0x80, 0, 0, 0, 0]).await.expect("it reads");
    let mut pong = [0; 2];
    timeout(DEADLINE, client.read_exact(&mut pong)).await.expect("in time").expect("open");
    assert_eq!(pong, [0x8a, 0]);
    assert!(!listening.is_finished());
    terminate();
    timeout(DEADLINE, listening).await.expect("it waits no longer").expect("no panic").expect("a good end");

    // Two clients are closed one after the other, with half of this time between them.
    let options = ServerOptions::default().drain_spread(DEADLINE / 2);
    let (listening, mut clients) = listen_to::<2>(options).await;
    terminate();
    let [first, second] = &mut clients;
    tokio::select! {
        () = until(first, "the server is shutting down") => {}
        () = until(second, "the server is shutting down") => {}
    }
    let told = |client: &TcpStream| client.try_read(&mut [0; 64]).is_ok_and(|read| read > 0);
    assert!(!(told(first) || told(second)), "both are told at once");
    terminate();
    timeout(DEADLINE, listening).await.expect("it waits no longer").expect("no panic").expect("a good end");
}
