//! The standalone server over TLS: it works as over TCP, and clients without TLS affect no other.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use pondsocket::rustls::crypto::aws_lc_rs;
use pondsocket::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use pondsocket::rustls::server::WebPkiClientVerifier;
use pondsocket::rustls::server::danger::ClientCertVerifier;
use pondsocket::rustls::{ClientConfig, RootCertStore, ServerConfig};
use pondsocket::{
    Connected, ConnectionContext, Error, EventContext, JoinContext, Joined, Options, PondSocket, Result, Server,
    ServerOptions, Shutdown, Tls, WebSocket,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, CertifiedKey, IsCa, KeyPair};
use serde_json::json;
use testkit::{DEADLINE, HttpClient, Peer, eventually, serve_with, upgrade};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{Connector, connect_async_tls_with_config};

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

fn pond() -> PondSocket {
    let pond = PondSocket::new();
    let endpoint = pond.create_endpoint("/ws", async |ctx: ConnectionContext| -> Result<Connected> {
        let from = ctx.remote_addr().map(|address| address.ip().to_string());
        Ok(ctx.accept().assign("from", &from))
    });
    let lobby = endpoint.create_channel("/c", async |ctx: JoinContext| Ok(ctx.accept()) as Result<Joined>);
    lobby.on_event("say", async |ctx: EventContext| {
        ctx.broadcast("said", &json!({ "from": ctx.assign::<String>("from")?, "text": "x".repeat(100_000) }))
    });
    pond
}

/// A certificate authority of the test, with a signed certificate for its addresses.
struct Authority {
    authority: CertifiedIssuer<'static, KeyPair>,
    server: CertifiedKey<KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
        let signing_key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["127.0.0.1".to_owned(), "127.0.0.8".to_owned()]).expect("an address");
        let cert = params.signed_by(&signing_key, &authority).expect("a certificate");
        Authority { authority, server: CertifiedKey { cert, signing_key } }
    }

    /// The server's certificate chain and key, in files of a new folder.
    fn files(&self, folder: &str) -> (PathBuf, PathBuf) {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder);
        fs::create_dir_all(&folder).expect("a folder");
        let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
        fs::write(&chain, self.server.cert.pem() + &self.authority.pem()).expect("a file");
        fs::write(&key, self.server.signing_key.serialize_pem()).expect("a file");
        (chain, key)
    }

    fn tls(&self) -> Tls {
        Tls::from_config(self.config())
    }

    fn config(&self) -> Arc<ServerConfig> {
        self.config_with(WebPkiClientVerifier::no_client_auth())
    }

    /// A server that requests certificates of clients, and accepts those of this authority.
    fn config_asking_for_certificates(&self) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).expect("a CA");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        self.config_with(verifier.allow_unauthenticated().build().expect("a verifier"))
    }

    fn config_with(&self, clients: Arc<dyn ClientCertVerifier>) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::try_from(self.server.signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("they go together")
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![self.server.cert.der().clone()], key)
            .expect("they fit");
        Arc::new(config)
    }

    /// A client that trusts this authority, with a certificate of it.
    fn client_with_certificate(&self) -> Arc<ClientConfig> {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["client".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).expect("a CA");
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("they go together")
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
            )
            .expect("they fit");
        Arc::new(config)
    }

    /// A client that trusts this authority, and offers these protocols.
    fn client(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        trusting(self.authority.der().clone(), protocols)
    }
}

