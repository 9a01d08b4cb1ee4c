//! The listeners of the standalone server, and the addresses of clients on each.
#![cfg(unix)]

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use pondsocket::{Connected, ConnectionContext, Error, Listener, Options, PondSocket, Result, Server, ServerOptions};
use testkit::{DEADLINE, Recorder, eventually, serve};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const ADDRESS: &[u8] = b"GET /address HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Declines every client with two addresses: the one for limits, and that of its socket.
async fn tell_address(ctx: ConnectionContext) -> Result<Connected> {
    let ip = ctx.client_ip().map_or_else(|| "nobody".into(), |address| address.to_string());
    let peer = ctx.remote_addr().map_or_else(|| "nowhere".into(), |address| address.to_string());
    Err(Error::forbidden(format!("{ip} at {peer}")))
}

fn pond_with(options: Options) -> PondSocket {
    let pond = PondSocket::with_options(options).expect("valid");
    pond.create_endpoint("/address", tell_address);
    pond
}

fn pond() -> PondSocket {
    pond_with(Options::default())
}

/// A path for a socket in a new folder.
fn path(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("listeners").join(std::process::id().to_string());
    fs::create_dir_all(&folder).expect("a folder");
    folder.join(name)
}

async fn free() -> Listener {
    Listener::bind("127.0.0.1:0").await.expect("a free port")
}

/// The body of the response, and the bytes before it.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> (String, String) {
    stream.write_all(request).await.expect("it reads");
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.expect("in time").expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: `{answer}`"));
    (head.get(9..12).unwrap_or_default().to_owned(), body.trim_end().to_owned())
}

