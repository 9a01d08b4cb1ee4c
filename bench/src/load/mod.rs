//! Clients, and what they have got.

mod body;
mod client;
mod crowd;
mod ledger;
mod stream;
mod timeline;

pub(crate) use crowd::{Crowd, Seat, Transport};
pub(crate) use timeline::Latency;
