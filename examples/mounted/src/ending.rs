use std::io;
use std::time::Duration;

use pondsocket::{PondSocket, ShutdownReport};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The time that clients have to close.
const PATIENCE: Duration = Duration::from_secs(5);

/// SIGINT or SIGTERM ends the pond and the host. The first of the two answers completes with the signal: it is for the
/// host. Hosts do not wait for WebSockets, so the program then waits for the second one: all clients have been told.
pub fn end_at_signal(
    pond: PondSocket,
) -> io::Result<(impl Future<Output = ()> + Send + 'static, JoinHandle<ShutdownReport>)> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (stop, stopped) = oneshot::channel();
    let drained = tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        // An error means that the host has ended by itself.
        let _ = stop.send(());
        pond.shutdown(PATIENCE).await
    });
    Ok((async move { stopped.await.unwrap_or_default() }, drained))
}