fn trusting(authority: CertificateDer<'static>, protocols: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority).expect("a CA");
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("they go together")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

async fn connect(address: SocketAddr, client: Arc<ClientConfig>) -> Peer {
    let connector = Some(Connector::Rustls(client));
    let connected = connect_async_tls_with_config(format!("wss://{address}/ws"), None, false, connector).await;
    Peer::over(connected.expect("the server lets us in").0).await
}

async fn shake_hands(address: SocketAddr, client: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.expect("it listens");
    TlsConnector::from(client).connect(IpAddr::V4(Ipv4Addr::LOCALHOST).into(), stream).await
}

/// Two clients join, and both receive a large message and the end of the server.
async fn works(tls: Tls, client: Arc<ClientConfig>) {
    let (mut server, address) = serve_with(&pond(), ServerOptions::default().tls(tls)).await;
    let mut peers = [connect(address, Arc::clone(&client)).await, connect(address, client).await];
    for peer in &mut peers {
        peer.join("/c", json!({})).await;
    }
    peers[0].event("/c", "say", json!({ "much": "y".repeat(100_000) })).await;
    for peer in &mut peers {
        let payload = &peer.next().await["payload"];
        assert_eq!((&payload["from"], payload["text"].as_str().map(str::len)), (&json!("127.0.0.1"), Some(100_000)));
    }
    let stopping = tokio::spawn(async move { server.stop(DEADLINE).await });
    for peer in &mut peers {
        assert_eq!(peer.closed().await.map(|frame| u16::from(frame.code)), Some(1001));
    }
    drop(peers);
    timeout(DEADLINE, stopping).await.expect("it stops").expect("no panic");
}

#[tokio::test]
async fn with_a_configuration() {
    let authority = Authority::new();
    works(authority.tls(), authority.client(&[])).await;
}

#[tokio::test]
async fn with_files() {
    let authority = Authority::new();
    let (chain, key) = authority.files("with_files");
    works(Tls::from_pem_files(chain, key).expect("valid"), authority.client(&["http/1.1"])).await;
}

#[tokio::test]
async fn http_1_1_is_negotiated() {
    let authority = Authority::new();
    let (_server, address) = serve_with(&pond(), ServerOptions::default().tls(authority.tls())).await;
    let mut stream = shake_hands(address, authority.client(&["h2", "http/1.1"])).await.expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    stream.write_all(HEALTH).await.expect("it reads");
    let mut answer = String::new();
    timeout(DEADLINE, stream.read_to_string(&mut answer)).await.expect("in time").expect("a proper end");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok\n"), "{answer}");
    shake_hands(address, authority.client(&["h2"])).await.expect_err("no common protocol");
}

#[tokio::test]
async fn clients_without_a_handshake_are_closed_and_affect_no_other() {
    let authority = Authority::new();
    let options = ServerOptions::default().tls(authority.tls()).read_timeout(Duration::from_millis(200));
    let (_server, address) = serve_with(&pond(), options.max_pending(4)).await;
    let mut peer = connect(address, authority.client(&[])).await;
    // The beginning of a handshake record (RFC 8446 section 5.1), and no more.
    for hello in [&b""[..], &[22, 3, 1, 2, 0], HEALTH, &[0; 10_000]] {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(hello).await.expect("it reads");
        // The server sends an alert or nothing, or resets the connection.
        let end = timeout(DEADLINE, stream.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "not closed: {hello:?}");
    }
    let stranger = Authority::new();
    shake_hands(address, stranger.client(&[])).await.expect_err("an unknown authority");
    peer.join("/c", json!({})).await;
    connect(address, authority.client(&[])).await;
}

#[tokio::test]
async fn handshakes_that_stall_make_room_for_clients_of_other_addresses() {
    let authority = Authority::new();
    let never = Duration::MAX;
    let options = ServerOptions::default().tls(authority.tls()).read_timeout(never);
    let options = options.max_pending(2).pending_reserve(0).pressure_timeout(never);
    let (_server, address) = serve_with(&pond(), options).await;
    let mut stalled = Vec::new();
    for hello in [&b""[..], &[22, 3, 1, 2, 0]] {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((IpAddr::from([127, 0, 0, 2]), 0).into()).expect("an address of this machine");
        let mut stream = socket.connect(address).await.expect("it listens");
        stream.write_all(hello).await.expect("the system takes it");
        stalled.push(stream);
    }
    connect(address, authority.client(&[])).await.join("/c", json!({})).await;
    // A reset ends the connection as well.
    let _ = timeout(DEADLINE, stalled[0].read_to_end(&mut Vec::new())).await.expect("it is closed");
}

/// Clients of the old and the new certificate reach each other. The old one is used for no further connection.
async fn is_renewed(address: SocketAddr, mut before: Peer, old: Arc<ClientConfig>, new: Arc<ClientConfig>) {
    let mut after = connect(address, new).await;
    after.join("/c", json!({})).await;
    after.event("/c", "say", json!({})).await;
    assert_eq!(before.next().await["event"], "said");
    assert_eq!(after.next().await["event"], "said");
    shake_hands(address, old).await.expect_err("another authority has signed what is shown now");
}

#[tokio::test]
async fn a_renewed_certificate_is_used_for_new_connections_and_existing_ones_continue() {
    let (old, new) = (Authority::new(), Authority::new());
    let (chain, key) = old.files("renewed");
    let tls = Tls::from_pem_files(&chain, &key).expect("valid");
    let (_server, address) = serve_with(&pond(), ServerOptions::default().tls(tls.clone())).await;
    let mut before = connect(address, old.client(&[])).await;
    before.join("/c", json!({})).await;

    // Only one of the two files is renewed, so the old certificate stays in use.
    fs::write(&chain, new.server.cert.pem()).expect("a file");
    assert_eq!(tls.reload().expect_err("they do not fit").code(), 400);
    shake_hands(address, old.client(&[])).await.expect("the old certificate");
    new.files("renewed");
    tls.reload().expect("both are there");
    is_renewed(address, before, old.client(&[]), new.client(&[])).await;
}

#[tokio::test]
async fn a_configuration_is_replaced_by_another_but_not_reloaded() {
    let (old, new) = (Authority::new(), Authority::new());
    let tls = old.tls();
    let (_server, address) = serve_with(&pond(), ServerOptions::default().tls(tls.clone())).await;
    let mut before = connect(address, old.client(&[])).await;
    before.join("/c", json!({})).await;
    assert_eq!(tls.reload().expect_err("there are no files").code(), 409);
    tls.replace(new.config());
    is_renewed(address, before, old.client(&[]), new.client(&[])).await;
}

#[cfg(unix)]
#[tokio::test]
async fn sighup_renews_the_certificate_of_a_server_that_listens() {
    let (old, new) = (Authority::new(), Authority::new());
    let (chain, key) = old.files("hangup");
    let options = ServerOptions::default().tls(Tls::from_pem_files(chain, key).expect("valid"));
    // A free port of an address that no other test uses, so that it stays free.
    let address = std::net::TcpListener::bind("127.0.0.8:0").and_then(|it| it.local_addr()).expect("a free port");
    let server = Server::with_options(pond(), options).expect("valid");
    let listening = tokio::spawn(async move { server.listen(&address.to_string()).await });
    eventually("it listens", || std::net::TcpStream::connect(address).is_ok()).await;
    let mut before = connect(address, old.client(&[])).await;
    before.join("/c", json!({})).await;

    new.files("hangup");
    let hangup = Command::new("kill").args(["-HUP", &std::process::id().to_string()]).status();
    assert!(hangup.expect("kill starts").success());
    let renewed = async {
        while shake_hands(address, new.client(&[])).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, renewed).await.expect("in time");
    is_renewed(address, before, old.client(&[]), new.client(&[])).await;
    listening.abort();
}

#[test]
fn unusable_files_are_named_with_the_reason() {
    let ((chain, key), (_, other)) = (Authority::new().files("named"), Authority::new().files("named_other"));
    let folder = chain.parent().expect("a folder");
    let (missing, empty, broken) = (folder.join("missing.pem"), folder.join("empty.pem"), folder.join("broken.pem"));
    fs::write(&empty, "").expect("a file");
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n").expect("a file");
    for (certificates, key, expected) in [
        (&missing, &key, format!("TLS certificate {}: No such file or directory (os error 2)", missing.display())),
        (&empty, &key, format!("TLS certificate {}: there is none in the file", empty.display())),
        (&key, &key, format!("TLS certificate {}: there is none in the file", key.display())),
        (&broken, &key, format!("TLS certificate {}: base64 decode error: InvalidCharacter(37)", broken.display())),
        (&chain, &missing, format!("TLS private key {}: No such file or directory (os error 2)", missing.display())),
        (&chain, &chain, format!("TLS private key {}: there is none in the file", chain.display())),
        (
            &chain,
            &other,
            format!(
                "TLS certificate {} with private key {}: keys may not be consistent: KeyMismatch",
                chain.display(),
                other.display()
            ),
        ),
    ] {
        let error = Tls::from_pem_files(certificates, key).expect_err("no use");
        assert_eq!((error.code(), error.message()), (400, expected.as_str()));
    }
}

// --- The end -------------------------------------------------------------------------------------------------------

type TlsClient = HttpClient<TlsStream<TcpStream>>;

/// A server over TLS, with clients below the level of a library.
struct TlsSite {
    server: Server,
    address: SocketAddr,
    authority: Authority,
}

impl TlsSite {
    async fn open(pond: &PondSocket, options: ServerOptions) -> TlsSite {
        let authority = Authority::new();
        let (server, address) = serve_with(pond, options.tls(authority.tls())).await;
        TlsSite { server, address, authority }
    }

    async fn client(&self) -> TlsClient {
        HttpClient(shake_hands(self.address, self.authority.client(&[])).await.expect("a handshake"))
    }

    async fn asking(&self, request: &str) -> TlsClient {
        let mut client = self.client().await;
        client.send(request.as_bytes()).await;
        client
    }

    /// An accepted WebSocket.
    async fn socket(&self, path: &str) -> TlsClient {
        let mut client = self.asking(&upgrade(path)).await;
        client.until("101 Switching Protocols").await;
        client
    }
}

/// The status line of the response to an upgrade by a page of this origin.
async fn status(address: SocketAddr, client: Arc<ClientConfig>, origin: &str) -> String {
    let mut stream = shake_hands(address, client).await.expect("a handshake");
    let request = upgrade("/ws").replace("Host: x", &format!("Host: x\r\nOrigin: {origin}"));
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n") {
        answer.push(timeout(DEADLINE, stream.read_u8()).await.expect("an answer").expect("a status line"));
    }
    String::from_utf8(answer).expect("text").trim_end().to_owned()
}

