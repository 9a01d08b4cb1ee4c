//! Clients, and what they have got.

mod crowd;
mod ledger;

pub(crate) use crowd::{Crowd, Seat};
