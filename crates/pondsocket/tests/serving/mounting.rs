//! The pond within other HTTP servers: it sees the full path and the peer, and passes other requests on.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use pondsocket::{
    Connected, ConnectionContext, EventContext, HostUpgrade, JoinContext, Joined, PeerAddr, PondSocket, Result,
};
use serde_json::{Value, json};
use testkit::{DEADLINE, Peer, eventually};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tower_service::Service;

async fn connect(ctx: ConnectionContext) -> Result<Connected> {
    let seen = json!({
        "from": ctx.remote_addr().map(|address| address.ip().to_string()),
        "path": ctx.path(),
        "token": ctx.query("token"),
    });
    Ok(ctx.accept().assign("seen", &seen))
}

fn pond() -> PondSocket {
    let pond = PondSocket::new();
    let lobby = pond.create_endpoint("/ws/api/socket", connect).create_channel("/c", async |ctx: JoinContext| {
        let seen: Value = ctx.assign("seen")?;
        Ok(ctx.accept().reply("seen", &seen)) as Result<Joined>
    });
    lobby.on_event("say", async |ctx: EventContext| ctx.broadcast("said", &json!({ "text": "x".repeat(100_000) })));
    lobby.on_event("close", async |ctx: EventContext| ctx.channel().close());
    pond
}

/// Joins two members, sends a large broadcast and a large message, and closes from both sides. `from` is
/// the address of the clients as the pond sees it.
async fn works(address: SocketAddr, from: Option<&str>) {
    let url = "/ws/api/socket?token=t%201";
    let mut one = Peer::connect(address, url).await;
    one.join("/c", json!({})).await;
    assert_eq!(one.next().await["payload"], json!({ "from": from, "path": "/ws/api/socket", "token": "t 1" }));
    let mut two = Peer::connect(address, url).await;
    two.join("/c", json!({})).await;
    two.next().await;
    one.event("/c", "say", json!({ "much": "y".repeat(200_000) })).await;
    for peer in [&mut one, &mut two] {
        assert_eq!(peer.next().await["payload"]["text"].as_str().map(str::len), Some(100_000));
    }

    let mut three = Peer::connect(address, url).await;
    let frame = CloseFrame { code: 4001.into(), reason: "bye".into() };
    three.socket.close(Some(frame)).await.expect("open");
    assert_eq!(three.closed().await.map(|frame| u16::from(frame.code)), Some(4001));
    one.event("/c", "close", json!({})).await;
    for peer in [&mut one, &mut two] {
        assert_eq!(peer.closed().await.map(|frame| u16::from(frame.code)), Some(1000));
    }
}

/// The whole response to a plain request.
async fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

