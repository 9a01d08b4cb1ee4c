//! Connections over WebSockets.

mod frames;
mod offer;
mod raw;
mod upgrade;

pub(crate) use frames::Frames;
pub use offer::HostUpgrade;
pub(crate) use offer::Offer;
#[cfg(all(test, feature = "server"))]
pub(crate) use offer::recover;
pub(crate) use upgrade::{Offered, Upgrade};
