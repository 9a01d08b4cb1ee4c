//! The limits of the server: who may come in, and how much of anything there may be.

pub(crate) mod address;
pub(crate) mod admission;
pub(crate) mod bucket;
pub(crate) mod gauge;
pub(crate) mod memory;
pub(crate) mod message_rate;
pub(crate) mod origin;
pub(crate) mod stored;
