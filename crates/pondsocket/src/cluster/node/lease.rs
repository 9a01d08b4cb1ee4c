use std::sync::Arc;
use std::time::Duration;

use pondsocket_proto::cluster::Input;
use tokio::time::{sleep, timeout};

use super::Node;
use crate::cluster::BusErrorKind;

/// The length of a lease, and the time between two renewals, so that a lease outlasts a few failed renewals
/// (docs/cluster.md, Liveness).
const TTL: Duration = Duration::from_secs(4);
const RENEW: Duration = Duration::from_secs(1);

/// Renews the lease of this node for ever, if the bus has a table of leases; and at once when the bus is back, because
/// the lease may have expired meanwhile.
pub(super) async fn run(node: Arc<Node>) {
    let Some(leases) = node.bus.leases() else { return };
    loop {
        // A lease under a provisional number would be that of another incarnation.
        if !node.has_identity() {
            node.renewal_due.notified().await;
            continue;
        }
        match leases.renew(node.id(), TTL).await {
            Ok(lease) => {
                // Leases are also gone if the engine has lost its data, and then so are the records of sessions. A client whose
                // record is gone would be a new one on another node.
                if lease.was_expired {
                    node.all_hosts().iter().for_each(|host| host.rewrite_session_records());
                }
                node.input(Input::Lease(lease));
            }
            // The failure tells nothing about other nodes, and the bus itself reports that it is down.
            Err(error) => tracing::debug!(target: "pondsocket::bus", %error, "the lease was not renewed"),
        }
        // Both a timeout and a notification lead to the next renewal.
        let _ = timeout(RENEW, node.renewal_due.notified()).await;
    }
}

/// The longest wait for the number of this incarnation, and the pause between two attempts. The node publishes nothing
/// in this time.
const TIMEOUT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);

/// Acquires the first lease, with the number of this incarnation. If the table of leases does not answer in time, the
/// number is the time of the start.
pub(super) async fn acquire(node: &Node) -> u64 {
    let born = node.id().incarnation;
    let Some(leases) = node.bus.leases() else { return born };
    let asked = timeout(TIMEOUT, async {
        loop {
            match leases.acquire(node.name(), TTL).await {
                Ok(incarnation) => return Ok(incarnation),
                // These pass soon. Any other failure would only come again, while the node waits.
                Err(error) if matches!(error.kind(), BusErrorKind::Closed | BusErrorKind::Loading) => {
                    tracing::debug!(target: "pondsocket::bus", %error, "the incarnation number is not known yet");
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
    tracing::warn!(target: "pondsocket::cluster", why, "the incarnation is numbered by the clock of this machine: other nodes show it only if that clock is right");
    born
}

/// Releases the lease, so that the table does not report it as expired after the node's `Bye`.
pub(super) async fn release(node: &Node) {
    if let Some(leases) = node.bus.leases()
        && let Err(error) = leases.release(node.id()).await
    {
        tracing::debug!(target: "pondsocket::bus", %error, "the lease was not released");
    }
}
