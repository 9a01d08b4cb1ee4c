use std::sync::Arc;
use std::time::Duration;

use pondsocket_proto::cluster::Input;
use tokio::time::{sleep, timeout};

use super::Node;
use crate::cluster::BusErrorKind;

/// How long a lease runs, and how often it is renewed.
const TTL: Duration = Duration::from_secs(4);
const RENEW: Duration = Duration::from_secs(1);

/// Renews the lease of this node for ever, if the bus keeps a table of them; and at once when the bus is back, because
/// others may have missed it meanwhile.
pub(super) async fn run(node: Arc<Node>) {
    let Some(leases) = node.bus.leases() else { return };
    loop {
        if !node.is_settled() {
            node.returned.notified().await;
            continue;
        }
        match leases.renew(node.id(), TTL).await {
            Ok(lease) => node.input(Input::Lease(lease)),
            // It is no news of any other node, and the bus says by itself that it is down.
            Err(error) => tracing::debug!(target: "pondsocket::bus", %error, "the lease was not renewed"),
        }
        // Whether the time is over or the bus is back.
        let _ = timeout(RENEW, node.returned.notified()).await;
    }
}

/// How long the table of leases is asked for the number of this life, and how long between two attempts.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);

/// Learns which life of its name this node lives, before it says anything. Should the table of leases not tell, it is the
/// time of its start.
pub(super) async fn acquire(node: &Node) -> u64 {
    let born = node.id().incarnation;
    let Some(leases) = node.bus.leases() else { return born };
    let asked = timeout(PATIENCE, async {
        loop {
            match leases.acquire(node.name(), TTL).await {
                Ok(incarnation) => return Ok(incarnation),
                Err(error) if matches!(error.kind(), BusErrorKind::Closed | BusErrorKind::Loading) => {
                    tracing::debug!(target: "pondsocket::bus", %error, "this life has no number yet");
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    });
    let why = match asked.await {
        Ok(Ok(incarnation)) => return incarnation,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    tracing::warn!(target: "pondsocket::cluster", why, "this life is numbered by the clock: others see it if that is right");
    born
}

/// Gives it up, so that nobody takes this node for dead rather than gone.
pub(super) async fn release(node: &Node) {
    if let Some(leases) = node.bus.leases()
        && let Err(error) = leases.release(node.id()).await
    {
        tracing::debug!(target: "pondsocket::bus", %error, "the lease was not given up");
    }
}
