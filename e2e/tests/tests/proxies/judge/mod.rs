//! What must be so behind any proxy.

pub(crate) mod address;
pub(crate) mod drain;
pub(crate) mod events;
pub(crate) mod idle;
pub(crate) mod inside;
pub(crate) mod origin;
pub(crate) mod websocket;