#[tokio::test]
async fn in_axum_as_the_fallback() {
    let app = Router::new().route("/hello", get(|| async { "hello" })).fallback_service(pond().service());
    let address = serve(app).await;
    works(address, Some("127.0.0.1")).await;
    assert!(ask(address, "GET", "/hello").await.ends_with("hello"));
    assert!(ask(address, "GET", "/nowhere").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn in_axum_below_a_prefix_that_is_stripped() {
    let address = serve(Router::new().nest_service("/ws", pond().service())).await;
    works(address, Some("127.0.0.1")).await;
}

#[tokio::test]
async fn in_axum_as_a_layer_that_passes_other_requests_inward() {
    let inner = Router::new().route("/hello", get(|| async { "hello" })).fallback(|| async { "the host's own" });
    let address = serve(inner.layer(pond().layer())).await;
    works(address, Some("127.0.0.1")).await;
    assert!(ask(address, "GET", "/hello").await.ends_with("hello"));
    assert!(ask(address, "GET", "/nowhere").await.ends_with("the host's own"));
    assert!(ask(address, "GET", "/ws/api/socket").await.starts_with("HTTP/1.1 426"));
    let posted = ask(address, "POST", "/ws/api/socket").await;
    assert!(posted.ends_with("the host's own"), "{posted}");
}

/// The example in the documentation of `PondSocket::service`.
#[tokio::test(flavor = "multi_thread")]
async fn in_axum_that_shuts_down_gracefully() {
    let (pond, asked, release) = (pond(), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (ask, held) = (Arc::clone(&asked), Arc::clone(&release));
    let slow = get(move || async move {
        ask.notify_one();
        held.notified().await;
        "slow"
    });
    let app = Router::new().route("/slow", slow).fallback_service(pond.service());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let signal = Arc::new(Notify::new());
    let given = Arc::clone(&signal);
    let program = tokio::spawn(async move {
        let (stop, stopped) = oneshot::channel();
        let draining = tokio::spawn(async move {
            given.notified().await;
            stop.send(()).expect("it serves");
            pond.shutdown(DEADLINE).await
        });
        let stopped = async move { stopped.await.expect("the signal comes") };
        axum::serve(listener, app).with_graceful_shutdown(stopped).await.expect("it serves");
        draining.await.expect("no panic")
    });

    let mut peers = Vec::new();
    for _ in 0..3 {
        let mut peer = Peer::connect(address, "/ws/api/socket").await;
        peer.join("/c", json!({})).await;
        peers.push(peer);
    }
    let mut waiting = TcpStream::connect(address).await.expect("it listens");
    let request = "GET /slow HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    waiting.write_all(request.as_bytes()).await.expect("it reads");
    timeout(DEADLINE, asked.notified()).await.expect("it is being answered");
    signal.notify_one();
    for peer in &mut peers {
        let closed = peer.closed().await.map(|frame| u16::from(frame.code));
        assert_eq!(closed, Some(1001));
        assert_eq!(peer.frame().await, None);
    }
    eventually("the server does not listen any more", || std::net::TcpStream::connect(address).is_err()).await;
    assert!(!program.is_finished(), "a request is still being answered");
    release.notify_one();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).await.expect("it answers");
    assert!(answer.ends_with("slow"), "{answer}");
    let report = timeout(DEADLINE, program).await.expect("it ends").expect("no panic");
    assert_eq!((report.closed, report.cut, report.abandoned), (3, 0, 0));
}

/// Serves one connection with hyper alone.
async fn serve_hyper<I>(pond: PondSocket, io: I, peer: Option<SocketAddr>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(PeerAddr(peer));
        }
        pond.service().call(request)
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service);
    // A connection that the test has ended may end with an error.
    let _ = connection.with_upgrades().await;
}

#[tokio::test]
async fn in_a_hyper_server_that_passes_the_peer_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let (pond, proxied) = (pond(), "203.0.113.7:9".parse().expect("an address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_hyper(pond.clone(), stream, Some(proxied)));
        }
    });
    works(address, Some("203.0.113.7")).await;
    assert!(ask(address, "GET", "/nowhere").await.starts_with("HTTP/1.1 404"));
}

/// Serves with the host's own upgrades, without those of hyper.
async fn serve_with_own_upgrades(pond: PondSocket, stream: TcpStream) {
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        if let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() {
            let upgraded = async { upgrade.await.map(TokioIo::new).map_err(io::Error::other) };
            request.extensions_mut().insert(HostUpgrade::new(upgraded));
        }
        pond.service().call(request)
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A connection that the test has ended may end with an error.
    let _ = connection.with_upgrades().await;
}

#[tokio::test]
async fn in_a_host_with_its_own_upgrades() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let pond = pond();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_with_own_upgrades(pond.clone(), stream));
        }
    });
    works(address, None).await;
}

#[tokio::test]
async fn an_upgrade_that_its_host_does_not_grant_is_no_connection() {
    let pond = pond();
    let asked = hyper::Request::get("/ws/api/socket")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let mut asked = asked.body(String::new()).expect("a request");
    asked.extensions_mut().insert(HostUpgrade::new(async { Err::<TcpStream, _>(io::Error::other("not now")) }));
    let Ok(answer) = pond.service().call(asked).await;
    assert_eq!(answer.status(), 101);
    eventually("its place is free", || pond.snapshot().endpoints[0].admitted == 0).await;
    assert_eq!(pond.snapshot().endpoints[0].connections, 0);
}

#[tokio::test]
async fn over_streams_that_are_not_sockets() {
    // A proxy in this process: TCP outside, an in-memory stream between it and the server.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it listens");
    let pond = pond();
    tokio::spawn(async move {
        while let Ok((mut outside, _)) = listener.accept().await {
            let (mut near, far) = tokio::io::duplex(1000);
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut outside, &mut near).await });
            tokio::spawn(serve_hyper(pond.clone(), far, None));
        }
    });
    works(address, None).await;
}
