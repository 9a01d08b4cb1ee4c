//! The signals that operators send to the process.

use std::io;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(all(unix, feature = "tls"))]
use tokio::task::JoinHandle;

#[cfg(all(unix, feature = "tls"))]
use super::tls::Tls;

/// The signals that ask a server to stop: SIGINT and SIGTERM, elsewhere than on Unix Ctrl-C.
///
/// On Unix they are received from when this is made, also those that arrive between two waits; elsewhere only during a wait.
pub(super) struct StopSignals {
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(unix)]
    terminate: Signal,
}

impl StopSignals {
    #[cfg(unix)]
    pub(super) fn new() -> io::Result<StopSignals> {
        Ok(StopSignals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    #[cfg(not(unix))]
    pub(super) fn new() -> io::Result<StopSignals> {
        Ok(StopSignals {})
    }

    /// Waits for the next of them.
    #[cfg(unix)]
    pub(super) async fn next(&mut self) -> io::Result<()> {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        Ok(())
    }

    #[cfg(not(unix))]
    pub(super) async fn next(&mut self) -> io::Result<()> {
        tokio::signal::ctrl_c().await
    }
}

/// A task that reloads the TLS certificate at each SIGHUP, until this is dropped.
#[cfg(all(unix, feature = "tls"))]
pub(super) struct ReloadSignal(JoinHandle<()>);

#[cfg(all(unix, feature = "tls"))]
impl ReloadSignal {
    /// Starts it for a configuration that was read from files. For any other one SIGHUP keeps its default action, which ends
    /// the process.
    pub(super) fn start(tls: Option<&Tls>) -> io::Result<Option<ReloadSignal>> {
        let Some(tls) = tls.filter(|tls| tls.is_from_files()) else { return Ok(None) };
        let hangups = signal(SignalKind::hangup())?;
        Ok(Some(ReloadSignal(tokio::spawn(reload_at_each(hangups, tls.clone())))))
    }
}

#[cfg(all(unix, feature = "tls"))]
impl Drop for ReloadSignal {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(all(unix, feature = "tls"))]
async fn reload_at_each(mut hangups: Signal, tls: Tls) {
    while hangups.recv().await.is_some() {
        match tls.reload() {
            Ok(()) => tracing::info!(target: "pondsocket::server", "TLS certificate reloaded"),
            Err(error) => {
                tracing::error!(target: "pondsocket::server", %error, "cannot reload the TLS certificate: the old one stays in use");
            }
        }
    }
}
