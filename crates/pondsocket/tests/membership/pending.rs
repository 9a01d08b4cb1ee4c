//! The standalone server with more sockets than permits: no client excludes others.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pondsocket::{Connected, ConnectionContext, Listener, PondSocket, Result, Server, ServerOptions};
use testkit::{DEADLINE, HttpClient, Peer, Recorder, eventually, serve_with, upgrade};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
const NEVER: Duration = Duration::MAX;

/// Options with this many permits, and without other reasons to close a socket.
fn patient(places: usize) -> ServerOptions {
    let options = ServerOptions::default().read_timeout(NEVER).write_timeout(NEVER).idle_timeout(NEVER);
    options.max_pending(places).pending_reserve(0).pressure_timeout(NEVER)
}

/// A server and its counters. Clients of `/slow` are accepted when the test adds a permit.
struct GatedSite {
    pond: PondSocket,
    _server: Server,
    address: SocketAddr,
    counted: Recorder,
    gate: Arc<Semaphore>,
}

impl GatedSite {
    async fn open(options: ServerOptions) -> GatedSite {
        let (counted, gate) = (Recorder::default(), Arc::new(Semaphore::new(0)));
        let pond = PondSocket::new().metrics(counted.clone());
        pond.create_endpoint("/ws", async |ctx: ConnectionContext| Ok(ctx.accept()) as Result<Connected>);
        let wait = Arc::clone(&gate);
        pond.create_endpoint("/slow", move |ctx: ConnectionContext| {
            let wait = Arc::clone(&wait);
            async move {
                wait.acquire().await.expect("never closed").forget();
                Ok(ctx.accept()) as Result<Connected>
            }
        });
        let (server, address) = serve_with(&pond, options).await;
        GatedSite { pond, _server: server, address, counted, gate }
    }

    /// A client at 127.0.0.N that has sent this.
    async fn client(&self, from: u8, sent: &[u8]) -> TcpClient {
        connect(from, self.address, sent).await
    }

    /// The same after a response, idle from then on.
    async fn idle(&self, from: u8) -> TcpClient {
        let mut client = self.client(from, HEALTH).await;
        client.until("ok\n").await;
        client
    }

    fn closed(&self) -> Vec<String> {
        self.counted.of("socket_closed")
    }

    /// Requests that the application decides about.
    async fn slow(&self, count: usize) -> Vec<TcpClient> {
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(self.client(1, upgrade("/slow").as_bytes()).await);
        }
        eventually("they are asked about", || {
            let snapshot = self.pond.snapshot();
            snapshot.endpoints.iter().any(|it| it.path == "/slow" && it.admitted >= count)
        })
        .await;
        clients
    }
}

type TcpClient = HttpClient<TcpStream>;

/// A client at 127.0.0.N that has sent this.
async fn connect(from: u8, address: SocketAddr, sent: &[u8]) -> TcpClient {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((IpAddr::from([127, 0, 0, from]), 0).into()).expect("an address of this machine");
    let mut client = HttpClient(socket.connect(address).await.expect("it listens"));
    client.send(sent).await;
    client
}

/// Waits for the end; a reset is one, too.
async fn ends(client: &mut TcpClient) {
    let _ = timeout(DEADLINE, client.0.read_to_end(&mut Vec::new())).await.expect("it ends in time");
}

fn is_open(client: &TcpClient) -> bool {
    matches!(client.0.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test]
async fn a_new_socket_replaces_the_one_that_has_been_idle_for_longest() {
    let site = GatedSite::open(patient(3)).await;
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(site.idle(1).await);
    }
    // The first client has sent another request since.
    idle[0].send(HEALTH).await;
    idle[0].until("ok\n").await;
    let mut newest = site.idle(1).await;
    ends(&mut idle[1]).await;
    for client in [&mut idle[0], &mut newest] {
        client.send(HEALTH).await;
        client.until("ok\n").await;
    }
    assert!(is_open(&idle[2]));
    assert_eq!(site.closed(), ["evicted_idle"]);
}

#[tokio::test]
async fn an_idle_socket_is_evicted_before_one_whose_request_is_awaited() {
    let site = GatedSite::open(patient(3)).await;
    let half = [site.client(1, b"GET").await, site.client(1, b"").await];
    let mut idle = site.idle(2).await;
    let _newcomer = site.idle(3).await;
    ends(&mut idle).await;
    assert!(half.iter().all(is_open));
    assert_eq!(site.closed(), ["evicted_idle"]);
}

