//! A load balancer for one client, which moves it to another node whenever it has lost its connection.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// The time for which the node of a client does not notice a cut that only the client notices.
const UNNOTICED: Duration = Duration::from_secs(10);

/// The addresses of the nodes that take clients.
#[derive(Clone, Debug)]
pub(crate) struct Addresses(Arc<Mutex<Vec<Option<SocketAddr>>>>);

impl Addresses {
    pub(crate) fn new(nodes: usize) -> Addresses {
        Addresses(Arc::new(Mutex::new(vec![None; nodes])))
    }

    pub(crate) fn set(&self, node: usize, address: Option<SocketAddr>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[node] = address;
    }

    pub(crate) fn get(&self, node: usize) -> Option<SocketAddr> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all[node % all.len()]
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// The ends that notice a cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Noticed {
    ByBoth,
    /// The node believes for a while that the client is still connected, as after a change of the client's network.
    ByClient,
}

/// All connections between two cuts go to one node, because the requests of an event stream belong to its node.
#[derive(Debug)]
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    route: Arc<Route>,
    cuts: watch::Sender<Noticed>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Route {
    nodes: Addresses,
    node: AtomicUsize,
    /// The network is away until then.
    away_until: Mutex<Instant>,
}

impl Balancer {
    pub(crate) async fn start(first: usize, nodes: Addresses) -> Balancer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let route = Route { nodes, node: AtomicUsize::new(first), away_until: Mutex::new(Instant::now()) };
        let (route, cuts) = (Arc::new(route), watch::Sender::new(Noticed::ByBoth));
        let (routes, cut) = (Arc::clone(&route), cuts.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, Arc::clone(&routes), cut.subscribe()));
            }
        });
        Balancer { address, route, cuts, accepting }
    }

    /// Resets all connections, as a network failure does, and refuses new ones for a time. The next ones go to another node.
    pub(crate) fn cut(&self, away: Duration, noticed: Noticed) {
        *self.route.away_until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + away;
        self.route.node.fetch_add(1, Ordering::Relaxed);
        self.cuts.send_replace(noticed);
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Route {
    fn is_away(&self) -> bool {
        Instant::now() < *self.away_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects to the node of the client, or to another one if it takes no clients.
    async fn connect(&self) -> Option<TcpStream> {
        for _ in 0..self.nodes.count() {
            let node = self.node.load(Ordering::Relaxed);
            if let Some(address) = self.nodes.get(node)
                && let Ok(server) = TcpStream::connect(address).await
            {
                return Some(server);
            }
            // Unless another connection has moved the client already.
            let _ = self.node.compare_exchange(node, node + 1, Ordering::Relaxed, Ordering::Relaxed);
        }
        None
    }
}

async fn pass_on(mut client: TcpStream, route: Arc<Route>, mut cut: watch::Receiver<Noticed>) -> io::Result<()> {
    if route.is_away() {
        return reset(&client);
    }
    let Some(mut server) = route.connect().await else { return reset(&client) };
    let passed = tokio::select! {
        passed = copy_bidirectional(&mut client, &mut server) => Some(passed.map(drop)),
        _ = cut.changed() => None,
    };
    if let Some(passed) = passed {
        return passed;
    }
    reset(&client)?;
    drop(client);
    if *cut.borrow() == Noticed::ByClient {
        sleep(UNNOTICED).await;
    }
    reset(&server)
}

/// With a linger time of 0 the kernel sends a reset in place of an orderly end.
fn reset(end: &TcpStream) -> io::Result<()> {
    SockRef::from(end).set_linger(Some(Duration::ZERO))
}
