//! Disconnects connections whose token has expired: the guards see only connections that send something.

use std::time::Duration;

use pondsocket::Endpoint;
use tokio::time::interval;

use crate::guards::claims;

/// The longest delay after the expiry. One timer for all connections costs less than one for each.
const INTERVAL: Duration = Duration::from_millis(500);

/// Checks all connections in each interval. Never completes.
pub(crate) async fn run(endpoint: Endpoint) {
    let mut times = interval(INTERVAL);
    loop {
        times.tick().await;
        for connection in endpoint.connections() {
            // A token that cannot be read gives no permission.
            let Ok(claims) = claims(&connection) else {
                connection.disconnect();
                continue;
            };
            if claims.is_expired() {
                tracing::info!(user = claims.sub, "the token has expired: disconnecting");
                connection.disconnect();
            }
        }
    }
}
