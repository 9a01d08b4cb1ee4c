//! Connections over WebSockets.

mod offer;
mod raw;
mod transport;
mod upgrade;

pub use offer::HostUpgrade;
pub(crate) use offer::UpgradeOffer;
#[cfg(all(test, feature = "server"))]
pub(crate) use offer::{RecoveredStream, recover};
pub(crate) use transport::WebSocketTransport;
pub(crate) use upgrade::{OfferedSubprotocols, Upgrade};
