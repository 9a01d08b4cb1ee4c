//! SIGHUP, by which operators have a server read its certificate anew.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::Tls;

/// Renewing at each SIGHUP, until it is dropped.
pub(in crate::serve) struct Renewal(JoinHandle<()>);

impl Renewal {
    /// From now on, for a configuration that is from files. For none or another one the signal keeps its meaning, which
    /// is the end of the process.
    pub(in crate::serve) fn start(tls: Option<&Tls>) -> io::Result<Option<Renewal>> {
        let Some(tls) = tls.filter(|tls| tls.0.files.is_some()) else { return Ok(None) };
        let hangups = signal(SignalKind::hangup())?;
        Ok(Some(Renewal(tokio::spawn(renew(tls.clone(), hangups)))))
    }
}

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn renew(tls: Tls, mut hangups: Signal) {
    while hangups.recv().await.is_some() {
        match tls.reload() {
            Ok(()) => tracing::info!(target: "pondsocket::server", "the TLS certificate is read anew"),
            Err(error) => {
                tracing::error!(target: "pondsocket::server", %error, "the TLS certificate cannot be read anew: the old one stays");
            }
        }
    }
}
