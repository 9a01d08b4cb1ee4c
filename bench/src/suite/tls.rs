//! A certificate for one run, and clients that trust it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use rcgen::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};

/// The identity of all servers of a run.
pub(super) struct Identity {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    /// Clients that trust it.
    pub(super) client: Arc<ClientConfig>,
}

impl Identity {
    /// Makes one for `localhost`, with its files in this folder.
    pub(super) fn new(folder: &Path) -> Result<Identity> {
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, cert.pem())?;
        std::fs::write(&key, signing_key.serialize_pem())?;
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let client = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        Ok(Identity { certificate, key, client })
    }
}