/// A browser uses a client's certificate for requests of any page, like cookies.
#[tokio::test]
async fn a_page_of_another_origin_is_refused_if_the_client_shows_a_certificate() {
    let authority = Authority::new();
    let tls = Tls::from_config(authority.config_asking_for_certificates());
    let (_server, address) = serve_with(&pond(), ServerOptions::default().tls(tls)).await;
    let switching = "HTTP/1.1 101 Switching Protocols";
    for (with_certificate, origin, expected) in [
        (true, "https://evil.example", "HTTP/1.1 403 Forbidden"),
        (true, "https://x", switching),
        (false, "https://evil.example", switching),
    ] {
        let client = if with_certificate { authority.client_with_certificate() } else { authority.client(&[]) };
        let answer = status(address, client, origin).await;
        assert_eq!(answer, expected, "{origin}, certificate: {with_certificate}");
    }
}

/// A close frame of a client, with code 1000 and a mask of zeros (RFC 6455 section 5.5.1).
const CLOSE: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];
/// A frame whose reserved opcode breaks the protocol.
const NONSENSE: [u8; 6] = [0x83, 0x80, 0, 0, 0, 0];
const SHORT: Duration = Duration::from_millis(100);

/// Endpoints whose connections end in every way.
fn ending(options: Options) -> PondSocket {
    let pond = PondSocket::with_options(options).expect("valid");
    pond.create_endpoint("/ws", async |ctx: ConnectionContext| Ok(ctx.accept()) as Result<Connected>);
    pond.create_endpoint("/closed", async |_: ConnectionContext| {
        Err(Error::forbidden("members only")) as Result<Connected>
    });
    pond.create_websocket("/raw", async |mut socket: WebSocket| while socket.recv().await.is_some() {});
    pond.create_websocket("/dropped", async |socket: WebSocket| drop(socket));
    pond.create_websocket("/left", async |socket: WebSocket| socket.close(1000, "done").await);
    pond
}

