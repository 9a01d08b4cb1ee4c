//! A TCP proxy that can be cut, without special rights.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::Cut;

/// A proxy between clients and a server on 127.0.0.1. While it is cut, bytes wait, as with TCP over a broken network, and new
/// connections are accepted but reach no server. Its drop ends it with all connections.
#[derive(Debug)]
pub struct Proxy {
    /// The address at which it listens.
    pub address: SocketAddr,
    cut: watch::Sender<Option<Cut>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy on a free port.
    pub async fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let (cut, state) = watch::channel(None);
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(connect(client, port, state.clone()));
                // Releases the tasks that have ended.
                while connections.try_join_next().is_some() {}
            }
        });
        Proxy { address, cut, accepting }
    }

    /// Stops passing bytes on in this direction.
    pub fn cut(&self, what: Cut) {
        self.cut.send_replace(Some(what));
    }

    /// Passes on the bytes that have waited, and all further ones.
    pub fn heal(&self) {
        self.cut.send_replace(None);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn connect(client: TcpStream, port: u16, cut: watch::Receiver<Option<Cut>>) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", port)).await?;
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let there = pass_on(from_client, to_server, cut.clone(), Cut::is_there);
    let back = pass_on(from_server, to_client, cut, Cut::is_back);
    tokio::try_join!(there, back).map(drop)
}

/// Passes bytes on until the end, except while this direction is cut.
async fn pass_on(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut cut: watch::Receiver<Option<Cut>>,
    concerns: fn(Cut) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        // An error means that the proxy has been dropped, and this task is about to be aborted.
        let _ = cut.wait_for(|cut| !cut.is_some_and(concerns)).await;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
    }
}
