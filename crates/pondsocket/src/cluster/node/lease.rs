use std::sync::Arc;
use std::time::Duration;

use pondsocket_proto::cluster::Input;
use tokio::time::timeout;

use super::Node;

/// How long a lease runs, and how often it is renewed.
const TTL: Duration = Duration::from_secs(4);
const BEAT: Duration = Duration::from_secs(1);

/// Renews the lease of this node for ever, if the bus keeps a table of them; and at once when the bus is back, because
/// others may have missed it meanwhile.
pub(super) async fn run(node: Arc<Node>) {
    let Some(leases) = node.bus.leases() else { return };
    loop {
        match leases.beat(&node.id, TTL).await {
            Ok(lease) => node.input(Input::Lease(lease)),
            // It is no news of any other node, and the bus says by itself that it is down.
            Err(error) => tracing::debug!(target: "pondsocket::bus", %error, "the lease was not renewed"),
        }
        // Whether the time is over or the bus is back.
        let _ = timeout(BEAT, node.returned.notified()).await;
    }
}

/// Gives it up, so that nobody takes this node for dead rather than gone.
pub(super) async fn give_up(node: &Node) {
    if let Some(leases) = node.bus.leases()
        && let Err(error) = leases.bye(&node.id).await
    {
        tracing::debug!(target: "pondsocket::bus", %error, "the lease was not given up");
    }
}
