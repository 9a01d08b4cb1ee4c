//! The floor where an HTTP request becomes a connection, and one client meets one endpoint.

pub(crate) mod accepted;
pub(crate) mod admit;
pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod events;
pub(crate) mod origin;
pub(crate) mod refusal;
pub(crate) mod service;
pub(crate) mod websocket;
