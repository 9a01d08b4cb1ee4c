//! TLS in front of HTTP, with a certificate that can be renewed while the server runs.

mod files;
#[cfg(unix)]
mod hangup;
mod stream;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::engine::sync::Mutex;
use crate::error::{Error, Result};
use crate::serve::listener::SocketStream;
use files::PemFiles;
#[cfg(unix)]
pub(super) use hangup::Renewal;
pub(super) use stream::TlsStream;

/// The only protocol that is spoken over TLS.
const ALPN: &[u8] = b"http/1.1";

/// The TLS configuration of a [`Server`](crate::Server). Clones share the configuration, and its renewals.
///
/// ```no_run
/// # use pondsocket::{PondSocket, Result, Server, ServerOptions, Tls};
/// # async fn main_of(pond: PondSocket) -> Result<()> {
/// let tls = Tls::from_pem_files("fullchain.pem", "privkey.pem")?;
/// Server::with_options(pond, ServerOptions::default().tls(tls))?.listen("0.0.0.0:443").await
/// # }
/// ```
///
/// A certificate is renewed with [`reload`](Self::reload), at SIGHUP by [`Server::listen`](crate::Server::listen), or
/// with [`replace`](Self::replace). That is for handshakes to come: connections stay as they are.
#[derive(Clone)]
pub struct Tls(Arc<TlsState>);

struct TlsState {
    config: Mutex<Arc<ServerConfig>>,
    /// The files that the certificate is from, if it is from files.
    files: Option<PemFiles>,
}

impl Tls {
    /// TLS 1.2 and 1.3 with a certificate chain, the server's own first, and its private key (PKCS#8, PKCS#1 or SEC1).
    /// Both are read now, and again at each [`reload`](Self::reload).
    ///
    /// # Errors
    /// 400, with the file and the reason: it cannot be read, holds nothing of the kind, or the two do not fit.
    pub fn from_pem_files(certificates: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Tls> {
        let files = PemFiles::new(certificates.as_ref(), key.as_ref());
        Ok(Tls::new(files.read()?, Some(files)))
    }

    /// Any configuration of [`rustls`]. If it names no ALPN protocols it is given `http/1.1`: nothing else is spoken.
    pub fn from_config(config: Arc<ServerConfig>) -> Tls {
        Tls::new(config, None)
    }

    fn new(config: Arc<ServerConfig>, files: Option<PemFiles>) -> Tls {
        Tls(Arc::new(TlsState { config: Mutex::new(speaking_http(config)), files }))
    }

    /// Reads the files anew, on the calling thread. If they are no use, all stays as it was.
    ///
    /// # Errors
    /// As [`from_pem_files`](Self::from_pem_files); 409 if it was not made by that.
    pub fn reload(&self) -> Result<()> {
        let files = self.0.files.as_ref().ok_or(Error::conflict("this TLS configuration is not from files"))?;
        self.replace(files.read()?);
        Ok(())
    }

    /// Takes another configuration, as [`from_config`](Self::from_config) does. Sessions of the old one are not
    /// resumed, unless both are given the same store for them.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        *self.0.config.lock() = speaking_http(config);
    }

    /// Shakes hands with a client, within a time.
    pub(super) async fn accept(&self, stream: SocketStream, within: Duration) -> io::Result<TlsStream> {
        let config = Arc::clone(&self.0.config.lock());
        timeout(within, TlsAcceptor::from(config).accept(stream)).await?.map(TlsStream::new)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

fn speaking_http(mut config: Arc<ServerConfig>) -> Arc<ServerConfig> {
    if config.alpn_protocols.is_empty() {
        Arc::make_mut(&mut config).alpn_protocols = vec![ALPN.to_vec()];
    }
    config
}
