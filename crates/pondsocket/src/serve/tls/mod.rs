//! TLS in front of HTTP, with a certificate that can be renewed while the server runs.

mod stream;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::engine::sync::Mutex;
use crate::error::{Error, Result};
use crate::serve::listener::SocketStream;
pub(super) use stream::TlsStream;

/// The only protocol that a server has over TLS: it has no HTTP/2, in which WebSockets are opened differently (RFC 8441).
const ALPN: &[u8] = b"http/1.1";

/// The TLS configuration of a [`Server`](crate::Server). Clones share it: a reload takes effect for all of them.
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
/// with [`replace`](Self::replace). Only later handshakes use the new one: open connections are not affected.
#[derive(Clone)]
pub struct Tls(Arc<TlsState>);

struct TlsState {
    config: Mutex<Arc<ServerConfig>>,
    /// The files from which the configuration was read; `None` for one that the application has made.
    files: Option<PemFiles>,
}

/// The paths of a certificate chain and its private key.
struct PemFiles {
    certificates: PathBuf,
    key: PathBuf,
}

impl Tls {
    /// TLS 1.2 and 1.3 with a certificate chain, in which the server's own certificate comes first, and its private key
    /// (PKCS#8, PKCS#1 or SEC1), both PEM. The files are read now, and again at each [`reload`](Self::reload).
    ///
    /// # Errors
    /// 400 if a file cannot be read or has no such item, or if the key does not belong to the certificate. The message has
    /// the path and the reason.
    pub fn from_pem_files(certificates: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Tls> {
        let files = PemFiles { certificates: certificates.as_ref().to_owned(), key: key.as_ref().to_owned() };
        Ok(Tls::new(files.read()?, Some(files)))
    }

    /// TLS with any configuration of [`rustls`]. If it has no ALPN protocols, `http/1.1` is added, the only one that the
    /// server supports.
    pub fn from_config(config: Arc<ServerConfig>) -> Tls {
        Tls::new(config, None)
    }

    fn new(config: Arc<ServerConfig>, files: Option<PemFiles>) -> Tls {
        Tls(Arc::new(TlsState { config: Mutex::new(with_default_alpn(config)), files }))
    }

    /// Reads the files again, blocking the calling thread. After an error the previous certificate stays in use.
    ///
    /// # Errors
    /// As [`from_pem_files`](Self::from_pem_files); 409 if it was made by [`from_config`](Self::from_config).
    pub fn reload(&self) -> Result<()> {
        let files = self.0.files.as_ref().ok_or(Error::conflict("this TLS configuration is not from files"))?;
        self.replace(files.read()?);
        Ok(())
    }

    /// Replaces the configuration, by one as for [`from_config`](Self::from_config). Sessions of the previous one cannot be
    /// resumed, unless both configurations share their session storage and ticketer.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        *self.0.config.lock() = with_default_alpn(config);
    }

    /// Returns `true` if the configuration was read from files, so that it can be reloaded.
    #[cfg(unix)]
    pub(super) fn is_from_files(&self) -> bool {
        self.0.files.is_some()
    }

    /// Does the handshake with a client, within a time.
    pub(super) async fn accept(&self, stream: SocketStream, within: Duration) -> io::Result<TlsStream> {
        // Cloned first: the lock must not be held during the handshake.
        let config = Arc::clone(&self.0.config.lock());
        timeout(within, TlsAcceptor::from(config).accept(stream)).await?.map(TlsStream::new)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

fn with_default_alpn(mut config: Arc<ServerConfig>) -> Arc<ServerConfig> {
    if config.alpn_protocols.is_empty() {
        Arc::make_mut(&mut config).alpn_protocols = vec![ALPN.to_vec()];
    }
    config
}

impl PemFiles {
    /// Reads both files, and checks that the key belongs to the certificate.
    fn read(&self) -> Result<Arc<ServerConfig>> {
        let PemFiles { certificates, key } = self;
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificates)
            .and_then(Iterator::collect)
            .map_err(|error| unreadable("certificate", certificates, error))?;
        if chain.is_empty() {
            return Err(unreadable("certificate", certificates, pem::Error::NoItemsFound));
        }
        let private_key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("private key", key, error))?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Error::internal)?
            .with_no_client_auth()
            .with_single_cert(chain, private_key)
            .map_err(|error| {
                let (certificates, key) = (certificates.display(), key.display());
                Error::bad_request(format!("TLS certificate {certificates} with private key {key}: {error}"))
            })?;
        Ok(Arc::new(config))
    }
}

fn unreadable(item: &str, file: &Path, error: pem::Error) -> Error {
    let file = file.display();
    Error::bad_request(match error {
        pem::Error::Io(error) => format!("TLS {item} {file}: {error}"),
        pem::Error::NoItemsFound => format!("TLS {item} {file}: there is none in the file"),
        error => format!("TLS {item} {file}: {error}"),
    })
}
