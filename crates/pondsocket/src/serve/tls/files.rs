//! A certificate and its key, in files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, Result};

/// Their paths.
pub(super) struct PemFiles {
    certificates: PathBuf,
    key: PathBuf,
}

impl PemFiles {
    pub(super) fn new(certificates: &Path, key: &Path) -> PemFiles {
        PemFiles { certificates: certificates.to_owned(), key: key.to_owned() }
    }

    /// Their present contents.
    pub(super) fn read(&self) -> Result<Arc<ServerConfig>> {
        let PemFiles { certificates, key } = self;
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
        Ok(Arc::new(config))
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
