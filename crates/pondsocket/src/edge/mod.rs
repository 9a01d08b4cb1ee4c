//! Where an HTTP request becomes a connection, and one socket meets one endpoint.

pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod service;
pub(crate) mod upgrade;
