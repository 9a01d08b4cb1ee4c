//! Connections over WebSockets.

mod frames;
mod upgrade;

pub(crate) use frames::Frames;
pub(crate) use upgrade::Upgrade;
#[cfg(all(test, feature = "server"))]
pub(crate) use upgrade::recover;