#[tokio::test]
async fn http_connections_end_with_close_notify() {
    let options = ServerOptions::default().max_header_size(1000).read_timeout(SHORT).idle_timeout(SHORT);
    let site = TlsSite::open(&ending(Options::default()), options).await;
    for (request, with) in [
        ("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "ok"),
        // The next request does not arrive in time.
        ("GET /health HTTP/1.1\r\nHost: x\r\n\r\n", "ok"),
        ("GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET", "ok"),
        ("GET /hea", ""),
        ("", ""),
        ("no such thing\r\n\r\n", "400 Bad Request"),
        (&format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(2000)), "431 Request Header"),
        (&upgrade("/closed"), "members only"),
        (&upgrade("/nowhere"), "not found"),
    ] {
        let read = site.asking(request).await.rest().await;
        assert!(read.contains(with), "no `{with}` in {read}");
    }
}

#[tokio::test]
async fn a_websocket_ends_with_close_notify_on_either_side() {
    let pond = ending(Options::default());
    let site = TlsSite::open(&pond, ServerOptions::default()).await;
    for what in [&CLOSE[..], &NONSENSE] {
        let mut client = site.socket("/ws").await;
        client.send(what).await;
        client.rest().await;
    }
    let endpoint = pond.endpoints().remove(0);
    let mut client = site.socket("/ws").await;
    eventually("it is let in", || endpoint.connections().len() == 1).await;
    endpoint.connections()[0].disconnect();
    client.until("disconnected by the server").await;
    client.send(&CLOSE).await;
    client.rest().await;

    for path in ["/dropped", "/left"] {
        let mut client = site.socket(path).await;
        client.send(&CLOSE).await;
        client.rest().await;
    }
    let mut client = site.socket("/raw").await;
    client.send(&CLOSE).await;
    client.rest().await;
}

