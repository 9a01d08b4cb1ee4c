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
}

/// All connections between two cuts go to one node, because the requests of an event stream belong to its node.
#[derive(Debug)]
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    node: Arc<AtomicUsize>,
    cuts: watch::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Balancer {
    pub(crate) async fn start(first: usize, nodes: Addresses) -> Balancer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let node = Arc::new(AtomicUsize::new(first));
        let cuts = watch::Sender::new(());
        let (current, cut) = (Arc::clone(&node), cuts.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, nodes.clone(), Arc::clone(&current), cut.subscribe()));
            }
        });
        Balancer { address, node, cuts, accepting }
    }

    /// Resets all connections, as a network failure does. The next ones go to another node.
    pub(crate) fn cut(&self) {
        self.node.fetch_add(1, Ordering::Relaxed);
        self.cuts.send_replace(());
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass_on(
    mut client: TcpStream,
    nodes: Addresses,
    current: Arc<AtomicUsize>,
    mut cut: watch::Receiver<()>,
) -> io::Result<()> {
    let node = current.load(Ordering::Relaxed);
    let connected = match nodes.get(node) {
        Some(address) => TcpStream::connect(address).await,
        None => Err(io::ErrorKind::ConnectionRefused.into()),
    };
    let Ok(mut server) = connected else {
        // Unless another connection has moved the client already.
        let _ = current.compare_exchange(node, node + 1, Ordering::Relaxed, Ordering::Relaxed);
        return Ok(());
    };
    tokio::select! {
        passed = copy_bidirectional(&mut client, &mut server) => passed.map(drop),
        _ = cut.changed() => {
            for end in [&client, &server] {
                // With a linger time of 0 the kernel sends a reset in place of an orderly end.
                SockRef::from(end).set_linger(Some(Duration::ZERO))?;
            }
            Ok(())
        }
    }
}
