//! A TCP proxy in front of the server whose connections a test can cut.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::server;

/// Ends with its connections when it is dropped.
pub struct Proxy {
    pub url: String,
    cuts: watch::Sender<u32>,
}

impl Proxy {
    pub async fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let target = server();
        let authority = target.split('/').nth(2).expect("ws://HOST:PORT/PATH").to_owned();
        let own = listener.local_addr().expect("it is bound").to_string();
        let (cuts, watcher) = watch::channel(0);
        tokio::spawn(forward(listener, authority.clone(), watcher));
        Proxy { url: target.replace(&authority, &own), cuts }
    }

    /// Resets every connection, as a network failure does.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn forward(listener: TcpListener, authority: String, watcher: watch::Receiver<u32>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let mut cut = watcher.clone();
        cut.mark_unchanged();
        let mut upstream = TcpStream::connect(&authority).await.expect("the server listens");
        tokio::spawn(async move {
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut upstream) => {}
                _ = cut.changed() => {}
            }
        });
    }
}
