use std::io;
use std::pin::pin;
use std::time::Duration;

use pondsocket::{PondSocket, ShutdownReport};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// The time that clients have to close.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The time that the host has for requests under way when the pond has drained.
const GRACE: Duration = Duration::from_secs(1);

/// SIGINT or SIGTERM ends the pond and the host. The future completes with the signal: it is for the host. The task
/// completes when the pond has drained: all its clients have received a close frame. It is for [`run`].
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
        pond.shutdown(TIMEOUT).await
    });
    Ok((async move { stopped.await.unwrap_or_default() }, drained))
}

/// Runs a host until it and the pond have ended.
///
/// Hosts do not wait for WebSockets, so this waits for the pond, too. And hosts wait without limit for requests under way,
/// of which a client may have sent only one half: so this does not wait for the host when the pond has drained and a second
/// has passed.
pub async fn run(
    host: impl Future<Output = io::Result<()>>,
    mut drained: JoinHandle<ShutdownReport>,
) -> io::Result<()> {
    let mut host = pin!(host);
    tokio::select! {
        served = &mut host => {
            drained.await?;
            return served;
        }
        report = &mut drained => report?,
    };
    timeout(GRACE, host).await.unwrap_or(Ok(()))
}