#[tokio::test]
async fn a_client_that_is_closed_for_slowness_gets_close_notify() {
    let options = Options::default().write_wait(SHORT).ping_interval(SHORT / 4).pong_wait(SHORT);
    let pond = ending(options);
    let site = TlsSite::open(&pond, ServerOptions::default()).await;
    // This client answers no ping.
    site.socket("/ws").await.rest().await;
    // This client breaks the protocol and does not close.
    let mut client = site.socket("/ws").await;
    client.send(&NONSENSE).await;
    client.rest().await;
}

#[tokio::test]
async fn a_shutdown_ends_every_connection_with_close_notify() {
    let pond = ending(Options::default());
    let mut site = TlsSite::open(&pond, ServerOptions::default()).await;
    let idle = site.asking("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let half = site.asking("GET /hea").await;
    let mut stubborn = site.socket("/ws").await;
    let stubborn_raw = site.socket("/raw").await;
    let mut polite = site.socket("/ws").await;
    let mut events = site.asking("GET /ws HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n").await;
    events.until("connectionId").await;
    for client in [&mut stubborn, &mut polite] {
        client.until("connectionId").await;
    }
    let stopping = tokio::spawn(async move {
        site.server.stop(Shutdown::within(SHORT)).await;
        site
    });
    polite.until("the server is shutting down").await;
    polite.send(&CLOSE).await;
    // The clients that do not answer are cut off at the deadline.
    for (mut client, with) in [
        (polite, ""),
        (events, "0\r\n\r\n"),
        (idle, ""),
        (half, ""),
        (stubborn, "shutting down"),
        (stubborn_raw, "shutting down"),
    ] {
        let read = client.rest().await;
        assert!(read.contains(with), "no `{with}` in {read}");
    }
    timeout(DEADLINE, stopping).await.expect("it stops").expect("no panic");
}

#[tokio::test]
async fn a_dropped_server_sends_close_notify() {
    let pond = ending(Options::default());
    let site = TlsSite::open(&pond, ServerOptions::default()).await;
    let mut idle = site.asking("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await;
    idle.until("ok").await;
    let mut events = site.asking("GET /ws HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n").await;
    events.until("connectionId").await;
    drop(site.server);
    idle.rest().await;
    events.rest().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn clients_over_tls_are_served_by_all_shards() {
    let authority = Authority::new();
    let name = || std::thread::current().name().unwrap_or_default().to_owned();
    let options = ServerOptions::default().tls(authority.tls()).shards(2).metrics("/name", name);
    let (_server, address) = serve_with(&pond(), options).await;
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let mut client = shake_hands(address, authority.client(&[])).await.expect("a handshake");
        client.write_all(b"GET /name HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("it reads");
        let mut answer = String::new();
        timeout(DEADLINE, client.read_to_string(&mut answer)).await.expect("in time").expect("an orderly end");
        names.insert(answer.lines().last().expect("a body").to_owned());
    }
    assert_eq!(names, ["pond-shard-0".to_owned(), "pond-shard-1".to_owned()].into());
}
