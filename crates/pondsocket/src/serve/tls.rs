use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::error::{Error, Result};

/// The only protocol that is spoken over TLS.
const ALPN: &[u8] = b"http/1.1";

/// How a [`Server`](crate::Server) speaks TLS. Cheap to clone.
///
/// ```no_run
/// # use pondsocket::{PondSocket, Result, Server, ServerOptions, Tls};
/// # async fn main_of(pond: PondSocket) -> Result<()> {
/// let tls = Tls::from_pem_files("fullchain.pem", "privkey.pem")?;
/// Server::with_options(pond, ServerOptions::default().tls(tls))?.listen("0.0.0.0:443").await
/// # }
/// ```
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

impl Tls {
    /// TLS 1.2 and 1.3 with a certificate chain, the server's own first, and its private key (PKCS#8, PKCS#1 or SEC1).
    /// Both are read now: who renews them starts anew, or gives [`from_config`](Self::from_config) a resolver.
    ///
    /// # Errors
    /// 400, with the file and the reason: it cannot be read, holds nothing of the kind, or the two do not fit.
    pub fn from_pem_files(certificates: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Tls> {
        let (certificates, key) = (certificates.as_ref(), key.as_ref());
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificates)
            .and_then(Iterator::collect)
            .map_err(|error| unusable("certificate", certificates, error))?;
        if chain.is_empty() {
            return Err(unusable("certificate", certificates, pem::Error::NoItemsFound));
        }
        let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable("private key", key, error))?;
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Error::internal)?
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .map_err(|error| {
                let (certificates, key) = (certificates.display(), key.display());
                Error::bad_request(format!("TLS certificate {certificates} with private key {key}: {error}"))
            })?;
        Ok(Tls::from_config(Arc::new(config)))
    }

    /// Any configuration of [`rustls`]. If it names no ALPN protocols it is given `http/1.1`: nothing else is spoken.
    pub fn from_config(mut config: Arc<ServerConfig>) -> Tls {
        if config.alpn_protocols.is_empty() {
            Arc::make_mut(&mut config).alpn_protocols = vec![ALPN.to_vec()];
        }
        Tls(config)
    }

    /// Shakes hands with a client, within a time.
    pub(super) async fn accept(&self, stream: TcpStream, within: Duration) -> io::Result<TlsStream<TcpStream>> {
        // Small frames must not wait for the acknowledgement of earlier ones.
        stream.set_nodelay(true)?;
        timeout(within, TlsAcceptor::from(Arc::clone(&self.0)).accept(stream)).await?
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

fn unusable(what: &str, file: &Path, error: pem::Error) -> Error {
    let file = file.display();
    Error::bad_request(match error {
        pem::Error::Io(error) => format!("TLS {what} {file}: {error}"),
        pem::Error::NoItemsFound => format!("TLS {what} {file}: the file holds none"),
        error => format!("TLS {what} {file}: {error}"),
    })
}
