//! Clients, and the record of what they have received.

mod body;
mod client;
mod deliveries;
mod latency;
mod pool;
mod stream;

pub(crate) use client::Client;
pub(crate) use deliveries::Deliveries;
pub(crate) use latency::{Latency, histogram};
pub(crate) use pool::{ClientPool, ClientSpec, Resume, Transport};