#[tokio::test]
async fn an_address_with_many_sockets_makes_room_for_addresses_with_few() {
    let site = GatedSite::open(patient(6)).await;
    // None of these sends a request. For the last ones, the share of their address is used up.
    let mut crowd = Vec::new();
    for sent in [&b""[..], b"G", b"GET /ws HTTP/1.1\r\n", b"", b"GET /ws HTTP/1.1\r\nHost: x\r\n"] {
        crowd.push(site.client(1, sent).await);
    }
    let other = site.client(2, b"GET").await;
    for count in 1..=3 {
        let mut peer = Peer::connect_from(IpAddr::from([127, 0, 0, 3]), site.address, "/ws").await;
        peer.text(r#"{"action":"ping"}"#).await;
        ends(&mut crowd[count - 1]).await;
        assert_eq!(site.closed(), vec!["evicted_waiting"; count]);
        // A permit that an upgrade releases is used again.
        crowd.push(site.client(1, b"").await);
    }
    assert!(is_open(&other), "it has fewer than others");
}

#[tokio::test]
async fn within_one_address_the_longest_awaited_socket_is_evicted_after_its_time() {
    let timeout = Duration::from_millis(200);
    let site = GatedSite::open(patient(2).pressure_timeout(timeout)).await;
    let start = Instant::now();
    let mut half = [site.client(1, b"GET").await, site.client(1, b"GET").await];
    site.idle(1).await;
    assert!(start.elapsed() >= timeout, "{:?}", start.elapsed());
    ends(&mut half[0]).await;
    assert_eq!(site.closed()[0], "evicted_waiting");
}

#[tokio::test]
async fn the_sockets_of_a_trusted_proxy_have_no_share_and_still_expire() {
    let (counted, timeout) = (Recorder::default(), Duration::from_millis(100));
    let options = pondsocket::Options::default().trusted_proxies(["127.0.0.1"]);
    let pond = PondSocket::with_options(options).expect("valid").metrics(counted.clone());
    let (_server, address) = serve_with(&pond, patient(2).pressure_timeout(timeout)).await;
    let start = Instant::now();
    let mut half = [connect(1, address, b"GET").await, connect(1, address, b"GET").await];
    connect(2, address, HEALTH).await.until("ok\n").await;
    assert!(start.elapsed() >= timeout, "{:?}", start.elapsed());
    ends(&mut half[0]).await;
    assert_eq!(counted.of("socket_closed")[0], "evicted_waiting");
}

#[tokio::test]
async fn probes_are_answered_while_slow_requests_take_all_permits() {
    let site = GatedSite::open(patient(2).pending_reserve(2)).await;
    let _slow = site.slow(2).await;
    for _ in 0..3 {
        site.idle(1).await;
    }
    // One more has to wait for its turn, in the reserve.
    let mut third = site.client(1, upgrade("/slow").as_bytes()).await;
    for _ in 0..3 {
        site.idle(1).await;
    }
    assert!(is_open(&third));
    site.gate.add_permits(3);
    third.until("101 Switching Protocols").await;
    assert!(site.closed().iter().all(|reason| reason == "evicted_idle"), "{:?}", site.closed());
}

#[tokio::test]
async fn with_a_full_reserve_a_waiting_request_is_refused_and_probes_are_answered() {
    let site = GatedSite::open(patient(2).pending_reserve(1)).await;
    let _slow = site.slow(2).await;
    let mut third = site.client(1, upgrade("/slow").as_bytes()).await;
    // There is no permit left. From another address, this socket would replace one that is still read.
    site.idle(1).await;
    third.until("too many requests\n").await;
    ends(&mut third).await;
    assert_eq!(site.closed().iter().filter(|reason| *reason == "overloaded").count(), 1);
    let mut fourth = site.client(1, upgrade("/slow").as_bytes()).await;
    site.gate.add_permits(3);
    fourth.until("101 Switching Protocols").await;
}

#[tokio::test]
async fn probes_with_a_separate_listener_have_separate_permits() {
    let pond = PondSocket::new();
    let mut server = Server::with_options(pond, patient(1)).expect("valid");
    let bind = async || Listener::bind("127.0.0.1:0").await.expect("a free port");
    server.start_on([bind().await, bind().await.admin()]).expect("it starts");
    let [public, admin] = *server.local_addrs() else { panic!("two addresses") };
    let _half = connect(1, public, b"GET").await;
    // No socket of this kind can be evicted.
    let waiting = connect(1, public, HEALTH).await;
    connect(1, admin, HEALTH).await.until("ok\n").await;
    assert!(is_open(&waiting));
}

/// Silent clients for all permits of the default options, and further clients.
#[tokio::test(flavor = "multi_thread")]
async fn with_the_default_limits_thousands_of_idle_sockets_exclude_no_client() {
    let site = GatedSite::open(ServerOptions::default()).await;
    let mut crowd = Vec::new();
    for _ in 0..4096 {
        crowd.push(site.idle(1).await);
    }
    // The same address, and another one.
    for from in [1, 2] {
        let start = Instant::now();
        site.idle(from).await;
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
    drop(crowd);
    let mut crowd = Vec::new();
    for _ in 0..4160 {
        crowd.push(site.client(1, b"GET /ws HTTP/1.1\r\n").await);
    }
    for from in [2, 1] {
        let start = Instant::now();
        site.idle(from).await;
        // The timeout for a head is twice as long.
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
    let source = IpAddr::from([127, 0, 0, 3]);
    Peer::connect_from(source, site.address, "/ws").await;
}
