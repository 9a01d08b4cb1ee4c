//! Ends connections whose token has expired: whoever only listens never asks a guard.

use std::time::Duration;

use pondsocket::Endpoint;
use tokio::time::interval;

use crate::guards::claims;

/// The longest delay after the expiry. One timer for all connections costs less than one for each.
const PACE: Duration = Duration::from_millis(500);

/// Looks for as long as the program runs.
pub(crate) async fn run(endpoint: Endpoint) {
    let mut times = interval(PACE);
    loop {
        times.tick().await;
        for connection in endpoint.connections() {
            // What cannot be read is no permission either.
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