async fn ask(address: SocketAddr, path: &str) -> (String, String) {
    let stream = TcpStream::connect(address).await.expect("it listens");
    answer(stream, format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await
}

#[tokio::test]
async fn one_server_listens_on_several_addresses() {
    let (mut server, socket) = (Server::new(pond()), path("several.sock"));
    let local = Listener::unix(&socket, 0o600).expect("a free path");
    server.start_on([free().await, local, free().await]).expect("it starts");
    let [one, two] = *server.local_addrs() else { panic!("two addresses") };
    assert_eq!(server.local_addr(), Some(one));
    for address in [one, two] {
        assert_eq!(ask(address, "/health").await.1, "ok");
        let stream = TcpStream::connect(address).await.expect("it listens");
        let here = stream.local_addr().expect("connected");
        assert_eq!(answer(stream, ADDRESS).await, ("403".into(), format!("127.0.0.1 at {here}")));
    }
    let stream = tokio::net::UnixStream::connect(&socket).await.expect("it listens");
    assert_eq!(answer(stream, ADDRESS).await, ("403".into(), "nobody at nowhere".into()));
    server.stop(DEADLINE).await;
    assert!(!socket.exists(), "its file is gone");
    assert!(TcpStream::connect(two).await.is_err(), "the server does not listen any more");
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_in_one_error() {
    let (_server, address) = serve(&pond()).await;
    let error = Listener::bind(&address.to_string()).await.expect_err("taken");
    assert_eq!(
        (error.code(), error.message()),
        (503, &*format!("cannot listen on {address}: Address already in use (os error 98)"))
    );
    let error = Listener::bind("no such host:80").await.expect_err("no host");
    assert!(error.message().starts_with("cannot listen on no such host:80: "), "{error}");
    let mut server = Server::new(pond());
    assert_eq!(server.start_on([]).expect_err("nowhere").code(), 400);
    assert_eq!(server.start_on([free().await.admin()]).expect_err("only for probes").code(), 400);
    assert!(!server.is_running());
}

#[tokio::test]
async fn the_ipv6_wildcard_accepts_ipv4_clients_with_ipv4_addresses() {
    let Ok(listener) = Listener::bind("[::]:0").await else {
        eprintln!("this machine has no IPv6");
        return;
    };
    let mut server = Server::new(pond());
    server.start_on([listener]).expect("it starts");
    let port = server.local_addr().expect("TCP").port();
    for ip in ["127.0.0.1", "::1"] {
        let address = SocketAddr::new(ip.parse().expect("an address"), port);
        let stream = TcpStream::connect(address).await.expect("it listens");
        let here = stream.local_addr().expect("connected");
        assert_eq!(answer(stream, ADDRESS).await.1, format!("{ip} at {here}"));
    }
}

#[tokio::test]
async fn probes_and_metrics_can_have_a_separate_listener() {
    let options = ServerOptions::default().metrics("/metrics", || "pages 1\n".into());
    let mut server = Server::with_options(pond(), options).expect("valid");
    server.start_on([free().await, free().await.admin()]).expect("it starts");
    let [public, admin] = *server.local_addrs() else { panic!("two addresses") };
    for (path, expected) in [("/health", "ok"), ("/ready", "ready"), ("/metrics", "pages 1")] {
        assert_eq!(ask(admin, path).await, ("200".into(), expected.into()));
        assert_eq!(ask(public, path).await, ("404".into(), "not found".into()));
    }
    assert_eq!(ask(admin, "/address").await.0, "404");
    assert_eq!(ask(public, "/address").await.0, "426");
}

#[tokio::test]
async fn a_unix_socket_has_the_configured_permissions() {
    for mode in [0o600, 0o660, 0o666] {
        let path = path(&format!("mode-{mode:o}.sock"));
        let listener = Listener::unix(&path, mode).expect("a free path");
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, mode);
        assert_eq!(listener.to_string(), format!("unix:{}", path.display()));
        drop(listener);
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn a_stale_socket_file_is_replaced_and_one_in_use_is_not() {
    let path = path("stale.sock");
    // Dropped without removing its file, as after a killed process.
    drop(UnixListener::bind(&path).expect("a free path"));
    let first = Listener::unix(&path, 0o660).expect("the path is free");
    let error = Listener::unix(&path, 0o660).expect_err("the first one does");
    assert_eq!(error.message(), format!("cannot listen on unix:{}: another process listens on it", path.display()));
    assert!(path.exists());
    drop(first);

    // The socket of another process, with a full queue.
    let other = UnixListener::bind(&path).expect("a free path");
    assert_eq!(Listener::unix(&path, 0o660).expect_err("in use").code(), 503);
    UnixStream::connect(&path).expect("it is still there");
    drop(other);
    fs::remove_file(&path).expect("a file");

    fs::write(&path, "letters").expect("a file");
    let error = Listener::unix(&path, 0o660).expect_err("no socket");
    assert!(error.message().ends_with("the file is not a socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("a file"), "letters");
}

#[tokio::test]
async fn a_socket_file_that_was_replaced_by_another_process_is_not_removed() {
    let path = path("replaced.sock");
    let first = Listener::unix(&path, 0o660).expect("a free path");
    fs::remove_file(&path).expect("a file");
    let second = Listener::unix(&path, 0o660).expect("a free path");
    drop(first);
    UnixStream::connect(&path).expect("it is still there");
    drop(second);
}

#[tokio::test]
async fn one_of_several_servers_takes_over_a_stale_socket_file() {
    let path = path("contended.sock");
    drop(UnixListener::bind(&path).expect("a free path"));
    let attempt = |path: PathBuf| std::thread::spawn(move || Listener::unix(&path, 0o660));
    let attempts: Vec<_> = (0..8).map(|_| attempt(path.clone())).collect();
    let listeners: Vec<_> = attempts.into_iter().filter_map(|it| it.join().expect("no panic").ok()).collect();
    assert_eq!(listeners.len(), 1);
    UnixStream::connect(&path).expect("its file is there");
}

#[tokio::test]
async fn the_header_of_a_proxy_on_a_unix_socket_is_trusted_if_configured() {
    for (trusted, expected) in [(vec![], "nobody"), (vec!["127.0.0.1"], "nobody"), (vec!["unix"], "1.2.3.4")] {
        let options = Options::default().trusted_proxies(trusted);
        let (mut server, path) = (Server::new(pond_with(options)), path("proxied.sock"));
        server.start_on([Listener::unix(&path, 0o660).expect("a free path")]).expect("it starts");
        let request =
            String::from_utf8_lossy(ADDRESS).replace("Host: x", "Host: x\r\nX-Forwarded-For: 9.9.9.9, 1.2.3.4");
        let stream = tokio::net::UnixStream::connect(&path).await.expect("it listens");
        assert_eq!(answer(stream, request.as_bytes()).await.1, format!("{expected} at nowhere"));
        server.stop(DEADLINE).await;
    }
}

/// A server that trusts this proxy, and its counters.
async fn proxied(trusted: &str, options: ServerOptions) -> (Server, SocketAddr, Recorder) {
    let counted = Recorder::default();
    let pond = PondSocket::new().metrics(counted.clone());
    pond.create_endpoint("/address", tell_address);
    let mut server = Server::with_options(pond, options).expect("valid");
    server.start_on([free().await.proxy_protocol([trusted]).expect("a network")]).expect("it starts");
    let address = server.local_addr().expect("TCP");
    (server, address, counted)
}

#[tokio::test]
async fn the_header_of_a_trusted_proxy_has_the_address_of_the_client() {
    let (_server, address, counted) = proxied("127.0.0.0/8", ServerOptions::default()).await;
    let version_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01\x02\x03\x04\x0a\0\0\x01\0\x50\x01\xbb";
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for (header, expected) in [
        (&b"PROXY TCP4 1.2.3.4 10.0.0.1 80 443\r\n"[..], Some("1.2.3.4 at 1.2.3.4:80")),
        (b"PROXY TCP6 2001:db8::1 ::1 80 443\r\n", Some("2001:db8::1 at [2001:db8::1]:80")),
        (version_2, Some("1.2.3.4 at 1.2.3.4:80")),
        // A connection of the proxy itself, such as a health check.
        (b"PROXY UNKNOWN\r\n", None),
        (local, None),
    ] {
        let stream = TcpStream::connect(address).await.expect("it listens");
        let proxy = format!("127.0.0.1 at {}", stream.local_addr().expect("connected"));
        let (status, body) = answer(stream, &[header, ADDRESS].concat()).await;
        assert_eq!((&*status, &*body), ("403", expected.unwrap_or(&proxy)), "{header:?}");
    }
    assert_eq!(counted.of("socket_closed"), [""; 0]);
}

#[tokio::test]
async fn connections_without_the_header_of_a_trusted_proxy_are_closed() {
    let short = ServerOptions::default().read_timeout(Duration::from_millis(100));
    for (trusted, sent) in [
        ("127.0.0.1", &b""[..]),
        ("127.0.0.1", b"PROXY TCP4 1.2.3"),
        ("127.0.0.1", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01"),
        ("127.0.0.1", ADDRESS),
        ("127.0.0.1", b"PROXY TCP4 1.2.3.4 nowhere 80 443\r\nGET /health HTTP/1.0\r\n\r\n"),
        ("10.0.0.0/8", b"PROXY TCP4 1.2.3.4 10.0.0.1 80 443\r\nGET /health HTTP/1.0\r\n\r\n"),
    ] {
        let (_server, address, counted) = proxied(trusted, short.clone()).await;
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(sent).await.expect("the system takes it");
        let mut answer = Vec::new();
        // A reset ends the connection as well.
        let _ = timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("it ends in time");
        assert_eq!(answer, b"", "{sent:?}");
        eventually("it is counted", || counted.of("socket_closed") == ["proxy_header"]).await;
    }
    let error = free().await.proxy_protocol(["somewhere"]).expect_err("no network");
    assert_eq!((error.code(), error.message()), (400, "proxy_protocol: `somewhere` is no address or network"));
}

#[tokio::test]
async fn limits_apply_to_the_clients_of_a_proxy_and_not_to_the_proxy() {
    let pond = PondSocket::with_options(Options::default().max_connections_per_ip(1)).expect("valid");
    pond.create_endpoint("/address", async |ctx: ConnectionContext| Ok(ctx.accept()) as Result<Connected>);
    let mut server = Server::new(pond);
    let path = path("limited.sock");
    // Every process that may connect to a Unix socket is trusted.
    let local = Listener::unix(&path, 0o660).and_then(|it| it.proxy_protocol([""; 0])).expect("a free path");
    server.start_on([local]).expect("it starts");
    let mut kept = Vec::new();
    for (client, expected) in [("1.2.3.4", "101"), ("1.2.3.5", "101"), ("1.2.3.4", "429")] {
        let mut stream = tokio::net::UnixStream::connect(&path).await.expect("it listens");
        stream.write_all(format!("PROXY TCP4 {client} 10.0.0.1 80 443\r\n").as_bytes()).await.expect("it reads");
        stream.write_all(ADDRESS).await.expect("it reads");
        let mut head = [0; 12];
        timeout(DEADLINE, stream.read_exact(&mut head)).await.expect("in time").expect("an answer");
        assert_eq!(String::from_utf8_lossy(&head[9..]), expected, "{client}");
        kept.push(stream);
    }
}

#[tokio::test]
async fn listening_sockets_can_be_passed_in() {
    let tcp = std::net::TcpListener::bind((IpAddr::from(Ipv4Addr::LOCALHOST), 0)).expect("a free port");
    let path = path("given.sock");
    let unix = UnixListener::bind(&path).expect("a free path");
    let mut server = Server::new(pond());
    let listeners = [Listener::from_tcp(tcp).expect("it is one"), Listener::from_unix(unix).expect("it is one")];
    server.start_on(listeners).expect("it starts");
    assert_eq!(ask(server.local_addr().expect("TCP"), "/health").await.1, "ok");
    let asking = tokio::task::spawn_blocking({
        let path = path.clone();
        move || {
            let mut stream = UnixStream::connect(path).expect("it listens");
            stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").expect("it reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer");
            answer
        }
    });
    assert!(asking.await.expect("no panic").ends_with("ok\n"));
    server.stop(DEADLINE).await;
    assert!(path.exists(), "it is another's");
    assert!(Listener::inherited().expect("none is one").is_empty());
}
