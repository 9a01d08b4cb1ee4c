//! Checks that hold behind every proxy.

pub(crate) mod address;
pub(crate) mod admin;
pub(crate) mod drain;
pub(crate) mod events;
pub(crate) mod idle;
pub(crate) mod origin;
pub(crate) mod websocket;
