//! The limits of the server: the admission of clients, rates, memory, and the sizes of stored values.

pub(crate) mod address;
pub(crate) mod admission;
pub(crate) mod arrivals;
pub(crate) mod bucket;
pub(crate) mod gauge;
pub(crate) mod memory;
pub(crate) mod message_rate;
pub(crate) mod origin;
pub(crate) mod stored;
pub(crate) mod turns;
